"""Unigram tokenizers and SentencePiece's character maps against the `tokenizers` library."""

import base64
import io
import itertools
import json
import os
import pathlib
import random

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

import kerasformer as kf
from benchmarks import compare_tokenizers
from kerasformer.errors import InputError
from kerasformer.text.graphemes import grapheme_flags
from kerasformer.text.precompiled import Precompiled, read_charsmap
from kerasformer.text.span_table import PairTable, SpanTable, code_grid
from kerasformer.text.stream import EDGE_CODE, decode

tokenizers = pytest.importorskip("tokenizers")
sentencepiece = pytest.importorskip("sentencepiece")
DATA = pathlib.Path(os.environ.get("KF_DATA", "missing")) / "tokenizers"
# Between them: charsmap or NFKD, white space split or not, `Strip`, and runs of spaces.
NAMES = ("albert-base-v2", "deberta-v3", "t5-small")

TEXTS = ["the cat sat on the mat", "the hat, the bat", "ﬁne ①② naïve cafés", "haha hahaha!!!!!", "日本語 日本 本"] * 20
MARKS = "\u0301\u0308\u200d\ufe0f\u0903\u094d\u3099\u0600\r\n\0"


@pytest.fixture(scope="module")
def charsmap():
    """The map NFKC, made by SentencePiece, base64 text."""
    from sentencepiece import sentencepiece_model_pb2

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS), model_writer=model, vocab_size=30, hard_vocab_limit=False, minloglevel=2
    )
    proto = sentencepiece_model_pb2.ModelProto.FromString(model.getvalue())
    return base64.b64encode(proto.normalizer_spec.precompiled_charsmap).decode()


def specification(charsmap=None, byte_fallback=False):
    """The content of a `tokenizer.json`."""
    pieces = {"<unk>": 0.0, "</s>": 0.0, **{f"<0x{byte:02X}>": 0.0 for byte in range(256 * byte_fallback)}}
    draw = random.Random(0)
    texts = "".join(TEXTS[:5]).replace(" ", "▁")
    for length in (1, 2, 2, 3, 3, 4, 5, 6, 8):
        for _ in range(25):
            begin = draw.randrange(len(texts) - length)
            # Scores of 17 digits, and several pieces with equal ones.
            pieces[texts[begin : begin + length]] = draw.choice([float(np.float32(-draw.random() * 9 - 3)), -7.25])
    special = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return {
        "version": "1.0",
        "added_tokens": [{"id": place, "content": token, **special} for place, token in enumerate(("<unk>", "</s>"))],
        "normalizer": {"type": "Precompiled", "precompiled_charsmap": charsmap} if charsmap else None,
        "pre_tokenizer": None,
        "post_processor": None,
        "decoder": None,
        "model": {"type": "Unigram", "unk_id": 0, "byte_fallback": byte_fallback, "vocab": [*pieces.items()]},
    }


@pytest.fixture(scope="module", params=["small", "bytes", *NAMES])
def both(request, charsmap, tmp_path_factory):
    if request.param in NAMES:
        if not (DATA / request.param).is_dir():
            pytest.skip("needs $KF_DATA")
        folder = compare_tokenizers.folder_of(request.param, tmp_path_factory.mktemp("unpacked"))
        theirs = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        theirs.no_padding()
        theirs.no_truncation()
        return kf.text.Tokenizer.from_folder(folder), theirs
    content = specification(charsmap, request.param == "bytes")
    return kf.text.Tokenizer(content), tokenizers.Tokenizer.from_str(json.dumps(content))


def check(both, texts):
    found = compare_tokenizers.differences(*both, texts, offsets=False)
    assert not found, found[0]
    if both[0].vocabulary_size < 1000:  # others replace two characters by one, which has the place of only one
        faults = compare_tokenizers.offset_faults(both[0], texts)
        assert not faults, faults[0]


def test_mixtures_and_code_points(both):
    check(both, ["", *compare_tokenizers.mixtures(300, both[0].special_tokens), *compare_tokenizers.code_points(5003)])


@settings(max_examples=60, deadline=None)
@given(texts=st.lists(st.text(st.sampled_from("hat!s 日本▁") | st.characters(codec="utf-8"), max_size=60), max_size=4))
def test_arbitrary_unicode(both, texts):
    check(both, texts)


