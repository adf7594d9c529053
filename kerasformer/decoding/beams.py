"""Beam search, as Wu et al. 2016 define it and as Hugging Face Transformers does it."""

import dataclasses
from typing import Any

import tensorflow as tf

from kerasformer.decoding.processors import process
from kerasformer.decoding.state import (
    CUT,
    ENDED,
    LOWEST,
    NONE,
    Choice,
    append,
    check_finite,
    is_possible,
    per_row,
    vocabulary_of,
)
from kerasformer.errors import InputError

# Values in a group of `top_k`.
_GROUP = 64


class _BeamSearch:
    """What both kinds of beam search share: candidates, the beams that continue, and the results so far."""

    def check(self, num_results):
        known = [value for value in (num_results, self.size) if not tf.is_tensor(value)]
        if any(value < 1 for value in known) or (len(known) == 2 and num_results > self.size):
            raise InputError(
                "`size` must be 1 or more, and `num_results` between 1 and `size`. "
                f"Received: size={self.size}, num_results={num_results}."
            )

    def results_kept(self, num_results):
        return self.size

    def begin(self, batch, inputs, num_results):
        return {"penalty": per_row(self.length_penalty, "length_penalty", batch, tf.float32)}

    def choose(self, outputs, state, said, processors, num_results, padding_id):
        size = tf.convert_to_tensor(self.size, tf.int32)
        logits = tf.cast(outputs["logits"], tf.float32)
        totals, tokens, parents = self._candidates(logits, state, said, processors, 2 * size)
        is_end = tf.equal(tokens, said.end_id)
        is_last = (said.step + 1 >= state.max_length)[:, None]
        penalty = state.own["penalty"][:, None]
        bonus, own = self._bonus(outputs, state.own, parents)

        live, chosen = tf.math.top_k(tf.where(is_end, LOWEST, totals), size)
        live_parents, live_tokens = (tf.gather(value, chosen, batch_dims=1) for value in (parents, tokens))
        # Only the best candidates may end here, as many as there are beams.
        scores = (totals / self._length_factor(said.step + 1, penalty) + bonus)[:, :size]
        totals, tokens, parents, is_end = (value[:, :size] for value in (totals, tokens, parents, is_end))
        ending = {
            "kinds": tf.where(is_possible(totals) & (is_end | is_last), tf.where(is_end, ENDED, CUT), NONE),
            "scores": scores,
            "log_probabilities": totals,
            "lengths": said.step + tf.where(is_end, 0, 1),
            "sequences": append(
                tf.gather(state.sequences, parents, batch_dims=1), tf.where(is_end, padding_id, tokens), said.step
            ),
        }
        found = self._merge(state.found, ending)
        is_done = is_last | ~is_possible(live[:, :1])
        is_done |= self._cannot_improve(found, live[:, :1], state, said.step, tf.minimum(num_results, size))
        sequences = append(tf.gather(state.sequences, live_parents, batch_dims=1), live_tokens, said.step)
        if "coverage" in own:
            own = {**own, "coverage": tf.gather(own["coverage"], live_parents, batch_dims=1)}
        return Choice(live_tokens, sequences, live, found, own, live_parents, is_done[:, 0])

    def _candidates(self, logits, state, said, processors, width):
        """The most likely continuations of all beams: `(log probabilities, tokens, parents)`, `[R, width]`."""
        logits, scores = process(processors, self._before_processing(logits), said)
        sums = tf.reduce_logsumexp(logits, -1, keepdims=True) if self._normalizes_last else 0.0
        best, tokens = top_k(scores, tf.minimum(width, vocabulary_of(scores)))
        rows, beams, each = tf.unstack(tf.shape(best))
        totals = tf.where(is_possible(best), state.log_probabilities[..., None] + best - sums, LOWEST)
        totals = tf.reshape(totals, [rows, beams * each])
        # A small vocabulary may have fewer.
        missing = [[0, 0], [0, tf.maximum(width - beams * each, 0)]]
        totals, places = tf.math.top_k(tf.pad(totals, missing, constant_values=LOWEST), width)
        tokens = tf.gather(tf.pad(tf.reshape(tokens, [rows, beams * each]), missing), places, batch_dims=1)
        return totals, tokens, tf.minimum(places // each, beams - 1)

    def _merge(self, found, ending):
        """The best results, as many as `found` has; equal ones stay in their order."""
        count = tf.shape(found["kinds"])[1]
        joined = {name: tf.concat([found[name], ending[name]], 1) for name in found}
        scores = tf.where(joined["kinds"] > NONE, joined["scores"], tf.float32.min)
        if self._ended_first:
            _, by_score = tf.math.top_k(scores, tf.shape(scores)[1])
            _, by_kind = tf.math.top_k(tf.gather(joined["kinds"], by_score, batch_dims=1), count)
            places = tf.gather(by_score, by_kind, batch_dims=1)
        else:
            _, places = tf.math.top_k(scores, count)
        return {name: tf.gather(value, places, batch_dims=1) for name, value in joined.items()}

    def _before_processing(self, logits):
        return logits

    def _bonus(self, outputs, own, parents):
        """What is added to the score of each candidate, and `own` after this step, by the beams of before."""
        return 0.0, own


@dataclasses.dataclass(frozen=True, eq=False)
class Beam(_BeamSearch):
    """Beam search (Wu et al. 2016, arXiv:1609.08144, section 7).

    The score of a sequence Y is `log P(Y) / ((5 + |Y|) / 6) ** length_penalty + coverage`, where |Y| counts the end
    token and coverage is `coverage_penalty * sum_i log(min(sum_j attention_ij, 1))` over source positions i and target
    positions j. Results that were cut at the maximum length rank behind all that ended. A row is done when no beam that
    continues can still win.

    Args:
        size: number of beams; int, or a scalar tensor.
        length_penalty: a number or float `[batch]`; 0 compares log probabilities, above 0 favors longer sequences.
        coverage_penalty: a number from 0; above 0, the steps must return their attention and the inputs must hold
            `source_padding_mask`.
        stop_early: also end a row when as many sequences ended as there are beams.

    Raises:
        InputError: a known value is out of range.
    """

    size: Any = 4
    length_penalty: Any = 0.6
    coverage_penalty: float = 0.0
    stop_early: bool = True

    _normalizes_last = True
    _ended_first = True

    def __post_init__(self):
        check_finite(self.length_penalty, "length_penalty")
        check_finite(self.coverage_penalty, "coverage_penalty", 0)

    def begin(self, batch, inputs, num_results):
        own = super().begin(batch, inputs, num_results)
        if self.coverage_penalty:
            if "source_padding_mask" not in inputs:
                raise InputError("`coverage_penalty` needs `source_padding_mask` among the inputs.")
            own["coverage"] = tf.zeros([batch, 1, 1])
            own["source"] = tf.cast(inputs["source_padding_mask"] > 0, tf.float32)[:, None]
        return own

    def _length_factor(self, length, penalty):
        # Bounded, so that no finite penalty makes a score infinite or NaN.
        return tf.clip_by_value(((5.0 + tf.cast(length, tf.float32)) / 6.0) ** penalty, 1e-30, 1e30)

    def _bonus(self, outputs, own, parents):
        if not self.coverage_penalty:
            return 0.0, own
        if "attention" not in outputs:
            raise InputError(
                "`coverage_penalty` needs steps that return attention: DecoderSteps(…, with_attention=True)."
            )
        coverage = own["coverage"] + tf.cast(outputs["attention"], tf.float32)
        logs = tf.math.log(tf.clip_by_value(coverage, 1e-9, 1.0)) * own["source"]
        bonus = tf.gather(tf.reduce_sum(logs, -1) * self.coverage_penalty, parents, batch_dims=1)
        return bonus, {**own, "coverage": coverage}

    def _cannot_improve(self, found, best, state, step, num_results):
        penalty, longest = state.own["penalty"][:, None], state.max_length[:, None]
        # A longer sequence is no more likely; dividing by the largest or smallest possible factor gives a bound.
        length = tf.where(penalty > 0, longest, tf.minimum(step + 2, longest))
        bound = best / self._length_factor(length, penalty)
        kinds, scores = (tf.gather(found[name], [num_results - 1], axis=1) for name in ("kinds", "scores"))
        cannot = (kinds == ENDED) & (scores >= bound)
        if self.stop_early:
            cannot |= tf.reduce_all(found["kinds"] == ENDED, 1, keepdims=True)
        return cannot


@dataclasses.dataclass(frozen=True, eq=False)
class TransformersBeam(_BeamSearch):
    """Beam search with the scores and the termination of `generate` in Hugging Face Transformers (read in 5.24).

    The score of a result is `log P(Y) / |Y| ** length_penalty`, where |Y| counts its generated tokens, the end token
    included. Results that were cut at the maximum length compete with those that ended. Processors see log
    probabilities, which are not normalized again.

    Args:
        size, length_penalty: as in `Beam`.
        early_stopping: True: a row is done when as many sequences ended as there are beams. False: it is also done when
            the best beam, at its present length, scores no higher than the worst result. "never": as False, but a
            positive `length_penalty` is applied at the maximum length.

    Raises:
        InputError: a known value is out of range.
    """

    size: Any = 4
    length_penalty: Any = 1.0
    early_stopping: bool | str = False

    _normalizes_last = False
    _ended_first = False

    def __post_init__(self):
        check_finite(self.length_penalty, "length_penalty")
        if self.early_stopping not in (True, False, "never"):
            raise InputError(
                f'`early_stopping` must be True, False or "never". Received: early_stopping={self.early_stopping!r}.'
            )

    def _before_processing(self, logits):
        return tf.nn.log_softmax(logits)

    def _length_factor(self, length, penalty):
        return tf.clip_by_value(tf.cast(length, tf.float32) ** penalty, 1e-30, 1e30)

    def _cannot_improve(self, found, best, state, step, num_results):
        penalty = state.own["penalty"][:, None]
        length = step + 1
        if self.early_stopping == "never":
            length = tf.where(penalty > 0, state.max_length[:, None], length)
        is_full = tf.reduce_all(found["kinds"] > NONE, 1, keepdims=True)
        if self.early_stopping is True:
            return is_full
        worst = tf.reduce_min(found["scores"], 1, keepdims=True)
        return is_full & (best / self._length_factor(length, penalty) <= worst)


def top_k(values, k):
    """`tf.math.top_k(values, k)`, several times as fast for a few of many.

    The k largest values are in the k groups with the largest maxima, so that only these are looked through.

    Args:
        values: `[R, B, V]`.
        k: int or int32 scalar, at most V.
    """
    rows, beams, size = tf.shape(values)[0], tf.shape(values)[1], vocabulary_of(values)
    # About as many groups as values in all the groups that are looked through; of one value each, there are enough.
    count = -(-size // _GROUP)
    width = tf.where(k <= count, _GROUP, 1)
    groups = tf.pad(values, [[0, 0], [0, 0], [0, -size % width]], constant_values=values.dtype.min)
    groups = tf.reshape(groups, [rows, beams, -(-size // width), width])
    _, chosen = tf.math.top_k(tf.reduce_max(groups, -1), k)
    # In their order in the vocabulary, which is that of equal values.
    chosen = tf.sort(chosen)
    best, places = tf.math.top_k(tf.reshape(tf.gather(groups, chosen, batch_dims=2), [rows, beams, k * width]), k)
    return best, tf.gather(chosen, places // width, batch_dims=2) * width + places % width
