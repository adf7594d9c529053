"""Tagged sentences: CoNLL files of several schemes, records, batches, and each mistake with its place."""

import gzip
import json
import os
import pathlib

import numpy as np
import pytest

import kerasformer as kf
from kerasformer.errors import InputError

IOB2 = "-DOCSTART-\tO\n\nÄrzte\tB-x\nin\tI-x\nRom\tB-y\n.\tO\n\n\n大\tO\nX\tB-x\n"


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_a_file(tmp_path):
    data = kf.data.load_tagging(write(tmp_path / "a.tsv", IOB2))
    assert data.words.tolist() == [("Ärzte", "in", "Rom", "."), ("大", "X")]
    assert [tags.tolist() for tags in data.tags] == [[1, 2, 3, 0], [0, 1]]
    assert data.entity_types == ("x", "y")
    assert data.texts.tolist() == ["Ärzte in Rom .", "大 X"]
    assert data.repaired == 0


@pytest.mark.parametrize(
    ("text", "repaired"),
    [
        (IOB2.replace("\t", " "), 0),  # by spaces
        (IOB2.replace("\n", "\r\n"), 0),
        (IOB2.replace("\t", "\tNN\t_\t"), 0),  # further columns between the word and its tag
        (IOB2.replace("\t", "   NN _ "), 0),
        ("Ärzte\tI-x\nin\tI-x\nRom\tI-y\n.\tO\n\n大\tO\nX\tI-x\n", 3),  # IOB1
        ("Ärzte\tB-x\nin\tE-x\nRom\tS-y\n.\tO\n\n大\tO\nX\tS-x\n", 0),  # BIOES
        ("Ärzte\tB-x\nin\tL-x\nRom\tU-y\n.\tO\n\n大\tO\nX\tU-x", 0),  # BILOU
    ],
)
def test_other_forms_mean_the_same(text, repaired, tmp_path):
    data = kf.data.load_tagging(write(tmp_path / "a.txt", text))
    assert [tags.tolist() for tags in data.tags] == [[1, 2, 3, 0], [0, 1]]
    assert data.words[0] == ("Ärzte", "in", "Rom", ".")
    assert data.repaired == repaired


def test_names_without_letters(tmp_path):
    """Beside O, neighbours of one name are one entity; else each word is one."""
    path = write(tmp_path / "a.tsv", "a\tx\nb\tx\nc\ty\nd\tO\n")
    data = kf.data.load_tagging(path)
    assert (data.entity_types, data.labels, data.repaired) == (("x", "y"), ("O", "x", "y"), 0)
    assert data.tags[0].tolist() == [1, 2, 3, 0]
    words = kf.data.load_tagging(write(tmp_path / "b.tsv", "a\tx\nb\tx\nc\ty\n"))
    assert (words.labels, words.tags[0].tolist()) == (("x", "y"), [1, 1, 3])
    # Of what other data have: no O by chance.
    again = kf.data.load_tagging(tmp_path / "b.tsv", entity_types=data.entity_types, labels=data.labels)
    assert (again.labels, again.tags[0].tolist()) == (data.labels, [1, 2, 3])
    assert again.select([0]).labels == data.labels


def test_records_with_names_and_with_numbers(tmp_path):
    rows = [{"tokens": ["a", "b"], "ner_tags": [1, 2]}, {"tokens": [], "ner_tags": []}]
    (tmp_path / "labels.json").write_text('["O", "B-x", "I-x"]')
    data = kf.data.load_tagging(write(tmp_path / "a.jsonl", "".join(json.dumps(row) + "\n" for row in rows)))
    assert [tags.tolist() for tags in data.tags] == [[1, 2]], "a sentence without words is none"
    data = kf.data.load_tagging(write(tmp_path / "b.json", '[{"words": ["a"], "tags": ["S-z"]}]'))
    assert (data.entity_types, data.tags[0].tolist()) == (("z",), [1])


