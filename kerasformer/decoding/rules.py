"""What a search may not say, must say, or should not repeat."""

import dataclasses

import numpy as np
import tensorflow as tf

from kerasformer.errors import InputError

# A log probability that nothing real has; finite, so that no sum or score becomes infinite or NaN.
LOWEST = -1e9


def is_possible(log_probabilities):
    """Whether a log probability is one of a token that is allowed."""
    return log_probabilities > LOWEST / 2


@dataclasses.dataclass(frozen=True)
class Rules:
    """Rules for every row and beam.

    Forbidden and forced tokens leave the probabilities of the others as they are: scores stay the model's. What is
    forced is said whatever the other rules are.

    Args:
        forbidden: token ids that are never said.
        forced: token ids that every sequence begins with; None in a place leaves it free.
        min_length: tokens before which the end token is forbidden.
        repetition_penalty: 1 is off; scores of tokens that were said are divided (if positive) or multiplied by it
            before the softmax (Keskar et al. 2019, arXiv:1909.05858, section 4.1).
        no_repeat_ngram: no sequence of so many tokens is said twice (Paulus et al. 2017, section 2.5); 0 is off.

    Raises:
        InputError: a number is out of its range, a token is forced and forbidden, or is none of the model's.
    """

    forbidden: tuple = ()
    forced: tuple = ()
    min_length: int = 0
    repetition_penalty: float = 1.0
    no_repeat_ngram: int = 0

    def __post_init__(self):
        if not self.repetition_penalty > 0 or not np.isfinite(self.repetition_penalty):
            raise InputError(
                f"`repetition_penalty` must be positive. Received: repetition_penalty={self.repetition_penalty}."
            )
        if self.no_repeat_ngram < 0 or self.min_length < 0:
            raise InputError(
                "`no_repeat_ngram` and `min_length` must not be negative. "
                f"Received: no_repeat_ngram={self.no_repeat_ngram}, min_length={self.min_length}."
            )

        if both := set(self.forbidden) & set(self.forced):
            raise InputError(f"A token can be forced or forbidden, not both. Received both: {sorted(both)}.")

    def penalized(self, logits, sequences, step):
        """Scores before the softmax: `logits` float32 `[rows, beams, vocabulary]`; `sequences` int32
        `[rows, beams, longest]`, of which the first `step` tokens were said."""
        if self.repetition_penalty == 1:
            return logits
        said = _mark(sequences, tf.range(tf.shape(sequences)[2]) < step, logits)
        worse = tf.where(logits > 0, logits / self.repetition_penalty, logits * self.repetition_penalty)
        return tf.where(said, worse, logits)

    def allowed(self, logits, sequences, step, end_id):
        """The same scores, `LOWEST` where a token may not be said next."""
        vocabulary, before = logits.shape[-1], logits
        unknown = [
            token for token in (*self.forbidden, *self.forced) if token is not None and not 0 <= token < vocabulary
        ]
        if unknown:
            raise InputError(f"`forbidden` and `forced` must be ids below {vocabulary}. Received: {unknown}.")
        min_length = max(self.min_length, len(self.forced))
        if self.forbidden or min_length:
            forbidden = np.isin(np.arange(vocabulary), list(self.forbidden))
            is_end = np.arange(vocabulary) == end_id
            bias = tf.where(forbidden | (is_end & (step < min_length)), LOWEST, 0.0)
            logits = tf.maximum(logits + bias, LOWEST)
        if self.no_repeat_ngram:
            logits = tf.where(self._repeats(sequences, step, logits), LOWEST, logits)
        if self.forced:
            wanted = tf.constant([-1 if token is None else token for token in self.forced] + [-1])
            wanted = wanted[tf.minimum(step, len(self.forced))]
            forced = tf.where(tf.equal(tf.range(vocabulary), wanted), before, LOWEST)
            logits = tf.where(wanted < 0, logits, forced)
        return logits

    def _repeats(self, sequences, step, logits):
        """Whether saying a token would end an n-gram that was said before."""
        size = self.no_repeat_ngram
        longest = tf.shape(sequences)[2]
        starts = tf.range(tf.maximum(longest - size + 1, 0))
        # An n-gram counts if all of it was said, and the row holds n - 1 tokens to compare with.
        matches = tf.broadcast_to(
            (starts + size <= step) & (step >= size), tf.concat([tf.shape(sequences)[:2], tf.shape(starts)], 0)
        )
        for place in range(size - 1):
            last = tf.gather(sequences, tf.maximum(step - size + 1 + place, 0), axis=2)
            matches &= tf.equal(tf.gather(sequences, starts + place, axis=2), last[..., None])
        return _mark(tf.gather(sequences, starts + size - 1, axis=2), matches, logits)


def _mark(tokens, chosen, like):
    """Boolean, the shape of `like` `[rows, beams, vocabulary]`: which of `tokens` `[rows, beams, n]` are `chosen`."""
    rows, beams, count = tf.unstack(tf.shape(tokens))
    chosen = tf.broadcast_to(chosen, tf.shape(tokens))
    row, beam, _ = tf.meshgrid(tf.range(rows), tf.range(beams), tf.range(count), indexing="ij")
    indices = tf.boolean_mask(tf.stack([row, beam, tokens], -1), chosen)
    return tf.scatter_nd(indices, tf.ones(tf.shape(indices)[:1], tf.int32), tf.shape(like)) > 0
