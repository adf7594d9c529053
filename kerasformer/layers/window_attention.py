"""Attention within a window, in blocks where texts are long."""

import tensorflow as tf

from kerasformer.layers.masks import window_mask

# Queries in a block. In more than this many blocks they cost less than all pairs with a mask, and memory grows with the
# length, not with its square.
_SMALLEST_BLOCK, _FEW_BLOCKS = 64, 5


def window_attention(attend, query, key, value, mask, window):
    """Self-attention of each token to those at a distance of at most `window` (Beltagy et al. 2020, arXiv:2004.05150,
    section 3.1).

    Long texts are cut into blocks of at least `window` tokens: a token finds all that it may attend to in its own block
    and the two beside it. Short ones are attended to as a whole, with a mask.

    Args:
        attend: function of query, key, value and a boolean mask, such as `scaled_dot_product_attention`.
        query, key, value: `[batch, heads, length, head_dim]`.
        mask: bool `[batch, 1, 1, length]`, true where there is a key, or None.
        window: positions on each side.

    Returns:
        `[batch, heads, length, head_dim]`.
    """
    block = max(window, _SMALLEST_BLOCK)
    length = query.shape[2] or tf.shape(query)[2]
    if mask is None:
        mask = tf.ones([tf.shape(query)[0], 1, 1, length], tf.bool)

    def whole():
        positions = tf.range(length)
        return attend(query, key, value, mask & window_mask(positions, positions, window))

    def in_blocks():
        return _attend_in_blocks(attend, query, key, value, mask, window, block, length)

    is_long = length > _FEW_BLOCKS * block
    if isinstance(is_long, bool):
        return in_blocks() if is_long else whole()
    return tf.cond(is_long, in_blocks, whole)


def _attend_in_blocks(attend, query, key, value, mask, window, block, length):
    batch, count = tf.shape(query)[0], -(-length // block)

    def rows(x, beside):
        """`[batch * blocks, heads, tokens, head_dim]`: the tokens of each block and, with 1, of those beside it."""
        heads, width = x.shape[1], x.shape[3]
        x = tf.pad(x, [[0, 0], [0, 0], [beside * block, (count + beside) * block - length], [0, 0]])
        x = tf.reshape(x, [batch, heads, count + 2 * beside, block, width])
        if beside:
            x = tf.concat([x[:, :, i : i + count] for i in range(3)], 3)
        return tf.reshape(tf.transpose(x, [0, 2, 1, 3, 4]), [batch * count, heads, (1 + 2 * beside) * block, width])

    real = rows(tf.transpose(mask, [0, 1, 3, 2]), 1)[..., 0][:, :, None]
    near = window_mask(tf.range(block), tf.range(-block, 2 * block), window)
    outputs = attend(rows(query, 0), rows(key, 1), rows(value, 1), real & near)
    heads, width = value.shape[1], value.shape[3]
    outputs = tf.transpose(tf.reshape(outputs, [batch, count, heads, block, width]), [0, 2, 1, 3, 4])
    return tf.reshape(outputs, [batch, heads, count * block, width])[:, :, :length]
