"""The Transformer (Vaswani et al. 2017, arXiv:1706.03762) as a functional Keras model."""

import dataclasses

import keras

from kerasformer.errors import InputError
from kerasformer.layers import (
    DecoderBlock,
    EncoderBlock,
    LayerNormalization,
    PackTokens,
    PaddingLayout,
    RelativePositionBias,
    TokenAndPositionEmbedding,
    TokenPositions,
    TokenScores,
    UnpackTokens,
)
from kerasformer.models.config import check_positive, check_rate

POSITIONS = ("sinusoidal", "learned", "rotary", "relative")

# Layers (of encoder and decoder each), width, inner width, heads, dropout. base and big: the paper's table 3; small:
# fairseq's for IWSLT; tiny: Wu et al. 2021 (ACL, "Good for Misconceived Reasons").
_PUBLISHED = {
    "tiny": (4, 128, 256, 4, 0.3),
    "small": (6, 512, 1024, 4, 0.3),
    "base": (6, 512, 2048, 8, 0.1),
    "big": (6, 1024, 4096, 16, 0.3),
}


@dataclasses.dataclass(frozen=True)
class TransformerConfig:
    """The shape of an encoder-decoder; the defaults are the paper's base model.

    `target_vocabulary_size` None: one vocabulary and one embedding table for both sides. `tie_embeddings`: the target's
    table also scores the output. `positions`: "sinusoidal", "learned" (up to `max_length`), "rotary" or "relative"
    (T5's). `norm_first`: pre-norm instead of the paper's post-norm. Dropout stands where the paper has it, after each
    sub-layer and on the embeddings; `attention_dropout` is beside it.

    Raises:
        InputError: a size is not a positive integer, a rate is outside [0, 1), `num_heads` does not divide `width`, or
            `positions` is unknown.
    """

    vocabulary_size: int = 37000
    target_vocabulary_size: int | None = None
    width: int = 512
    num_encoder_layers: int = 6
    num_decoder_layers: int = 6
    num_heads: int = 8
    inner_width: int = 2048
    max_length: int = 512
    positions: str = "sinusoidal"
    activation: str = "relu"
    dropout: float = 0.1
    attention_dropout: float = 0.0
    norm_first: bool = False
    tie_embeddings: bool = True
    epsilon: float = 1e-6

    def __post_init__(self):
        sizes = ["vocabulary_size", "width", "num_encoder_layers", "num_decoder_layers", "num_heads", "inner_width"]
        sizes += ["max_length"] + ["target_vocabulary_size"] * (self.target_vocabulary_size is not None)
        check_positive(self, *sizes)
        check_rate(self, "dropout", "attention_dropout")
        if self.width % self.num_heads:
            raise InputError(
                f"`num_heads` must divide `width`. Received: num_heads={self.num_heads}, width={self.width}."
            )
        if self.positions not in POSITIONS:
            raise InputError(f"`positions` must be one of {list(POSITIONS)}. Received: positions={self.positions!r}.")

    @classmethod
    def named(cls, name, **changes):
        """A published size: "tiny", "small", "base" or "big", with `changes` to its fields."""
        if name not in _PUBLISHED:
            raise InputError(f"`name` must be one of {list(_PUBLISHED)}. Received: name={name!r}.")
        layers, width, inner_width, heads, dropout = _PUBLISHED[name]
        sizes = {
            "num_encoder_layers": layers,
            "num_decoder_layers": layers,
            "width": width,
            "inner_width": inner_width,
            "num_heads": heads,
            "dropout": dropout,
        }
        return cls(**{**sizes, **changes})


