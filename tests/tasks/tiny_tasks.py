"""One tiny task of each kind, and what it is asked: the parameters of `test_all_tasks`."""

import dataclasses
import functools
import typing

import keras
import numpy as np
import tensorflow as tf

import kerasformer as kf
from kerasformer.data.questions import NO_ANSWER
from kerasformer.models import BertConfig, TransformerConfig, bert, transformer
from kerasformer.tasks import (
    BertPretraining,
    ExtractiveSummarizer,
    MaskedLanguageModel,
    QuestionAnswerer,
    Tagger,
    TextClassifier,
    TextEmbedder,
    Translator,
    ZeroShotClassifier,
)

VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", "good", "bad", "so", "very", "rome", "anna"]
CONFIG = BertConfig(len(VOCABULARY), 8, 1, 2, 12, 16, initializer_range=0.5, dropout=0.0, attention_dropout=0.0)
TEXTS = ["so good", "bad rome .", "", "anna very very bad", "good @bad https://bad.so"]
PAIRS = ["bad", "so anna", "good", "rome", "so"]
MASKED = ["so [MASK]", "[MASK] rome [MASK]", "", "good"]
DOCUMENTS = ["So good. Very bad rome. Anna so very good.", "Bad.", "", "Rome anna. Good."]


@functools.cache  # tracing their graphs takes longer than what is tested with them
def tokenizer():
    return kf.text.WordPieceTokenizer(VOCABULARY, max_length=16)


@functools.cache
def pieces():
    model = kf.text.learn_sentencepiece(["the red cat", "CAT RED", "a blue dog", "DOG BLUE"] * 4, 290, kind="bpe")
    return kf.text.SentencePieceTokenizer(model, max_length=12)


def encoder(pooled=True, seed=5):
    keras.utils.set_random_seed(seed)
    return bert(CONFIG, pooled=pooled)


def enlarged(task):
    """Logits of a new head are near to each other; a larger one answers in different ways."""
    random = np.random.default_rng(2)
    for weight in task.head.variables():
        weight.assign(random.normal(size=weight.shape) * (3 if len(weight.shape) == 2 else 0.5))
    return task


@dataclasses.dataclass(frozen=True)
class Case:
    """A task to be tested.

    Attributes:
        make: function of an encoder, or None for one of its own, that gives the task.
        columns: what `predict` takes.
        batch: `(features, targets)` of its data.
        kind: of its head in a Hugging Face folder; None where the family has no such head.
        change: a setting, and two values with which loss, metrics or answers differ.
        built_in: a setting that cannot change.
        wrong: a setting, and a value out of its range.
        foreign: settings that a Hugging Face folder does not hold.
    """

    make: typing.Callable
    columns: list
    batch: typing.Callable
    kind: str | None
    change: tuple
    built_in: dict
    wrong: dict
    foreign: dict = dataclasses.field(default_factory=dict)


def _made(cls, *values, pooled=True, **named):
    return lambda own=None: enlarged(cls(own or encoder(pooled), tokenizer(), *values, **named))


def _translator(own=None):
    keras.utils.set_random_seed(5)
    config = TransformerConfig(
        vocabulary_size=pieces().vocabulary_size,
        hidden_dim=8,
        num_encoder_layers=1,
        num_decoder_layers=1,
        num_heads=2,
        intermediate_dim=12,
        dropout=0.0,
    )
    return Translator(own or transformer(config), pieces(), beam_size=2)


def _classified(targets):
    return lambda: ({"text": tf.constant(TEXTS)}, tf.constant(targets))


def _questions():
    features = {"question": tf.constant(PAIRS), "context": tf.constant(TEXTS)}
    answers = tf.constant([["so", ""], ["rome", "rome ."], ["", ""], ["", ""], ["good", ""]])
    targets = {
        "start": tf.constant([0, 4, NO_ANSWER, NO_ANSWER, 0]),
        "end": tf.constant([2, 8, NO_ANSWER, NO_ANSWER, 4]),
        "answers": answers,
        "num_answers": tf.constant([1, 2, 0, 0, 1]),
    }
    return features, targets


def _tagged():
    starts = [[0, 3, -1, -1], [0, 4, 9, -1], [-1] * 4, [0, 5, 10, 15], [0, 5, -1, -1]]
    tags = [[0, 1, -1, -1], [0, 3, 4, -1], [-1] * 4, [1, 2, 0, 0], [1, 0, -1, -1]]
    return {"text": tf.constant(TEXTS)}, {"word_starts": tf.constant(starts), "tags": tf.constant(tags)}


def _pretrained(next_sentence=True):
    def batch():
        features = {**tokenizer()(["so good rome anna", "very bad . good"], ["anna", "so so"])}
        features["seed"] = tf.constant([[1, 2], [3, 4]])
        return features, {"is_random": tf.constant([0, 1])} if next_sentence else {}

    return batch


def _documents():
    sentences = tf.constant([["So good.", "Very bad rome."], ["Bad.", ""]])
    targets = {"labels": tf.constant([[1.0, 0.0], [1.0, 0.0]]), "summaries": tf.constant([["so good"], ["very bad"]])}
    return {"sentences": sentences}, targets


