"""BERTweet's normalizer of tweets against transformers' `BertweetTokenizer`, recorded and installed."""

import json
import os
import pathlib
import sys
import types

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

import kerasformer as kf
from benchmarks.compare_tokenizers import code_points, read_texts
from kerasformer.errors import InputError
from kerasformer.text.stream import EDGE_CODE, decode
from kerasformer.text.tweet_normalizer import TweetNormalizer, emoji_names
from tests.fixtures.record_tweets import TEXTS, write

RECORDED = np.load(pathlib.Path(__file__).parents[1] / "fixtures" / "tweets.npz")
EMOJI = json.loads(str(RECORDED["emoji"]))
DATA = pathlib.Path(os.environ.get("KF_DATA", "nowhere"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder of BERTweet's files, whose emoji are named as recorded."""
    path = tmp_path_factory.mktemp("bertweet")
    write(path, str(RECORDED["vocabulary"]), str(RECORDED["codes"]))
    (path / "tokenizer_config.json").write_text('{"tokenizer_class": "BertweetTokenizer", "normalization": true}')
    return path


@pytest.fixture(scope="module")
def tokenizer(folder):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kerasformer.text.older_files.emoji_names", lambda: EMOJI)
        return kf.text.Tokenizer.from_folder(folder)


@pytest.mark.parametrize(("emoji", "name"), [(EMOJI, "normalized"), ({}, "without_emoji")])
def test_normalized_texts(emoji, name):
    codes = TweetNormalizer(emoji)(decode(tf.constant(TEXTS)).stream).codes.numpy()
    found = ["".join(map(chr, part[1:])) for part in np.split(codes, np.flatnonzero(codes == EDGE_CODE))[1:-1]]
    assert found == json.loads(str(RECORDED[name]))


def test_ids_and_places(tokenizer):
    inputs = tokenizer(TEXTS)
    found = np.where(inputs["padding_mask"], inputs["token_ids"], -1)
    np.testing.assert_array_equal(found, RECORDED["ids"])
    for starts, ends in zip(*(places.to_list() for places in tokenizer.tokenize_with_offsets(TEXTS)[1:]), strict=True):
        assert starts == sorted(starts)
        assert ends == sorted(ends)
        assert all(start < end for start, end in zip(starts, ends, strict=True))
    text = "é @kim_1: can't &amp; www.x.org/ab 😂"
    _, starts, ends = (row[0] for row in tokenizer.tokenize_with_offsets([text]))
    words = tokenizer.word_ids([text])[0].numpy()
    slices = [
        text.encode()[starts.numpy()[words == word].min() : ends.numpy()[words == word].max()].decode()
        for word in range(words.max() + 1)
    ]
    assert slices == ["é", "@kim_1", ":", "can't", "&", "www.x.org/ab", "😂"]


def test_saved(tokenizer, tmp_path):
    """Read again without the package of emoji, served, and in transformers."""
    tokenizer.save(tmp_path / "saved")
    again = kf.text.Tokenizer.from_folder(tmp_path / "saved")
    assert again.get_config()["specification"] == tokenizer.get_config()["specification"]
    module = tf.Module()
    module.ids = tf.function(lambda texts: again(texts)["token_ids"], [tf.TensorSpec([None], tf.string)])
    tf.saved_model.save(module, str(tmp_path / "served"))
    expected = tokenizer(TEXTS)["token_ids"].numpy()
    served = tf.saved_model.load(str(tmp_path / "served"))
    np.testing.assert_array_equal(served.ids(tf.constant(TEXTS)), expected)
    np.testing.assert_array_equal(served.ids(tf.constant([""])), [[0, 2]])
    assert served.ids(tf.zeros([0], tf.string)).shape[0] == 0
    transformers = pytest.importorskip("transformers")
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "saved")
    theirs.demojizer = lambda char: EMOJI.get(char, char)
    assert theirs(TEXTS, padding=True)["input_ids"] == expected.tolist()


class Package(types.ModuleType):
    def demojize(self, text):
        return {"😂": ":joy:", "\ufe0f": ""}.get(text, text)


@pytest.mark.parametrize("attribute", ["EMOJI_DATA", "UNICODE_EMOJI"])
def test_names_of_an_installed_package(attribute, monkeypatch):
    package = Package("emoji")
    setattr(package, attribute, {"😂": {}, "☺": {}, "👍🏽": {}})
    monkeypatch.setitem(sys.modules, "emoji", package)
    assert emoji_names() == {"😂": ":joy:", "\ufe0f": ""}


def test_without_the_package(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "emoji", None)
    with pytest.warns(UserWarning, match="is read without names of emoji.* `pip install emoji==0.6.0`"):
        found = kf.text.Tokenizer.from_folder(folder)
    assert found.specification["normalizer"] == {"type": "TweetNormalizer", "emoji": {}}


def test_names_of_what_is_no_character():
    with pytest.raises(InputError, match=r"`emoji` must name single characters\. Received: 'ab'"):
        TweetNormalizer({"ab": ":ab:"})


def test_characters_are_those_of_the_installed_package():
    pytest.importorskip("regex")
    from kerasformer.text.build_tweet_characters import reference_characters
    from kerasformer.text.tweet_words import CHARACTERS_FILE

    with np.load(CHARACTERS_FILE) as file:
        for name, values in reference_characters().items():
            np.testing.assert_array_equal(file[name], values)


@pytest.fixture(scope="module")
def both(tokenizer, folder):
    """Functions of texts: ids of ours and of transformers."""
    transformers = pytest.importorskip("transformers")
    theirs = transformers.BertweetTokenizer.from_pretrained(folder)
    theirs.demojizer = lambda char: EMOJI.get(char, char)
    return lambda texts: tokenizer.tokenize(texts).to_list(), lambda texts: [
        theirs.convert_tokens_to_ids(theirs.tokenize(text)) for text in texts
    ]


PARTS = [*"aHtTpsoD018@#:;=-_.,'&/()<>*+~ \n\x1céſ😂…’", "http://", "www.", ".com", "n't ", " p . m .", "&#38;", "can"]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.one_of(st.text(max_size=8), st.lists(st.sampled_from(PARTS)).map("".join)), max_size=4))
def test_random_texts(both, texts):
    ours, theirs = both
    assert ours(texts) == theirs(texts)


@pytest.mark.exhaustive
@pytest.mark.parametrize("read", [lambda: read_texts(DATA / "tweeteval"), code_points], ids=["tweets", "code points"])
def test_every_text(both, read):
    texts = read()
    if not texts:
        pytest.skip("needs $KF_DATA")
    ours, theirs = both
    for begin in range(0, len(texts), 1000):
        assert ours(texts[begin : begin + 1000]) == theirs(texts[begin : begin + 1000])
