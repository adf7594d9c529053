"""Masks: positive or true where something is real, or where attention may attend."""

import tensorflow as tf

from kerasformer.errors import InputError

# Large enough that its exponential is 0 in every float type, and small enough to be added to a score in each of them.
_CLOSED = {"float16": -3e4}


def is_open(mask):
    """A mask of any type as booleans, true where it is positive or true."""
    mask = tf.convert_to_tensor(mask)
    return mask if mask.dtype == tf.bool else mask > 0


def mask_to_bias(mask, dtype):
    """0 where `mask` is positive or true, a large negative number elsewhere; same shape, of `dtype`."""
    dtype = tf.as_dtype(dtype)
    closed = tf.constant(_CLOSED.get(dtype.name, -1e9), dtype)
    # Not (mask - 1) * closed: TensorFlow fuses `matmul * scale + bias` only if the bias itself is no product.
    return tf.where(is_open(mask), tf.zeros([], dtype), closed)


def causal_mask(query_length, key_length):
    """Boolean `[query, key]`: a query attends to keys up to its own position; the last query is at the last key."""
    query = tf.range(query_length)[:, None] + (key_length - query_length)
    return tf.range(key_length)[None, :] <= query


def window_mask(query_positions, key_positions, window):
    """Boolean `[..., query, key]`: keys at a distance of at most `window` positions."""
    return tf.abs(query_positions[..., :, None] - key_positions[..., None, :]) <= window


def check_padding_mask(mask, inputs, name="padding_mask"):
    """Raises InputError unless `mask` can be the padding mask `[batch, length]` of `inputs`, where shapes are known.

    Args:
        inputs: `[batch, length, ...]`; or packed `[tokens, ...]`, or None, whose batch and length are unknown.
    """
    shape = tuple(mask.shape)
    known = tuple(inputs.shape[:2]) if inputs is not None and len(inputs.shape) > 2 else (None, None)
    fits = len(shape) == 2 and all(None in pair or pair[0] == pair[1] for pair in zip(shape, known, strict=True))
    if not fits:
        expected = "[batch, length]" + (f" = {list(known)}" if any(known) else "")
        raise InputError(
            f"`{name}` must be {expected}, positive where a token is real. Received: shape {shape}. "
            "Masks of pairs of positions are given as `attention_mask`."
        )


def check_attention_mask(mask, query_length, key_length):
    """Raises InputError unless `mask` can be `[batch or 1, query, key]` or `[batch, heads, query, key]`."""
    shape = tuple(mask.shape)
    fits = len(shape) in (3, 4) and all(
        None in pair or 1 in pair or pair[0] == pair[1]
        for pair in zip(shape[-2:], (query_length, key_length), strict=True)
    )
    if not fits:
        raise InputError(
            "`attention_mask` must be [batch or 1, query length, key length] or [batch, heads, query length, key "
            f"length] with query length {query_length} and key length {key_length}. Received: shape {shape}. "
            "A mask of padding, [batch, key length], is given as `padding_mask`."
        )


def joint_mask(padding_mask, attention_mask):
    """One boolean mask, broadcastable to `[batch, heads, query, key]`, or None.

    Args:
        padding_mask: of the keys, `[batch, key]`, or None.
        attention_mask: `[batch or 1, query, key]` or `[batch, heads, query, key]`, or None.
    """
    mask = None if padding_mask is None else is_open(padding_mask)[:, None, None, :]
    if attention_mask is not None:
        attention_mask = is_open(attention_mask)
        if len(attention_mask.shape) == 3:
            attention_mask = attention_mask[:, None]
        mask = attention_mask if mask is None else mask & attention_mask
    return mask
