"""Tasks: model, tokenizer and answer, saved and served together."""

from kerasformer.tasks.question_answerer import QuestionAnswerer
from kerasformer.tasks.tagger import Tagger
from kerasformer.tasks.task import load
from kerasformer.tasks.text_classifier import TextClassifier

__all__ = ["QuestionAnswerer", "Tagger", "TextClassifier", "load"]
