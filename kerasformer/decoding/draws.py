"""Methods that choose one token at a time: the most likely one, or one drawn at random."""

import dataclasses
from typing import Any

import numpy as np
import tensorflow as tf

from kerasformer.decoding.processors import process
from kerasformer.decoding.state import (
    CUT,
    ENDED,
    LOWEST,
    Choice,
    append,
    check_finite,
    is_possible,
    per_row,
    vocabulary_of,
)
from kerasformer.errors import InputError


class _Draws:
    """Sequences that grow independently of each other. The score of a result is its log probability, untouched by the
    options of the method. A sequence for which every token is forbidden stops, and has not `ended`."""

    def results_kept(self, num_results):
        return num_results

    def begin(self, batch, inputs, num_results):
        return {"alive": tf.ones([batch, num_results], tf.bool), **self._options(batch)}

    def choose(self, outputs, state, said, processors, num_results, padding_id):
        logits, scores = process(processors, tf.cast(outputs["logits"], tf.float32), said)
        sums = tf.reduce_logsumexp(logits, -1)
        sequences, totals, parents = state.sequences, state.log_probabilities, None
        if not _is_one(num_results):
            # One beam becomes all results in the first step; later each continues itself.
            parents = tf.minimum(tf.range(num_results), tf.shape(sums)[1] - 1)
            parents = tf.broadcast_to(parents, [tf.shape(sums)[0], num_results])
            scores, sums, sequences, totals = (
                tf.gather(value, parents, batch_dims=1) for value in (scores, sums, sequences, totals)
            )
        tokens, own = self._pick(scores, state.own, said.step), state.own
        chosen = tf.gather(scores, tokens, batch_dims=2)
        extends = own["alive"] & is_possible(chosen)
        ended = extends & tf.equal(tokens, said.end_id)
        alive = extends & ~ended
        tokens = tf.where(alive, tokens, padding_id)
        sequences = append(sequences, tokens, said.step)
        totals += tf.where(extends, chosen - sums, 0.0)
        found = {
            "kinds": tf.where(ended, ENDED, tf.maximum(state.found["kinds"], CUT)),
            "scores": totals,
            "log_probabilities": totals,
            "lengths": state.found["lengths"] + tf.cast(alive, tf.int32),
            "sequences": sequences,
        }
        is_done = ~tf.reduce_any(alive, 1) | (said.step + 1 >= state.max_length)
        return Choice(tokens, sequences, totals, found, {**own, "alive": alive}, parents, is_done)


@dataclasses.dataclass(frozen=True)
class Greedy(_Draws):
    """The most likely token, again and again."""

    def check(self, num_results):
        if not _is_one(num_results):
            raise InputError(f"Greedy search has one result. Received: num_results={num_results}.")

    def _options(self, batch):
        return {}

    def _pick(self, scores, own, step):
        return tf.argmax(scores, -1, output_type=tf.int32)


