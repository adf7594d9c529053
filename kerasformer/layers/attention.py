"""Scaled dot-product attention."""

import tensorflow as tf

from kerasformer.layers.masks import causal_mask, mask_to_bias


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
    dtype = query.dtype
    if scale is None:
        scale = query.shape[-1] ** -0.5
    additive = None if mask is None else mask_to_bias(mask, dtype)
    if use_causal_mask:
        causal = mask_to_bias(causal_mask(tf.shape(query)[2], tf.shape(key)[2]), dtype)[None, None]
        # The lower of the two, not their sum, which could overflow float16.
        additive = causal if additive is None else tf.minimum(additive, causal)
    if bias is not None:
        bias = tf.cast(bias, dtype)
        additive = bias if additive is None else additive + bias

    # matmul, then scale, then mask: the order that TensorFlow fuses into one operation on a CPU.
    scores = tf.matmul(query, key, transpose_b=True)
    if scale != 1:
        scores = scores * tf.cast(scale, dtype)
    if additive is not None:
        scores = scores + additive
    probabilities = tf.nn.softmax(tf.cast(scores, tf.float32) if training else scores)
    probabilities = tf.cast(probabilities, dtype)
    weights = probabilities if dropout is None else dropout(probabilities, training=training)
    output = tf.matmul(weights, value)
    return (output, probabilities) if return_attention_scores else output
