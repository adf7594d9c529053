"""Frozen configs of models."""

from kerasformer.errors import InputError
from kerasformer.layers.configs import (
    AttentionConfig,
    BlockConfig,
    Config,
    ConvolutionConfig,
    DisentangledConfig,
    EmbeddingConfig,
    FeedForwardConfig,
    MaskedHeadConfig,
    NormConfig,
    PoolerConfig,
    RelativeBiasConfig,
    RelativeEmbeddingConfig,
    RotaryConfig,
    check_heads,
    registered,
)

__all__ = [
    "AttentionConfig",
    "BlockConfig",
    "ConvolutionConfig",
    "DisentangledConfig",
    "EmbeddingConfig",
    "EncoderDecoderConfig",
    "FeedForwardConfig",
    "MaskedHeadConfig",
    "ModelConfig",
    "NormConfig",
    "PoolerConfig",
    "RelativeBiasConfig",
    "RelativeEmbeddingConfig",
    "RotaryConfig",
]


@registered
class ModelConfig(Config):
    """An encoder, or a decoder: an embedding and a stack of blocks.

    Attributes:
        embedding: EmbeddingConfig.
        blocks: a BlockConfig for each block, in order.
        share_blocks: whether all blocks are one layer, called again and again (ALBERT); they must be equal.
        norm: NormConfig of a normalization after the last block, or None.
        position_bias: RelativeBiasConfig of one table that all blocks share, or None.
        relative_embedding: RelativeEmbeddingConfig of the vectors that all blocks share, where these have disentangled
            attention; else None.
        convolution: ConvolutionConfig of a convolution beside the first block, or None.
        initializer_range: standard deviation of the blocks' projections; None for Glorot's uniform distribution.
        tie_output: of a decoder, whether the token embeddings also score the vocabulary.
        pooler: PoolerConfig of an encoder's `pooled_output`.
        masked_head: MaskedHeadConfig of the head for masked tokens on an encoder; None for BERT's: the activation and
            the normalization of the last block, with a bias.
        transform_tokens: whether a head that scores single tokens reads them through a layer of its own, as `pooler`
            describes it but for the pooling.
    """

    embedding: EmbeddingConfig
    blocks: tuple[BlockConfig, ...]
    share_blocks: bool = False
    norm: NormConfig | None = None
    position_bias: RelativeBiasConfig | None = None
    relative_embedding: RelativeEmbeddingConfig | None = None
    convolution: ConvolutionConfig | None = None
    initializer_range: float | None = 0.02
    tie_output: bool = True
    pooler: PoolerConfig = PoolerConfig()
    masked_head: MaskedHeadConfig | None = None
    transform_tokens: bool = False

    def __post_init__(self):
        object.__setattr__(self, "blocks", tuple(self.blocks))
        if not isinstance(self.embedding, EmbeddingConfig):
            raise InputError(f"`embedding` must be an EmbeddingConfig. Received: {self.embedding!r}.")
        if not self.blocks or not all(isinstance(block, BlockConfig) for block in self.blocks):
            raise InputError(f"`blocks` must hold a BlockConfig for each block. Received: blocks={self.blocks!r}.")
        if not isinstance(self.pooler, PoolerConfig):
            raise InputError(f"`pooler` must be a PoolerConfig. Received: pooler={self.pooler!r}.")
        if self.masked_head is not None and not isinstance(self.masked_head, MaskedHeadConfig):
            raise InputError(f"`masked_head` must be a MaskedHeadConfig or None. Received: {self.masked_head!r}.")
        if self.share_blocks and len(set(self.blocks)) > 1:
            raise InputError("Shared blocks must have equal configs. Received: different ones.")
        disentangled = {isinstance(block.attention.positions, DisentangledConfig) for block in self.blocks}
        if disentangled != {isinstance(self.relative_embedding, RelativeEmbeddingConfig)}:
            raise InputError(
                "All blocks need disentangled attention where there is a `relative_embedding`, and none where there is "
                f"not. Received: relative_embedding={self.relative_embedding!r}."
            )
        if self.convolution is not None and not isinstance(self.convolution, ConvolutionConfig):
            raise InputError(f"`convolution` must be a ConvolutionConfig or None. Received: {self.convolution!r}.")
        if self.convolution is not None and self.blocks[0].causal:
            raise InputError("A `convolution` reads later tokens too, and needs blocks that are not causal.")
        for block in self.blocks:
            if block.attention.head_dim is None:
                check_heads(block.attention.num_heads, self.hidden_dim)

    @property
    def hidden_dim(self):
        return self.embedding.hidden_dim

    @property
    def num_layers(self):
        return len(self.blocks)

    @property
    def vocabulary_size(self):
        return self.embedding.vocabulary_size

    @property
    def max_sequence_length(self):
        """Number of positions; None where they are unlimited."""
        return self.embedding.max_sequence_length if self.embedding.positions == "learned" else None

    def with_dropout(self, dropout, attention_dropout=None):
        """A copy with other dropout rates, that of attention by default the same."""
        attention_dropout = dropout if attention_dropout is None else attention_dropout

        def changed(block):
            cross = block.cross_attention and block.cross_attention.replace(dropout=attention_dropout)
            attention = block.attention.replace(dropout=attention_dropout)
            if isinstance(attention.positions, DisentangledConfig):
                attention = attention.replace(positions=attention.positions.replace(dropout=dropout))
            return block.replace(dropout=dropout, attention=attention, cross_attention=cross)

        return self.replace(
            embedding=self.embedding.replace(dropout=dropout),
            blocks=tuple(changed(block) for block in self.blocks),
            convolution=self.convolution and self.convolution.replace(dropout=dropout),
        )


@registered
class EncoderDecoderConfig(Config):
    """An encoder-decoder.

    Attributes:
        encoder: ModelConfig.
        decoder: ModelConfig whose blocks have cross-attention and are causal.
        share_embeddings: whether both sides use one embedding layer; their `embedding` configs must be equal.
    """

    encoder: ModelConfig
    decoder: ModelConfig
    share_embeddings: bool = True

    def __post_init__(self):
        for name in ("encoder", "decoder"):
            if not isinstance(getattr(self, name), ModelConfig):
                raise InputError(f"`{name}` must be a ModelConfig. Received: {getattr(self, name)!r}.")
        if any(block.cross_attention is None or not block.causal for block in self.decoder.blocks):
            raise InputError("All decoder blocks need `cross_attention` and must be causal. Received: other blocks.")
        if self.share_embeddings and self.encoder.embedding != self.decoder.embedding:
            raise InputError("Shared embeddings need equal `embedding` configs. Received: different ones.")