@dataclasses.dataclass(frozen=True, eq=False)
class Sample(_Draws):
    """Tokens drawn from the model's probabilities. Each argument is one number, or one a row: a tensor `[batch]`.

    A row's results depend on its own inputs, options and seed alone, not on the other rows of its batch or on its
    position in it. Rows with equal inputs and equal seeds get equal results; the results of one row are independent.

    Args:
        temperature: divides the logits: below 1, likely tokens become more likely; 0 is greedy search.
        top_k: draw from the k most likely tokens (Fan et al. 2018, arXiv:1805.04833); 0 is all.
        top_p: of those, draw from the fewest whose probabilities add up to p (Holtzman et al. 2020, arXiv:1904.09751);
            1 is all.
        seed: int.

    Raises:
        InputError: a known value is out of range.
    """

    temperature: Any = 1.0
    top_k: Any = 0
    top_p: Any = 1.0
    seed: Any = 0

    def __post_init__(self):
        for name, lowest in (("temperature", 0), ("top_k", 0), ("top_p", 0), ("seed", None)):
            check_finite(getattr(self, name), name, lowest)
        if not tf.is_tensor(self.top_p) and not np.all((np.asarray(self.top_p) > 0) & (np.asarray(self.top_p) <= 1)):
            raise InputError(f"`top_p` must be above 0 and at most 1. Received: top_p={self.top_p}.")

    def check(self, num_results):
        if not tf.is_tensor(num_results) and num_results < 1:
            raise InputError(f"`num_results` must be 1 or more. Received: num_results={num_results}.")

    def _options(self, batch):
        types = {"temperature": tf.float32, "top_k": tf.int32, "top_p": tf.float32, "seed": tf.int64}
        return {name: per_row(getattr(self, name), name, batch, dtype) for name, dtype in types.items()}

    def _pick(self, scores, own, step):
        vocabulary = vocabulary_of(scores)
        # Dividing by nearly nothing leaves the likeliest token alone: the limit of temperature 0.
        temperature = tf.clip_by_value(own["temperature"], 1e-6, 1e6)[:, None, None]
        scores = tf.where(is_possible(scores), scores / temperature, LOWEST)
        scores -= tf.reduce_max(scores, -1, keepdims=True)
        tokens = None
        if not (_is_off(self.top_k, 0) and _is_off(self.top_p, 1)):
            top_k = tf.where(own["top_k"] > 0, tf.minimum(own["top_k"], vocabulary), vocabulary)
            # Likeliest first, so that both options keep a first part.
            scores, tokens = tf.math.top_k(scores, tf.reduce_max(tf.concat([top_k, [1]], 0)))
            scores = tf.where(tf.range(tf.shape(scores)[-1]) < top_k[:, None, None], scores, LOWEST)
        weights = tf.exp(scores)
        if not _is_off(self.top_p, 1):
            before = tf.cumsum(weights, -1, exclusive=True)
            # The likeliest token has nothing before it and is always kept.
            limit = own["top_p"][:, None, None] * tf.reduce_sum(weights, -1, keepdims=True)
            weights = tf.where((before < limit) | (tf.range(tf.shape(weights)[-1]) == 0), weights, 0.0)
        # The first token at which the sum of the weights exceeds a random part of the whole.
        sums = tf.cumsum(weights, -1)
        results = tf.range(tf.shape(scores)[1])
        random = uniform(own["seed"][:, None], step, results)[..., None] * sums[..., -1:]
        place = tf.reduce_sum(tf.cast(sums <= random, tf.int32), -1)
        # Rounding may exceed the last token that has a weight.
        last = tf.reduce_max(tf.where(weights > 0, tf.range(tf.shape(weights)[-1]), 0), -1)
        place = tf.minimum(place, last)
        return place if tokens is None else tf.gather(tokens, place, batch_dims=2)


def uniform(*keys):
    """float32 in [0, 1), one for each combination of `keys`, integers that broadcast: a hash of them.

    A hash instead of TensorFlow's generators, which draw for a whole tensor from one seed: here each row has its own.
    The mixing function is that of SplitMix64 (Steele et al. 2014, "Fast splittable pseudorandom number generators").
    """
    bits = tf.constant(0, tf.uint64)
    for key in keys:
        bits = _mixed(bits + tf.cast(tf.cast(key, tf.int64), tf.uint64) + tf.constant(0x9E3779B97F4A7C15, tf.uint64))
    # A float32 has 24 bits.
    return tf.cast(tf.cast(tf.bitwise.right_shift(bits, tf.constant(40, tf.uint64)), tf.int32), tf.float32) * 2.0**-24


def _mixed(bits):
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        bits = tf.bitwise.bitwise_xor(bits, tf.bitwise.right_shift(bits, tf.constant(shift, tf.uint64)))
        bits *= tf.constant(factor, tf.uint64)
    return tf.bitwise.bitwise_xor(bits, tf.bitwise.right_shift(bits, tf.constant(31, tf.uint64)))


def _is_one(value):
    return not tf.is_tensor(value) and value == 1


def _is_off(value, off):
    return not tf.is_tensor(value) and bool(np.all(np.asarray(value) == off))
