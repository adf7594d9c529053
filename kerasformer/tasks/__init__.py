"""Tasks: model, tokenizer and answer, saved and served together."""

from kerasformer.tasks.averaging import average_tasks
from kerasformer.tasks.bert_pretraining import BertPretraining
from kerasformer.tasks.extractive_summarizer import ExtractiveSummarizer
from kerasformer.tasks.question_answerer import QuestionAnswerer
from kerasformer.tasks.tagger import Tagger
from kerasformer.tasks.task import load
from kerasformer.tasks.text_classifier import TextClassifier
from kerasformer.tasks.text_embedder import TextEmbedder
from kerasformer.tasks.translator import Translator

__all__ = [
    "BertPretraining",
    "ExtractiveSummarizer",
    "QuestionAnswerer",
    "Tagger",
    "TextClassifier",
    "TextEmbedder",
    "Translator",
    "average_tasks",
    "load",
]
