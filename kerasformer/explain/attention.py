"""Explanations by attention, and by nothing: what others are compared with."""

import dataclasses

import tensorflow as tf

from kerasformer.explain.problem import by_chunks


@dataclasses.dataclass(frozen=True)
class AttentionRollout:
    """How much of each token reaches what the head reads, if attention were all that moves (Abnar and Zuidema 2020,
    arXiv:2005.00928): the product of all blocks' mean attention, each half of it the token itself. The same for every
    label, and never below 0."""

    def attribute(self, problem, tokenizer):
        """Float32 `[R, W]`, and None for a gap."""

        def values(rows):
            inputs, _ = problem.rows(rows)
            mask = tf.cast(inputs["padding_mask"] > 0, tf.float32)
            reached = None
            for probabilities in problem.functions.attention(inputs):
                mixed = tf.reduce_mean(tf.cast(probabilities, tf.float32), 1)
                mixed = (mixed + tf.eye(tf.shape(mixed)[1], tf.shape(mixed)[2])) / 2
                reached = mixed if reached is None else tf.matmul(mixed, reached)
            if problem.reads_first:
                return reached[:, 0]
            mask /= tf.maximum(tf.reduce_sum(mask, 1, keepdims=True), 1)
            return tf.einsum("rl,rlk->rk", mask, reached)

        return problem.words.sums(by_chunks(values, _zeros(problem), problem.chunk())), None


@dataclasses.dataclass(frozen=True)
class AttentionXGradient:
    """Attention times the gradient with respect to it (Serrano and Smith 2019, arXiv:1906.03731), summed over blocks,
    heads and the tokens that attend."""

    def attribute(self, problem, tokenizer):
        """Float32 `[R, W]`, and None for a gap."""

        def values(rows):
            inputs, target = problem.rows(rows)
            found = zip(*problem.functions.attention_gradients(inputs, target), strict=True)
            return tf.add_n([tf.reduce_sum(tf.cast(p * g, tf.float32), [1, 2]) for p, g in found])

        return problem.words.sums(by_chunks(values, _zeros(problem), problem.chunk())), None


@dataclasses.dataclass(frozen=True)
class Random:
    """Random numbers, the same for the same words; a method that knows anything must be better.

    Args:
        seed: of the numbers.
    """

    seed: int = 0

    def attribute(self, problem, tokenizer):
        """Float32 `[R, W]`, and None for a gap."""
        words = problem.words
        keys = tf.strings.join([words.words, tf.strings.as_string(words.starts), str(self.seed)], "\n")
        numbers = tf.strings.to_hash_bucket_fast(keys, 1 << 20)
        return tf.where(words.starts >= 0, tf.cast(numbers, tf.float32) / (1 << 19) - 1, 0.0), None


def _zeros(problem):
    return tf.zeros_like(problem.inputs["token_ids"], tf.float32)
