"""A model as a function of the vectors of its tokens."""

import contextlib
from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from kerasformer._compat import flatten_layers
from kerasformer.errors import InputError
from kerasformer.layers import MultiHeadAttention, TransformerEmbedding
from kerasformer.tasks.encoder_outputs import find_layer


class Functions(NamedTuple):
    """What explanations compute with: R rows of padded length L, vectors as wide as the table of tokens.

    outputs: function from the model's inputs to its outputs.
    look_up: function from token ids, int32 `[R, L]`, to their vectors, float32 `[R, L, dim]`.
    gradients: function of the model's inputs, vectors in place of the tokens, and a target (a nest of tensors with R
        rows) to `(scores, gradients)`: float32 `[R]`, and with respect to the vectors, `[R, L, dim]`.
    attention: function of the model's inputs to the probabilities of attention of each block, in order, a list of
        float32 `[R, heads, L, L]`; of a last block that computes the first token alone, `[R, heads, 1, L]`.
    attention_gradients: function of the model's inputs and a target to `(probabilities, gradients)`, two such lists.
    """

    outputs: Callable[[dict], dict]
    look_up: Callable[[tf.Tensor], tf.Tensor] | None = None
    gradients: Callable[[dict, tf.Tensor, Any], tuple] | None = None
    attention: Callable[[dict], list] | None = None
    attention_gradients: Callable[[dict, Any], tuple] | None = None


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

    def attention(inputs):
        with _observed(model, lambda probabilities: probabilities) as found:
            outputs(inputs)
        return found

    def attention_gradients(inputs, target):
        with tf.GradientTape() as tape:

            def watched(probabilities):
                tape.watch(probabilities)
                return probabilities

            with _observed(model, watched) as found:
                scores = score(outputs(inputs), target)
        return found, tape.gradient(scores, found)

    return Functions(outputs, look_up, gradients, attention, attention_gradients)


@contextlib.contextmanager
def _observed(model, function):
    """A list of the probabilities of all attention that the model computes while the block runs; `function` gets them
    and returns those to use."""
    layers = [layer for layer in flatten_layers(model) if isinstance(layer, MultiHeadAttention)]
    found: list[tf.Tensor] = []

    def observer(probabilities):
        found.append(function(probabilities))
        return found[-1]

    for layer in layers:
        layer.observer = observer
    try:
        yield found
    finally:
        for layer in layers:
            layer.observer = None
