"""Linear-chain scores of tag sequences (Lafferty et al. 2001; Lample et al. 2016, section 2.2).

Symbols: B sequences, L steps, C tags. A sequence's score is the sum of its logits and of its transitions. Transitions
are `[C + 1, C + 1]`, from and to; number 0 is before the first tag and after the last one, tag c is number c + 1.
Steps whose mask is false are skipped, wherever they are. A transition of -1e9 is forbidden in effect.
"""

import keras
import tensorflow as tf

from kerasformer.layers.base import Layer

_NEVER = -1e9


def _with_boundary(logits, mask):
    """float32 `[B, L + 1, C + 1]` and bool `[B, L + 1]`: no step is a boundary, and the last one is passed over, so
    that there always is one."""
    logits = tf.pad(tf.cast(logits, tf.float32), [[0, 0], [0, 1], [1, 0]], constant_values=_NEVER)
    return logits, tf.pad(mask, [[0, 0], [0, 1]])


def _before_first(logits):
    """float32 `[B, C + 1]`: at the boundary for sure."""
    return tf.one_hot(tf.zeros(tf.shape(logits)[0], tf.int32), logits.shape[-1], 0.0, _NEVER)


def _scan(logits, mask, transitions, reduce, reverse=False):
    """Scores of all beginnings of the sequences, by the number they end with.

    Args:
        logits: float32 `[B, L, C + 1]`.
        mask: bool `[B, L]`.
        transitions: float32 `[C + 1, C + 1]`.
        reduce: of `[B, from, to]` over `from`: `tf.reduce_logsumexp`, `_relative_logsumexp` or `tf.reduce_max`.

    Returns:
        float32 `[L, B, C + 1]`, after each step, and `[B, C + 1]`, after the last.
    """
    start, length = _before_first(logits), tf.shape(logits)[1]
    logits, mask = tf.transpose(logits, [1, 0, 2]), tf.transpose(mask)
    states = tf.TensorArray(tf.float32, length, element_shape=start.shape)

    def step(done, state, states):
        place = length - 1 - done if reverse else done
        reached = reduce(state[:, :, None] + transitions, axis=1) + logits[place]
        state = tf.where(mask[place][:, None], reached, state)
        return done + 1, state, states.write(place, state)

    _, last, states = tf.while_loop(lambda done, *_: done < length, step, (tf.constant(0), start, states))
    return states.stack(), last


def _relative_logsumexp(scores, axis):
    """Less the largest of them: they do not grow with the sequence, nor do their rounding errors."""
    sums = tf.reduce_logsumexp(scores, axis)
    return sums - tf.reduce_max(sums, -1, keepdims=True)


def crf_log_partition(logits, mask, transitions):
    """The logarithm of the summed exponentials of all tag sequences' scores (the forward algorithm).

    Args:
        logits: `[B, L, C]`.
        mask: bool `[B, L]`.
        transitions: float32 `[C + 1, C + 1]`.

    Returns:
        float32 `[B]`; 0 for a sequence without steps, if the boundary follows itself for 0.
    """
    _, last = _scan(*_with_boundary(logits, mask), transitions, tf.reduce_logsumexp)
    return tf.reduce_logsumexp(last + transitions[:, 0], axis=1)


def crf_score(logits, tags, mask, transitions):
    """The score of one tag sequence each, float32 `[B]`; `tags` int32 `[B, L]`, the rest as in `crf_log_partition`."""
    batch = tf.shape(tags)[0]
    picked = tf.gather(tf.cast(logits, tf.float32), tf.maximum(tags, 0), batch_dims=2)
    # The real steps of all sequences in a row, each sequence between two boundaries.
    rows = tf.RaggedTensor.from_row_lengths(
        tf.boolean_mask(tags, mask) + 1, tf.reduce_sum(tf.cast(mask, tf.int32), 1), validate=False
    )
    before = tf.concat([tf.zeros([batch, 1], tags.dtype), rows], 1)
    after = tf.concat([rows, tf.zeros([batch, 1], tags.dtype)], 1)
    moves = before.with_values(tf.gather_nd(transitions, tf.stack([before.values, after.values], 1)))
    return tf.reduce_sum(tf.where(mask, picked, 0.0), 1) + tf.reduce_sum(moves, 1)


def crf_marginals(logits, mask, transitions):
    """The probability of each tag at each step, float32 `[B, L, C]` (the forward-backward algorithm)."""
    logits, mask = _with_boundary(logits, mask)
    forward, _ = _scan(logits, mask, transitions, _relative_logsumexp)
    backward, _ = _scan(logits, mask, tf.transpose(transitions), _relative_logsumexp, reverse=True)
    # Both hold the step's own logit.
    return tf.nn.softmax(tf.transpose(forward + backward, [1, 0, 2]) - logits)[:, :-1, 1:]


def crf_decode(logits, mask, transitions):
    """The tag sequence of the highest score, int32 `[B, L]`, 0 where the mask is false (Viterbi's algorithm)."""
    logits, mask = _with_boundary(logits, mask)
    length = tf.shape(logits)[1]
    states, last = _scan(logits, mask, transitions, tf.reduce_max)
    before = tf.concat([_before_first(logits)[None], states], 0)
    steps, into = tf.transpose(mask), tf.transpose(transitions)
    tags = tf.TensorArray(tf.int32, length, element_shape=[None])

    def step_back(place, number, tags):
        real = steps[place]
        tags = tags.write(place, tf.where(real, number - 1, 0))
        came_from = tf.argmax(before[place] + tf.gather(into, number), 1, output_type=tf.int32)
        return place - 1, tf.where(real, came_from, number), tags

    number = tf.argmax(last + transitions[:, 0], 1, output_type=tf.int32)
    _, _, tags = tf.while_loop(lambda place, *_: place >= 0, step_back, (length - 1, number, tags))
    return tf.transpose(tags.stack())[:, :-1]


@keras.saving.register_keras_serializable(package="kerasformer")
class Transitions(Layer):
    """Learned transitions of a linear chain, zero at first, for `crf_log_partition` and its like.

    Call:
        logits: `[batch, length, tags]`.

    Returns:
        float32 `[batch, tags + 1, tags + 1]`, the same for every row: an output of a model keeps the batch.
    """

    def build(self, logits_shape):
        numbers = logits_shape[-1] + 1
        self.scores = self.add_weight(
            shape=(numbers, numbers), initializer="zeros", dtype="float32", autocast=False, name="scores"
        )

    def call(self, logits):
        scores = tf.convert_to_tensor(self.scores)
        # An empty sequence has the score 0 whatever is learned.
        boundary = tf.one_hot(0, scores.shape[0])
        scores *= 1 - boundary[:, None] * boundary[None, :]
        return tf.tile(scores[None], [tf.shape(logits)[0], 1, 1])
