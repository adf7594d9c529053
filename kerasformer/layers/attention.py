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

    When `training`, the softmax is computed in float32 whatever the dtype. A query that may look nowhere attends
    evenly to all keys: finite, and never NaN.

    Args:
        query: `[batch, heads, query length, head width]`.
        key: `[batch, heads, key length, head width]`.
        value: `[batch, heads, key length, value width]`.
        mask: broadcastable to `[batch, heads, query length, key length]`, positive or true where attention may look.
        bias: numbers added to the scaled scores, broadcastable like `mask`.
        scale: factor of the scores, by default `1 / sqrt(head width)`.
        use_causal_mask: no query sees a later key; with fewer queries than keys, the queries are the last ones.
        dropout: a dropout layer for the probabilities.
        return_attention_scores: also return the probabilities, `[batch, heads, query length, key length]`.

    Returns:
        `[batch, heads, query length, value width]`, or a pair of it and the probabilities.
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


def attention_for_serving(query, key, value, mask=None):
    """`scaled_dot_product_attention` for an export in float32 or bfloat16, quick for few scores too; inference only.

    TensorFlow's fused operations wake other threads whatever their size, some 0.2 ms a block; few scores are computed
    without them, and in float32. `mask` is None or `[batch, 1, 1 or query length, key length]`.
    """
    scale = query.shape[-1] ** -0.5
    batch = tf.shape(query)[0]
    scores = tf.size(query) // query.shape[-1] * tf.shape(key)[2]
    # All texts go one way, and none the other. A `tf.cond` would keep TensorFlow from fusing, now and then.
    few = tf.where(scores <= _FEW_SCORES, batch, 0)
    split = [tf.split(x, [few, batch - few]) for x in (query, key, value)]
    masks = (None, None) if mask is None else tf.split(is_open(mask), [few, batch - few])
    # The bias is made after the split, never split itself: TensorFlow 2.21 fuses the first output of an operation
    # where the second is meant.
    biases = [None if m is None else mask_to_bias(m, t) for m, t in zip(masks, (tf.float32, query.dtype), strict=True)]
    few_parts, many_parts = zip(*split, strict=True)
    outputs = [_attend_few(*few_parts, biases[0], scale), _attend(*many_parts, biases[1], scale)[1]]
    return tf.concat(outputs, 0)


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
