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


def model_inputs(ids, sequences, start_id, end_id, padding_id):
    """`[start] sequence [end]`, and `sequence [end]` for each further one, padded to the longest row.

    Args:
        ids: int32 `[pieces]`
        sequences: for each of the one or two sequences its first piece and its number of pieces, int32 `[batch]`.

    Returns:
        dict of int32 `[batch, length]`: `token_ids`, `segment_ids` (1 in the second sequence) and `padding_mask`
        (1 for tokens).
    """
    ids = tf.concat([ids, [padding_id]], 0)  # so that there is always something to gather
    stops, stop = [], tf.zeros([1], tf.int32)
    for _, count in sequences:
        stop = stop + count + 1
        stops.append(stop[:, None])  # the position of the sequence's end token
    positions = tf.range(tf.maximum(tf.reduce_max(stop), len(sequences)) + 1)[None, :]
    token_ids = padding_id
    for (first, count), stop in reversed(list(zip(sequences, stops, strict=True))):
        places = (first + count)[:, None] - stop + positions
        pieces = tf.gather(ids, tf.clip_by_value(places, 0, tf.size(ids) - 1))
        token_ids = tf.where(positions < stop, pieces, tf.where(tf.equal(positions, stop), end_id, token_ids))
    is_token = positions <= stops[-1]
    if len(sequences) == 1:
        segment_ids = tf.zeros_like(token_ids)
    else:
        segment_ids = tf.cast((positions > stops[0]) & is_token, tf.int32)
    return {
        "token_ids": tf.where(tf.equal(positions, 0), start_id, token_ids),
        "segment_ids": segment_ids,
        "padding_mask": tf.cast(is_token, tf.int32),
    }
