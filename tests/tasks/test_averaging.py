"""The mean of tasks: of their weights, number by number, and of nothing that has none."""

import keras
import numpy as np
import pytest

import kerasformer as kf
from kerasformer.errors import InputError
from kerasformer.models import BertConfig, bert
from kerasformer.tasks import QuestionAnswerer, TextClassifier, average_tasks
from kerasformer.text import WordPieceTokenizer

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "who", "saw", "rome", "anna", "."]


def save(folder, seed, words=WORDS, hidden=8, **settings):
    keras.utils.set_random_seed(seed)
    config = BertConfig(len(words), hidden, 1, 2, 16, 32, initializer_range=0.4)
    task = QuestionAnswerer(bert(config), WordPieceTokenizer(words, max_length=32), **settings)
    if seed == 2:
        task.no_answer_threshold = 0.25
    task.save(folder)
    return str(folder)


def test_the_mean_of_each_weight(tmp_path):
    folders = [save(tmp_path / str(seed), seed, max_answer=seed + 1) for seed in range(3)]
    task = average_tasks(folders)
    parts = [kf.load(folder) for folder in folders]
    assert len(task.model.weights) > 10
    for mean, *weights in zip(task.model.weights, *(part.model.weights for part in parts), strict=True):
        np.testing.assert_allclose(mean.numpy(), np.mean([w.numpy() for w in weights], 0), atol=1e-7)
        assert weights[0].shape.rank < 2 or np.abs(weights[0].numpy() - weights[2].numpy()).max() > 0.01
    assert task.settings() == parts[0].settings()
    task.save(tmp_path / "mean")
    again = kf.load(tmp_path / "mean")
    question, context = ["who saw rome"], ["anna saw rome ."]
    assert again.predict(question, context)["answer"] == task.predict(question, context)["answer"]
    # Of the same two it is either.
    same = average_tasks([folders[1]] * 2)
    for mean, weight in zip(same.model.weights, parts[1].model.weights, strict=True):
        np.testing.assert_array_equal(mean.numpy(), weight.numpy())


def test_mistakes(tmp_path):
    first = save(tmp_path / "first", 0)
    with pytest.raises(InputError, match="at least two saved tasks"):
        average_tasks([first])
    with pytest.raises(InputError, match=r"task\.json"):
        average_tasks([first, tmp_path / "nowhere"])
    other = save(tmp_path / "words", 0, [*WORDS[:-1], ","])
    with pytest.raises(InputError, match=r"words has other tokenizers than .*first"):
        average_tasks([first, other])
    other = save(tmp_path / "wide", 0, hidden=16)
    with pytest.raises(InputError, match="other shapes of weights"):
        average_tasks([first, other])
    config = BertConfig(len(WORDS), 8, 1, 2, 16, 32)
    tokenizer = WordPieceTokenizer(WORDS, max_length=32)
    TextClassifier(bert(config, pooled=True), tokenizer, ["x", "y"]).save(tmp_path / "classifier")
    with pytest.raises(InputError, match="other class"):
        average_tasks([first, tmp_path / "classifier"])