def test_a_saved_hugging_face_data_set(tmp_path):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet

    feature = {"feature": {"names": ["O", "B-x", "I-x"], "_type": "ClassLabel"}, "_type": "Sequence"}
    info = json.dumps({"info": {"features": {"ner_tags": feature}}})
    table = pa.table({"tokens": [["a", "b"]], "ner_tags": [[1, 2]]}).replace_schema_metadata({"huggingface": info})
    pyarrow.parquet.write_table(table, tmp_path / "train.parquet")
    data = kf.data.load_tagging(f"hf:{tmp_path}:train")
    assert (data.entity_types, data.tags[0].tolist()) == (("x",), [1, 2])


def test_several_sources_and_gzip(tmp_path):
    with gzip.open(tmp_path / "b.tsv.gz", "wt") as file:
        file.write("z\tB-w\n")
    data = kf.data.load_tagging((write(tmp_path / "a.tsv", IOB2), str(tmp_path / "b.tsv.gz")))
    assert data.entity_types == ("w", "x", "y")
    assert [tags.tolist() for tags in data.tags] == [[3, 4, 5, 0], [0, 3], [1]]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a\tO\n\nb\tx\tO\n", ":3: expected 2 columns, as in the lines before. Received 3"),
        ("a\n", ":1: expected columns"),
        ("a b B-x\n\na b c\n", ":3: expected a tag"),
        ("\tO\n", ":1: expected columns"),
        ("a\tO\nb\tQ-x\nc\tI-x\n", ":2: expected a tag"),
        ("a\tB-\n", ":1: expected a tag"),
        ("a\tO\n", "no tag but O"),
        ("\n\n", "empty"),
    ],
)
def test_mistakes_are_told_with_their_place(text, told, tmp_path):
    path = write(tmp_path / "a.tsv", text)
    with pytest.raises(InputError) as error:
        kf.data.load_tagging(path)
    assert told in str(error.value)
    assert path in str(error.value)


def test_an_entity_without_a_first_letter_can_be_refused(tmp_path):
    path = write(tmp_path / "a.tsv", "a\tB-x\nb\tI-x\n\nc\tO\nd\tI-x\n")
    with pytest.raises(InputError, match=r"a\.tsv:5: .*without B-"):
        kf.data.load_tagging(path, repair=False)
    assert kf.data.load_tagging(path).repaired == 1


def test_a_type_that_training_had_not(tmp_path):
    good = write(tmp_path / "good.tsv", "a\tB-x\n")
    with pytest.raises(InputError, match=r"/a\.tsv:5: the entity type 'y' is not one of"):
        kf.data.load_tagging([good, write(tmp_path / "a.tsv", IOB2)], entity_types=["x"])