def _translated():
    texts = {"text": tf.constant(["the red cat", "a dog"]), "text_pair": tf.constant(["CAT RED", "DOG"])}
    return texts, texts["text_pair"]


NAMES = ("no", "maybe", "ja ä")
CASES = {
    "one label": Case(
        _made(TextClassifier, NAMES, dropout=0.0),
        [TEXTS],
        _classified([0, 1, 2, 0, 1]),
        "sequence_classification",
        ("normalize_tweets", False, True),
        {"label_names": ("x", "y")},
        {"threshold": 1.5},
    ),
    "several labels": Case(
        _made(TextClassifier, NAMES, multi_label=True, dropout=0.0),
        [TEXTS],
        _classified([[1.0, 0, 0], [0, 0, 0], [0, 1, 1], [0, 0, 1], [1, 1, 1]]),
        "sequence_classification",
        ("threshold", 0.5, 0.999),
        {"pooling": "mean"},
        {"threshold": 0.0},
    ),
    "regression": Case(
        _made(TextClassifier, dropout=0.0),
        [TEXTS],
        _classified([0.5, 1.0, -2.0, 3.0, 0.0]),
        "sequence_classification",
        ("normalize_tweets", False, True),
        {"dropout": 0.5},
        {"threshold": 2.0},
    ),
    "pairs by their mean": Case(
        _made(TextClassifier, NAMES, pairs=True, pooling="mean", pooled=False),
        [TEXTS, PAIRS],
        lambda: ({"text": tf.constant(TEXTS), "text_pair": tf.constant(PAIRS)}, tf.constant([0, 1, 2, 0, 1])),
        None,
        ("normalize_tweets", False, True),
        {"pooling": "first"},
        {"threshold": -1.0},
    ),
    "any labels": Case(
        _made(ZeroShotClassifier, ("entailment", "neutral", "contradiction"), hypothesis_template="{} .", dropout=0.0),
        [TEXTS, np.array([["good", "bad"], ["rome", ""], ["", ""], ["so", "anna"], ["so very", "bad"]], object)],
        lambda: ({"text": tf.constant(TEXTS), "text_pair": tf.constant(PAIRS)}, tf.constant([0, 1, 2, 0, 1])),
        "sequence_classification",
        ("independent", False, True),
        {"label_names": ("entailment", "no")},
        {"hypothesis_template": "rome"},
        {"task": "ZeroShotClassifier", "hypothesis_template": "{} ."},
    ),
    "tagger": Case(
        _made(Tagger, ["place", "人"], window=12, overlap=2, pooled=False, dropout=0.0),
        [TEXTS],
        _tagged,
        "token_classification",
        ("window", 12, 4),
        {"entity_types": ("x",)},
        {"window": 17},
        {"window": 12, "overlap": 2},
    ),
    "tagger with a CRF": Case(
        _made(Tagger, ["place", "人"], crf=True, window=12, overlap=2, pooled=False, dropout=0.0),
        [TEXTS],
        _tagged,
        None,
        ("window", 12, 4),
        {"crf": False},
        {"window": 17},
    ),
    "question answerer": Case(
        _made(QuestionAnswerer, max_answer=3, pooled=False),
        [PAIRS, TEXTS],
        _questions,
        "question_answering",
        ("no_answer_threshold", None, -1e6),
        {},
        {"max_answer": 0},
        {"max_answer": 3},
    ),
    "masked words": Case(
        _made(MaskedLanguageModel, num_candidates=2, mask_rate=0.4, pooled=False),
        [MASKED],
        _pretrained(next_sentence=False),
        "masked_lm",
        ("num_candidates", 2, 3),
        {"remove_padding": False},
        {"num_candidates": 0},
        {"num_candidates": 2},
    ),
    "pretraining": Case(
        _made(BertPretraining, num_candidates=2, mask_rate=0.4),
        [MASKED],
        _pretrained(),
        "pretraining",
        ("num_candidates", 2, 3),
        {"next_sentence": False},
        {"mask_rate": 0.0},
        {"num_candidates": 2},
    ),
    "embedder": Case(
        _made(TextEmbedder, prompt="so ", pooling="max"),
        [TEXTS],
        lambda: ({"text": tf.constant(TEXTS), "text_pair": tf.constant(PAIRS)}, tf.constant([0.1, 0.9, 0.5, 0.2, 0.3])),
        None,
        ("prompt", "so ", "very "),
        {"pooling": "first"},
        {"objective": "wings"},
    ),
    "summarizer": Case(
        _made(ExtractiveSummarizer, num_heads=2, num_layers=1, intermediate_dim=12, num_sentences=1),
        [DOCUMENTS],
        _documents,
        None,
        ("num_sentences", 1, 2),
        {"num_layers": 2},
        {"num_sentences": 0},
    ),
    "translator": Case(
        _translator,
        [["the red cat", "", "a dog"]],
        _translated,
        None,
        ("length_penalty", 0.6, 3.0),
        {"target_languages": ("de",)},
        {"label_smoothing": 1.0},
    ),
}
