"""Tasks: preprocess, model and postprocess, saved and served together."""

from kerasformer.tasks.averaging import average_tasks
from kerasformer.tasks.bert_pretraining import BertPretraining, MaskedLanguageModel
from kerasformer.tasks.extractive_summarizer import ExtractiveSummarizer
from kerasformer.tasks.question_answerer import QuestionAnswerer
from kerasformer.tasks.saving import is_saved_task, load
from kerasformer.tasks.tagger import Tagger
from kerasformer.tasks.task import Head, Task, built_in, register_task, registered_tasks
from kerasformer.tasks.text_classifier import TextClassifier
from kerasformer.tasks.text_embedder import TextEmbedder
from kerasformer.tasks.translator import Translator
from kerasformer.tasks.vocabulary_map import VocabularyMap, learn_vocabulary_map
from kerasformer.tasks.zero_shot_classifier import ZeroShotClassifier

__all__ = [
    "BertPretraining",
    "ExtractiveSummarizer",
    "Head",
    "MaskedLanguageModel",
    "QuestionAnswerer",
    "Tagger",
    "Task",
    "TextClassifier",
    "TextEmbedder",
    "Translator",
    "VocabularyMap",
    "ZeroShotClassifier",
    "average_tasks",
    "built_in",
    "is_saved_task",
    "learn_vocabulary_map",
    "load",
    "register_task",
    "registered_tasks",
]
