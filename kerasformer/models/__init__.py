"""Functional Keras models, assembled from a frozen config."""

from kerasformer.models import transforms
from kerasformer.models.backbone import Backbone, decoder, encoder, encoder_decoder
from kerasformer.models.bert import BertConfig, bert
from kerasformer.models.configs import (
    AttentionConfig,
    BlockConfig,
    ConvolutionConfig,
    DisentangledConfig,
    EmbeddingConfig,
    EncoderDecoderConfig,
    FeedForwardConfig,
    MaskedHeadConfig,
    ModelConfig,
    NormConfig,
    PoolerConfig,
    RelativeBiasConfig,
    RelativeEmbeddingConfig,
    RotaryConfig,
)
from kerasformer.models.int8 import Int8Plan, int8_plan, int8_storage_plan, use_int8
from kerasformer.models.steps import DecoderSteps
from kerasformer.models.transformer import TransformerConfig, transformer
from kerasformer.models.transforms import enable_lora, freeze, with_precision

__all__ = [
    "AttentionConfig",
    "Backbone",
    "BertConfig",
    "BlockConfig",
    "ConvolutionConfig",
    "DecoderSteps",
    "DisentangledConfig",
    "EmbeddingConfig",
    "EncoderDecoderConfig",
    "FeedForwardConfig",
    "Int8Plan",
    "MaskedHeadConfig",
    "ModelConfig",
    "NormConfig",
    "PoolerConfig",
    "RelativeBiasConfig",
    "RelativeEmbeddingConfig",
    "RotaryConfig",
    "TransformerConfig",
    "bert",
    "decoder",
    "enable_lora",
    "encoder",
    "encoder_decoder",
    "freeze",
    "int8_plan",
    "int8_storage_plan",
    "transformer",
    "transforms",
    "use_int8",
    "with_precision",
]
