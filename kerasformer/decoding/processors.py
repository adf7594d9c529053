"""Constraints on what is generated: small frozen classes that change the scores of the next token."""

import dataclasses
from typing import Any

import numpy as np
import tensorflow as tf

from kerasformer.decoding.state import LOWEST, check_finite, vocabulary_of
from kerasformer.errors import InputError


class Processor:
    """Base class. A processor overrides one of two methods, or both.

    What `restrict` forbids leaves the log probabilities of other tokens unchanged: scores stay the model's.
    """

    def reweight(self, logits, said):
        """Changes the distribution, before the softmax.

        Args:
            logits: float32 `[rows, beams, vocabulary]`.
            said: `Said`, the tokens so far.

        Returns:
            Logits of the same shape.
        """
        return logits

    def restrict(self, scores, logits, said):
        """Forbids tokens.

        Args:
            scores: float32 `[rows, beams, vocabulary]`: `logits`, or `LOWEST` where an earlier processor forbids.
            logits: the same before any restriction.
            said: `Said`, the tokens so far.

        Returns:
            `scores` with `LOWEST` at forbidden tokens.
        """
        return scores


def process(processors, logits, said):
    """`(logits, scores)`: after all of `reweight`, and then after all of `restrict`, in their order."""
    for processor in processors:
        logits = processor.reweight(logits, said)
    scores = logits
    for processor in processors:
        scores = processor.restrict(scores, logits, said)
    return logits, scores


@dataclasses.dataclass(frozen=True)
class ForbiddenTokens(Processor):
    """Never generates these tokens.

    Args:
        token_ids: ints.
    """

    token_ids: tuple = ()

    def restrict(self, scores, logits, said):
        if not self.token_ids:
            return scores
        vocabulary = vocabulary_of(scores)
        _check_ids(self.token_ids, "ForbiddenTokens", vocabulary)
        forbidden = tf.reduce_any(tf.range(vocabulary)[:, None] == list(self.token_ids), -1)
        return _without(scores, forbidden)


@dataclasses.dataclass(frozen=True)
class ForcedTokens(Processor):
    """Begins every result with these tokens, even where an earlier processor forbids them.

    Args:
        token_ids: ints; None leaves a position free for any token but the end token.
    """

    token_ids: tuple = ()

    def restrict(self, scores, logits, said):
        if not self.token_ids:
            return scores
        vocabulary = vocabulary_of(scores)
        _check_ids([token for token in self.token_ids if token is not None], "ForcedTokens", vocabulary)
        wanted = tf.constant([-1 if token is None else token for token in self.token_ids] + [-1])
        wanted = wanted[tf.minimum(said.step, len(self.token_ids))]
        tokens = tf.range(vocabulary)
        free = _without(scores, (said.step < len(self.token_ids)) & (tokens == said.end_id))
        return tf.where(wanted < 0, free, tf.where(tokens == wanted, logits, LOWEST))


@dataclasses.dataclass(frozen=True, eq=False)
class MinLength(Processor):
    """Forbids the end token before so many tokens were generated; the prompt does not count.

    Args:
        length: int, or int32 `[batch]`.

    Raises:
        InputError: a known length is negative.
    """

    length: Any

    def __post_init__(self):
        check_finite(self.length, "length", 0)

    def restrict(self, scores, logits, said):
        if not tf.is_tensor(self.length) and np.max(self.length, initial=0) == 0:
            return scores
        length = tf.convert_to_tensor(self.length, tf.int32)
        is_short = said.step < (tf.gather(length, said.rows)[:, None, None] if length.shape.rank else length)
        return _without(scores, is_short & (tf.range(vocabulary_of(scores)) == said.end_id))


@dataclasses.dataclass(frozen=True)
class RepetitionPenalty(Processor):
    """Makes tokens of the prompt and of the result so far less likely (Keskar et al. 2019, arXiv:1909.05858, section
    4.1): positive logits are divided by the penalty, negative ones multiplied.

    Args:
        penalty: above 0; 1 is off.

    Raises:
        InputError: another penalty.
    """

    penalty: float

    def __post_init__(self):
        if not 0 < self.penalty < float("inf"):
            raise InputError(f"`penalty` must be a number above 0. Received: penalty={self.penalty}.")

    def reweight(self, logits, said):
        if self.penalty == 1:
            return logits
        history = said.history()
        worse = tf.where(logits > 0, logits / self.penalty, logits * self.penalty)
        return tf.where(_mark(history, history >= 0, logits), worse, logits)


@dataclasses.dataclass(frozen=True)
class NoRepeatNgram(Processor):
    """Generates no sequence of `size` tokens twice; those of the prompt count (Paulus et al. 2017, arXiv:1705.04304,
    section 2.5).

    Args:
        size: int; 0 is off.

    Raises:
        InputError: it is negative.
    """

    size: int

    def __post_init__(self):
        check_finite(self.size, "size", 0)

    def restrict(self, scores, logits, said):
        if not self.size:
            return scores
        history, size = said.history(), self.size
        # The token that comes next would stand in this column.
        column = tf.shape(said.prompt)[1] + said.step
        starts = tf.range(tf.maximum(tf.shape(history)[2] - size + 1, 0))
        ends = tf.gather(history, starts + size - 1, axis=2)
        repeats = ends >= 0
        for place in range(size - 1):
            last = tf.gather(history, tf.maximum(column - size + 1 + place, 0), axis=2)[..., None]
            repeats &= tf.equal(tf.gather(history, starts + place, axis=2), last) & (last >= 0)
        repeats &= column >= size - 1
        return tf.where(_mark(ends, repeats, scores), LOWEST, scores)


def _without(scores, forbidden):
    """`LOWEST` at what is forbidden, boolean and of the last axis alone or more: a quarter faster than `tf.where`."""
    return tf.minimum(scores, tf.where(forbidden, LOWEST, float("inf")))


def _mark(tokens, chosen, like):
    """Boolean, the shape of `like` `[rows, beams, vocabulary]`: which tokens are among the `chosen` ones of `tokens`
    `[rows, beams, n]`."""
    rows, beams, count = tf.unstack(tf.shape(tokens))
    row, beam, _ = tf.meshgrid(tf.range(rows), tf.range(beams), tf.range(count), indexing="ij")
    indices = tf.boolean_mask(tf.stack([row, beam, tokens], -1), chosen)
    return tf.scatter_nd(indices, tf.ones(tf.shape(indices)[:1], tf.int32), tf.shape(like)) > 0


def _check_ids(token_ids, name, vocabulary):
    if tf.is_tensor(vocabulary):
        return
    if unknown := [token for token in token_ids if not 0 <= token < vocabulary]:
        raise InputError(f"The tokens of `{name}` must be ids below {vocabulary}. Received: {unknown}.")
