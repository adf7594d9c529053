"""Explanations by gradients with respect to the vectors of tokens. One frozen class a method."""

import dataclasses

import numpy as np
import tensorflow as tf

from kerasformer.errors import InputError
from kerasformer.explain.problem import baseline_id, by_chunks

# A gap is small if it is at most this part of the difference, or at most so many logits.
RELATIVE_GAP, ABSOLUTE_GAP = 0.01, 0.01

# Fewer are never enough.
_FIRST_STEPS = 8


@dataclasses.dataclass(frozen=True)
class GradientXInput:
    """The gradient with respect to a token's vector, times the vector (Shrikumar et al. 2016, arXiv:1605.01713)."""

    def attribute(self, problem, tokenizer):
        """Float32 `[R, W]`, and None for a gap."""
        vectors = problem.functions.look_up(problem.inputs["token_ids"])

        def values(rows):
            inputs, target = problem.rows(rows)
            chosen = tf.gather(vectors, rows)
            return tf.reduce_sum(problem.functions.gradients(inputs, chosen, target)[1] * chosen, -1)

        zeros = tf.zeros_like(problem.inputs["token_ids"], tf.float32)
        return problem.words.sums(by_chunks(values, zeros, problem.chunk())), None


@dataclasses.dataclass(frozen=True)
class SmoothGrad:
    """Gradient times input, of the mean gradient at vectors with noise (Smilkov et al. 2017, arXiv:1706.03825).

    Args:
        samples: of noise, for each text.
        noise: standard deviation, as a part of the range of the text's vectors.
        seed: of the noise.
    """

    samples: int = 24
    noise: float = 0.1
    seed: int = 0

    def __post_init__(self):
        if self.samples < 1 or not 0 <= self.noise < 10:
            raise InputError(
                "`samples` must be at least 1, and `noise` in [0, 10). "
                f"Received: samples={self.samples}, noise={self.noise}."
            )

    def attribute(self, problem, tokenizer):
        """Float32 `[R, W]`, and None for a gap."""
        vectors = problem.functions.look_up(problem.inputs["token_ids"])
        size, length, number = tf.shape(vectors)[0], tf.shape(vectors)[1], self.samples
        # Of tokens alone: how many vectors of padding there are depends on the batch.
        real = problem.inputs["padding_mask"][..., None] > 0
        highest = tf.reduce_max(tf.where(real, vectors, vectors.dtype.min), [1, 2])
        spread = self.noise * (highest - tf.reduce_min(tf.where(real, vectors, vectors.dtype.max), [1, 2]))
        # Positions first: a text's noise then does not depend on how far its batch is padded.
        noise = tf.random.stateless_normal([length, number, vectors.shape[-1]], [self.seed, 0])

        def values(places):
            row = places // number
            inputs, target = problem.rows(row)
            chosen = tf.gather(vectors, row)
            moved = chosen + tf.gather(spread, row)[:, None, None] * tf.transpose(
                tf.gather(noise, places % number, axis=1), [1, 0, 2]
            )
            return tf.reduce_sum(problem.functions.gradients(inputs, moved, target)[1] * chosen, -1)

        found = by_chunks(values, tf.zeros([size * number, length]), problem.chunk())
        return problem.words.sums(tf.reduce_mean(tf.reshape(found, [size, number, length]), 1)), None


