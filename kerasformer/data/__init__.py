"""Where examples come from (files, TFDS, Hugging Face data sets) and how they are batched."""

from kerasformer.data.batching import batches, batches_of_rows, epoch_order, token_batch_rows, token_batches
from kerasformer.data.examples import Examples, load_classification
from kerasformer.data.sources import read_label_names, read_records
from kerasformer.data.translation import join_examples, load_translation, with_prefix

__all__ = [
    "Examples",
    "batches",
    "batches_of_rows",
    "epoch_order",
    "join_examples",
    "load_classification",
    "load_translation",
    "read_label_names",
    "read_records",
    "token_batch_rows",
    "token_batches",
    "with_prefix",
]
