"""Columns of examples in memory."""

import numpy as np

from kerasformer.errors import InputError


def object_column(values):
    """`values`, of any kind, as an array `[N]` of objects; NumPy alone makes a matrix of sequences of one length."""
    column = np.empty(len(values), object)
    for place, value in enumerate(values):
        column[place] = value
    return column


def find_field(record, name):
    """The key of a record that is called `name`, exactly or else by case and outer spaces ignored; None if there is
    none, or several of which none is exact."""
    if name in record:
        return name
    wanted = name.strip().casefold()
    found = [key for key in record if isinstance(key, str) and key.strip().casefold() == wanted]
    return found[0] if len(found) == 1 else None


def whole_characters(text, where, name):
    """`text`, which is UTF-8 once it is encoded.

    Args:
        text: str.
        where: file and line, for the error.
        name: what to call the text there.

    Raises:
        InputError: it holds half of a surrogate pair, as JSON may.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InputError(f"{where}: {name} holds half of a surrogate pair, which is no character.") from None
    return text
