"""Token embeddings."""

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="kerasformer")
class TokenEmbedding(keras.layers.Layer):
    """A trained vector for each token of a vocabulary.

    Differs from `keras.layers.Embedding` in mixed precision: the rows looked up are cast, not the whole table.

    Args:
        vocabulary_size: number of tokens.
        width: of a vector.
        initializer: of the table.

    Call:
        token_ids: int32, any shape S; returns `S + [width]`.
    """

    def __init__(self, vocabulary_size, width, initializer="uniform", **kwargs):
        super().__init__(**kwargs)
        self.vocabulary_size = vocabulary_size
        self.width = width
        self.initializer = keras.initializers.get(initializer)

    def build(self, input_shape=None):
        self.embeddings = self.add_weight(
            name="embeddings", shape=(self.vocabulary_size, self.width), initializer=self.initializer, autocast=False
        )

    def call(self, token_ids):
        return tf.cast(tf.gather(tf.convert_to_tensor(self.embeddings), token_ids), self.compute_dtype)

    def compute_output_shape(self, input_shape):
        return (*input_shape, self.width)

    def get_config(self):
        return {
            **super().get_config(),
            "vocabulary_size": self.vocabulary_size,
            "width": self.width,
            "initializer": keras.initializers.serialize(self.initializer),
        }
