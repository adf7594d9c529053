"""Where examples come from (files, TFDS, Hugging Face data sets) and how they are batched."""

from kerasformer.data.batching import batches, batches_of_rows, epoch_order, token_batch_rows, token_batches
from kerasformer.data.documents import Documents, document_batches, load_documents
from kerasformer.data.examples import Examples, load_classification
from kerasformer.data.sources import read_label_names, read_records

__all__ = [
    "Documents",
    "Examples",
    "batches",
    "batches_of_rows",
    "document_batches",
    "epoch_order",
    "load_classification",
    "load_documents",
    "read_label_names",
    "read_records",
    "token_batch_rows",
    "token_batches",
]
