"""Documents as BERTSum reads them: windows of whole sentences against windows packed by hand."""

import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasformer.text import WordPieceTokenizer
from kerasformer.text.documents import document_inputs

VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "b", "c"]
LENGTH = 9
TOKENIZER = WordPieceTokenizer(VOCABULARY, max_length=LENGTH)
PADDING, UNKNOWN, START, END = range(4)

inputs_of = {
    windows: tf.function(
        lambda sentences, windows=windows: document_inputs(TOKENIZER, sentences, windows=windows),
        input_signature=[tf.RaggedTensorSpec([None, None], tf.string, 1, tf.int64)],
    )
    for windows in (True, False)
}


def by_hand(document):
    """Windows of one document, each a list of (token, segment)."""
    windows = []
    for sentence in document:
        ids = [START, *[VOCABULARY.index(word) for word in sentence.split()][: LENGTH - 2], END]
        if not windows or sum(map(len, windows[-1])) + len(ids) > LENGTH:
            windows.append([])
        windows[-1].append(ids)
    return [[(token, place % 2) for place, ids in enumerate(window) for token in ids] for window in windows]


DOCUMENTS = st.lists(
    st.lists(st.lists(st.sampled_from("abc"), min_size=1, max_size=9).map(" ".join), max_size=8), max_size=4
)


def rows_of(inputs):
    rows = []
    for ids, segments, mask in zip(*(inputs[name].numpy() for name in inputs), strict=True):
        length = mask.sum()
        assert mask.tolist() == [1] * length + [0] * (len(mask) - length)
        assert not ids[length:].any()
        rows.append(list(zip(ids[:length].tolist(), segments[:length].tolist(), strict=True)))
    return rows


@settings(max_examples=60, deadline=None)
@given(DOCUMENTS)
def test_windows_are_those_packed_by_hand(documents):
    sentences = tf.ragged.constant(documents, tf.string, ragged_rank=1)
    expected = [by_hand(document) for document in documents]
    inputs = inputs_of[True](sentences)
    assert list(inputs) == ["token_ids", "segment_ids", "padding_mask"]
    assert rows_of(inputs) == [window for windows in expected for window in windows]
    first = inputs_of[False](sentences)
    assert rows_of(first) == [windows[0] if windows else [] for windows in expected]


def test_a_start_token_in_the_text_begins_no_sentence():
    rows = rows_of(document_inputs(TOKENIZER, tf.ragged.constant([["a [CLS] b", "[SEP]"]])))
    assert rows == [[(START, 0), (4, 0), (UNKNOWN, 0), (5, 0), (END, 0), (START, 1), (END, 1), (END, 1)]]


def test_a_sentence_without_pieces():
    assert rows_of(document_inputs(TOKENIZER, tf.ragged.constant([["\u200d"]]))) == [[(START, 0), (END, 0)]]
