"""Byte-pair encoding of characters against the `tokenizers` library."""

import functools
import json
import os
import pathlib
import random

import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

import kerasformer as kf
from benchmarks import compare_tokenizers
from kerasformer.errors import InputError

tokenizers = pytest.importorskip("tokenizers")
DATA = pathlib.Path(os.environ.get("KF_DATA", "missing")) / "tokenizers"
NAMES = ("stories260k-llama", "mistral-7b", "barthez")
LETTERS = "abcé▁日"
# Between them: every setting, and bytes of which some are in the vocabulary.
SETTINGS = {
    "plain": {},
    "unknown": {"unk_token": "<unk>"},
    "fused": {"unk_token": "<unk>", "fuse_unk": True},
    "bytes": {"unk_token": "<unk>", "fuse_unk": True, "byte_fallback": True},
    "some bytes": {"unk_token": "<unk>", "byte_fallback": True},
    "some bytes, fused": {"unk_token": "<unk>", "fuse_unk": True, "byte_fallback": True},
    "some bytes alone": {"byte_fallback": True},
    "suffix": {"unk_token": "<unk>", "end_of_word_suffix": "</w>"},
    "prefix": {"unk_token": "<unk>", "continuing_subword_prefix": "##"},
    "both": {"unk_token": "<unk>", "continuing_subword_prefix": "##", "end_of_word_suffix": "</w>"},
    "whole": {"unk_token": "<unk>", "ignore_merges": True},
}
# Of `make test`: one order of the merges each; "some bytes, fused" is in `test_arbitrary_unicode`.
FEW = {"plain": (0, True), "bytes": (1, False), "some bytes": (2, True), "both": (1, False), "whole": (2, True)}


def specification(name, seed, split):
    """The content of a `tokenizer.json` with merges in any order, some listed twice."""
    draw, model = random.Random(seed), SETTINGS[name]
    prefix, suffix = model.get("continuing_subword_prefix", ""), model.get("end_of_word_suffix", "")
    ids = {"<unk>": 0}
    if "bytes" in name:
        some = range(256) if name == "bytes" else [*range(10), 0x21, *range(0xD0, 0xFF), *range(0x80, 0xA8)]
        ids |= {f"<0x{byte:02X}>": 1 + place for place, byte in enumerate(some)}
    tokens = [a + letter + b for letter in LETTERS for a in {"", prefix} for b in {"", suffix}]
    tokens += [token for token in ("<0xE3>", "<0x81>") if token in ids]
    merges = []
    for _ in range(60):
        left = draw.choice([token for token in tokens if not suffix or not token.endswith(suffix)])
        right = draw.choice([token for token in tokens if token.startswith(prefix)])
        merges.append((left, right))
        tokens.append(left + right[len(prefix) :])
    tokens += ["".join(draw.choices(LETTERS, k=3)) for _ in range(20)]
    for token in tokens:
        ids.setdefault(token, len(ids))
    if seed:
        draw.shuffle(merges)
    return {
        "version": "1.0",
        "added_tokens": [
            {"id": 0, "content": "<unk>", "single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
            | {"special": True}
        ],
        "normalizer": None,
        "pre_tokenizer": {"type": "WhitespaceSplit"} if split else None,
        "post_processor": None,
        "decoder": None,
        "model": {"type": "BPE", **model, "vocab": ids, "merges": [*map(list, merges), list(merges[3])]},
    }


@functools.cache
def pair(name, seed=0, split=True):
    content = specification(name, seed, split)
    return kf.text.Tokenizer(content), tokenizers.Tokenizer.from_str(json.dumps(content))


@functools.cache
def real_pair(name):
    if not (DATA / name).is_dir():
        pytest.skip("needs $KF_DATA")
    theirs = tokenizers.Tokenizer.from_file(str(DATA / name / "tokenizer.json"))
    return kf.text.Tokenizer.from_folder(DATA / name), theirs


def check(both, texts, offsets=True):
    found = compare_tokenizers.differences(*both, texts, offsets=offsets)
    assert not found, found[0]
    faults = compare_tokenizers.offset_faults(both[0], texts)
    assert offsets is False or not faults, faults[0]


def random_texts(count, seed=0):
    draw = random.Random(seed)
    pools = LETTERS, LETTERS + " ", "ab", LETTERS + "xyß\u3041\u3042!\t é", "x\u3041"
    texts = ["".join(draw.choices(draw.choice(pools), k=draw.randrange(16))) for _ in range(count)]
    return ["", *texts, *("".join(draw.choices(pools[0], k=300)) for _ in range(5)), "a" * 99, "<unk>", "a<unk>b"]


@pytest.mark.parametrize(
    ("name", "seed", "split"),
    [
        pytest.param(name, *order, marks=() if order == FEW.get(name) else pytest.mark.exhaustive)
        for name in SETTINGS
        for order in [(0, True), (1, False), (2, True)]
    ],
)
def test_settings(name, seed, split):
    check(pair(name, seed, split), random_texts(300, seed), offsets=False)


@pytest.mark.parametrize("name", NAMES)
def test_folder(name):
    both = real_pair(name)
    texts = [*compare_tokenizers.mixtures(300, both[0].special_tokens), *compare_tokenizers.code_points(5003), ""]
    texts += ["x" * 200, "日本" * 100, "!" * 99, pathlib.Path(__file__).read_text()]
    check(both, texts, offsets=name != "barthez")  # it replaces two characters by one, which has the place of one
    ids = [encoding.ids for encoding in both[1].encode_batch(texts[:300])]
    decoded = [text.decode() for text in both[0].detokenize(tf.ragged.constant(ids)).numpy()]
    assert decoded == both[1].decode_batch(ids)


@settings(max_examples=60, deadline=None)
@given(texts=st.lists(st.text(st.sampled_from("hat!s 日本▁") | st.characters(codec="utf-8"), max_size=60), max_size=4))
@pytest.mark.parametrize("name", [NAMES[0], "some bytes, fused"])
def test_arbitrary_unicode(name, texts):
    check(real_pair(name) if name in NAMES else pair(name), texts, offsets=name in NAMES)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"unk_token": "<odd>"}, "`unk_token` must be in the vocabulary"),
        ({"dropout": 0.1}, "`dropout` must be none"),
        ({"merges": [["a", "日a"]]}, "merge 'a' '日a' without"),
        ({"alpha": 0.1}, "no known field 'alpha'"),
    ],
)
def test_models_that_are_refused(change, message):
    content = specification("plain", 0, True)
    content["model"] |= change
    with pytest.raises(InputError, match=message):
        kf.text.Tokenizer(content)
