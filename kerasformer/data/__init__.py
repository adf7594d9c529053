"""Where examples come from (files, TFDS, Hugging Face data sets) and how they are batched."""

<<<<<<< HEAD
from kerasformer.data.batching import batches, batches_of_rows, epoch_order, token_batch_rows, token_batches
=======
from kerasformer.data.batching import batches, epoch_order
from kerasformer.data.documents import Documents, document_batches, load_documents
>>>>>>> 4eab991 (Sentences in the graph, extractive summaries, tweets normalized in the graph)
from kerasformer.data.examples import Examples, load_classification
from kerasformer.data.sources import read_label_names, read_records

__all__ = [
<<<<<<< HEAD
    "Examples",
    "batches",
    "batches_of_rows",
    "epoch_order",
    "load_classification",
    "read_label_names",
    "read_records",
    "token_batch_rows",
    "token_batches",
=======
    "Documents",
    "Examples",
    "batches",
    "document_batches",
    "epoch_order",
    "load_classification",
    "load_documents",
    "read_label_names",
    "read_records",
>>>>>>> 4eab991 (Sentences in the graph, extractive summaries, tweets normalized in the graph)
]
