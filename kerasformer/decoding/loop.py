"""What the searches share: rows that leave when they are done, arguments a row, shapes that change in a loop."""

import numpy as np
import tensorflow as tf

from kerasformer.errors import InputError


def per_row(value, name, batch, dtype):
    """A number, or numbers `[batch]`, as a tensor `[batch]`; NumPy and Python values are checked.

    Raises:
        InputError: a value that is known is not finite.
    """
    if not tf.is_tensor(value):
        value = np.asarray(value)
        if value.dtype.kind not in "iufb" or not np.isfinite(value).all():
            raise InputError(f"`{name}` must be finite numbers. Received: {name}={value.tolist()!r}.")
    value = tf.cast(value, dtype)
    return tf.broadcast_to(value, [batch])


def checked_lengths(max_length):
    """`max_length`, where it is known, if it is 1 or more."""
    if not tf.is_tensor(max_length) and np.any(np.asarray(max_length) < 1):
        raise InputError(f"`max_length` must be 1 or more. Received: max_length={np.asarray(max_length).tolist()}.")
    return max_length


def keep_rows(tensors, kept):
    """Every tensor of a nest with only those rows."""
    return tf.nest.map_structure(lambda tensor: tf.gather(tensor, kept), tensors)


def put_rows(results, rows, values):
    """Results `[batch, ...]` with `values` in the places `rows`."""
    return tf.nest.map_structure(
        lambda result, value: tf.tensor_scatter_nd_update(result, rows[:, None], value), results, values
    )


def changing_shapes(tensors):
    """The shapes that a nest of tensors keeps in a loop: known dimensions of 2 or more stay, but for the first.

    Rows leave, one beam becomes several, and what is empty at first grows.
    """

    def shape(tensor):
        sizes = tensor.shape.as_list()
        return tf.TensorShape([None, *[size if size and size > 1 else None for size in sizes[1:]]])

    return tf.nest.map_structure(shape, tensors)