def transformer(config, *, remove_padding=True, dtype=None, name="transformer"):
    """Assembles an encoder-decoder.

    Inputs, int32 `[batch, source length]` and `[batch, target length]`: `source_token_ids`, `source_padding_mask`,
    `target_token_ids` (of each position the token before it, a start token first), `target_padding_mask`. Between the
    embeddings and the output only real tokens are computed, on both sides.

    Args:
        config: a TransformerConfig.
        remove_padding: False keeps every shape static, for XLA with fixed lengths and for TPUs; same results.
        dtype: Keras dtype or policy, such as "mixed_bfloat16"; by default Keras's global policy.

    Returns:
        A functional `keras.Model` from the four inputs to `{"logits": [batch, target length, vocabulary]}`, zero at
        padding. `TransformerSteps` decodes with it step by step.
    """
    policy = keras.dtype_policies.get(dtype) if dtype is not None else keras.config.dtype_policy()
    inputs = {
        f"{side}_{key}": keras.Input((None,), dtype="int32", name=f"{side}_{key}")
        for side in ("source", "target")
        for key in ("token_ids", "padding_mask")
    }
    block = {
        "num_heads": config.num_heads,
        "inner_width": config.inner_width,
        "activation": config.activation,
        "dropout": config.dropout,
        "attention_dropout": config.attention_dropout,
        "norm_first": config.norm_first,
        "epsilon": config.epsilon,
        "rotary": config.positions == "rotary",
        "dtype": policy,
    }
    shared = config.target_vocabulary_size is None
    source_embedding = _embedding(config, config.vocabulary_size, policy, "embedding" if shared else "source_embedding")
    target_embedding = (
        source_embedding if shared else _embedding(config, config.target_vocabulary_size, policy, "target_embedding")
    )

    mask, layout, x, bias = _embedded("source", inputs, source_embedding, config, remove_padding, policy)
    for index in range(config.num_encoder_layers):
        x = EncoderBlock(**block, name=f"encoder_block_{index}")(x, padding_mask=mask, layout=layout, bias=bias)
    memory = LayerNormalization(config.epsilon, dtype=policy, name="encoder_norm")(x) if config.norm_first else x

    memory_mask, memory_layout = mask, layout
    mask, layout, x, bias = _embedded("target", inputs, target_embedding, config, remove_padding, policy)
    for index in range(config.num_decoder_layers):
        x = DecoderBlock(**block, name=f"decoder_block_{index}")(
            x,
            memory,
            padding_mask=mask,
            memory_padding_mask=memory_mask,
            layout=layout,
            memory_layout=memory_layout,
            bias=bias,
        )
    if config.norm_first:
        x = LayerNormalization(config.epsilon, dtype=policy, name="decoder_norm")(x)
    if config.tie_embeddings:
        logits = target_embedding(x, reverse=True)
    else:
        size = config.target_vocabulary_size or config.vocabulary_size
        logits = TokenScores(size, dtype=policy, name="output")(x)
    return keras.Model(inputs, {"logits": UnpackTokens(name="logits")(logits, mask, layout=layout)}, name=name)


def _embedding(config, vocabulary_size, policy, name):
    positions = config.positions if config.positions in ("sinusoidal", "learned") else "none"
    max_length = config.max_length if positions == "learned" else None
    return TokenAndPositionEmbedding(
        vocabulary_size, config.width, positions, max_length, config.dropout, dtype=policy, name=name
    )


def _embedded(side, inputs, embedding, config, remove_padding, policy):
    """Padding mask, layout, packed embeddings and relative position bias (or None) of one side."""
    mask = inputs[f"{side}_padding_mask"]
    layout = PaddingLayout(name=f"{side}_layout")(mask) if remove_padding else None
    token_ids = PackTokens(name=f"{side}_tokens")(inputs[f"{side}_token_ids"], layout=layout)
    positions = TokenPositions(name=f"{side}_positions")(mask, layout=layout)
    bias = None
    if config.positions == "relative":
        bias_layer = RelativePositionBias(
            config.num_heads, bidirectional=side == "source", dtype=policy, name=f"{side}_position_bias"
        )
        bias = bias_layer(mask)
    return mask, layout, embedding(token_ids, positions), bias
