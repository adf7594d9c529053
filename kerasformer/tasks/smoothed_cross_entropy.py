"""Cross-entropy with label smoothing, from hidden states: the scores of the vocabulary are never differentiated."""

import tensorflow as tf


def smoothed_cross_entropy(hidden, table, labels, smoothing, bias=None):
    """Losses of tokens whose scores are `hidden · tableᵀ + bias` (label smoothing: Szegedy et al. 2016, section 7).

    With probabilities p the gradient by the scores is p - (1 - smoothing) · label - smoothing / vocabulary. Only p is
    as large as tokens times vocabulary: multiplied out, the rest is sums of rows. So the large array is written twice
    and read three times, about a third of what automatic differentiation takes.

    Args:
        hidden: `[tokens, width]`.
        table: `[vocabulary, width]`, of the same type.
        labels: int32 `[tokens]`, token ids.
        smoothing: share of the target that is spread over all tokens.
        bias: float32 `[vocabulary]`, or None for none.

    Returns:
        `(smoothed, plain)`, float32 `[tokens]` each; gradients flow through the first alone.
    """
    # A custom gradient takes tensors alone: an empty one stands for none, which spares a pass over the scores.
    bias = tf.zeros([0]) if bias is None else tf.cast(bias, tf.float32)
    return _losses(hidden, table, bias, labels, tf.constant(smoothing, tf.float32))


@tf.custom_gradient
def _losses(hidden, table, bias, labels, smoothing):
    size = tf.cast(tf.shape(table)[0], tf.float32)
    scores = tf.cast(tf.matmul(hidden, table, transpose_b=True), tf.float32)
    has_bias = bias.shape[0] != 0
    scores = scores + bias if has_bias else scores
    probabilities = tf.nn.softmax(scores)
    highest = tf.reduce_max(scores, -1)
    # The likeliest token's probability is never near 0, so its logarithm is exact.
    log_sum = highest - tf.math.log(tf.reduce_max(probabilities, -1))
    own = tf.gather(scores, labels, batch_dims=1)
    mean = tf.linalg.matvec(tf.cast(hidden, tf.float32), tf.reduce_mean(tf.cast(table, tf.float32), 0))
    mean = mean + tf.reduce_mean(bias) if has_bias else mean

    def gradient(by_smoothed, by_plain):
        keep = 1 - smoothing
        wide = tf.cast(table, tf.float32)
        large = tf.cast(probabilities, hidden.dtype)
        by_scores = tf.cast(tf.matmul(large, table), tf.float32)
        by_hidden = by_scores - keep * tf.gather(wide, labels) - smoothing * tf.reduce_mean(wide, 0)
        rows = tf.cast(hidden, tf.float32) * by_smoothed[:, None]
        by_table = tf.cast(tf.matmul(large, tf.cast(rows, hidden.dtype), transpose_a=True), tf.float32)
        by_table -= keep * tf.math.unsorted_segment_sum(rows, labels, tf.shape(table)[0])
        by_table -= smoothing / size * tf.reduce_sum(rows, 0)
        by_hidden *= by_smoothed[:, None]
        by_bias = None
        if has_bias:
            by_bias = tf.linalg.matvec(large, tf.cast(by_smoothed, large.dtype), transpose_a=True)
            by_bias = tf.cast(by_bias, tf.float32) - smoothing / size * tf.reduce_sum(by_smoothed)
            by_bias -= keep * tf.math.unsorted_segment_sum(by_smoothed, labels, tf.shape(table)[0])
        return tf.cast(by_hidden, hidden.dtype), tf.cast(by_table, table.dtype), by_bias, None, None

    plain = log_sum - own
    return (log_sum - (1 - smoothing) * own - smoothing * mean, plain), gradient
