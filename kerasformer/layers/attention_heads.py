"""Between token rows and attention heads: `[tokens, parts * heads * head_dim]` and `[batch, heads, length, ...]`.

Symbols: B batch, L padded length, T real tokens (B * L with the trivial layout), P parts (query, key, value), H heads,
D head_dim. Unpacking and splitting into heads are one gather of rows of D numbers, with no transposition.
"""

import tensorflow as tf

from kerasformer.layers.masks import is_open
from kerasformer.layers.padding import pack_rows, unpack_rows


def split_heads(tokens, parts, heads, layout, shape):
    """`[T, P * H * D]` to P tensors of `[B, H, L, D]`.

    Args:
        tokens: the projections of all parts, side by side.
        layout: as returned by `padding_layout`, or None for the trivial one.
        shape: int32 `[2]`: B and L.
    """
    width = tokens.shape[-1] // (parts * heads)
    batch, length = shape[0], shape[1]
    if layout is None:
        # -1 would be ambiguous in a batch of 0.
        split = tf.reshape(tokens, [batch, length, parts, heads, width])
        return tf.unstack(tf.transpose(split, [2, 0, 3, 1, 4]), num=parts)
    group = parts * heads
    part_and_head = tf.reshape(tf.range(group), [parts, 1, heads, 1])
    unpack_index = layout["unpack"][None, :, None, :] * group + part_and_head
    slot = layout["pack"]
    first = tf.reshape(slot // length * (heads * length) + slot % length, [-1, 1, 1])
    part = tf.range(parts)[None, :, None] * (batch * heads * length)
    head = tf.range(heads)[None, None, :] * length
    rows = tf.reshape(tokens, [-1, width])
    return tf.unstack(unpack_rows(rows, unpack_index, tf.reshape(first + part + head, [-1])), num=parts)


def merge_heads(attended, layout, padding_mask, shape, tokens_shape):
    """`[B, H, L, D]` to `[T, H * D]`.

    Args:
        attended: `[B, H, L, D]`.
        layout: as returned by `padding_layout`, or None for the trivial one.
        padding_mask: `[B, L]`; only read where there is a layout.
        shape: int32 `[2]`: B and L.
        tokens_shape: int32 `[2]`: T and H * D. The shape of the tensor that will be added to the result, so that
            TensorFlow knows the two to be alike and fuses the addition.
    """
    heads, width = attended.shape[1], attended.shape[3]
    if layout is None:
        return tf.reshape(tf.transpose(attended, [0, 2, 1, 3]), tokens_shape)
    length = shape[1]
    slot = layout["pack"]
    pack_index = (slot // length * (heads * length) + slot % length)[:, None] + tf.range(heads)[None, :] * length
    unpack_index = layout["unpack"][:, None, :] * heads + tf.range(heads)[None, :, None]
    real = tf.cast(is_open(padding_mask), attended.dtype)
    real = tf.broadcast_to(real[:, None, :], tf.shape(unpack_index))
    rows = tf.reshape(attended, [-1, width])
    packed = pack_rows(rows, tf.reshape(pack_index, [-1]), tf.reshape(unpack_index, [-1]), tf.reshape(real, [-1]))
    return tf.reshape(packed, tokens_shape)
