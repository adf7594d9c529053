"""Beam search and greedy search.

Symbols: N rows at first, R rows that are still searched, B beams, V vocabulary, M the longest sequence allowed.
"""

import tensorflow as tf

from kerasformer.decoding.loop import changing_shapes, checked_lengths, keep_rows, per_row, put_rows
from kerasformer.decoding.rules import LOWEST, Rules, is_possible
from kerasformer.errors import InputError

# Of sequences that were found. Those that were cut at their longest rank behind all that ended by themselves.
_NONE, _CUT, _ENDED = 0, 1, 2


def greedy_search(steps, inputs, *, start_id, end_id, max_length, **options):
    """The likeliest token, again and again; arguments and results as of `beam_search`, which this is with one beam."""
    return beam_search(steps, inputs, start_id=start_id, end_id=end_id, max_length=max_length, beam_size=1, **options)


def beam_search(
    steps,
    inputs,
    *,
    start_id,
    end_id,
    max_length,
    beam_size=4,
    num_results=1,
    length_penalty=0.6,
    coverage_penalty=0.0,
    stop_early=True,
    padding_id=0,
    rules=None,
):
    """The likeliest sequences, as far as a beam of them finds out.

    The score of a sequence Y is `log P(Y) / ((5 + |Y|) / 6) ** length_penalty + coverage`, where |Y| counts the end
    token and coverage is `coverage_penalty * sum_i log(min(sum_j attention_ij, 1))` over source places i and target
    places j (Wu et al. 2016, arXiv:1609.08144, section 7). A row ends when no beam that goes on can win any more. It
    then leaves the batch, so that it costs nothing more, and its result does not depend on its neighbours.

    Args:
        steps: an object with `start`, `step` and `reorder`, see `kerasformer.models.transformer_steps`.
        inputs: what `steps.start` takes, a dictionary of `[N, ...]`; for coverage, `source_padding_mask` among them.
        start_id, end_id, padding_id: int, token ids.
        max_length: most tokens of a result, a number or int `[N]`; below 1, the result is empty.
        beam_size: sequences that are followed in each row; int, or a scalar tensor.
        num_results: how many results a row; int, or a scalar tensor of at most `beam_size`.
        length_penalty: a number or float `[N]`; 0 compares log probabilities, above 0 favours longer sequences.
        coverage_penalty: a number from 0; above 0, `steps` must give its attention.
        stop_early: also end a row when as many sequences ended as there are beams.
        rules: `Rules`.

    Returns:
        A dictionary: `token_ids` int32 `[N, num_results, length]`, best first, without start and end token, padded;
        `lengths` int32, `scores` float32, `log_probabilities` float32, and `ended` bool, `[N, num_results]`: False
        where a sequence was cut at `max_length`, or where there are fewer results.

    Raises:
        InputError: an argument that is known is out of its range, or there is no attention for the coverage.
    """
    rules = rules or Rules()
    _check(beam_size, num_results, coverage_penalty)
    batch = tf.shape(tf.nest.flatten(inputs)[0])[0]
    max_length = tf.maximum(per_row(checked_lengths(max_length), "max_length", batch, tf.int32), 0)
    penalty = per_row(length_penalty, "length_penalty", batch, tf.float32)
    longest = tf.reduce_max(tf.concat([max_length, [0]], 0))
    beam_size = tf.convert_to_tensor(beam_size, tf.int32)

    context, state = steps.start(inputs)
    found = {
        "kinds": tf.fill([batch, beam_size], _NONE),
        "scores": tf.zeros([batch, beam_size]),
        "log_probabilities": tf.zeros([batch, beam_size]),
        "lengths": tf.zeros([batch, beam_size], tf.int32),
        "sequences": tf.fill([batch, beam_size, longest], padding_id),
    }
    search = {
        "rows": tf.range(batch),
        "max_length": max_length,
        "penalty": penalty,
        "tokens": tf.fill([batch, 1], start_id),
        "log_probabilities": tf.zeros([batch, 1]),
        "sequences": tf.fill([batch, 1, longest], padding_id),
        "found": found,
        "context": context,
        "state": state,
    }
    if coverage_penalty:
        if "source_padding_mask" not in inputs:
            raise InputError("`coverage_penalty` needs `source_padding_mask` among the inputs.")
        search["coverage"] = tf.zeros([batch, 1, 1])
        search["source"] = tf.cast(inputs["source_padding_mask"] > 0, tf.float32)[:, None]
    search = keep_rows(search, tf.reshape(tf.where(max_length > 0), [-1]))

    def go_on(step, search, results):
        return tf.size(search["rows"]) > 0

    def advance(step, search, results):
        search, is_done = _step(
            steps, search, step, end_id, beam_size, num_results, coverage_penalty, stop_early, rules
        )

        def leave():
            done, kept = (tf.reshape(tf.where(flags), [-1]) for flags in (is_done, ~is_done))
            leaving = keep_rows(search["found"], done)
            return keep_rows(search, kept), put_rows(results, tf.gather(search["rows"], done), leaving)

        search, results = tf.cond(tf.reduce_any(is_done), leave, lambda: (search, results))
        return step + 1, search, results

    _, _, found = tf.while_loop(
        go_on,
        advance,
        (0, search, found),
        shape_invariants=(tf.TensorShape([]), changing_shapes(search), changing_shapes(found)),
        parallel_iterations=1,
    )
    return _results(found, num_results)


