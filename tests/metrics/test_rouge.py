"""ROUGE and the oracle's labels: values by hand, and on SciTLDR those of its published split."""

import itertools
import os
import pathlib

import numpy as np
import pytest

import kerasformer as kf
from kerasformer.data import greedy_oracle, with_oracle_labels
from kerasformer.metrics import rouge

SCITLDR = pathlib.Path(os.environ.get("KF_DATA", "")) / "summarization/scitldr_a/validation.jsonl.gz"


def test_values_by_hand():
    scores = rouge(["the cats sat down"], [["the cat sat"]])
    # Stemmed: 3 of 4 and 3 of 3 words, 2 of 3 and 2 of 2 pairs.
    assert scores == pytest.approx({"rouge1": 100 * 6 / 7, "rouge2": 100 * 4 / 5, "rougeL": 100 * 6 / 7})


def test_the_reference_with_the_best_rouge1_counts():
    # The second one has more words of the prediction, the first one more pairs of them.
    scores = rouge(["a b c d"], [["a b x y z", "d c b a"]])
    assert scores["rouge1"] == 100
    assert scores["rouge2"] == 0
    assert scores["rougeL"] == 25


@pytest.mark.parametrize(
    ("prediction", "reference", "expected"),
    [
        ("Кошка спит дома", "Сегодня кошка спит", {"rouge1": 4 / 6, "rouge2": 1 / 2, "rougeL": 4 / 6}),
        ("हिन्दी भाषा", "हिन्दी", {"rouge1": 2 / 3, "rouge2": 0, "rougeL": 2 / 3}),
        ("猫が寝る。", "猫が走る", {"rouge1": 3 / 4, "rouge2": 1 / 3, "rougeL": 3 / 4}),
        # Mostly a to z: as the package reads it, "f" and "r".
        ("für alle", "fur alle", {"rouge1": 2 / 5, "rouge2": 0, "rougeL": 2 / 5}),
    ],
)
def test_words_of_other_scripts(prediction, reference, expected):
    assert rouge([prediction], [[reference]]) == pytest.approx({name: 100 * value for name, value in expected.items()})


def test_oracle_of_other_scripts():
    assert greedy_oracle(["Кошка спит.", "Идёт дождь.", "猫"], ["сегодня идёт дождь"], 2).tolist() == [0, 1, 0]
    assert greedy_oracle(["今天天气很好。", "猫在睡觉。"], ["猫在家睡觉"], 1).tolist() == [0, 1]


def test_mean_over_texts():
    assert rouge(["a", "b"], [["a"], ["c"]])["rouge1"] == 50
    assert all(type(value) is float for value in rouge(["a"], [["a"]]).values())


def test_greedy_oracle():
    sentences = ["nothing of it", "a b c", "d e f", "a b"]
    assert greedy_oracle(sentences, ["a b c d e f"], 3).tolist() == [0, 1, 1, 0]
    assert greedy_oracle(sentences, ["a b c d e f"], 1).tolist() == [0, 1, 0, 0]
    assert greedy_oracle(sentences, ["zzz"], 3).tolist() == [0, 0, 0, 0]
    assert greedy_oracle(sentences, ["zzz", "d e f"], 3).tolist() == [0, 0, 1, 0]


def test_one_sentence_of_the_oracle_is_the_best_one():
    random = np.random.default_rng(0)
    for _ in range(20):
        sentences = [" ".join(random.choice(list("abcdef"), 4)) for _ in range(5)]
        summary = " ".join(random.choice(list("abcdef"), 5))
        values = [sum(list(rouge([text], [[summary]]).values())[:2]) for text in sentences]
        labels = greedy_oracle(sentences, [summary], 1)
        assert labels.sum() == (max(values) > 0)
        if labels.any():
            assert values[int(labels.argmax())] == pytest.approx(max(values))


def test_labels_of_documents():
    sentences = np.empty(2, object)
    sentences[0], sentences[1] = ("x y", "a b"), ("a b",)
    summaries = np.empty(2, object)
    summaries[0], summaries[1] = ("a b",), ("a b",)
    labelled = with_oracle_labels(kf.data.Documents(sentences, None, summaries, "here"), 3)
    assert [labels.tolist() for labels in labelled.labels] == [[0, 1], [1]]


@pytest.mark.skipif(not SCITLDR.is_file(), reason="KF_DATA is not set")
def test_first_sentences_of_scitldr():
    documents = kf.data.load_documents(SCITLDR)
    scores = rouge([sentences[0] for sentences in documents.sentences], documents.summaries)
    assert [round(value, 1) for value in scores.values()] == [30.1, 10.6, 23.0]
    labelled = [" ".join(itertools.compress(*row)) for row in zip(documents.sentences, documents.labels, strict=True)]
    assert [round(value, 1) for value in rouge(labelled, documents.summaries).values()] == [44.1, 23.4, 36.0]
