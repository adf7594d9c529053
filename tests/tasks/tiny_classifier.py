"""A classifier of one tiny block, and texts that it gives different labels."""

import functools

import keras
import numpy as np

from kerasformer.models import BertConfig, bert
from kerasformer.tasks import TextClassifier
from kerasformer.text import WordPieceTokenizer

VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "good", "bad", "so", "very"]
CONFIG = BertConfig(len(VOCABULARY), 8, 1, 2, 12, 10, initializer_range=0.4)
TEXTS = ["so good", "bad", "", "very very bad good", "unknown words"]
NAMES = ["ärgerlich", "gut 👍", "中立"]


@functools.cache  # tracing its graph takes longer than what is tested with it
def tokenizer(max_length=10):
    return WordPieceTokenizer(VOCABULARY, max_length=max_length)


def make(label_names=NAMES, **arguments):
    keras.utils.set_random_seed(4)
    task = TextClassifier(bert(CONFIG, pooled=True), tokenizer(), label_names, **arguments)
    # Logits around 0 and far from each other, so that the texts get different labels.
    classifier = task.model.get_layer("classifier")
    classifier.kernel.assign(np.random.default_rng(0).normal(size=classifier.kernel.shape) * 9)
    classifier.bias.assign(-np.mean(task.model(task.tokenizer(TEXTS))["logits"], 0))
    return task
