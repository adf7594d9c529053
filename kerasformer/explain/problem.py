"""What a method explains: rows of tokens, one number for each, and how to compute it."""

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from kerasformer.errors import InputError
from kerasformer.explain.vectors import Functions
from kerasformer.explain.words import Words

BASELINES = ("padding", "mask", "zero")

# Tokens, padding included, that are computed at once: what gradients keep of them must fit into memory.
_TOKENS_AT_ONCE = 4096


class Problem(NamedTuple):
    """R rows of padded length L, with W words at most.

    functions: see `Functions`.
    score: function of the model's outputs and a target to what is explained, float32 `[R]`, in logits.
    inputs: the model's, int32 `[R, L]` each.
    words: their `Words`.
    target: a nest of tensors with R rows.
    scores: float32 `[R]`, what is explained.
    reads_first: whether the head reads the first token alone, not all of them.
    """

    functions: Functions
    score: Callable[[dict, Any], tf.Tensor]
    inputs: dict
    words: Words
    target: Any
    scores: tf.Tensor
    reads_first: bool = False

    def rows(self, places):
        """`(inputs, target)` of some of the rows, which may repeat."""
        return tf.nest.map_structure(lambda values: tf.gather(values, places), (self.inputs, self.target))

    def chunk(self, most=64):
        """How many rows are computed at once, int32."""
        length = tf.shape(self.inputs["token_ids"])[1]
        return tf.clip_by_value(_TOKENS_AT_ONCE // tf.maximum(length, 1), 1, most)

    def paths(self, baseline, token_id):
        """The vectors of the baseline, and of the texts: float32 `[R, L, dim]`; they differ in words alone.

        Args:
            baseline: one of `BASELINES`.
            token_id: of the token that stands for a word in it.
        """
        token_ids, look_up = self.inputs["token_ids"], self.functions.look_up
        vectors, is_word = look_up(token_ids), self.words.is_word
        if baseline == "zero":
            return tf.where(is_word[..., None], 0.0, vectors), vectors
        return look_up(tf.where(is_word, token_id, token_ids)), vectors


def by_chunks(function, zeros, size):
    """Rows that are computed in chunks, one chunk after another.

    Args:
        function: of int32 `[rows]`, the numbers of some rows, to their values.
        zeros: of the shape of all values.
        size: int32, rows of a chunk.
    """
    total = tf.shape(zeros)[0]

    def body(first, found):
        rows = tf.range(first, tf.minimum(first + size, total))
        return first + size, tf.tensor_scatter_nd_update(found, rows[:, None], function(rows))

    shapes = (tf.TensorShape([]), zeros.shape)
    return tf.while_loop(lambda first, _: first < total, body, (0, zeros), shapes, parallel_iterations=1)[1]


def baseline_id(tokenizer, baseline):
    """The token that stands for a word in a baseline.

    Raises:
        InputError: the baseline is unknown, or the tokenizer has no such token.
    """
    if baseline not in BASELINES:
        raise InputError(f"`baseline` must be one of {list(BASELINES)}. Received: baseline={baseline!r}.")
    token_id = getattr(tokenizer, "mask_id", None) if baseline == "mask" else tokenizer.padding_id
    if token_id is None:
        raise InputError("The tokenizer has no mask token: use baseline='padding'.")
    return token_id
