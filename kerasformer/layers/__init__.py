"""Layers of Transformers, for any functional Keras model. Keras and TensorFlow only: no text, no files."""

from kerasformer.layers.attention import scaled_dot_product_attention
from kerasformer.layers.block import BlockWithScores, TransformerBlock
from kerasformer.layers.cache import KeyValueCache
from kerasformer.layers.configs import (
    AttentionConfig,
    BlockConfig,
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
)
from kerasformer.layers.convolution import TokenConvolution
from kerasformer.layers.crf import Transitions, crf_decode, crf_log_partition, crf_marginals, crf_score
from kerasformer.layers.disentangled import DisentangledAttention, RelativeEmbedding
from kerasformer.layers.dropout import Dropout
from kerasformer.layers.embeddings import TokenEmbedding, TransformerEmbedding
from kerasformer.layers.feed_forward import FeedForward
from kerasformer.layers.inter_sentence_encoder import InterSentenceEncoder
from kerasformer.layers.keyed_dropout import keyed_dropout
from kerasformer.layers.multi_head_attention import MultiHeadAttention
from kerasformer.layers.normalization import LayerNormalization, RMSNormalization
from kerasformer.layers.output_heads import LanguageModelHead, MaskedLanguageModelHead
from kerasformer.layers.padding import (
    PackTokens,
    PaddingLayout,
    SequenceMask,
    TokenPositions,
    UnpackTokens,
    padding_layout,
)
from kerasformer.layers.pooling import (
    FirstToken,
    LastToken,
    MaxPooling,
    MeanPooling,
    MeanSqrtLengthPooling,
    Pooler,
    WeightedMeanPooling,
)
from kerasformer.layers.positions import (
    AttentionPositions,
    LearnedPositionEmbedding,
    RelativePositionBias,
    RotaryPositionEmbedding,
    SinusoidalPositionEmbedding,
)
from kerasformer.layers.vector_layers import VectorLayerConfig

__all__ = [
    "AttentionConfig",
    "AttentionPositions",
    "BlockConfig",
    "BlockWithScores",
    "ConvolutionConfig",
    "DisentangledAttention",
    "DisentangledConfig",
    "Dropout",
    "EmbeddingConfig",
    "FeedForward",
    "FeedForwardConfig",
    "FirstToken",
    "InterSentenceEncoder",
    "KeyValueCache",
    "LanguageModelHead",
    "LastToken",
    "LayerNormalization",
    "LearnedPositionEmbedding",
    "MaskedHeadConfig",
    "MaskedLanguageModelHead",
    "MaxPooling",
    "MeanPooling",
    "MeanSqrtLengthPooling",
    "MultiHeadAttention",
    "NormConfig",
    "PackTokens",
    "PaddingLayout",
    "Pooler",
    "PoolerConfig",
    "RMSNormalization",
    "RelativeBiasConfig",
    "RelativeEmbedding",
    "RelativeEmbeddingConfig",
    "RelativePositionBias",
    "RotaryConfig",
    "RotaryPositionEmbedding",
    "SequenceMask",
    "SinusoidalPositionEmbedding",
    "TokenConvolution",
    "TokenEmbedding",
    "TokenPositions",
    "TransformerBlock",
    "TransformerEmbedding",
    "Transitions",
    "UnpackTokens",
    "VectorLayerConfig",
    "WeightedMeanPooling",
    "crf_decode",
    "crf_log_partition",
    "crf_marginals",
    "crf_score",
    "keyed_dropout",
    "padding_layout",
    "scaled_dot_product_attention",
]
