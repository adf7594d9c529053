"""Functional Keras models, assembled from a frozen config."""

from kerasformer.models.bert import BertConfig, bert
from kerasformer.models.lora import enable_lora, freeze
from kerasformer.models.precision import with_precision

__all__ = ["BertConfig", "bert", "enable_lora", "freeze", "with_precision"]
