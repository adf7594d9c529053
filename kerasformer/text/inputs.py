"""What goes in and out of a tokenizer: texts of any kind to a string tensor, token ids to padded model inputs."""

import numpy as np
import tensorflow as tf

from kerasformer.errors import InputError


def as_text_tensor(texts, name):
    """`texts` as a string tensor `[batch]`; `name` is what the caller calls the argument."""
    if isinstance(texts, (str, bytes)):
        raise InputError(f"`{name}` must be a list of texts. Received one text: {texts[:40]!r}. Put it in a list.")
    if not tf.is_tensor(texts) or isinstance(texts, tf.Variable):
        if isinstance(texts, (list, tuple)) and not texts:
            texts = np.zeros([0], object)
        try:
            texts = tf.convert_to_tensor(texts, tf.string)
        except (TypeError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise InputError(f"`{name}` must be strings, [batch]. Received: {_shown(texts)} ({reason}).") from None
    if not isinstance(texts, tf.Tensor) or texts.dtype != tf.string:
        raise InputError(f"`{name}` must be a dense tensor of strings, [batch]. Received: {_shown(texts)}.")
    if texts.shape.rank not in (1, None):
        raise InputError(f"`{name}` must have one dimension, [batch]. Received: shape {texts.shape}.")
    return texts


def _shown(texts):
    if hasattr(texts, "dtype") and hasattr(texts, "shape"):
        dtype = texts.dtype
        return f"{type(texts).__name__} of {getattr(dtype, 'name', dtype)}, shape {tuple(texts.shape)}"
    shown = repr(texts).encode("ascii", "backslashreplace").decode()
    return shown if len(shown) <= 60 else f"{shown[:60]}…"


def checked_max_length(max_length, num_special):
    """`max_length` as an int, if that many special tokens fit."""
    if isinstance(max_length, bool) or not isinstance(max_length, (int, np.integer)) or max_length < num_special:
        raise InputError(
            f"`max_length` must be an integer of {num_special} or more, as {num_special} special tokens are added. "
            f"Received: max_length={max_length!r}."
        )
    return int(max_length)


def cut_pair(first, second, room):
    """Lengths that are left of two sequences, so that both together fit in `room`.

    As if the longer one lost its last token again and again, but for the odd token, which the reference leaves to
    the longer sequence.

    Args:
        first, second: int32 `[batch]`
        room: int
    """
    shorter, longer = tf.minimum(first, second), tf.maximum(first, second)
    fits = first + second <= room
    spare = tf.where(shorter > room, shorter, tf.maximum(shorter, room - shorter))
    both_cut = shorter + spare > room
    shorter = tf.where(fits | ~both_cut, shorter, room // 2)
    longer = tf.where(fits, longer, tf.where(both_cut, room // 2 + room % 2, spare))
    swapped = first > second
    return tf.where(swapped, longer, shorter), tf.where(swapped, shorter, longer)


def cut_sequences(sequences, room, truncation="longest_first", side="right"):
    """One or two sequences, truncated to fit in `room` together.

    Args:
        sequences: for each its first piece and its number of pieces, int32 `[batch]`.
        room: int.
        truncation: "longest_first", "only_first" or "only_second"; the other sequence is cut if that one has nothing
            left.
        side: "right" drops the last pieces of a sequence, "left" the first ones.

    Returns:
        The sequences.
    """
    counts = [count for _, count in sequences]
    if len(counts) == 1:
        kept = [tf.minimum(counts[0], room)]
    elif truncation == "longest_first":
        kept = cut_pair(*counts, room)
    else:
        order = [1, 0] if truncation == "only_first" else [0, 1]
        kept = [None, None]
        kept[order[0]] = tf.minimum(counts[order[0]], room)
        kept[order[1]] = tf.minimum(counts[order[1]], room - kept[order[0]])
    if side == "right":
        return [(first, count) for (first, _), count in zip(sequences, kept, strict=True)]
    return [(first + whole - count, count) for (first, whole), count in zip(sequences, kept, strict=True)]


def as_ragged_ids(ids):
    """Ids, int `[batch, length]` or ragged `[batch, (length)]`, as int32 with int64 splits."""
    if not isinstance(ids, tf.RaggedTensor):
        ids = tf.convert_to_tensor(ids)
        if ids.shape.rank == 2 and ids.dtype.is_integer:
            ids = tf.RaggedTensor.from_tensor(ids)
    if not isinstance(ids, tf.RaggedTensor) or ids.shape.rank != 2 or not ids.dtype.is_integer:
        raise InputError(f"`ids` must be integers, [batch, length]. Received: {ids.dtype.name}, shape {ids.shape}.")
    return tf.cast(ids, tf.int32).with_row_splits_dtype(tf.int64)
