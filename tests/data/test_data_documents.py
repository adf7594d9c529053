"""Documents: fields that are read, batches, and mistakes with the line they stand in."""

import json

import numpy as np
import pytest

import kerasformer as kf
from kerasformer.errors import InputError


def write(path, *records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def test_sentences_labels_and_summaries(tmp_path):
    path = write(
        tmp_path / "a.jsonl",
        {"sentences": ["One.", " ", "Two."], "labels": [1, 0, 0], "summaries": ["s", ""]},
        {"sentences": ["Three."], "labels": [True], "summaries": ["t", "u"]},
    )
    documents = kf.data.load_documents(path)
    assert list(documents.sentences) == [("One.", "Two."), ("Three.",)]
    assert [labels.tolist() for labels in documents.labels] == [[1, 0], [1]]
    assert list(documents.summaries) == [("s",), ("t", "u")]
    assert len(documents.select([1])) == 1


@pytest.mark.parametrize(("text", "summary"), [("text", "summary"), ("document", "target"), ("article", "highlights")])
def test_texts_are_split(text, summary, tmp_path):
    path = write(tmp_path / "a.jsonl", {text: "One e.g. this. Two.", summary: "s"}, {text: "Three", summary: "t"})
    documents = kf.data.load_documents(path)
    assert list(documents.sentences) == [("One e.g. this.", "Two."), ("Three",)]
    assert documents.labels is None
    assert list(documents.summaries) == [("s",), ("t",)]


def test_batches(tmp_path):
    records = [
        {"sentences": list("ab"[: k % 2 + 1]), "labels": [1, 0][: k % 2 + 1], "summaries": ["s"] * (k + 1)}
        for k in range(5)
    ]
    documents = kf.data.load_documents(write(tmp_path / "a.jsonl", *records))
    batches = list(kf.data.document_batches(documents, 2).as_numpy_iterator())
    assert batches[0][0]["sentences"].tolist() == [[b"a", b""], [b"a", b"b"]]
    assert batches[0][1]["labels"].tolist() == [[1, 0], [1, 0]]
    assert batches[0][1]["summaries"].tolist() == [[b"s", b""], [b"s", b"s"]]
    assert batches[2][0]["sentences"].tolist() == [[b"a"]]
    assert int(kf.data.document_batches(documents, 2).cardinality()) == 3

    def order(epoch):
        data = kf.data.document_batches(documents, 2, shuffle_seed=1, epoch=epoch)
        return [(row != b"").sum() for _, targets in data.as_numpy_iterator() for row in targets["summaries"]]

    assert sorted(order(0)) == [1, 2, 3, 4, 5]
    assert order(0) == order(0) != order(1)
    bare = write(tmp_path / "b.jsonl", {"text": "a"})
    assert next(kf.data.document_batches(kf.data.load_documents(bare), 2).as_numpy_iterator())[1] == {}


GOOD = {"sentences": ["a"], "labels": [1], "summary": "s"}


@pytest.mark.parametrize(
    ("record", "told"),
    [
        ({"sentences": [], "labels": [], "summary": "s"}, "at least one sentence"),
        ({"sentences": [" "], "labels": [1], "summary": "s"}, "at least one sentence"),
        ({"sentences": "a", "labels": [1], "summary": "s"}, "list of strings"),
        ({"sentences": [1], "labels": [1], "summary": "s"}, "string"),
        ({"sentences": ["a", "b"], "labels": [1], "summary": "s"}, "each of the 2 sentences"),
        ({"sentences": ["a"], "labels": [2], "summary": "s"}, "0 or 1"),
        ({"sentences": ["a"], "summary": "s"}, "labels"),
        ({"sentences": ["a"], "labels": [1]}, "summary"),
        ({"sentences": ["a"], "labels": [1], "summary": []}, "summary"),
        ({"sentences": ["a"], "labels": [1], "summary": " "}, "at least one summary"),
        ({"sentences": ["a\ud800"], "labels": [1], "summary": "s"}, "surrogate"),
    ],
)
def test_mistakes_name_their_line(record, told, tmp_path):
    path = write(tmp_path / "a.jsonl", GOOD, record)
    with pytest.raises(InputError, match=told) as error:
        kf.data.load_documents(path)
    assert str(error.value).startswith(f"{path}:2")
    assert "\n" not in str(error.value)


def test_nothing_to_read(tmp_path):
    with pytest.raises(InputError, match="empty data set"):
        kf.data.load_documents(write(tmp_path / "a.jsonl"))
    with pytest.raises(InputError, match="sentences, text"):
        kf.data.load_documents(write(tmp_path / "b.jsonl", {"body": "x"}))
    assert np.all(kf.data.load_documents(write(tmp_path / "c.jsonl", GOOD)).labels[0] == [1])
