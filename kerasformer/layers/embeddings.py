"""Token embeddings, and the embedding that a Transformer begins with."""

import contextlib

import keras
import tensorflow as tf

from kerasformer._compat import is_compiled_by_xla
from kerasformer.errors import InputError
from kerasformer.layers.base import Layer
from kerasformer.layers.configs import EmbeddingConfig, serialized
from kerasformer.layers.dropout import Dropout
from kerasformer.layers.normalization import normalization
from kerasformer.layers.positions import LearnedPositionEmbedding, SinusoidalPositionEmbedding
from kerasformer.layers.projection import TableProjection, table_rows


@keras.saving.register_keras_serializable(package="kerasformer")
class TokenEmbedding(Layer):
    """A trained vector for each token of a vocabulary.

    Differs from `keras.layers.Embedding` in mixed precision: the rows that are looked up are cast, not the table.

    Args:
        vocabulary_size: number of tokens.
        dim: width of a vector.
        initializer: of the table.

    Call:
        token_ids: int32, any shape S; returns `S + [dim]`.
    """

    _input_dtype = "int32"
    # Whether the table is kept as 8-bit integers, see `use_int8`.
    int8 = False
    # Where ids are looked up instead, see `reading`.
    _other_table = None

    def __init__(self, vocabulary_size, dim, initializer="uniform", **kwargs):
        super().__init__(**kwargs)
        self.vocabulary_size = vocabulary_size
        self.dim = dim
        self.initializer = keras.initializers.get(initializer)

    def build(self, input_shape=None):
        self.embeddings = self.add_weight(
            name="embeddings", shape=(self.vocabulary_size, self.dim), initializer=self.initializer, autocast=False
        )

    @contextlib.contextmanager
    def reading(self, table):
        """Looks ids up in another table, `[rows, dim]`, while the block runs.

        With rows of one's own and their numbers as `token_ids`, a model computes from vectors instead of tokens, and
        has gradients with respect to them.
        """
        before, self._other_table = self._other_table, table
        try:
            yield
        finally:
            self._other_table = before

    def call(self, token_ids):
        if self._other_table is not None:
            return tf.cast(tf.gather(self._other_table, token_ids), self.compute_dtype)
        return table_rows(self.embeddings, token_ids, self.compute_dtype, self.int8)

    def get_config(self):
        return {
            **super().get_config(),
            "vocabulary_size": self.vocabulary_size,
            "dim": self.dim,
            "initializer": keras.initializers.serialize(self.initializer),
        }


@keras.saving.register_keras_serializable(package="kerasformer")
class TransformerEmbedding(Layer):
    """The sum of token, position and segment embeddings that a Transformer begins with, as its config says (Vaswani et
    al. 2017, sections 3.4 and 3.5; Devlin et al. 2019, figure 2).

    Args:
        config: an `EmbeddingConfig`.

    Call:
        inputs: int32 token ids, any shape S; commonly packed, `[tokens]`.
        segment_ids: int32, shape S; None for 0 everywhere. Only read where there are segments.
        positions: int32, broadcastable to S, each below `max_sequence_length`; None for 0, 1, 2, ... along the last
            axis of S.
        reverse: score each token of the vocabulary instead, with the table of token embeddings (tied output):
            `inputs` is `[..., embedding_dim]`.

    Returns:
        `S + [hidden_dim]`; with `reverse`, `[..., vocabulary_size]`.

    Attributes:
        token, segment, position, norm, projection: the parts; None where there is none.
        scores: the tied output, a `TableProjection`.
    """

    _input_dtype = "int32"

    def __init__(self, config, **kwargs):
        super().__init__(**kwargs)
        if not isinstance(config, EmbeddingConfig):
            raise InputError(f"`config` must be an EmbeddingConfig. Received: config={config!r}.")
        self.config = config
        self.dim = config.table_dim
        policy = self.dtype_policy
        self.token = TokenEmbedding(config.vocabulary_size, self.dim, self._initializer(), dtype=policy, name="token")
        self.scores = TableProjection(self, lambda: self.token.embeddings)
        self.segment = self.position = self.norm = self.projection = None
        if config.num_segments:
            self.segment = TokenEmbedding(
                config.num_segments, self.dim, self._initializer(), dtype=policy, name="segment"
            )
        if config.positions == "sinusoidal":
            self.position = SinusoidalPositionEmbedding(dtype=policy, name="position")
        elif config.positions == "learned":
            self.position = LearnedPositionEmbedding(
                config.max_sequence_length, self._initializer(), config.position_offset, dtype=policy, name="position"
            )
        if config.norm is not None:
            self.norm = normalization(config.norm, dtype=policy, name="norm")
        if config.embedding_dim is not None:
            self.projection = keras.layers.Dense(
                config.hidden_dim, kernel_initializer=self._initializer(), dtype=policy, name="projection"
            )
        self._dropout = Dropout(config.dropout, dtype=policy, name="dropout")

    def _initializer(self):
        if self.config.initializer_range is None:
            return keras.initializers.RandomNormal(stddev=self.dim**-0.5)
        return keras.initializers.TruncatedNormal(stddev=self.config.initializer_range)

    def build(self, inputs_shape=None, segment_ids_shape=None, positions_shape=None):
        self.token.build()
        for layer in (self.segment, self.position, self.norm, self.projection):
            if layer is not None:
                layer.build((None, self.dim))

    def call(self, inputs, segment_ids=None, positions=None, reverse=False, training=None):
        if reverse:
            return self.scores(inputs)
        embedded = self.token(inputs)
        if self.config.scale_by_dim:
            embedded *= tf.cast(self.dim**0.5, self.compute_dtype)
        if self.segment is not None:
            embedded += self.segment(tf.zeros_like(inputs) if segment_ids is None else segment_ids)
        if self.position is not None:
            embedded += self._position_embeddings(embedded, positions)
        if self.norm is not None:
            embedded = self.norm(embedded, training=training)
        embedded = self._dropout(embedded, training=training)
        return embedded if self.projection is None else self.projection(embedded)

    def _position_embeddings(self, embedded, positions):
        if positions is None or self.config.positions == "learned":
            return self.position(embedded, positions)
        if len(positions.shape) > 1:
            return self.position(tf.zeros(tf.concat([tf.shape(positions), [self.dim]], 0)), positions)
        if is_compiled_by_xla():  # which must know all shapes
            return self.position(embedded, positions)
        # Packed tokens: each position's sines are computed once, not once a token.
        length = tf.reduce_max(tf.concat([positions, [0]], 0)) + 1
        return tf.gather(self.position(tf.zeros([length, self.dim])), positions)

    def get_config(self):
        return {**super().get_config(), "config": serialized(self.config)}
