"""Scaled dot-product attention."""

import tensorflow as tf

from kerasformer.layers.masks import causal_mask, is_open, mask_to_bias

# Up to so many scores, of all heads, the operations that stay in their thread were the quicker ones on two cores.
_FEW_SCORES = 12 * 48 * 48


def scaled_dot_product_attention(
    query,
    key,
    value,
    *,
    mask=None,
    bias=None,
    scale=None,
    use_causal_mask=False,
    dropout=None,
    training=False,
    return_attention_scores=False,
):
    """softmax(query · keyᵀ · scale + bias) · value (Vaswani et al. 2017, section 3.2.1).

    When `training`, the softmax is computed in float32 whatever the dtype. A query that may attend to no key attends
    evenly to all of them: the result is finite, never NaN.

    Args:
        query: `[batch, heads, query length, head_dim]`.
        key: `[batch, heads, key length, head_dim]`.
        value: `[batch, heads, key length, value_dim]`.
        mask: broadcastable to `[batch, heads, query length, key length]`, positive or true where attention may attend.
        bias: added to the scaled scores, broadcastable like `mask`.
        scale: factor of the scores, by default `1 / sqrt(head_dim)`.
        use_causal_mask: no query attends to a later key; with fewer queries than keys, the queries are the last ones.
        dropout: a dropout layer for the probabilities.
        return_attention_scores: also return the probabilities, `[batch, heads, query length, key length]`.

    Returns:
        `[batch, heads, query length, value_dim]`, or a pair of it and the probabilities.
    """
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    dtype = query.dtype
    additive = None if mask is None else mask_to_bias(mask, dtype)
    if use_causal_mask:
        causal = mask_to_bias(causal_mask(tf.shape(query)[2], tf.shape(key)[2]), dtype)[None, None]
        # The lower of the two, not their sum, which could overflow float16.
        additive = causal if additive is None else tf.minimum(additive, causal)
    if bias is not None:
        bias = tf.cast(bias, dtype)
        additive = bias if additive is None else additive + bias
    probabilities, output = _attend(query, key, value, additive, scale, dropout, training)
    return (output, probabilities) if return_attention_scores else output


def attention_for_serving(query, key, value, mask=None, row_groups=None, scale=None):
    """`scaled_dot_product_attention` for an export in float32 or bfloat16, fast for few scores too; inference only.

    TensorFlow's fused operations wake other threads whatever their size, some 0.2 ms a block. Few scores are computed
    without them, in float32.

    Args:
        query, key, value, scale: as in `scaled_dot_product_attention`.
        mask: None or `[batch, 1, 1 or query length, key length]`.
        row_groups: None, or, where queries and keys are of the same tokens and the mask is `[batch, 1, 1, length]`,
            parts of the batch, of which all but the last are computed at the length of their own longest text: less
            work where the texts are in order of their lengths.
    """
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    if row_groups is None:
        row_groups, batch, scores = 1, tf.shape(query)[0], tf.size(query) // query.shape[-1] * tf.shape(key)[2]
    else:  # By the mask, which all blocks share, so that this is computed once.
        batch, scores = tf.shape(mask)[0], query.shape[1] * tf.size(mask) * tf.shape(mask)[3]
    # All texts go one way, and none the other. A `tf.cond` would keep TensorFlow from fusing, now and then.
    few = tf.where(scores <= _FEW_SCORES, batch, 0)
    part = (batch - few) // row_groups
    sizes = [few, *[part] * (row_groups - 1), batch - few - part * (row_groups - 1)]
    parts = list(zip(*(tf.split(x, sizes) for x in (query, key, value)), strict=True))
    masks = [None] * len(sizes) if mask is None else tf.split(is_open(mask), sizes)
    # The bias is made after the split, never split itself: TensorFlow 2.21 fuses the first output of an operation
    # where the second is meant.
    outputs = [_attend_few(*parts[0], _bias(masks[0], tf.float32), scale)]
    outputs += [_attend_cut(*parts[i], masks[i], scale) for i in range(1, row_groups)]
    outputs.append(_attend(*parts[-1], _bias(masks[-1], query.dtype), scale)[1])
    return tf.concat(outputs, 0)


def _bias(mask, dtype):
    return None if mask is None else mask_to_bias(mask, dtype)


def _attend_cut(query, key, value, mask, scale):
    """The output for texts that are all shorter than the batch is long; 0 where none of them has a token."""
    # Of no texts at all the maximum would be the lowest number there is.
    length = tf.maximum(tf.reduce_max(tf.where(mask, tf.range(1, tf.shape(mask)[3] + 1), 0)), 0)
    cut = [x[:, :, :length] for x in (query, key, value)]
    output = _attend(*cut, _bias(mask[..., :length], query.dtype), scale)[1]
    return tf.pad(output, [[0, 0], [0, 0], [0, tf.shape(query)[2] - tf.shape(output)[2]], [0, 0]])


def _attend(query, key, value, additive, scale, dropout=None, training=False):
    """Probabilities and output."""
    dtype = query.dtype
    # matmul, then scale, then mask: the order that TensorFlow fuses into one operation on a CPU.
    scores = tf.matmul(query, key, transpose_b=True)
    if scale != 1:
        scores = scores * tf.cast(scale, dtype)
    if additive is not None:
        scores = scores + additive
    probabilities = tf.nn.softmax(tf.cast(scores, tf.float32) if training else scores)
    probabilities = tf.cast(probabilities, dtype)
    weights = probabilities if dropout is None else dropout(probabilities, training=training)
    return probabilities, tf.matmul(weights, value)


def _attend_few(query, key, value, additive, scale):
    """The output, by operations that oneDNN has no part in: this multiplication, and exp(log_softmax) for softmax."""
    dtype = query.dtype
    query, key, value = (tf.cast(x, tf.float32) for x in (query, key, value))
    scores = tf.raw_ops.BatchMatMulV3(x=query, y=key, Tout=tf.float32, adj_y=True) * scale
    if additive is not None:
        scores = scores + additive
    probabilities = tf.exp(tf.nn.log_softmax(scores))
    return tf.cast(tf.raw_ops.BatchMatMulV3(x=probabilities, y=value, Tout=tf.float32), dtype)
