"""Columns of texts, checked, and NumPy arrays of batches, joined."""

import numpy as np

from kerasformer.errors import InputError


def concatenate(batches):
    """A list of equal dictionaries of arrays as one dictionary of longer arrays.

    Where the further dimensions differ, the smaller arrays are padded: strings with "", integers with -1 (no place),
    floats with 0.
    """
    return {key: _concatenate_padded([np.asarray(batch[key]) for batch in batches]) for key in batches[0]}


def _concatenate_padded(arrays):
    largest = np.max([array.shape[1:] for array in arrays], axis=0).astype(int)
    fill = {"O": b"", "S": b"", "i": -1}.get(arrays[0].dtype.kind, 0)

    def padded(array):
        room = [(0, 0), *((0, most - size) for most, size in zip(largest, array.shape[1:], strict=True))]
        return np.pad(array, room, constant_values=fill) if any(more for _, more in room) else array

    return np.concatenate([padded(array) for array in arrays])


def checked_columns(columns, names, task):
    """`{name: list}` of lists of texts, one for each name.

    Raises:
        InputError: another number of columns, columns of unequal lengths, or something that is not a text.
    """
    if len(columns) != len(names):
        raise InputError(f"{task} reads {len(names)} lists of texts: {', '.join(names)}. Received: {len(columns)}.")
    checked = {}
    for name, column in zip(names, columns, strict=True):
        if isinstance(column, (str, bytes)):
            raise InputError(f"`{name}` must be a list of texts. Received one text: {column[:40]!r}. Put it in a list.")
        checked[name] = list(column)
        wrong = [value for value in checked[name] if not isinstance(value, (str, bytes))]
        if wrong:
            raise InputError(f"`{name}` must be a list of texts. Received in it: {wrong[0]!r:.40}.")
    if len({len(column) for column in checked.values()}) > 1:
        lengths = ", ".join(f"{len(column)} {name}" for name, column in checked.items())
        raise InputError(f"The lists must be of the same length. Received: {lengths}.")
    return checked


def are_texts(values):
    """Whether a column holds texts, as an empty one does."""
    if isinstance(values, np.ndarray):
        return values.dtype.kind in "OSU"
    return not len(values) or isinstance(values[0], (str, bytes))


def as_strings(array):
    """NumPy array of bytes to an array of str."""
    return np.array([value.decode("utf-8", "replace") for value in array.ravel()], dtype=object).reshape(array.shape)