def test_records_with_spans(tmp_path):
    """Words are made at white space, punctuation and the borders of spans; the text stays as it is."""
    text = "  Ärzte in  Rom-Nord, 2 U.S.-Leute."
    spans = [("U.S.", "x"), ("Ärzte ", "x"), ("Rom-Nord", "y"), ("Leu", "y")]
    entities = [{"start": text.index(span), "end": text.index(span) + len(span), "label": x} for span, x in spans]
    rows = [{"text": text, "entities": entities}, {"text": "  ", "entities": []}, {"Text": "a b", "Entities": []}]
    data = kf.data.load_tagging(write(tmp_path / "a.jsonl", "".join(json.dumps(row) + "\n" for row in rows)))
    assert data.texts.tolist() == [text, "a b"]
    assert data.words[0] == ("Ärzte", "in", "Rom", "-", "Nord", ",", "2", *"U.S.", "-", "Leu", "te", ".")
    assert data.entity_types == ("x", "y")
    assert data.tags[0].tolist() == [1, 0, 3, 4, 4, 0, 0, 1, 2, 2, 2, 0, 3, 0, 0]
    for words, starts, given in zip(data.words, data.starts, data.texts, strict=True):
        assert all(given.encode()[start:].startswith(word.encode()) for word, start in zip(words, starts, strict=True))
    _, targets = next(iter(kf.data.tagging_batches(data.select([1, 0]), 2)))
    assert targets["word_starts"].numpy()[1].tolist() == data.starts[0].tolist()
    assert targets["tags"].numpy()[0].tolist() == [0, 0] + [-1] * 13


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"text": 3, "entities": []}, "a string as text"),
        ({"entities": []}, "a string as text"),
        ({"text": "ab", "entities": {"start": 0}}, "a list as entities"),
        ({"text": "ab", "entities": [{"start": 0, "end": 3, "label": "x"}]}, "a.jsonl:1: .*for 2 characters"),
        ({"text": "ab", "entities": [{"start": 1, "end": 1, "label": "x"}]}, "for 2 characters"),
        ({"text": "ab", "entities": [{"start": -1, "end": 1, "label": "x"}]}, "for 2 characters"),
        ({"text": "ab", "entities": [{"start": 0, "end": 1}]}, "a label"),
        ({"text": "ab", "entities": [[0, 1, "x"]]}, "a label"),
        ({"text": "a  b", "entities": [{"start": 1, "end": 3, "label": "x"}]}, "a label"),
        ({"text": "abc", "entities": [{"start": k, "end": k + 2, "label": "x"} for k in (0, 1)]}, "'b' in two of them"),
        ({"tokens": ["a"]}, "expected the fields"),
        ({"tokens": ["a"], "tags": []}, "one length"),
        ({"tokens": "a", "tags": ["O"]}, "lists"),
        ({"tokens": [" "], "tags": ["O"]}, "not empty"),
        ({"tokens": ["a"], "tags": [1]}, "has no name"),
        ({"tokens": ["a\ud800"], "tags": ["O"]}, "half of a surrogate pair"),
    ],
)
def test_records_that_cannot_be_used(row, told, tmp_path):
    with pytest.raises(InputError, match=told):
        kf.data.load_tagging(write(tmp_path / "a.jsonl", json.dumps(row)))


def test_batches(tmp_path):
    data = kf.data.load_tagging(write(tmp_path / "a.tsv", IOB2))
    dataset = kf.data.tagging_batches(data, 2)
    assert int(dataset.cardinality()) == 1
    features, targets = next(iter(dataset))
    assert [text.decode() for text in features["text"].numpy()] == data.texts.tolist()
    assert targets["tags"].numpy().tolist() == [[1, 2, 3, 0], [0, 1, -1, -1]]
    starts = targets["word_starts"].numpy()
    for text, words, row in zip(features["text"].numpy(), data.words, starts, strict=True):
        for word, start in zip(words, row, strict=False):
            assert text[start:].startswith(word.encode())
    assert starts[1].tolist() == [0, 4, -1, -1]
    orders = [
        [
            text.decode()
            for features, _ in kf.data.tagging_batches(data, 1, shuffle_seed=0, epoch=epoch, **more)
            for text in features["text"].numpy()
        ]
        for epoch, more in ((0, {}), (0, {}), (0, {"skip_batches": 1}))
    ]
    assert orders[0] == orders[1]
    assert orders[2] == orders[0][1:]


@pytest.mark.skipif("KF_DATA" not in os.environ, reason="needs the folder KF_DATA")
@pytest.mark.parametrize(("name", "count"), [("ncbi_disease", 960), ("bc5cdr", 9809)])
def test_published_counts(name, count):
    data = kf.data.load_tagging(pathlib.Path(os.environ["KF_DATA"]) / "ner" / name / "test.tsv.gz")
    assert sum(int((tags % 2 == 1).sum()) for tags in data.tags) == count
    assert data.repaired == 0
    assert max(np.max(tags) for tags in data.tags) == 2 * len(data.entity_types)
