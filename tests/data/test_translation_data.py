"""Pairs of sentences from fields and from files of lines."""

import gzip
import json

import numpy as np
import pytest
import tensorflow as tf

from kerasformer.data import batches, join_examples, load_translation, token_batches, with_prefix
from kerasformer.errors import InputError

ROWS = [{"en": "a dog", "de": "ein Hund"}, {"en": "a\u2028cat", "de": "eine Katze"}, {"en": "", "de": ""}]


@pytest.fixture
def jsonl(tmp_path):
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS), encoding="utf-8")
    return path


def columns(examples):
    return [list(value) for value in (examples.texts, examples.pairs, examples.targets)]


def test_fields(jsonl, tmp_path):
    english, german = ([row[language] for row in ROWS] for language in ("en", "de"))
    assert columns(load_translation(jsonl, "en", "de")) == [english, german, german]
    assert columns(load_translation(jsonl, "de", "en")) == [german, english, english]
    nested = tmp_path / "nested.json"
    nested.write_text(json.dumps([{"translation": row} for row in ROWS]), encoding="utf-8")
    assert columns(load_translation(nested, "en", "de")) == [english, german, german]
    table = tmp_path / "table.tsv"
    table.write_text("en\tde\na dog\tein Hund\n", encoding="utf-8")
    assert columns(load_translation(table, "en", "de")) == [["a dog"], ["ein Hund"], ["ein Hund"]]


def test_two_files_of_lines(tmp_path):
    (tmp_path / "train.en").write_text("a dog\na\u2028cat\n", encoding="utf-8")
    with gzip.open(tmp_path / "train.de.gz", "wt", encoding="utf-8") as file:
        file.write("ein Hund\neine Katze\n")
    examples = load_translation(tmp_path / "train", "en", "de")
    assert columns(examples)[:2] == [["a dog", "a\u2028cat"], ["ein Hund", "eine Katze"]]


def test_batches_of_pairs(jsonl):
    examples = load_translation(jsonl, "en", "de")
    tagged = join_examples([with_prefix(examples, "<2de>"), with_prefix(load_translation(jsonl, "de", "en"), "<2en>")])
    assert list(tagged.texts[[0, 3]]) == ["<2de> a dog", "<2en> ein Hund"]
    assert list(tagged.pairs[[0, 3]]) == ["ein Hund", "a dog"]
    features, targets = next(iter(batches(tagged, 4)))
    assert features["text"].numpy()[3].decode() == "<2en> ein Hund"
    assert targets.dtype == tf.string
    np.testing.assert_array_equal(targets, features["text_pair"])
    sizes = [len(targets) for _, targets in token_batches(tagged, np.array([3, 3, 1, 3, 3, 1]), 6, shuffle_seed=0)]
    assert sum(sizes) == 6


def test_mistakes(jsonl, tmp_path):
    with pytest.raises(InputError, match=r"pairs.jsonl:1: .*'fr'.*en, de"):
        load_translation(jsonl, "en", "fr")
    (tmp_path / "half.jsonl").write_text('{"en": "a", "de": "\\ud83d"}\n')
    with pytest.raises(InputError, match=r"half.jsonl:1: 'de' holds half of a surrogate pair"):
        load_translation(tmp_path / "half.jsonl", "en", "de")
    with pytest.raises(InputError, match="Two languages"):
        load_translation(jsonl, "en", "en")
    (tmp_path / "train.en").write_text("a\nb\n")
    with pytest.raises(InputError, match=r"train.de \(or .gz\)"):
        load_translation(tmp_path / "train", "en", "de")
    (tmp_path / "train.de").write_text("a\n")
    with pytest.raises(InputError, match="2 and 1 lines"):
        load_translation(tmp_path / "train", "en", "de")
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(InputError, match="at least one pair"):
        load_translation(tmp_path / "empty.jsonl", "en", "de")
