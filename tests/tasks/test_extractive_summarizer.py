"""The summarizer: what it chooses, windows, loss and metrics, training, saving, serving."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasformer as kf
from kerasformer.errors import InputError
from kerasformer.metrics import rouge
from kerasformer.models import BertConfig, bert
from kerasformer.serving.preview.loaded_model import LoadedModel
from kerasformer.tasks import ExtractiveSummarizer
from kerasformer.text import WordPieceTokenizer

VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", ".", "good", "bad", "so", "very", "it", "is"]
CONFIG = BertConfig(len(VOCABULARY), 8, 1, 2, 12, 16, initializer_range=0.4)
TEXT = "It is good. So bad. It is so very good. Very very bad. Is it so?"
SENTENCES = ["It is good.", "So bad.", "It is so very good.", "Very very bad.", "Is it so?"]
eagerly = pytest.mark.usefixtures("eagerly")


@functools.cache
def tokenizer():
    return WordPieceTokenizer(VOCABULARY, max_length=16)


def make(**arguments):
    keras.utils.set_random_seed(4)
    task = ExtractiveSummarizer(
        bert(CONFIG, pooled=True), tokenizer(), num_heads=2, intermediate_dim=12, num_layers=1, **arguments
    )
    head = task.model.get_layer("inter_sentence_encoder")
    head.classifier.kernel.assign(np.random.default_rng(0).normal(size=(8, 1)) * 3)
    return task


@pytest.fixture(scope="module")
def task():
    return make(num_sentences=2)


def scores_by_windows(task, sentences, windows):
    """Probabilities of sentences, each window's tokens written by hand."""
    scores = []
    for window in windows:
        pieces = [task.tokenizer.tokenize([sentences[i]]).to_list()[0] for i in window]
        rows = [[2, *ids, 3] for ids in pieces]
        ids = np.array([[token for row in rows for token in row]], "int32")
        segments = np.array([[k % 2 for k, row in enumerate(rows) for _ in row]], "int32")
        logits = task.model({"token_ids": ids, "segment_ids": segments, "padding_mask": np.ones_like(ids)})["logits"]
        scores += (1 / (1 + np.exp(-logits.numpy()[0]))).tolist()
    return np.array(scores)


@eagerly
def test_the_best_sentences_in_the_documents_order(task):
    # 6 + 5 of 16 tokens; 8 + 6 of them; 7.
    scores = scores_by_windows(task, SENTENCES, [[0, 1], [2, 3], [4]])
    answer = task.summarize([TEXT, "", "So bad."])
    best = sorted(np.argsort(-scores)[:2])
    assert answer["sentences"].tolist() == [[SENTENCES[i] for i in best], ["", ""], ["So bad.", ""]]
    np.testing.assert_allclose(answer["sentence_scores"][0], scores[best], atol=1e-5)
    np.testing.assert_array_equal(answer["sentence_scores"][1:] > 0, [[False, False], [True, False]])
    assert answer["summary"].tolist() == [" ".join(SENTENCES[i] for i in best), "", "So bad."]


@eagerly
def test_any_number_of_sentences(task):
    answer = task.summarize([TEXT] * 5, [0, 1, 5, 99, -1])
    assert answer["summary"][0] == ""
    assert (answer["sentences"] != "").sum(1).tolist() == [0, 1, 5, 5, 0]
    assert answer["summary"][2] == answer["summary"][3] == TEXT
    assert task.summarize([])["sentences"].shape == (0, 2)
    with pytest.raises(InputError, match="list of texts"):
        task.summarize(TEXT)


@eagerly
def test_blocked_trigrams(task):
    text = "It is so good. It is so bad. So very good."
    free = make(block_trigrams=False)
    scores = free.summarize([text])["sentence_scores"][0]
    assert scores.shape == (3,)
    chosen = task.summarize([text], [3])["sentences"][0].tolist()
    assert chosen == [["It is so good.", "It is so bad."][int(scores[1] > scores[0])], "So very good."]


def documents():
    sentences, labels, summaries = (np.empty(3, object) for _ in range(3))
    sentences[:] = [tuple(SENTENCES), ("So bad.",), ("Is it so?", "It is good.")]
    labels[:] = [np.array([0, 0, 1, 0, 0], "float32"), np.ones(1, "float32"), np.array([1, 0], "float32")]
    summaries[:] = [("so very good",), ("bad", "good"), ("is it good",)]
    return kf.data.Documents(sentences, labels, summaries, "here")


