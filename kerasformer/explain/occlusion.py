"""Explanations by leaving words out."""

import dataclasses

import tensorflow as tf

from kerasformer.errors import InputError
from kerasformer.explain.problem import baseline_id, by_chunks


@dataclasses.dataclass(frozen=True)
class Occlusion:
    """By how much the score falls when a word is replaced (Zeiler and Fergus 2014, arXiv:1311.2901, section 4.2): one
    forward pass a word.

    Args:
        baseline: what the tokens of the word become, "mask" or "padding" tokens. None: the mask token, where the
            tokenizer has one.
    """

    baseline: str | None = None

    def __post_init__(self):
        if self.baseline not in (None, "mask", "padding"):
            raise InputError(f"`baseline` must be 'mask' or 'padding'. Received: baseline={self.baseline!r}.")

    def attribute(self, problem, tokenizer):
        """Float32 `[R, W]`, and None for a gap."""
        has_mask = getattr(tokenizer, "mask_id", None) is not None
        token_id = baseline_id(tokenizer, self.baseline or ("mask" if has_mask else "padding"))
        words = problem.words
        places = tf.where(words.starts >= 0)
        variants = tf.cast(places, tf.int32)

        def values(rows):
            row, word = tf.unstack(tf.gather(variants, rows), axis=1)
            inputs, target = problem.rows(row)
            is_hidden = tf.equal(tf.gather(words.slots, row), word[:, None])
            inputs["token_ids"] = tf.where(is_hidden, token_id, inputs["token_ids"])
            # Behind the longest of these rows there is nothing.
            length = tf.reduce_max(tf.reduce_sum(inputs["padding_mask"], 1))
            inputs = {name: value[:, :length] for name, value in inputs.items()}
            return tf.gather(problem.scores, row) - problem.score(problem.functions.outputs(inputs), target)

        falls = by_chunks(values, tf.zeros([tf.shape(variants)[0]]), problem.chunk())
        return tf.scatter_nd(places, falls, tf.shape(words.starts, tf.int64)), None
