"""BERT (Devlin et al. 2019, arXiv:1810.04805) as a functional Keras model."""

import keras

from kerasformer.errors import InputError
from kerasformer.layers.configs import Config, check_heads, registered
from kerasformer.models.backbone import Backbone, encoder
from kerasformer.models.configs import (
    AttentionConfig,
    BlockConfig,
    EmbeddingConfig,
    FeedForwardConfig,
    ModelConfig,
    NormConfig,
)

# Layers and width, as published: base and large with the paper, the others with Turc et al. 2019 (arXiv:1908.08962).
_PUBLISHED = {
    "tiny": (2, 128),
    "mini": (4, 256),
    "small": (4, 512),
    "medium": (8, 512),
    "base": (12, 768),
    "large": (24, 1024),
}


@registered
class BertConfig(Config):
    """The sizes of a BERT; the defaults are BERT-base, uncased.

    Raises:
        InputError: a size is not a positive integer, a rate is outside [0, 1), or `num_heads` does not divide
            `hidden_dim`.
    """

    vocabulary_size: int = 30522
    hidden_dim: int = 768
    num_layers: int = 12
    num_heads: int = 12
    intermediate_dim: int = 3072
    max_sequence_length: int = 512
    num_segments: int = 2
    activation: str = "gelu"
    dropout: float = 0.1
    attention_dropout: float = 0.1
    epsilon: float = 1e-12
    initializer_range: float = 0.02

    def __post_init__(self):
        self._check_positive("vocabulary_size", "hidden_dim", "num_layers", "num_heads", "intermediate_dim")
        self._check_positive("max_sequence_length", "num_segments")
        self._check_rates("dropout", "attention_dropout")
        check_heads(self.num_heads, self.hidden_dim)

    @classmethod
    def named(cls, name: str, **changes) -> "BertConfig":
        """A published size: "tiny", "mini", "small", "medium", "base" or "large", with `changes` to its fields."""
        if name not in _PUBLISHED:
            raise InputError(f"`name` must be one of {list(_PUBLISHED)}. Received: name={name!r}.")
        layers, width = _PUBLISHED[name]
        sizes = {"num_layers": layers, "hidden_dim": width, "num_heads": width // 64, "intermediate_dim": 4 * width}
        return cls(**{**sizes, **changes})

    def model_config(self) -> ModelConfig:
        """The `ModelConfig` of these sizes: post-norm blocks, learned positions, segments."""
        norm = NormConfig(epsilon=self.epsilon)
        block = BlockConfig(
            AttentionConfig(self.num_heads, dropout=self.attention_dropout),
            FeedForwardConfig(self.intermediate_dim, self.activation),
            norm,
            dropout=self.dropout,
        )
        embedding = EmbeddingConfig(
            self.vocabulary_size,
            self.hidden_dim,
            max_sequence_length=self.max_sequence_length,
            num_segments=self.num_segments,
            norm=norm,
            dropout=self.dropout,
            initializer_range=self.initializer_range,
        )
        return ModelConfig(embedding, (block,) * self.num_layers, initializer_range=self.initializer_range)


def bert(
    config: BertConfig,
    pooled: bool = False,
    *,
    remove_padding: bool = True,
    packed_sequences: bool = False,
    dtype: str | keras.DTypePolicy | None = None,
    name: str = "bert",
) -> Backbone:
    """Assembles a BERT encoder.

    Args:
        config: a BertConfig.
        pooled, remove_padding, packed_sequences, dtype, name: as in `encoder`.

    Returns:
        A `Backbone`, see `encoder`.
    """
    if not isinstance(config, BertConfig):
        raise InputError(f"`config` must be a BertConfig. Received: {type(config).__name__}.")
    return encoder(
        config.model_config(),
        pooled=pooled,
        remove_padding=remove_padding,
        packed_sequences=packed_sequences,
        dtype=dtype,
        name=name,
    )
