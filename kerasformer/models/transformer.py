"""The Transformer (Vaswani et al. 2017, arXiv:1706.03762) as a functional Keras model."""

import keras

from kerasformer.errors import InputError
from kerasformer.layers.configs import Config, check_heads, registered
from kerasformer.models.backbone import Backbone, encoder_decoder
from kerasformer.models.configs import (
    AttentionConfig,
    BlockConfig,
    EmbeddingConfig,
    EncoderDecoderConfig,
    FeedForwardConfig,
    ModelConfig,
    NormConfig,
    RelativeBiasConfig,
    RotaryConfig,
)

POSITIONS = ("sinusoidal", "learned", "rotary", "relative")

# Layers (of encoder and decoder each), hidden_dim, intermediate_dim, heads, dropout. base and big: the paper's table 3;
# small: fairseq's for IWSLT; tiny: Wu et al. 2021 (ACL, "Good for Misconceived Reasons").
_PUBLISHED = {
    "tiny": (4, 128, 256, 4, 0.3),
    "small": (6, 512, 1024, 4, 0.3),
    "base": (6, 512, 2048, 8, 0.1),
    "big": (6, 1024, 4096, 16, 0.3),
}


@registered
class TransformerConfig(Config):
    """The sizes of an encoder-decoder; the defaults are the paper's base model.

    Attributes:
        target_vocabulary_size: None for one vocabulary and one embedding table on both sides.
        tie_embeddings: whether the target's table also scores the output.
        positions: "sinusoidal", "learned" (up to `max_sequence_length`), "rotary" or "relative" (T5's).
        norm_first: pre-norm instead of the paper's post-norm.
        dropout: rate where the paper has it, after each sub-layer and on the embeddings.
        attention_dropout: rate on the attention probabilities.

    Raises:
        InputError: a size is not a positive integer, a rate is outside [0, 1), `num_heads` does not divide
            `hidden_dim`, or `positions` is unknown.
    """

    vocabulary_size: int = 37000
    target_vocabulary_size: int | None = None
    hidden_dim: int = 512
    num_encoder_layers: int = 6
    num_decoder_layers: int = 6
    num_heads: int = 8
    intermediate_dim: int = 2048
    max_sequence_length: int = 512
    positions: str = "sinusoidal"
    activation: str = "relu"
    dropout: float = 0.1
    attention_dropout: float = 0.0
    norm_first: bool = False
    tie_embeddings: bool = True
    epsilon: float = 1e-6

    def __post_init__(self):
        self._check_positive("vocabulary_size", "hidden_dim", "num_encoder_layers", "num_decoder_layers", "num_heads")
        self._check_positive("intermediate_dim", "max_sequence_length")
        if self.target_vocabulary_size is not None:
            self._check_positive("target_vocabulary_size")
        self._check_rates("dropout", "attention_dropout")
        self._check_choice("positions", POSITIONS)
        check_heads(self.num_heads, self.hidden_dim)

    @classmethod
    def named(cls, name: str, **changes) -> "TransformerConfig":
        """A published size: "tiny", "small", "base" or "big", with `changes` to its fields."""
        if name not in _PUBLISHED:
            raise InputError(f"`name` must be one of {list(_PUBLISHED)}. Received: name={name!r}.")
        layers, hidden_dim, intermediate_dim, heads, dropout = _PUBLISHED[name]
        sizes = {
            "num_encoder_layers": layers,
            "num_decoder_layers": layers,
            "hidden_dim": hidden_dim,
            "intermediate_dim": intermediate_dim,
            "num_heads": heads,
            "dropout": dropout,
        }
        return cls(**{**sizes, **changes})

    def model_config(self) -> EncoderDecoderConfig:
        """The `EncoderDecoderConfig` of these sizes."""
        target_size = self.target_vocabulary_size or self.vocabulary_size
        return EncoderDecoderConfig(
            self._stack(self.vocabulary_size, self.num_encoder_layers, causal=False),
            self._stack(target_size, self.num_decoder_layers, causal=True),
            share_embeddings=self.target_vocabulary_size is None,
        )

    def _stack(self, vocabulary_size, num_layers, causal):
        norm = NormConfig(epsilon=self.epsilon, placement="pre" if self.norm_first else "post")
        attention = AttentionConfig(self.num_heads, dropout=self.attention_dropout)
        rotary = attention.replace(positions=RotaryConfig() if self.positions == "rotary" else None)
        feed_forward = FeedForwardConfig(self.intermediate_dim, self.activation)
        block = BlockConfig(
            rotary,
            feed_forward,
            norm,
            cross_attention=attention if causal else None,
            causal=causal,
            dropout=self.dropout,
        )
        embedding = EmbeddingConfig(
            vocabulary_size,
            self.hidden_dim,
            positions=self.positions if self.positions in ("sinusoidal", "learned") else None,
            max_sequence_length=self.max_sequence_length,
            scale_by_dim=True,
            dropout=self.dropout,
            initializer_range=None,
        )
        return ModelConfig(
            embedding,
            (block,) * num_layers,
            norm=norm if self.norm_first else None,
            position_bias=RelativeBiasConfig() if self.positions == "relative" else None,
            initializer_range=None,
            tie_output=self.tie_embeddings,
        )


def transformer(
    config: TransformerConfig,
    *,
    remove_padding: bool = True,
    dtype: str | keras.DTypePolicy | None = None,
    name: str = "transformer",
) -> Backbone:
    """Assembles an encoder-decoder.

    Args:
        config: a TransformerConfig.
        remove_padding, dtype, name: as in `encoder_decoder`.

    Returns:
        A `Backbone`, see `encoder_decoder`.
    """
    if not isinstance(config, TransformerConfig):
        raise InputError(f"`config` must be a TransformerConfig. Received: {type(config).__name__}.")
    return encoder_decoder(config.model_config(), remove_padding=remove_padding, dtype=dtype, name=name)
