"""The mean of tasks: of their weights, number by number, and of nothing that has none."""

import dataclasses

import keras
import numpy as np
import pytest

import kerasformer as kf
from kerasformer.errors import InputError
from kerasformer.models import BertConfig, bert
from kerasformer.tasks import QuestionAnswerer, TextClassifier, average_tasks
from kerasformer.text import WordPieceTokenizer

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "who", "saw", "rome", "anna", "."]


def save(folder, seed, words=WORDS, hidden=8, heads=2, threshold=None, **settings):
    keras.utils.set_random_seed(seed)
    config = BertConfig(len(words), hidden, 1, heads, 16, 32, initializer_range=0.4)
    task = QuestionAnswerer(bert(config, pooled=True), WordPieceTokenizer(words, max_length=32), **settings)
    task.replace(no_answer_threshold=threshold).save(folder)
    return str(folder)


def weights_of(task):
    """Also the encoder's pooler, which the task does not use."""
    return [*task.encoder.weights, *[weight for part in vars(task.head).values() for weight in part.weights]]


def test_the_mean_of_each_weight_and_threshold(tmp_path):
    folders = [save(tmp_path / str(seed), seed, max_answer=7, threshold=float(seed**2)) for seed in range(3)]
    task = average_tasks(folders)
    parts = [kf.load(folder) for folder in folders]
    assert len(weights_of(task)) > len(task.model.weights) > 10
    for mean, *weights in zip(*(weights_of(each) for each in (task, *parts)), strict=True):
        weights = [weight.numpy() for weight in weights]
        np.testing.assert_allclose(mean.numpy(), np.mean(weights, 0), atol=1e-7)
        assert len(mean.shape) < 2 or np.abs(weights[0] - weights[2]).max() > 0.01
    assert task.settings == dataclasses.replace(parts[0].settings, no_answer_threshold=pytest.approx(5 / 3))
    assert task.max_answer == 7
    task.save(tmp_path / "mean")
    again = kf.load(tmp_path / "mean")
    question, context = ["who saw rome"], ["anna saw rome ."]
    assert again.predict(question, context)["answer"] == task.predict(question, context)["answer"]
    # Of one and the same it is that.
    same = average_tasks([folders[1]] * 2)
    for mean, weight in zip(same.model.weights, parts[1].model.weights, strict=True):
        np.testing.assert_array_equal(mean.numpy(), weight.numpy())


def test_mistakes(tmp_path):
    first = save(tmp_path / "first", 0)
    for few in ([first], [], first, tmp_path / "first"):
        with pytest.raises(InputError, match="a list of at least two saved tasks"):
            average_tasks(few)
    with pytest.raises(InputError, match=r"No folder.*nowhere"):
        average_tasks([first, tmp_path / "nowhere"])
    for difference, change in (
        ("vocabulary", {"words": [*WORDS[:-1], ","]}),
        ("layers", {"hidden": 16}),
        ("layers", {"heads": 4}),
        ("settings", {"max_answer": 3}),
        ("settings", {"threshold": 0.5}),
    ):
        other = save(tmp_path / "other", 0, **change)
        with pytest.raises(InputError, match=f"other has other {difference} than .*first"):
            average_tasks([first, other])
    config = BertConfig(len(WORDS), 8, 1, 2, 16, 32)
    tokenizer = WordPieceTokenizer(WORDS, max_length=32)
    for name, labels in (("classifier", ["x", "y"]), ("swapped", ["y", "x"])):
        TextClassifier(bert(config, pooled=True), tokenizer, labels).save(tmp_path / name)
    with pytest.raises(InputError, match="other class"):
        average_tasks([first, tmp_path / "classifier"])
    with pytest.raises(InputError, match="other settings"):
        average_tasks([tmp_path / "classifier", tmp_path / "swapped"])
