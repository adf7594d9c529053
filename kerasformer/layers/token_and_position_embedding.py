"""The embedding of a Transformer: tokens and positions."""

import keras
import tensorflow as tf

from kerasformer.errors import InputError
from kerasformer.layers.dropout import Dropout
from kerasformer.layers.learned_position_embedding import LearnedPositionEmbedding
from kerasformer.layers.sinusoidal_position_embedding import SinusoidalPositionEmbedding
from kerasformer.layers.token_embedding import TokenEmbedding

POSITIONS = ("sinusoidal", "learned", "none")


@keras.saving.register_keras_serializable(package="kerasformer")
class TokenAndPositionEmbedding(keras.layers.Layer):
    """Token embeddings times √width plus position embeddings, with dropout (Vaswani et al. 2017, 3.4, 3.5 and 5.4).

    Args:
        vocabulary_size: number of tokens.
        width: of a vector.
        positions: "sinusoidal", "learned", or "none" where attention knows positions by itself.
        max_length: number of learned positions.
        dropout: rate, when training.

    Call:
        inputs: int32 token ids, any shape S.
        positions: int32, broadcastable to S, each below `max_length` where they are learned.
        reverse: score each token of the vocabulary instead (the paper's tied output): `inputs` is `[..., width]`.

    Returns:
        `S + [width]`; with `reverse`, `[..., vocabulary]`.
    """

    def __init__(self, vocabulary_size, width, positions="sinusoidal", max_length=None, dropout=0.0, **kwargs):
        super().__init__(**kwargs)
        if positions not in POSITIONS:
            raise InputError(f"`positions` must be one of {list(POSITIONS)}. Received: positions={positions!r}.")
        self.vocabulary_size, self.width, self.max_length = vocabulary_size, width, max_length
        self.positions, self.dropout = positions, dropout
        policy = self.dtype_policy
        self.token = TokenEmbedding(vocabulary_size, width, _normal(width), dtype=policy, name="token")
        self.position = None
        if positions == "sinusoidal":
            self.position = SinusoidalPositionEmbedding(dtype=policy, name="position")
        elif positions == "learned":
            self.position = LearnedPositionEmbedding(max_length, _normal(width), dtype=policy, name="position")
        self._dropout = Dropout(dropout, dtype=policy, name="dropout")

    def build(self, input_shape=None):
        self.token.build()
        if self.positions == "learned":
            self.position.build((None, self.width))

    def call(self, inputs, positions=None, reverse=False, training=None):
        if reverse:
            return tf.matmul(inputs, tf.cast(self.token.embeddings, inputs.dtype), transpose_b=True)
        embedded = self.token(inputs) * tf.cast(self.width**0.5, self.compute_dtype)
        if self.positions == "sinusoidal" and len(positions.shape) > 1:
            embedded += self.position(tf.zeros(tf.concat([tf.shape(positions), [self.width]], 0)), positions)
        elif self.positions == "sinusoidal":
            # Packed tokens: each position's sines once, not once a token.
            length = tf.reduce_max(tf.concat([tf.reshape(positions, [-1]), [0]], 0)) + 1
            embedded += tf.gather(self.position(tf.zeros([length, self.width])), positions)
        elif self.positions == "learned":
            embedded += self.position(embedded, positions)
        return self._dropout(embedded, training=training)

    def get_config(self):
        return {
            **super().get_config(),
            "vocabulary_size": self.vocabulary_size,
            "width": self.width,
            "positions": self.positions,
            "max_length": self.max_length,
            "dropout": self.dropout,
        }


def _normal(width):
    return keras.initializers.RandomNormal(stddev=width**-0.5)
