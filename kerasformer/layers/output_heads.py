"""Output layers: scores of a vocabulary, of all tokens or of masked ones."""

import keras
import tensorflow as tf

from kerasformer.layers.activations import activation_config, get_activation
from kerasformer.layers.base import Layer
from kerasformer.layers.configs import NormConfig, serialized
from kerasformer.layers.normalization import normalization
from kerasformer.layers.projection import TableProjection


@keras.saving.register_keras_serializable(package="kerasformer")
class LanguageModelHead(Layer):
    """Scores of a vocabulary by a table of its own, for models whose embedding is not tied to the output.

    Args:
        vocabulary_size: number of tokens.

    Call:
        inputs: `[..., dim]`.
        score: False returns the inputs, for a loss that reads the `table` itself.

    Returns:
        `[..., vocabulary_size]`.
    """

    def __init__(self, vocabulary_size, **kwargs):
        super().__init__(**kwargs)
        self.vocabulary_size = vocabulary_size
        self.scores = TableProjection(self, lambda: self.table)

    def build(self, input_shape):
        self.table = self.add_weight(
            name="table",
            shape=(self.vocabulary_size, input_shape[-1]),
            initializer=keras.initializers.RandomNormal(stddev=input_shape[-1] ** -0.5),
            autocast=False,
        )

    def call(self, inputs, score=True):
        return self.scores(inputs) if score else inputs

    def get_config(self):
        return {**super().get_config(), "vocabulary_size": self.vocabulary_size}


@keras.saving.register_keras_serializable(package="kerasformer")
class MaskedLanguageModelHead(Layer):
    """Scores of masked tokens (Devlin et al. 2019, section 3.1, task 1): a dense layer with activation and
    normalization, whose outputs are multiplied with the table of token embeddings, plus a bias for each token.

    Only the hidden states of masked tokens are computed, and none of a padded slot.

    Args:
        vocabulary_size: number of tokens.
        activation: of the dense layer, as in `FeedForward`.
        norm: `NormConfig` of the normalization.
        use_bias: whether the dense layer has a bias.
        table_dim: width of the table; None for that of the inputs.
        kernel_initializer: of the dense layer.
        remove_padding: False keeps shapes static, as in `bert`: a row for every slot of `masked_positions`.

    Call:
        inputs: `[batch, length, dim]`.
        masked_positions: int32 `[batch, slots]`, positions of masked tokens in each text; -1 where there is none.
        table: `[vocabulary, table_dim]`, the token embeddings; None stops before them.

    Returns:
        The scores of the vocabulary, `[masked tokens, vocabulary]`, in the order of the texts and their slots; without
        `table` the vectors that it would be multiplied with, `[masked tokens, table_dim]`, see `scores`.
    """

    def __init__(
        self,
        vocabulary_size,
        activation="gelu",
        norm=NormConfig(),  # noqa: B008, frozen
        use_bias=True,
        table_dim=None,
        kernel_initializer="glorot_uniform",
        remove_padding=True,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.vocabulary_size = vocabulary_size
        self.activation = activation
        self.use_bias, self.table_dim = use_bias, table_dim
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.remove_padding = remove_padding
        self._activation = get_activation(activation)
        self._norm_config = norm
        self.norm = normalization(norm, dtype=self.dtype_policy, name="norm")

    def build(self, inputs_shape, masked_positions_shape=None, table_shape=None):
        table_dim = self.table_dim or inputs_shape[-1]
        self.transform = keras.layers.Dense(
            table_dim,
            use_bias=self.use_bias,
            kernel_initializer=self.kernel_initializer.clone(),
            dtype=self.dtype_policy,
            name="transform",
        )
        self.transform.build((None, inputs_shape[-1]))
        self.norm.build((None, table_dim))
        self.bias = self.add_weight(name="bias", shape=(self.vocabulary_size,), initializer="zeros", autocast=False)

    def call(self, inputs, masked_positions, table=None, training=None):
        if self.remove_padding:
            slots = tf.where(masked_positions >= 0)
            places = tf.stack([slots[:, 0], tf.cast(tf.gather_nd(masked_positions, slots), tf.int64)], 1)
            rows = tf.gather_nd(inputs, places)
        else:
            rows = tf.gather(inputs, tf.maximum(masked_positions, 0), batch_dims=1)
            rows = tf.reshape(rows, [-1, inputs.shape[-1]])
        hidden = self.norm(self._activation(self.transform(rows), training=training), training=training)
        return hidden if table is None else self.scores(hidden, table)

    def scores(self, hidden, table):
        """`[masked tokens, table_dim]` to the scores of the vocabulary, `[masked tokens, vocabulary]`."""
        scores = tf.matmul(hidden, tf.cast(table, hidden.dtype), transpose_b=True)
        return tf.nn.bias_add(scores, tf.cast(self.bias, hidden.dtype))

    def get_config(self):
        return {
            **super().get_config(),
            "vocabulary_size": self.vocabulary_size,
            "activation": activation_config(self.activation),
            "norm": serialized(self._norm_config),
            "use_bias": self.use_bias,
            "table_dim": self.table_dim,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "remove_padding": self.remove_padding,
        }
