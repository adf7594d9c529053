"""What the search loop carries from step to step.

Symbols: N rows of the inputs, R rows that are still searched, B beams, V vocabulary, P the longest prompt, M the
largest maximum length, K results of a row.
"""

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from kerasformer.errors import InputError

# A log probability below that of any real token; finite, so that no sum or score becomes infinite or NaN.
LOWEST = -1e9

# Kinds of results: none yet, cut at its longest, ended by the end token.
NONE, CUT, ENDED = 0, 1, 2


class SearchState(NamedTuple):
    """The state of the loop. The first dimension of every tensor is R: finished rows leave.

    Attributes:
        rows: int32 `[R]`, which row of the inputs each row is.
        max_length: int32 `[R]`, the most tokens of a result, the end token included.
        prompt: int32 `[R, P]`, the prompts, aligned on the right; -1 in front of them.
        tokens: int32 `[R, B]`, the tokens chosen last, which the next step takes.
        sequences: int32 `[R, B, M]`, the tokens chosen so far, then padding.
        log_probabilities: float32 `[R, B]`, their sums.
        found: the results so far, a dictionary of `kinds` int32, `scores` float32, `log_probabilities` float32,
            `lengths` int32, all `[R, K]`, and `sequences` int32 `[R, K, M]`.
        own: what the method carries besides, a nest of `[R, ...]`.
        context: of `Steps`; constant but for rows that leave.
        steps: of `Steps`, its state.
    """

    rows: tf.Tensor
    max_length: tf.Tensor
    prompt: tf.Tensor
    tokens: tf.Tensor
    sequences: tf.Tensor
    log_probabilities: tf.Tensor
    found: dict
    own: Any
    context: Any
    steps: Any


class Said(NamedTuple):
    """What a processor reads.

    Attributes:
        rows, prompt, sequences: as in `SearchState`.
        step: int32 scalar, tokens chosen so far; the first `step` columns of `sequences`.
        end_id: int, the end token.
    """

    rows: tf.Tensor
    prompt: tf.Tensor
    sequences: tf.Tensor
    step: tf.Tensor
    end_id: int

    def history(self):
        """Prompt and chosen tokens in one, int32 `[R, B, P + M]`, with -1 where there is no token: in front of the
        prompt and behind the first `P + step` columns."""
        rows, beams, longest = tf.unstack(tf.shape(self.sequences))
        prompt = tf.broadcast_to(self.prompt[:, None], [rows, beams, tf.shape(self.prompt)[1]])
        return tf.concat([prompt, tf.where(tf.range(longest) < self.step, self.sequences, -1)], -1)


class Choice(NamedTuple):
    """What a method makes of one step's logits.

    Attributes:
        tokens, sequences, log_probabilities, found, own: the next values of those of `SearchState`.
        parents: int32 `[R, B]`, the beam that each beam continues; None: each continues itself.
        is_done: bool `[R]`, rows whose results are final.
    """

    tokens: tf.Tensor
    sequences: tf.Tensor
    log_probabilities: tf.Tensor
    found: dict
    own: Any
    parents: tf.Tensor | None
    is_done: tf.Tensor


def is_possible(log_probabilities):
    """Whether a log probability is that of an allowed token."""
    return log_probabilities > LOWEST / 2


def nothing_found(batch, count, longest, padding_id):
    """`found` of a search that has not begun, `[batch, count]`."""
    return {
        "kinds": tf.fill([batch, count], NONE),
        "scores": tf.zeros([batch, count]),
        "log_probabilities": tf.zeros([batch, count]),
        "lengths": tf.zeros([batch, count], tf.int32),
        "sequences": tf.fill([batch, count, longest], padding_id),
    }


def vocabulary_of(scores):
    """The size of the last dimension, an int where it is known."""
    size = scores.shape[-1]
    return tf.shape(scores)[-1] if size is None else size


def append(sequences, tokens, step):
    """`sequences` `[R, B, M]` with `tokens` `[R, B]` in column `step`."""
    return tf.where(tf.equal(tf.range(tf.shape(sequences)[2]), step), tokens[..., None], sequences)


def per_row(value, name, batch, dtype):
    """A number, or numbers `[batch]`, as a tensor `[batch]`; NumPy and Python values are checked.

    Raises:
        InputError: a known value is not finite.
    """
    check_finite(value, name)
    return tf.broadcast_to(tf.cast(value, dtype), [batch])


def check_finite(value, name, lowest=None):
    """Checks a number or numbers, unless they are tensors.

    Raises:
        InputError: a value is not a finite number, or below `lowest`.
    """
    if tf.is_tensor(value):
        return
    array = np.asarray(value)
    if array.dtype.kind not in "iufb" or not np.isfinite(array).all():
        raise InputError(f"`{name}` must be a finite number, or one per row. Received: {name}={array.tolist()!r}.")
    if lowest is not None and (array < lowest).any():
        raise InputError(f"`{name}` must be {lowest} or more. Received: {name}={array.tolist()!r}.")


def keep_rows(tensors, kept):
    """Every tensor of a nest with the rows `kept` alone."""
    return tf.nest.map_structure(lambda tensor: tf.gather(tensor, kept), tensors)


def put_rows(results, rows, values):
    """Results `[N, ...]` with `values` `[R, ...]` in the rows `rows` `[R]`."""
    return tf.nest.map_structure(
        lambda result, value: tf.tensor_scatter_nd_update(result, rows[:, None], value), results, values
    )


def changing_shapes(tensors):
    """The shapes that a nest of tensors keeps in a loop: known dimensions of 2 or more, except the first.

    Rows leave, one beam becomes several, and what is empty at first grows.
    """

    def shape(tensor):
        sizes = tensor.shape.as_list()
        return tf.TensorShape([None, *[size if size and size > 1 else None for size in sizes[1:]]])

    return tf.nest.map_structure(shape, tensors)
