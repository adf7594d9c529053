"""Sampling sequences."""

import tensorflow as tf

from kerasformer.decoding.loop import changing_shapes, checked_lengths, keep_rows, per_row, put_rows
from kerasformer.decoding.rules import LOWEST, Rules, is_possible
from kerasformer.errors import InputError


def sample(
    steps,
    inputs,
    *,
    start_id,
    end_id,
    max_length,
    seed,
    num_results=1,
    temperature=1.0,
    top_k=0,
    top_p=1.0,
    padding_id=0,
    rules=None,
):
    """Sequences drawn token by token from the model's probabilities.

    Args:
        steps, inputs, start_id, end_id, padding_id, max_length, rules: as of `beam_search`.
        seed: int; the same gives the same sequences for the same batch.
        num_results: independent sequences a row.
        temperature: divides the logits: below 1 likelier tokens become likelier still.
        top_k: draw from so many of the likeliest tokens (Fan et al. 2018); 0 is all.
        top_p: draw from the fewest tokens whose probabilities add up to this (Holtzman et al. 2020); 1 is all.

    Returns:
        As of `beam_search`; both scores are the model's log probability, untouched by the options. Where the rules
        leave nothing to say, a sequence stops and has not `ended`.

    Raises:
        InputError: an argument is out of its range.
    """
    if not 0 < temperature < float("inf") or not 0 < top_p <= 1 or top_k < 0 or num_results < 1:
        raise InputError(
            "`temperature` must be above 0, `top_p` in (0, 1], `top_k` from 0, `num_results` from 1. Received: "
            f"temperature={temperature}, top_p={top_p}, top_k={top_k}, num_results={num_results}."
        )
    rules = rules or Rules()
    batch = tf.shape(tf.nest.flatten(inputs)[0])[0]
    max_length = tf.maximum(per_row(checked_lengths(max_length), "max_length", batch, tf.int32), 0)
    longest = tf.reduce_max(tf.concat([max_length, [0]], 0))
    context, state = steps.start(inputs)
    state = steps.reorder(state, tf.zeros([batch, num_results], tf.int32))
    drawn = {
        "sequences": tf.fill([batch, num_results, longest], padding_id),
        "lengths": tf.zeros([batch, num_results], tf.int32),
        "log_probabilities": tf.zeros([batch, num_results]),
        "ended": tf.zeros([batch, num_results], tf.bool),
        "stopped": tf.zeros([batch, num_results], tf.bool),
    }
    search = {
        "rows": tf.range(batch),
        "max_length": max_length,
        "tokens": tf.fill([batch, num_results], start_id),
        "drawn": drawn,
        "context": context,
        "state": state,
    }
    search = keep_rows(search, tf.reshape(tf.where(max_length > 0), [-1]))

    def go_on(step, search, results):
        return tf.size(search["rows"]) > 0

    def advance(step, search, results):
        outputs, state = steps.step(search["tokens"], search["context"], search["state"])
        drawn = search["drawn"]
        logits = rules.penalized(tf.cast(outputs["logits"], tf.float32), drawn["sequences"], step)
        sums = tf.reduce_logsumexp(logits, -1)
        logits = rules.allowed(logits, drawn["sequences"], step, end_id)
        filtered = _likeliest(logits / temperature, top_k, top_p)
        rows, beams, vocabulary = tf.shape(logits)[0], tf.shape(logits)[1], logits.shape[-1]
        tokens = tf.random.stateless_categorical(
            tf.reshape(filtered, [rows * beams, vocabulary]), 1, seed=tf.stack([seed, step]), dtype=tf.int32
        )
        tokens = tf.reshape(tokens, [rows, beams])
        own = tf.gather(logits, tokens, batch_dims=2) - sums
        goes_on = ~drawn["stopped"] & tf.reduce_any(is_possible(filtered), -1)
        ended = drawn["ended"] | (goes_on & tf.equal(tokens, end_id))
        stopped = ~goes_on | ended
        here = tf.equal(tf.range(tf.shape(drawn["sequences"])[2]), step)
        drawn = {
            "sequences": tf.where(here & ~stopped[..., None], tokens[..., None], drawn["sequences"]),
            "lengths": drawn["lengths"] + tf.cast(~stopped, tf.int32),
            "log_probabilities": drawn["log_probabilities"] + tf.where(goes_on, own, 0.0),
            "ended": ended,
            "stopped": stopped,
        }
        search = {**search, "tokens": tokens, "drawn": drawn, "state": state}
        is_done = tf.reduce_all(stopped, 1) | (step + 1 >= search["max_length"])

        def leave():
            done, kept = (tf.reshape(tf.where(flags), [-1]) for flags in (is_done, ~is_done))
            leaving = keep_rows(search["drawn"], done)
            return keep_rows(search, kept), put_rows(results, tf.gather(search["rows"], done), leaving)

        search, results = tf.cond(tf.reduce_any(is_done), leave, lambda: (search, results))
        return step + 1, search, results

    _, _, drawn = tf.while_loop(
        go_on,
        advance,
        (0, search, drawn),
        shape_invariants=(tf.TensorShape([]), changing_shapes(search), changing_shapes(drawn)),
        parallel_iterations=1,
    )
    longest = tf.reduce_max(tf.concat([tf.reshape(drawn["lengths"], [-1]), [0]], 0))
    return {
        "token_ids": drawn["sequences"][:, :, :longest],
        "lengths": drawn["lengths"],
        "scores": drawn["log_probabilities"],
        "log_probabilities": drawn["log_probabilities"],
        "ended": drawn["ended"],
    }


def _likeliest(logits, top_k, top_p):
    """The logits, `LOWEST` outside of the `top_k` and `top_p` likeliest."""
    if top_k:
        values, _ = tf.math.top_k(logits, min(top_k, logits.shape[-1]))
        logits = tf.where(logits >= values[..., -1:], logits, LOWEST)
    if top_p < 1:
        ordered = tf.sort(logits, -1, "DESCENDING")
        before = tf.cumsum(tf.nn.softmax(ordered), -1, exclusive=True)
        # The likeliest token always has nothing before it.
        least = tf.reduce_min(tf.where(before < top_p, ordered, tf.float32.max), -1, keepdims=True)
        logits = tf.where(logits >= least, logits, LOWEST)
    return tf.where(is_possible(logits), logits, LOWEST)
