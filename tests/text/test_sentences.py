"""Sentences in the graph: known cases, and for any text whatever offsets that cut exactly."""

import re

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

import kerasformer as kf
from kerasformer.errors import InputError

split = tf.function(kf.text.split_sentences, input_signature=[tf.TensorSpec([None], tf.string)])


def sentences_of(text):
    return [sentence.decode() for sentence in split(tf.constant([text]))[0].to_list()[0]]


KNOWN = [
    "It rains.|We stay.",
    "Is it so?|Yes!|Well…|Who knows?!|Nobody.",
    "Dr. Smith met Mrs. Jones, i.e. his aunt, on Jan. 5.|She left.",
    "Liao et al. (2016) show it.|See Fig. 3 and Eq. (4), cf. Sec. 2.|Next, e.g. this one.",
    "It was shown by Liao et al.|However, nobody read it.",
    "J. R. R. Tolkien wrote it in the U.S. Army's time.|He was in the U.K.|The end.",
    "Pi is 3.14 and version 2.0.1 costs $5.50.|That is all.",
    "Apples, pears, etc. are sold by Fruit Inc. in town.|We buy pears, apples, etc.|They are good.",
    '"Really?" he asked.|"Yes."|(So it was.)|[Good.]|“Fine.”|‘Oh.’|So.',
    "A claim.[12]|Another one.[3,4]|The last.",
    "Wait... what?|Wait...|What?|No . . . nothing",
    "1. First item.|2. Second item.|III. Third item",
    "It has no. 5 on it.|The answer is no.|We go.",
    "Sie sah z. B. Hunde.|Das war gut.",
    "今日は晴れ。|「いい天気！」と言った。|そうですか？|（はい。）|Hello 世界。|行く",
    "यह है।|वह है।|ايه؟|نعم.",
    "We split here.|𝔘nd here 🎉!|Great 👍.|😀 ok",
    "the end of this.|#tag and @user follow",
    "no mark at all",
    "lower case goes on. so here it is",
]


@pytest.mark.parametrize("text", KNOWN)
def test_known_sentences(text):
    expected = text.split("|")
    wide = re.compile("[。！？][」）]?$")
    joined = "".join(s if wide.search(s) else s + " " for s in expected)
    assert sentences_of(joined) == expected


@pytest.mark.parametrize("gap", ["\n\n", "\r\n\r\n", " \n \n\n", "\u2029"])
def test_a_blank_line_ends_a_sentence(gap):
    assert sentences_of(f"A title{gap}and its text\nof two lines") == ["A title", "and its text\nof two lines"]


@pytest.mark.parametrize("text", ["", " ", "\n\n\t", "\u3000\u00a0"])
def test_no_sentences(text):
    sentences, starts, ends = split(tf.constant([text, "One."]))
    assert sentences.to_list() == [[], [b"One."]]
    assert starts.to_list() == [[], [0]]
    assert ends.to_list() == [[], [4]]


def test_a_batch_of_0():
    sentences, starts, ends = split(tf.zeros([0], tf.string))
    assert sentences.shape[0] == starts.shape[0] == ends.shape[0] == 0


def test_invalid_utf8_is_cut_exactly():
    raw = b"One \xff. Two. Three\xc2. \xe3\x80 Four."
    sentences, starts, ends = (values.to_list()[0] for values in split(tf.constant([raw])))
    assert [raw[start:end] for start, end in zip(starts, ends, strict=True)] == sentences
    assert sentences == [b"One \xff. Two.", b"Three\xc2. \xe3\x80 Four."], "no mark is seen in a broken word"


TEXTS = st.text(
    st.one_of(st.sampled_from(" .!?\n。」\"')(…‥\0aABé5ß漢 \u3000👍"), st.characters(exclude_categories=["Cs"])),
    max_size=60,
)


@settings(max_examples=150, deadline=None)
@given(st.lists(TEXTS, max_size=4))
def test_sentences_and_gaps_are_the_text(texts):
    sentences, starts, ends = split(tf.constant(texts, tf.string, shape=[len(texts)]))
    for text, row, begin, end in zip(texts, sentences.to_list(), starts.to_list(), ends.to_list(), strict=True):
        raw = text.encode()
        assert [raw[b:e].replace(b"\0", b" ") for b, e in zip(begin, end, strict=True)] == row
        gaps = [raw[b:e] for b, e in zip([0, *end], [*begin, len(raw)], strict=True)]
        assert all(gap.replace(b"\0", b" ").decode().isspace() or not gap for gap in gaps)
        assert all(sentence.strip() for sentence in row)
        if len(texts) > 1:
            assert split(tf.constant([text]))[0].to_list()[0] == row, "alone as in a batch"


def test_long_texts_take_little_time_and_memory():
    text = "This is one of many sentences (see Fig. 3). " * 20_000
    starts = split(tf.constant([text]))[1]
    assert starts.shape == [1, None]
    assert np.all(starts.values == np.arange(20_000) * 44)


def test_not_texts():
    with pytest.raises(InputError, match="list of texts"):
        kf.text.split_sentences("one text")