@eagerly
def test_loss(task):
    features, targets = next(iter(kf.data.document_batches(documents(), 3)))
    inputs, targets = task.training_batch(features, targets)
    assert all(len(tensor) == 3 for tensor in tf.nest.flatten((inputs, targets)))
    assert targets["weights"].numpy().tolist() == [[1, 1, 0, 0, 0], [1, 0, 0, 0, 0], [1, 1, 0, 0, 0]]
    loss_sum, count = task.loss(targets, task.model(inputs))
    scores = [
        scores_by_windows(task, sentences, [list(range(count))])
        for sentences, count in zip(documents().sentences, [2, 1, 2], strict=True)
    ]
    labels = [0, 0, 1, 1, 0]
    expected = -np.log([p if label else 1 - p for p, label in zip(np.concatenate(scores), labels, strict=True)])
    assert (float(loss_sum), float(count)) == pytest.approx((expected.sum(), 5), rel=1e-4)
    # A replica whose documents have fewer sentences than those of the others.
    part = tf.nest.map_structure(lambda tensor: tensor[1:2], (inputs, targets))
    loss_sum, count = task.loss(part[1], task.model(part[0]))
    assert (float(loss_sum), float(count)) == pytest.approx((expected[2], 1), rel=1e-4)


@eagerly
def test_evaluation_reads_all_windows_and_training_lowers_the_loss():
    task = make(num_sentences=2)
    trainer = kf.training.Trainer(task, kf.training.adamw(5e-3))
    metrics = trainer.evaluate(kf.data.document_batches(documents(), 2))
    chosen = task.summarize([" ".join(sentences) for sentences in documents().sentences])["summary"]
    expected = rouge(list(chosen), documents().summaries)
    assert {name: metrics[name] for name in expected} == pytest.approx(expected)
    scores = np.concatenate(
        [
            scores_by_windows(task, sentences, windows)
            for sentences, windows in zip(documents().sentences, [[[0, 1], [2, 3], [4]], [[0]], [[0, 1]]], strict=True)
        ]
    )
    labels = np.concatenate(list(documents().labels))
    assert metrics["loss"] == pytest.approx(-np.log(np.where(labels, scores, 1 - scores)).mean(), rel=1e-4)

    data = kf.data.document_batches(documents(), 2).repeat(20)
    trainer.fit(data.apply(tf.data.experimental.assert_cardinality(40)))
    assert trainer.evaluate(data.take(2))["loss"] < metrics["loss"] * 0.7


def test_saved_loaded_and_served(task, tmp_path, request):
    texts = [TEXT, "", "Good.", "今日は good。it is bad！ " + TEXT * 3]
    request.getfixturevalue("eagerly")
    expected = task.summarize(texts)
    task.save(tmp_path / "task")
    again = kf.load(tmp_path / "task")
    assert again.settings == task.settings
    tf.config.run_functions_eagerly(False)

    version = kf.serving.publish(again, tmp_path / "models")
    served = LoadedModel(version)
    raw = np.array([text.encode() for text in texts], object)
    answer = served.run("", {"text": raw})
    # What was loaded is the task in Python, and served by its graph.
    assert [text.decode() for text in answer["summary"]] == expected["summary"].tolist()
    np.testing.assert_allclose(answer["sentence_scores"], expected["sentence_scores"], atol=1e-5)
    for text, row in zip(raw, answer["sentences"], strict=True):
        assert all(sentence in text for sentence in row)
    options = served.run("with_options", {"text": raw, "num_sentences": np.array([0, 1, 3, 99], "int32")})
    assert (options["sentences"] != b"").sum(1).tolist()[:3] == [0, 0, 1]
    assert all(np.isfinite(options["sentence_scores"]).ravel())
    assert served.run("", {"text": raw[:0]})["sentences"].shape == (0, 2)


@pytest.mark.parametrize(
    ("arguments", "told"), [({"num_sentences": 0}, "num_sentences"), ({"num_heads": 3}, "num_heads")]
)
def test_wrong_arguments(arguments, told):
    with pytest.raises(InputError, match=told):
        ExtractiveSummarizer(bert(CONFIG), tokenizer(), **{"num_heads": 2, **arguments})


def test_an_encoder_without_states():
    encoder = bert(CONFIG, pooled=True)
    pooled = keras.Model(encoder.input, {"pooled_output": encoder.output["pooled_output"]})
    with pytest.raises(InputError, match="sequence_output"):
        ExtractiveSummarizer(pooled, tokenizer(), num_heads=2)
