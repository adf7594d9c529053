"""The tables of `unicode_rules` against the library that they were taken from."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from kerasformer.text import build_unicode_rules, unicode_rules
from kerasformer.text.words import WordSplitter

CODE_POINTS = [code for code in range(0x110000) if not 0xD800 <= code < 0xE000]
BETWEEN_LETTERS = [
    " ".join(f"a{chr(code)}b" for code in CODE_POINTS[start : start + 4096])
    for start in range(0, len(CODE_POINTS), 4096)
]


def normalize(texts, lowercase, strip_accents, split_cjk):
    normalizer = normalizers.BertNormalizer(
        handle_chinese_chars=split_cjk, strip_accents=strip_accents, lowercase=lowercase
    )
    return [normalizer.normalize_str(text) for text in texts]


def split(texts, *settings):
    splitter = WordSplitter(*settings, special_tokens=[], max_word_length=100)
    words = tf.function(splitter)(tf.constant(texts))
    splits = words.text_splits.numpy()
    strings = [word.decode() for word in words.strings.numpy()]
    return [[word for word in strings[start:end] if word] for start, end in itertools.pairwise(splits)]


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param((True, True, True), id="uncased"),
        pytest.param((False, False, False), id="cased", marks=pytest.mark.exhaustive),
    ],
)
def test_every_code_point_between_two_letters(settings):
    assert len(CODE_POINTS) == 1_112_064  # all of Unicode but the surrogates
    expected = normalize(BETWEEN_LETTERS, *settings)
    received = split(BETWEEN_LETTERS, *settings)
    # What the characters become: no character of the text is white space after normalization but U+0020.
    assert ["".join(words) for words in received] == [text.replace(" ", "") for text in expected]
    # Where words end: the reference counts them with any vocabulary.
    reference = Tokenizer(models.WordLevel({"?": 0}, unk_token="?"))
    reference.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    lengths = [
        np.diff(np.array(encoding.offsets), axis=1)[:, 0].tolist() for encoding in reference.encode_batch(expected)
    ]
    assert [[len(word) for word in words] for words in received] == lengths


@pytest.mark.parametrize("settings", [(True, False, True), (False, True, True), (True, True, False)])
def test_other_settings(settings):
    changed = np.flatnonzero(np.diff(unicode_rules.character_entries(*settings)[0]) != 1)
    codes = sorted({*changed.tolist(), *(changed + 1).tolist()} - set(range(0xD800, 0xE000)))
    assert len(codes) > 5000
    texts = [" ".join(f"a{chr(code)}b" for code in codes)]
    splitter = pre_tokenizers.BertPreTokenizer()
    expected = [[word for word, _ in splitter.pre_tokenize_str(text)] for text in normalize(texts, *settings)]
    assert split(texts, *settings) == expected


def test_marks_are_put_in_canonical_order():
    rules = np.load(unicode_rules.RULES_FILE)
    marks = [chr(code) for code in rules["marks"]]
    _, first_of_class = np.unique(rules["combining_classes"], return_index=True)
    starters = ["\u034f", "e", "\u200d", "中", "é"]
    others = [*(marks[place] for place in first_of_class), "\u302f", "\U0001d165", "\u1b44", *starters]
    texts = [" ".join(f"a{other}{mark}{last}b" for other in others for last in others[::7]) for mark in marks]
    expected = [text.split() for text in normalize(texts, False, True, False)]
    assert split(texts, False, True, False) == expected


def test_the_script_writes_the_shipped_rules(monkeypatch):
    sample = sorted({*range(0x700), *range(0x700, 0x110000, 41), *range(0x1D100, 0x1D200)} - set(range(0xD800, 0xE000)))
    monkeypatch.setattr(build_unicode_rules, "_CODE_POINTS", sample)
    asked, shipped = build_unicode_rules.reference_rules(), unicode_rules.recorded_rules()
    flags = np.repeat(asked["flag_values"], np.diff(asked["flag_starts"], append=0x110000))
    np.testing.assert_array_equal(flags[sample], shipped["flags"][sample])
    for codes, values in (("decomposed", "decompositions"), ("lowered", "lowercase"), ("marks", "combining_classes")):
        places = np.flatnonzero(np.isin(shipped[codes], sample))
        np.testing.assert_array_equal(asked[codes], shipped[codes][places])
        if values != "combining_classes":  # a sample lacks examples of some
            np.testing.assert_array_equal(asked[values], shipped[values][places][:, : asked[values].shape[1]])


def test_tables_are_small():
    entries, several, expansions = unicode_rules.character_entries(True, True, True)
    offsets, blocks = unicode_rules.two_stage(entries)
    assert offsets.nbytes + blocks.nbytes + several.nbytes + expansions.nbytes < 350_000
