"""The embeddings that BERT starts with."""

import keras

from kerasformer.layers.dropout import Dropout
from kerasformer.layers.learned_position_embedding import LearnedPositionEmbedding
from kerasformer.layers.normalization import LayerNormalization
from kerasformer.layers.token_embedding import TokenEmbedding


@keras.saving.register_keras_serializable(package="kerasformer")
class BertEmbedding(keras.layers.Layer):
    """The sum of token, segment and learned position embeddings, normalized (Devlin et al. 2019, section 3, figure 2).

    Args:
        vocabulary_size, num_segments, max_length: sizes of the three tables.
        width: of the embeddings.
        dropout: rate after the normalization, when training.
        epsilon: of the normalization.
        initializer: of the tables.

    Call:
        token_ids, segment_ids, positions: int32 `[tokens]` each; returns `[tokens, width]`.
    """

    def __init__(
        self,
        vocabulary_size,
        num_segments,
        max_length,
        width,
        dropout=0.0,
        epsilon=1e-12,
        initializer="uniform",
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.dropout = dropout
        self.initializer = keras.initializers.get(initializer)
        policy = self.dtype_policy
        self.token = TokenEmbedding(vocabulary_size, width, self.initializer, dtype=policy, name="token")
        self.segment = TokenEmbedding(num_segments, width, self.initializer.clone(), dtype=policy, name="segment")
        self.position = LearnedPositionEmbedding(max_length, self.initializer.clone(), dtype=policy, name="position")
        self.norm = LayerNormalization(epsilon, dtype=policy, name="norm")
        self._dropout = Dropout(dropout, dtype=policy, name="dropout")

    def build(self, token_ids_shape, segment_ids_shape, positions_shape):
        self.token.build()
        self.segment.build()
        self.position.build((None, self.token.width))
        self.norm.build((None, self.token.width))

    def call(self, token_ids, segment_ids, positions, training=None):
        tokens = self.token(token_ids)
        embeddings = tokens + self.segment(segment_ids) + self.position(tokens, positions=positions)
        return self._dropout(self.norm(embeddings, training=training), training=training)

    def get_config(self):
        return {
            **super().get_config(),
            "vocabulary_size": self.token.vocabulary_size,
            "num_segments": self.segment.vocabulary_size,
            "max_length": self.position.max_length,
            "width": self.token.width,
            "dropout": self.dropout,
            "epsilon": self.norm.epsilon,
            "initializer": keras.initializers.serialize(self.initializer),
        }
