"""Masks: positive or true where something is real, or where attention may look."""

import tensorflow as tf

# Large enough that exp() of it is 0 in every float type, and small enough to be added to a score in each of them.
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
    """Boolean `[query, key]`: each query sees the keys up to its own place, the last query being at the last key."""
    query = tf.range(query_length)[:, None] + (key_length - query_length)
    return tf.range(key_length)[None, :] <= query


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
