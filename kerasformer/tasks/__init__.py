"""Tasks: model, tokenizer and answer, saved and served together."""

from kerasformer.tasks.task import load
from kerasformer.tasks.text_classifier import TextClassifier
from kerasformer.tasks.translator import Translator

__all__ = ["TextClassifier", "Translator", "load"]
