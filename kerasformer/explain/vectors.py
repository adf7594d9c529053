"""A model as a function of the vectors of its tokens."""

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from kerasformer.errors import InputError
from kerasformer.layers import TransformerEmbedding
from kerasformer.tasks.task import find_layer


class Functions(NamedTuple):
    """What explanations compute with: R rows of padded length L, vectors as wide as the table of tokens.

    outputs: function from the model's inputs to its outputs.
    look_up: function from token ids, int32 `[R, L]`, to their vectors, float32 `[R, L, dim]`.
    gradients: function of the model's inputs, vectors in place of the tokens, and a target (a nest of tensors with R
        rows) to `(scores, gradients)`: float32 `[R]`, and with respect to the vectors, `[R, L, dim]`.
    """

    outputs: Callable[[dict], dict]
    look_up: Callable[[tf.Tensor], tf.Tensor]
    gradients: Callable[[dict, tf.Tensor, Any], tuple]


def model_functions(model, score):
    """The `Functions` of a functional model.

    Args:
        model: from a dictionary with `token_ids` to a dictionary of outputs.
        score: function of the model's outputs and a target to what is explained, float32 `[R]`.

    Raises:
        InputError: the model has no embedding of this package.
    """
    embedding = find_layer(model, TransformerEmbedding)
    if embedding is None:
        raise InputError("Gradients need a model whose embedding is a TransformerEmbedding. Received: another.")
    token = embedding.token

    def outputs(inputs):
        return model(inputs, training=False)

    def look_up(token_ids):
        return tf.cast(token(token_ids), tf.float32)

    def gradients(inputs, vectors, target):
        shape = tf.shape(vectors)
        rows = tf.reshape(vectors, [shape[0] * shape[1], token.dim])
        numbers = tf.reshape(tf.range(shape[0] * shape[1]), shape[:2])
        with tf.GradientTape() as tape:
            tape.watch(rows)
            with token.reading(rows):
                scores = score(outputs({**inputs, "token_ids": numbers}), target)
        return scores, tf.reshape(tf.convert_to_tensor(tape.gradient(scores, rows)), shape)

    return Functions(outputs, look_up, gradients)
