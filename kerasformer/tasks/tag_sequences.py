"""Which tags may follow each other, and the loss of sequences of them."""

import numpy as np
import tensorflow as tf

from kerasformer.layers import crf_log_partition, crf_score

_NEVER = -1e9
FOLLOWS = -2  # in labels: no word here, and this window continues the text of the one before


def tag_constraints(num_types):
    """float32 `[tags + 1, tags + 1]`, in the numbers of `layers.crf`: -1e9 where I- follows neither B- nor I- of its
    own type, else 0."""
    numbers = 2 + 2 * num_types
    scores = np.zeros([numbers, numbers], np.float32)
    for kind in range(num_types):
        begin, inside = 2 + 2 * kind, 3 + 2 * kind
        scores[:, inside] = _NEVER
        scores[[begin, inside], inside] = 0
    return scores


def crf_loss(logits, labels, transitions):
    """Minus the log likelihoods of the tags of all texts, added up. The words of a text are one sequence, though they
    may be in several windows.

    Args:
        logits: float32 `[W, L, tags]`.
        labels: int32 `[W, L]`, a tag where there is a word; in a window that continues a text, `FOLLOWS` elsewhere.
        transitions: float32 `[tags + 1, tags + 1]`.

    Returns:
        A float32 scalar.
    """
    is_word = labels >= 0
    begins = tf.cast(~tf.reduce_any(labels == FOLLOWS, 1), tf.int32)
    text = tf.repeat(tf.cumsum(begins) - 1, tf.reduce_sum(tf.cast(is_word, tf.int32), 1))
    number = tf.reduce_sum(begins)
    lengths = tf.math.unsorted_segment_sum(tf.ones_like(text), text, number)

    def by_text(values):
        return tf.RaggedTensor.from_row_lengths(tf.boolean_mask(values, is_word), lengths, validate=False).to_tensor()

    tags, values = by_text(labels), tf.ensure_shape(by_text(logits), [None, None, logits.shape[-1]])
    mask = tf.sequence_mask(lengths, tf.shape(tags)[1])
    return tf.reduce_sum(crf_log_partition(values, mask, transitions) - crf_score(values, tags, mask, transitions))
