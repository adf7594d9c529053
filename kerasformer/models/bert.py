"""BERT (Devlin et al. 2019, arXiv:1810.04805) as a functional Keras model."""

import dataclasses

import keras

from kerasformer.errors import InputError
from kerasformer.layers import (
    BertEmbedding,
    EncoderBlock,
    FirstToken,
    PackTokens,
    PaddingLayout,
    SequenceMask,
    TokenPositions,
    UnpackTokens,
)
from kerasformer.models.config import check_positive, check_rate

# Layers and width, as published: base and large with the paper, the others with Turc et al. 2019 (arXiv:1908.08962).
_PUBLISHED = {
    "tiny": (2, 128),
    "mini": (4, 256),
    "small": (4, 512),
    "medium": (8, 512),
    "base": (12, 768),
    "large": (24, 1024),
}


@dataclasses.dataclass(frozen=True)
class BertConfig:
    """The shape of a BERT; the defaults are BERT-base, uncased.

    Raises:
        InputError: a size is not a positive integer, a rate is outside [0, 1), or `num_heads` does not divide `width`.
    """

    vocabulary_size: int = 30522
    width: int = 768
    num_layers: int = 12
    num_heads: int = 12
    inner_width: int = 3072
    max_length: int = 512
    num_segments: int = 2
    activation: str = "gelu"
    dropout: float = 0.1
    attention_dropout: float = 0.1
    epsilon: float = 1e-12
    initializer_range: float = 0.02

    def __post_init__(self):
        check_positive(
            self,
            "vocabulary_size",
            "width",
            "num_layers",
            "num_heads",
            "inner_width",
            "max_length",
            "num_segments",
        )
        check_rate(self, "dropout", "attention_dropout")
        if self.width % self.num_heads:
            raise InputError(
                f"`num_heads` must divide `width`. Received: num_heads={self.num_heads}, width={self.width}."
            )

    @classmethod
    def named(cls, name, **changes):
        """A published size: "tiny", "mini", "small", "medium", "base" or "large", with `changes` to its fields."""
        if name not in _PUBLISHED:
            raise InputError(f"`name` must be one of {list(_PUBLISHED)}. Received: name={name!r}.")
        layers, width = _PUBLISHED[name]
        sizes = {"num_layers": layers, "width": width, "num_heads": width // 64, "inner_width": 4 * width}
        return cls(**{**sizes, **changes})


def bert(config, pooled=False, *, remove_padding=True, packed_sequences=False, dtype=None, name="bert"):
    """Assembles a BERT encoder.

    Inputs, int32 `[batch, length]`: `token_ids`, `segment_ids`, and `padding_mask`, 1 for real tokens. Between the
    embeddings and the last block only real tokens are computed.

    Args:
        config: a BertConfig.
        pooled: also return BERT's pooler of the first token, tanh(dense(x)).
        remove_padding: False keeps every shape static, for XLA with fixed lengths and for TPUs; same results.
        packed_sequences: several sequences may stand in a row, numbered from 1 on by `padding_mask`; none sees another
            (see `kf.data.PretrainingData`). With a mask of ones it computes what it does without.
        dtype: Keras dtype or policy, such as "mixed_bfloat16"; by default Keras's global policy.

    Returns:
        A functional `keras.Model` from the three inputs to `{"sequence_output": [batch, length, width]}`, zero at
        padding, and with `pooled` also `"pooled_output": [batch, width]`.
    """
    policy = keras.dtype_policies.get(dtype) if dtype is not None else keras.config.dtype_policy()

    def initializer():
        return keras.initializers.TruncatedNormal(stddev=config.initializer_range)

    inputs = {
        key: keras.Input((None,), dtype="int32", name=key) for key in ("token_ids", "segment_ids", "padding_mask")
    }
    mask = inputs["padding_mask"]
    layout = PaddingLayout(name="padding_layout")(mask) if remove_padding else None

    token_ids = PackTokens(name="pack_token_ids")(inputs["token_ids"], layout=layout)
    segment_ids = PackTokens(name="pack_segment_ids")(inputs["segment_ids"], layout=layout)
    positions = TokenPositions(packed_sequences, name="positions")(mask, layout=layout)
    attention_mask = SequenceMask(name="sequence_mask")(mask) if packed_sequences else None

    embedding = BertEmbedding(
        config.vocabulary_size,
        config.num_segments,
        config.max_length,
        config.width,
        dropout=config.dropout,
        epsilon=config.epsilon,
        initializer=initializer(),
        dtype=policy,
        name="embedding",
    )
    x = embedding(token_ids, segment_ids, positions)

    for index in range(config.num_layers):
        block = EncoderBlock(
            config.num_heads,
            config.inner_width,
            activation=config.activation,
            dropout=config.dropout,
            attention_dropout=config.attention_dropout,
            epsilon=config.epsilon,
            kernel_initializer=initializer(),
            dtype=policy,
            name=f"block_{index}",
        )
        x, block_input = block(x, padding_mask=mask, attention_mask=attention_mask, layout=layout), x

    outputs = {"sequence_output": UnpackTokens(name="sequence_output")(x, mask, layout=layout)}
    if pooled:
        # The last block a second time, for the first tokens alone: a model that reads `pooled_output` and nothing else
        # then never computes the block for the other tokens.
        if packed_sequences:
            first = FirstToken(name="first_token")(outputs["sequence_output"])
        else:
            first = block(block_input, padding_mask=mask, layout=layout, first_token_only=True)
        pooler = keras.layers.Dense(
            config.width, activation="tanh", kernel_initializer=initializer(), dtype=policy, name="pooler"
        )
        outputs["pooled_output"] = pooler(first)
    return keras.Model(inputs, outputs, name=name)