def _step(steps, search, step, end_id, beam_size, num_results, coverage_penalty, stop_early, rules):
    outputs, state = steps.step(search["tokens"], search["context"], search["state"])
    sequences, penalty = search["sequences"], search["penalty"][:, None]
    logits = rules.penalized(tf.cast(outputs["logits"], tf.float32), sequences, step)
    sums = tf.reduce_logsumexp(logits, -1, keepdims=True)
    # Twice as many candidates as beams: as many as there are beams may end here, and as many still go on.
    width = 2 * beam_size
    best, tokens = tf.math.top_k(rules.allowed(logits, sequences, step, end_id), tf.minimum(width, logits.shape[-1]))
    rows, beams, each = tf.unstack(tf.shape(best))
    totals = tf.where(is_possible(best), search["log_probabilities"][..., None] + best - sums, LOWEST)
    totals = tf.reshape(totals, [rows, beams * each])
    # A small vocabulary may have fewer.
    missing = [[0, 0], [0, tf.maximum(width - beams * each, 0)]]
    log_probabilities, places = tf.math.top_k(tf.pad(totals, missing, constant_values=LOWEST), width)
    tokens = tf.gather(tf.pad(tf.reshape(tokens, [rows, beams * each]), missing), places, batch_dims=1)
    parents = tf.minimum(places // each, beams - 1)

    score = log_probabilities / _length_factor(step + 1, penalty)
    covered = None
    if coverage_penalty:
        if "attention" not in outputs:
            raise InputError(
                "`coverage_penalty` needs steps that give attention: TransformerSteps(…, with_attention=True)."
            )
        coverage = search["coverage"] + tf.cast(outputs["attention"], tf.float32)
        logs = tf.math.log(tf.clip_by_value(coverage, 1e-9, 1.0)) * search["source"]
        covered = tf.gather(tf.reduce_sum(logs, -1) * coverage_penalty, parents, batch_dims=1)
        score += covered

    possible, is_end = is_possible(log_probabilities), tf.equal(tokens, end_id)
    live, chosen = tf.math.top_k(tf.where(is_end, LOWEST, log_probabilities), beam_size)
    live_parents, live_tokens = (tf.gather(value, chosen, batch_dims=1) for value in (parents, tokens))
    live_sequences = tf.where(
        tf.equal(tf.range(tf.shape(sequences)[2]), step),
        live_tokens[..., None],
        tf.gather(sequences, live_parents, batch_dims=1),
    )
    at_limit = (step + 1 >= search["max_length"])[:, None]
    cut = is_possible(live) & at_limit
    live_scores = tf.gather(score, chosen, batch_dims=1)
    ends = (possible & is_end)[:, :beam_size]
    found = _merge(
        search["found"],
        {
            "kinds": tf.where(ends, _ENDED, _NONE),
            "scores": score[:, :beam_size],
            "log_probabilities": log_probabilities[:, :beam_size],
            "lengths": tf.fill([rows, beam_size], step),
            "sequences": tf.gather(sequences, parents[:, :beam_size], batch_dims=1),
        },
        {
            "kinds": tf.where(cut, _CUT, _NONE),
            "scores": live_scores,
            "log_probabilities": live,
            "lengths": tf.fill([rows, beam_size], step + 1),
            "sequences": live_sequences,
        },
    )
    # A sequence that goes on gets no likelier; dividing by the most or the least it could be divided by is a bound.
    shortest = tf.where(penalty > 0, search["max_length"][:, None], tf.minimum(step + 2, search["max_length"][:, None]))
    bound = live[:, :1] / _length_factor(shortest, penalty)
    needed = tf.minimum(num_results, beam_size) - 1
    last = {name: tf.gather(found[name], [needed], axis=1) for name in ("kinds", "scores")}
    is_done = at_limit | ~is_possible(live[:, :1]) | ((last["kinds"] == _ENDED) & (last["scores"] >= bound))
    if stop_early:
        is_done |= tf.reduce_all(found["kinds"] == _ENDED, 1, keepdims=True)
    search = {
        **search,
        "tokens": live_tokens,
        "log_probabilities": live,
        "sequences": live_sequences,
        "found": found,
        "state": steps.reorder(state, live_parents),
    }
    if coverage_penalty:
        search["coverage"] = tf.gather(coverage, live_parents, batch_dims=1)
    return search, is_done[:, 0]


def _length_factor(length, penalty):
    # In bounds, so that no penalty that is a number makes a score infinite or none.
    return tf.clip_by_value(((5.0 + tf.cast(length, tf.float32)) / 6.0) ** penalty, 1e-30, 1e30)


def _merge(found, *others):
    """The best of all sequences by their kinds, then by their scores, as many as `found` has."""
    count = tf.shape(found["kinds"])[1]
    joined = {name: tf.concat([found[name], *[other[name] for other in others]], 1) for name in found}
    _, by_score = tf.math.top_k(joined["scores"], tf.shape(joined["scores"])[1])
    # Equal ones stay in their order.
    _, by_kind = tf.math.top_k(tf.gather(joined["kinds"], by_score, batch_dims=1), count)
    places = tf.gather(by_score, by_kind, batch_dims=1)
    return {name: tf.gather(value, places, batch_dims=1) for name, value in joined.items()}


def _results(found, num_results):
    exists = found["kinds"] > _NONE
    lengths = tf.where(exists, found["lengths"], 0)[:, :num_results]
    longest = tf.reduce_max(tf.concat([tf.reshape(lengths, [-1]), [0]], 0))
    return {
        "token_ids": found["sequences"][:, :num_results, :longest],
        "lengths": lengths,
        "scores": tf.where(exists, found["scores"], 0.0)[:, :num_results],
        "log_probabilities": tf.where(exists, found["log_probabilities"], 0.0)[:, :num_results],
        "ended": (found["kinds"] == _ENDED)[:, :num_results],
    }


def _check(beam_size, num_results, coverage_penalty):
    known = [value for value in (num_results, beam_size) if not tf.is_tensor(value)]
    if any(value < 1 for value in known) or (len(known) == 2 and num_results > beam_size):
        raise InputError(
            "`beam_size` must be 1 or more, and `num_results` between 1 and that. "
            f"Received: beam_size={beam_size}, num_results={num_results}."
        )
    if not 0 <= coverage_penalty < float("inf"):
        raise InputError(f"`coverage_penalty` must be a number from 0. Received: coverage_penalty={coverage_penalty}.")
