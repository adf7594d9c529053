"""Scores of a vocabulary."""

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="kerasformer")
class TokenScores(keras.layers.Layer):
    """The output of a decoder whose embedding is not tied to it: a vector for each token, multiplied with the hidden
    state.

    Args:
        vocabulary_size: number of tokens.

    Call:
        inputs: `[..., width]`.
        score: False gives the inputs back, for a loss that reads the `table` itself.

    Returns:
        `[..., vocabulary]`.
    """

    def __init__(self, vocabulary_size, **kwargs):
        super().__init__(**kwargs)
        self.vocabulary_size = vocabulary_size

    def build(self, input_shape):
        self.table = self.add_weight(
            name="table",
            shape=(self.vocabulary_size, input_shape[-1]),
            initializer=keras.initializers.RandomNormal(stddev=input_shape[-1] ** -0.5),
            autocast=False,
        )

    def call(self, inputs, score=True):
        return tf.matmul(inputs, tf.cast(self.table, inputs.dtype), transpose_b=True) if score else inputs

    def get_config(self):
        return {**super().get_config(), "vocabulary_size": self.vocabulary_size}
