"""Byte-level BPE against the `tokenizers` library, and what surrounds it."""

import json
import os
import pathlib
import pickle

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

import kerasformer as kf
from benchmarks import compare_tokenizers
from kerasformer.errors import InputError
from kerasformer.text.byte_level import byte_letters
from kerasformer.text.byte_pair_merges import BytePairMerges
from kerasformer.text.character_classes import CLASSES_FILE

tokenizers = pytest.importorskip("tokenizers")
DATA = pathlib.Path(os.environ.get("KF_DATA", "missing")) / "tokenizers"
NAMES = ("roberta-base", "gpt2")

MERGES = [("t", "h"), ("th", "e"), ("Ġ", "the"), ("a", "a"), ("aa", "a"), ("Ġ", "a")]
SPECIAL = ["<s>", "</s>", "<pad>", "<unk>", "<mask>"]
VOCABULARY = [*SPECIAL[:4], *byte_letters(), *(a + b for a, b in MERGES), "<mask>"]


def small(**changes):
    tokens = dict(zip(("start_token", "end_token", "padding_token", "unknown_token"), SPECIAL, strict=False))
    return kf.text.BytePairTokenizer(VOCABULARY, MERGES, **{**tokens, "mask_token": "<mask>", **changes})


@pytest.fixture(scope="module", params=["small", "prefix", *NAMES])
def both(request, tmp_path_factory):
    if request.param in NAMES:
        if not (DATA / request.param).is_dir():
            pytest.skip("needs $KF_DATA")
        ours = kf.text.Tokenizer.from_folder(DATA / request.param)
        return ours, tokenizers.Tokenizer.from_file(str(DATA / request.param / "tokenizer.json"))
    folder = tmp_path_factory.mktemp(request.param)
    ours = small(add_prefix_space=request.param == "prefix")
    ours.save(folder)
    return ours, tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))


def check(both, texts):
    found = compare_tokenizers.differences(*both, texts)
    assert not found, found[0]


def test_mixtures_and_code_points(both):
    check(both, ["", *compare_tokenizers.mixtures(500, both[0].special_tokens), *compare_tokenizers.code_points(3001)])


@settings(max_examples=60, deadline=None)
@given(texts=st.lists(st.text(max_size=40), max_size=4))
def test_arbitrary_unicode(both, texts):
    check(both, texts)


@settings(max_examples=40, deadline=None)
@given(text=st.binary(max_size=24))
def test_bytes_that_are_no_utf8(both, text):
    ids, starts, ends = (values.to_list()[0] for values in both[0].tokenize_with_offsets([text]))
    assert ids == both[1].encode(text.decode(errors="replace"), add_special_tokens=False).ids
    assert all(0 <= start <= end <= len(text) for start, end in zip(starts, ends, strict=True))


def test_long_words(both):
    letters = np.random.default_rng(0).choice(list("abcdeABC"), 600)
    check(both, ["".join(letters), "a" * 1000, "th" * 500, " " * 300, "日本" * 200])


def test_pairs_and_templates(both):
    texts, pairs = ["the a", "", "<mask> it's"], ["aaaa", "x", ""]
    expected = [both[1].encode(*pair) for pair in zip(texts, pairs, strict=True)]
    inputs = both[0](texts, pairs)
    for row, encoding in enumerate(expected):
        length = len(encoding.ids)
        assert inputs["token_ids"][row, :length].numpy().tolist() == encoding.ids
        assert inputs["padding_mask"][row].numpy().sum() == length
    assert both[0]([])["token_ids"].shape[0] == 0


def test_round_trip(both):
    texts = ["the  day's\n", "日本 é", "  "]
    ids = both[0](texts)["token_ids"].numpy()
    decoded = [text.decode() for text in both[0].detokenize(ids).numpy()]
    assert decoded == [both[1].decode(row) for row in ids]
    space = " " * both[0].specification["pre_tokenizer"]["add_prefix_space"]
    assert decoded == [text if text.startswith(" ") else space + text for text in texts]


def test_truncation():
    tokenizer = small(truncation_side="left")
    letters = [tokenizer.vocabulary[i] for i in tokenizer(["bcdf"], max_length=4)["token_ids"][0]]
    assert letters == ["<s>", "d", "f", "</s>"]
    pair = tokenizer(["bcdf"], ["gh"], max_length=8, truncation="only_first")["token_ids"][0]
    assert [tokenizer.vocabulary[i] for i in pair] == ["<s>", "d", "f", "</s>", "</s>", "g", "h", "</s>"]


