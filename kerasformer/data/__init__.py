"""Where examples come from (files, TFDS, Hugging Face data sets) and how they are batched."""

from kerasformer.data.batching import batches, batches_of_rows, epoch_order, token_batch_rows, token_batches
from kerasformer.data.corpus import Corpus, smoothed_lines
from kerasformer.data.corpus_records import write_corpus, written_source
from kerasformer.data.documents import Documents, document_batches, load_documents
from kerasformer.data.examples import Examples, from_lists, load_classification, stratified_sample
from kerasformer.data.masking import TokenMasking
from kerasformer.data.oracle import greedy_oracle, with_oracle_labels
from kerasformer.data.pretraining import PretrainingData
from kerasformer.data.question_variants import join_questions, shuffle_sentences, vary_question_marks
from kerasformer.data.questions import Questions, load_questions, question_batches
from kerasformer.data.sources import read_label_names, read_records
from kerasformer.data.tagging import TaggedSentences, load_tagging, tagging_batches
from kerasformer.data.translation import join_examples, load_translation, with_prefix

__all__ = [
    "Corpus",
    "Documents",
    "Examples",
    "PretrainingData",
    "Questions",
    "TaggedSentences",
    "TokenMasking",
    "batches",
    "batches_of_rows",
    "document_batches",
    "epoch_order",
    "from_lists",
    "greedy_oracle",
    "join_examples",
    "join_questions",
    "load_classification",
    "load_documents",
    "load_questions",
    "load_tagging",
    "load_translation",
    "question_batches",
    "read_label_names",
    "read_records",
    "shuffle_sentences",
    "smoothed_lines",
    "stratified_sample",
    "tagging_batches",
    "token_batch_rows",
    "token_batches",
    "vary_question_marks",
    "with_oracle_labels",
    "with_prefix",
    "write_corpus",
    "written_source",
]
