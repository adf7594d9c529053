"""Learning a vocabulary."""

import gzip
import random

import pytest
import tensorflow as tf
from wordpiece_reference import SPECIAL_TOKENS

from kerasformer.errors import InputError
from kerasformer.text import WordPieceTokenizer, learn_wordpiece

LINES = ["low lower lowest", "new newer newest", "wide wider widest é", "low low new [MASK]"] * 3


def test_frequent_pieces_are_learned():
    vocabulary = learn_wordpiece(LINES, 60)
    assert vocabulary[:5] == SPECIAL_TOKENS
    assert {"low", "new", "##est"} <= set(vocabulary)
    assert "e" in vocabulary
    assert "é" not in vocabulary
    assert "É".lower() in learn_wordpiece(LINES, 60, strip_accents=False)
    assert len(set(vocabulary)) == len(vocabulary) <= 60
    tokenizer = WordPieceTokenizer(vocabulary)
    assert tokenizer.vocabulary_size == len(vocabulary)
    texts = ["lowest newer widest low"]
    assert tokenizer.unknown_id not in tokenizer.tokenize(texts).to_list()[0]
    assert tokenizer.detokenize(tokenizer.tokenize(texts)).numpy().tolist() == [texts[0].encode()]


def test_every_kind_of_source(tmp_path):
    text = "".join(f"{line}\n" for line in LINES)
    (tmp_path / "a.txt").write_text(text)
    with gzip.open(tmp_path / "a.txt.gz", "wt") as file:
        file.write(text)
    expected = learn_wordpiece(iter(LINES), 60)
    for source in (
        LINES,
        LINES[::-1],
        tmp_path / "a.txt",
        str(tmp_path / "a.txt.gz"),
        [str(tmp_path / "a.txt")],
        tf.data.Dataset.from_tensor_slices(LINES),
        tf.data.Dataset.from_tensor_slices(LINES).batch(5),
    ):
        assert learn_wordpiece(source, 60) == expected


def test_rare_characters_are_left_out_first():
    texts = ["ab" * 20, "c d e f g h i j k"]
    vocabulary = learn_wordpiece(texts, 12, special_tokens=["[UNK]"])
    assert vocabulary[:3] == ["[UNK]", "a", "c"]
    assert len(vocabulary) <= 12
    assert {"##b", "##a"} <= set(vocabulary)
    assert "k" not in vocabulary
    assert learn_wordpiece(texts, 50, special_tokens=[], alphabet_size=2)[:3] == ["a", "##a", "##b"]


def test_settings_are_followed():
    texts = ["Aa 中文 Aa 中文"]
    assert "中文" not in learn_wordpiece(texts, 30, lowercase=False)
    assert {"Aa", "中"} <= set(learn_wordpiece(texts, 30, lowercase=False))
    assert "中文" in learn_wordpiece(texts, 30, split_cjk=False)
    assert "ab" not in learn_wordpiece(["ab"], 30)
    assert "ab" in learn_wordpiece(["ab"], 30, min_frequency=1)
    # Words that the tokenizer never looks up teach nothing.
    assert learn_wordpiece(["z" * 101, "y"], 30, special_tokens=[]) == ["y"]


def test_same_text_gives_the_same_vocabulary():
    # Short random words: nearly all merges are ties.
    choose = random.Random(0)
    texts = ["".join(choose.choices("abcdefgh ", k=9)) for _ in range(2000)]
    vocabularies = {tuple(learn_wordpiece(texts, 300)) for _ in range(5)}
    assert len(vocabularies) == 1
    assert len(vocabularies.pop()) == 300


@pytest.mark.parametrize(
    ("source", "size", "message"),
    [
        (["a"], 6, "`vocabulary_size` must be 7 or more, for 5 special tokens"),
        (["", " "], 50, "`source` must hold words"),
        ([], 50, "`source` must hold words"),
        (["a", 3], 50, "`source` must give str. Received: a int, 3"),
        (5, 50, "`source` must be files, a data set or an iterable"),
        (tf.data.Dataset.range(3), 50, "`source` must be a data set of strings.*int64"),
        ("/no/such/file.txt", 50, "`source` must be text files.*No such file"),
    ],
)
def test_bad_input(source, size, message):
    with pytest.raises(InputError, match=message) as caught:
        learn_wordpiece(source, size)
    assert "\n" not in str(caught.value)