@dataclasses.dataclass(frozen=True)
class IntegratedGradients:
    """The gradient times the difference from a baseline, as the mean over the straight path from there (Sundararajan
    et al. 2017, arXiv:1703.01365).

    The integral is computed by the trapezoidal rule, which may double its steps and keep what it has; of texts it
    needs fewer than Gauss's points (docs/experiments.md). A text's steps double until its completeness gap is small, at
    most 1 % of the difference or 0.01 logits, or there would be more than `most_steps`.

    Args:
        baseline: what stands for each word in the baseline: the "padding" token, the "mask" token, or "zero" vectors.
            Special tokens stay.
        steps: a fixed number for all texts; None: as many as a text needs.
        most_steps: where `steps` is None.
    """

    baseline: str = "padding"
    steps: int | None = None
    most_steps: int = 128

    def __post_init__(self):
        for name in ("steps", "most_steps"):
            value = getattr(self, name)
            if value is not None and not 1 <= value <= 4096:
                raise InputError(f"`{name}` must be from 1 to 4096. Received: {name}={value!r}.")

    def _levels(self):
        """Numbers of steps that are tried, one after another."""
        if self.steps is not None:
            return [self.steps]
        levels = [min(_FIRST_STEPS, self.most_steps)]
        while 2 * levels[-1] <= self.most_steps:
            levels.append(2 * levels[-1])
        return levels

    def attribute(self, problem, tokenizer):
        """Float32 `[R, W]`, and the completeness gap, `[R]`."""
        start, end = problem.paths(self.baseline, baseline_id(tokenizer, self.baseline))
        difference = end - start
        size, length = tf.shape(start)[0], tf.shape(start)[1]
        steps, numbers, points, weights = _trapezoids(self._levels())

        def at_level(level, rows):
            """The sum over the new points of a level: of tokens `[rows, L]`; and the score at the first `[rows]`."""
            number = tf.gather(numbers, level)
            at, weight = tf.gather(points, level)[:number], tf.gather(weights, level)[:number]

            def values(places):
                row = tf.gather(rows, places // number)
                inputs, target = problem.rows(row)
                step = tf.gather(difference, row)
                vectors = tf.gather(start, row) + tf.gather(at, places % number)[:, None, None] * step
                scores, gradients = problem.functions.gradients(inputs, vectors, target)
                return tf.concat([tf.reduce_sum(gradients * step, -1), scores[:, None]], 1)

            zeros = tf.zeros([tf.size(rows) * number, length + 1])
            found = tf.reshape(by_chunks(values, zeros, problem.chunk()), [tf.size(rows), number, length + 1])
            return tf.einsum("rsl,s->rl", found[..., :-1], weight), found[:, 0, -1]

        def body(level, sums, differences, gaps, attributions, rows):
            new, first = at_level(level, rows)
            places = rows[:, None]
            sums = tf.tensor_scatter_nd_add(sums, places, new)
            # The first point of the first level is the baseline.
            differences = tf.where(level == 0, problem.scores - tf.scatter_nd(places, first, [size]), differences)
            found, wanted = tf.gather(sums, rows) / tf.gather(steps, level), tf.gather(differences, rows)
            gap = tf.abs(tf.reduce_sum(found, 1) - wanted)
            attributions = tf.tensor_scatter_nd_update(attributions, places, found)
            gaps = tf.tensor_scatter_nd_update(gaps, places, gap)
            is_open = gap > tf.maximum(RELATIVE_GAP * tf.abs(wanted), ABSOLUTE_GAP)
            return level + 1, sums, differences, gaps, attributions, tf.boolean_mask(rows, is_open)

        zeros, none = tf.zeros([size, length]), tf.zeros([size])
        shapes = tuple(tf.TensorShape(shape) for shape in ([], [None, None], [None], [None], [None, None], [None]))
        *_, gaps, attributions, _ = tf.while_loop(
            lambda level, *state: (level < len(numbers)) & (tf.size(state[-1]) > 0),
            body,
            (0, zeros, none, none, zeros, tf.range(size)),
            shapes,
            parallel_iterations=1,
        )
        return problem.words.sums(attributions), gaps


def _trapezoids(levels):
    """The trapezoidal rule on (0, 1), with the points that each number of steps has beside those of the half of it.

    Returns:
        `(steps, numbers, points, weights)`: float32 and int32 `[levels]`, numbers of steps and of new points; and
        float32 `[levels, most points]`, padded with 0, the new points and their weights times the steps.
    """
    rows = [np.arange(levels[0] + 1) / levels[0], *[np.arange(1, level, 2) / level for level in levels[1:]]]
    numbers = [len(row) for row in rows]
    points, weights = np.zeros([2, len(levels), max(numbers)], np.float32)
    for place, row in enumerate(rows):
        points[place, : len(row)] = row
        weights[place, : len(row)] = np.where((row == 0) | (row == 1), 0.5, 1.0)
    return np.array(levels, np.float32), np.array(numbers, np.int32), points, weights