@pytest.mark.parametrize("adds", [False, True])
def test_offsets_of_several_spaces_and_pairs_without_special_tokens(adds):
    """Of one space before a text the reference thinks that it was added, of several not."""
    merges = [("Ġ", "Ġ"), ("ĠĠ", "Ġ"), ("ĠĠĠ", "a"), ("ĠĠ", "a"), ("Ġ", "a")]
    level = {"type": "ByteLevel", "add_prefix_space": adds, "trim_offsets": True, "use_regex": False}
    ids = {token: place for place, token in enumerate([*byte_letters(), *(a + b for a, b in merges)])}
    content = {"version": "1.0", "added_tokens": [], "normalizer": None, "pre_tokenizer": level, "decoder": None}
    content |= {"post_processor": level, "model": {"type": "BPE", "vocab": ids, "merges": merges}}
    ours, theirs = kf.text.Tokenizer(content), tokenizers.Tokenizer.from_str(json.dumps(content))
    texts = [" " * spaces + end for spaces in range(6) for end in ("a", "b", "", "a  a")]
    check((ours, theirs), texts)
    found, expected = ours(texts, texts[::-1]), theirs.encode_batch([*zip(texts, texts[::-1], strict=True)])
    for ids, segments, encoding in zip(found["token_ids"].numpy(), found["segment_ids"].numpy(), expected, strict=True):
        assert (ids.tolist()[: len(encoding)], segments.tolist()[: len(encoding)]) == (encoding.ids, encoding.type_ids)


def test_windows_keep_a_question_apart():
    tokenizer = small()
    windows = kf.text.window_texts(tokenizer, ["bcdfgh"], 9, 1, heads=["xy"], max_head=2)
    rows = [[tokenizer.vocabulary[i] for i in row] for row in windows.inputs["token_ids"]]
    assert rows[0] == ["<s>", "x", "y", "</s>", "</s>", "b", "c", "d", "</s>"]
    assert windows.pieces.numpy()[0].tolist() == [-1] * 5 + [0, 1, 2, -1]
    assert not windows.inputs["segment_ids"].numpy().any()


def test_pickling_and_export(tmp_path):
    tokenizer, texts = small(), ["the <mask> aaa", "b"]
    expected = tokenizer(texts)["token_ids"].numpy()
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(tokenizer))(texts)["token_ids"], expected)
    tokenizer.save(tmp_path)
    loaded = kf.text.Tokenizer.from_folder(tmp_path)
    np.testing.assert_array_equal(loaded(texts)["token_ids"], expected)
    assert loaded.padding_id == tokenizer.padding_id == 2
    module = tf.Module()
    module.call = tf.function(tokenizer, input_signature=[tf.TensorSpec([None], tf.string)])
    tf.saved_model.save(module, tmp_path / "export")
    np.testing.assert_array_equal(tf.saved_model.load(tmp_path / "export").call(texts)["token_ids"], expected)


def test_merges_out_of_order():
    """`abc` is made of `a` and `bc`, and its rank is below that of `bc`: merges are made one by one."""
    merges = BytePairMerges([(0, 3), (1, 2)], [4, 3], 5)
    ids, _, firsts = merges(tf.constant([0, 1, 2, 1, 2]), tf.zeros(5, tf.int32))
    assert (ids.numpy().tolist(), firsts.numpy().tolist()) == ([4, 3], [0, 3])


@pytest.mark.exhaustive
def test_classes_are_those_of_the_installed_library():
    from kerasformer.text.build_character_classes import reference_classes

    with np.load(CLASSES_FILE) as file:
        for name, values in reference_classes().items():
            np.testing.assert_array_equal(file[name], values)


@pytest.mark.parametrize(
    ("part", "content"),
    [
        ("normalizer", {"type": "Nmt"}),
        ("pre_tokenizer", {"type": "UnicodeScripts"}),
        ("model", {"type": "Odd", "vocab": []}),
        ("post_processor", {"type": "Odd"}),
        ("decoder", {"type": "CTC"}),
    ],
)
def test_unknown_components_are_named(tmp_path, part, content):
    specification = {**small().specification, part: content}
    (tmp_path / "tokenizer.json").write_text(json.dumps(specification))
    with pytest.raises(InputError, match=content["type"]) as caught:
        kf.text.Tokenizer.from_file(tmp_path / "tokenizer.json")
    assert "\n" not in str(caught.value)


def test_vocabularies_that_cannot_be_used():
    with pytest.raises(InputError, match="256 bytes"):
        kf.text.BytePairTokenizer(["a"], [])
    with pytest.raises(InputError, match="merge 'a' 'b' without 'ab'"):
        kf.text.BytePairTokenizer(byte_letters(), [("a", "b")])
