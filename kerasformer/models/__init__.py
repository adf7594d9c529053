"""Functional Keras models, assembled from a frozen config."""

from kerasformer.models.bert import BertConfig, bert
from kerasformer.models.precision import with_precision

__all__ = ["BertConfig", "bert", "with_precision"]
