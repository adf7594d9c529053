"""Explanations by gradients with respect to the vectors of tokens. One frozen class a method."""

import dataclasses

import numpy as np
import tensorflow as tf

from kerasformer.errors import InputError
from kerasformer.explain.problem import baseline_id, by_chunks

# A gap is small if it is at most this part of the difference, or at most so many logits.
RELATIVE_GAP, ABSOLUTE_GAP = 0.01, 0.01


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
        spread = self.noise * (tf.reduce_max(vectors, [1, 2]) - tf.reduce_min(vectors, [1, 2]))
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

    The integral is computed at the points of Gauss and Legendre. A text's steps double until its completeness gap is
    small, at most 1 % of the difference or 0.01 logits, or there are `most_steps`.

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
        levels = [min(8, self.most_steps)]
        while levels[-1] < self.most_steps:
            levels.append(min(2 * levels[-1], self.most_steps))
        return levels

    def attribute(self, problem, tokenizer):
        """Float32 `[R, W]`, and the completeness gap, `[R]`."""
        start, end = problem.paths(self.baseline, baseline_id(tokenizer, self.baseline))
        difference = end - start
        size, length = tf.shape(start)[0], tf.shape(start)[1]
        numbers, points, weights = _gauss_legendre(self._levels())

        def at_level(level, rows):
            """Attributions of the tokens of some rows, `[rows, L]`, and the baseline's score, `[rows]`."""
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

        def body(level, tokens, gaps, open_rows):
            found, baselines = at_level(level, open_rows)
            wanted = tf.gather(problem.scores, open_rows) - baselines
            gap = tf.abs(tf.reduce_sum(found, 1) - wanted)
            tokens = tf.tensor_scatter_nd_update(tokens, open_rows[:, None], found)
            gaps = tf.tensor_scatter_nd_update(gaps, open_rows[:, None], gap)
            is_open = gap > tf.maximum(RELATIVE_GAP * tf.abs(wanted), ABSOLUTE_GAP)
            return level + 1, tokens, gaps, tf.boolean_mask(open_rows, is_open)

        state = (0, tf.zeros([size, length]), tf.zeros([size]), tf.range(size))
        shapes = tuple(tf.TensorShape(shape) for shape in ([], [None, None], [None], [None]))
        _, tokens, gaps, _ = tf.while_loop(
            lambda level, tokens, gaps, open_rows: (level < len(numbers)) & (tf.size(open_rows) > 0),
            body,
            state,
            shapes,
            parallel_iterations=1,
        )
        return problem.words.sums(tokens), gaps


def _gauss_legendre(levels):
    """The start of the path, with weight 0, then points in (0, 1) and their weights.

    Returns:
        `(numbers, points, weights)`: int32 `[levels]`, and float32 `[levels, most points]`, padded with 0.
    """
    numbers = [level + 1 for level in levels]
    points, weights = np.zeros([2, len(levels), max(numbers)], np.float32)
    for row, level in enumerate(levels):
        found, weight = np.polynomial.legendre.leggauss(level)
        points[row, 1 : level + 1], weights[row, 1 : level + 1] = (found + 1) / 2, weight / 2
    return np.array(numbers, np.int32), points, weights