def test_ties_and_long_words(both):
    draw = random.Random(1)
    words = [char * count for char in "!ah日" for count in (2, 3, 5, 31, 32, 33, 64, 65, 200)]
    check(both, words + ["".join(draw.choice("hat!日本") for _ in range(draw.randrange(300))) for _ in range(200)])


def test_normalizes_like_the_reference(charsmap):
    theirs, ours = tokenizers.normalizers.Precompiled(base64.b64decode(charsmap)), Precompiled(charsmap)
    draw, keys = random.Random(2), list(read_charsmap(charsmap))
    some = [*keys, *"ae© ", *map(chr, range(0x900, 0x980)), *map(chr, range(0x1100, 0x1200, 8))]
    texts = ["".join(draw.choice(draw.choice([some, MARKS])) for _ in range(8)) for _ in range(3000)]
    texts += [key + mark for key in keys for mark in ("", "\u0301", "\u0301\u0301")]
    stream = tf.function(lambda texts: ours(decode(texts).stream)[:2])(tf.constant(texts))
    codes, places = (value.numpy() for value in stream)
    edges = np.flatnonzero(codes == EDGE_CODE)
    found = ["".join(map(chr, codes[a + 1 : b])) for a, b in itertools.pairwise(edges)]
    assert found == [theirs.normalize_str(text) for text in texts]
    assert (np.diff(places) >= 0).all()


def test_graphemes_join_as_in_the_reference():
    assert np.flatnonzero(grapheme_flags() & 1).size == 2619  # `python -m kerasformer.text.build_graphemes` prints it


def test_span_table():
    ids = {chr(97 + place % 26) * (1 + place // 26): place for place in range(300)}
    text = "".join(ids)
    ends = np.cumsum([len(key) for key in ids])
    begins = np.append(0, ends[:-1])
    read = SpanTable(ids, missing=300).reader(tf.constant([ord(char) for char in text]))
    assert read(tf.constant(begins), tf.constant(ends - 1)).numpy().tolist() == list(range(300))
    assert read(tf.constant([0]), tf.constant([1])).numpy().tolist() == [300]


def test_pair_table():
    codes, _ = code_grid(["ab", "bcd", "e"])
    left, right = (tf.constant([ord(char) for char in chars]) for chars in ("abcdb", "bcdee"))
    assert PairTable(codes)(left, right).numpy().tolist()[:3] == [True] * 3
    every = tf.range(1000)
    assert np.count_nonzero(PairTable(codes)(every, every + 1)) < 500  # a few too many


def test_words_of_parts():
    """Sums of equal pieces are rounded by what is before them, which decides between `ab` `a` and `a` `ba`."""
    pieces = {"<unk>": 0.0, "x": -0.1, ".": -3.3, "a": -1.7, "b": -9.0, "ab": -2.9, "ba": -2.9, "abb": -11.9}
    content = specification() | {"normalizer": None}
    content["model"]["vocab"] = [*pieces.items()]
    content["added_tokens"] = content["added_tokens"][:1]
    pair = kf.text.Tokenizer(content), tokenizers.Tokenizer.from_str(json.dumps(content))
    texts = ["".join(text) for size in range(5) for text in itertools.product("xa.b", repeat=size)]
    check(pair, texts + ["".join(text) * 9 for text in itertools.product("xa.b", repeat=3)])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"unk_id": None}, "`unk_id` must be the index of a piece"),
        ({"unk_id": 10**6}, "`unk_id` must be the index of a piece"),
        ({"byte_fallback": True, "vocab": [["<unk>", 0.0], ["<0x00>", -1.0]]}, "must hold all 256 bytes"),
        ({"vocab": []}, "`unk_id` must be the index of a piece"),
        ({"alpha": 0.1}, "no known field 'alpha'"),
    ],
)
def test_models_that_are_refused(change, message):
    content = specification()
    content["model"] |= change
    with pytest.raises(InputError, match=message):
        kf.text.Tokenizer(content)


@pytest.mark.parametrize("text", [None, "", "!", "AAAA", base64.b64encode(b"\xff\0\0\0abc").decode()])
def test_maps_that_are_refused(text):
    with pytest.raises(InputError, match="must be a map of SentencePiece"):
        Precompiled(text)
