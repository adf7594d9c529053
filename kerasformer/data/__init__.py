"""Where examples come from (files, TFDS, Hugging Face data sets) and how they are batched."""

from kerasformer.data.batching import batches, epoch_order
from kerasformer.data.examples import Examples, load_classification
from kerasformer.data.sources import read_label_names, read_records

__all__ = ["Examples", "batches", "epoch_order", "load_classification", "read_label_names", "read_records"]
