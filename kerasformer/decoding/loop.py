"""The one loop of greedy search, beam search and sampling."""

import numpy as np
import tensorflow as tf

from kerasformer.decoding.draws import Greedy
from kerasformer.decoding.state import (
    ENDED,
    NONE,
    Said,
    SearchState,
    changing_shapes,
    check_finite,
    keep_rows,
    nothing_found,
    per_row,
    put_rows,
)
from kerasformer.errors import InputError


def search(
    steps,
    inputs,
    *,
    end_id,
    max_length,
    start_id=None,
    select=None,
    processors=(),
    num_results=1,
    padding_id=0,
):
    """Generates sequences with any model, in the graph.

    A row leaves the batch when its results are final: it costs nothing more, and its results do not depend on the other
    rows. A batch of 0 rows returns results of 0 rows.

    Args:
        steps: the model, see `Steps`.
        inputs: the argument of `steps.start`, a dictionary of `[batch, ...]`. `token_ids` and `padding_mask` are the
            prompts, if `steps` consumes prompts; they may be padded on either side.
        end_id, padding_id: int, token ids.
        max_length: the most tokens of a result, the end token included and the prompt not: an int or int `[batch]`.
            Below 1, the result is empty.
        start_id: int, the token that is fed first; not for steps that consume prompts.
        select: the method, `Greedy()` (the default), `Beam(...)`, `TransformersBeam(...)` or `Sample(...)`.
        processors: list of `Processor`, applied in this order.
        num_results: results of a row; int, or a scalar tensor. At most the size of a beam; 1 for greedy search.

    Returns:
        A dictionary: `token_ids` int32 `[batch, num_results, length]`, best first (in no order for samples), without
        prompt, start token and end token, padded; `lengths` int32, `scores` float32, `log_probabilities` float32, and
        `ended` bool, `[batch, num_results]`. `ended` is False where a sequence was cut at `max_length`, and where there
        are fewer results. What a score is, the method defines.

    Raises:
        InputError: a known argument is out of range, or the start token is missing.
    """
    select = Greedy() if select is None else select
    select.check(num_results)
    check_finite(max_length, "max_length")
    if not tf.is_tensor(max_length) and np.any(np.asarray(max_length) < 1):
        raise InputError(f"`max_length` must be 1 or more. Received: max_length={np.asarray(max_length).tolist()}.")
    batch = tf.shape(tf.nest.flatten(inputs)[0])[0]
    max_length = tf.maximum(per_row(max_length, "max_length", batch, tf.int32), 0)
    longest = tf.reduce_max(tf.concat([max_length, [0]], 0))

    context, steps_state, *first = steps.start(inputs)
    if not first and start_id is None:
        raise InputError(
            "`start_id` must be the token to start with, as these steps consume no prompt. Received: None."
        )
    state = SearchState(
        rows=tf.range(batch),
        max_length=max_length,
        prompt=_aligned_prompts(inputs) if first and "token_ids" in inputs else tf.zeros([batch, 0], tf.int32),
        tokens=tf.fill([batch, 1], padding_id if start_id is None else start_id),
        sequences=tf.fill([batch, 1, longest], padding_id),
        log_probabilities=tf.zeros([batch, 1]),
        found=nothing_found(batch, select.results_kept(num_results), longest, padding_id),
        own=select.begin(batch, inputs, num_results),
        context=context,
        steps=steps_state,
    )
    results = state.found
    state, first = keep_rows((state, first), tf.reshape(tf.where(max_length > 0), [-1]))

    def choose(outputs, step, state, results):
        said = Said(state.rows, state.prompt, state.sequences, step, end_id)
        choice = select.choose(outputs, state, said, processors, num_results, padding_id)
        values = {name: value for name, value in choice._asdict().items() if name in SearchState._fields}
        state = state._replace(**values)
        if choice.parents is not None:
            state = state._replace(steps=steps.reorder(state.steps, choice.parents))

        def leave():
            done, kept = (tf.reshape(tf.where(flags), [-1]) for flags in (choice.is_done, ~choice.is_done))
            leaving = keep_rows(state.found, done)
            return keep_rows(state, kept), put_rows(results, tf.gather(state.rows, done), leaving)

        return tf.cond(tf.reduce_any(choice.is_done), leave, lambda: (state, results))

    def advance(step, state, results):
        outputs, steps_state = steps.step(state.tokens, state.context, state.steps)
        return step + 1, *choose(outputs, step, state._replace(steps=steps_state), results)

    step = tf.constant(0)
    if first:
        # The first token follows from the prompt alone.
        state, results = choose(first[0], step, state, results)
        step += 1
    _, _, results = tf.while_loop(
        lambda step, state, results: tf.size(state.rows) > 0,
        advance,
        (step, state, results),
        shape_invariants=(tf.TensorShape([]), changing_shapes(state), changing_shapes(results)),
        parallel_iterations=1,
    )
    return _first_results(results, num_results)


def _aligned_prompts(inputs):
    """The prompts int32 `[batch, length]`, their tokens on the right and -1 in front of them."""
    is_real = inputs["padding_mask"] > 0
    order = tf.argsort(tf.cast(is_real, tf.int32), axis=-1, stable=True)
    return tf.gather(tf.where(is_real, tf.cast(inputs["token_ids"], tf.int32), -1), order, batch_dims=1)


def _first_results(found, num_results):
    exists = found["kinds"] > NONE
    lengths = tf.where(exists, found["lengths"], 0)[:, :num_results]
    longest = tf.reduce_max(tf.concat([tf.reshape(lengths, [-1]), [0]], 0))
    return {
        "token_ids": found["sequences"][:, :num_results, :longest],
        "lengths": lengths,
        "scores": tf.where(exists, found["scores"], 0.0)[:, :num_results],
        "log_probabilities": tf.where(exists, found["log_probabilities"], 0.0)[:, :num_results],
        "ended": (found["kinds"] == ENDED)[:, :num_results],
    }
