"""Functional Keras models, assembled from a frozen config."""

from kerasformer.models.bert import BertConfig, bert
from kerasformer.models.lora import enable_lora, freeze
from kerasformer.models.precision import with_precision
from kerasformer.models.transformer import TransformerConfig, transformer
from kerasformer.models.transformer_steps import TransformerSteps

__all__ = [
    "BertConfig",
    "TransformerConfig",
    "TransformerSteps",
    "bert",
    "enable_lora",
    "freeze",
    "transformer",
    "with_precision",
]
