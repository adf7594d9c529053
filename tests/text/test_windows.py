"""Windows of long texts: each piece once, in order and with context; what fits is as the tokenizer gives it."""

import functools

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasformer.errors import InputError
from kerasformer.text import WordPieceTokenizer, window_texts

VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "##b", "c", "d", "é"]
PIECES = ("a", "ab", "c", "d", "é", "?")


@functools.cache
def tokenizer():
    return WordPieceTokenizer(VOCABULARY, max_length=16, lowercase=False)


texts_of_pieces = st.lists(st.lists(st.sampled_from(PIECES), max_size=30).map(" ".join), max_size=4)


@settings(max_examples=60, deadline=None)
@given(texts_of_pieces, st.data())
def test_windows_against_a_loop(texts, data):
    length = data.draw(st.integers(4, 16))
    overlap = data.draw(st.integers(0, length - 3))
    windows = window_texts(tokenizer(), texts, length, overlap)
    ids = [tokenizer().tokenize([text])[0].numpy().tolist() for text in texts]
    room, expected, owners = length - 2, [], []
    for number, pieces in enumerate(ids):
        start = 0
        while True:
            expected.append([2, *pieces[start : start + room], 3])
            owners.append(number)
            if start + room >= len(pieces):
                break
            start += room - overlap
    assert windows.owners.numpy().tolist() == owners
    masks = windows.inputs["padding_mask"].numpy().astype(bool)
    rows = [row[mask].tolist() for row, mask in zip(windows.inputs["token_ids"].numpy(), masks, strict=True)]
    assert rows == expected
    # Each piece is kept once, in order, and stands where its window says it does.
    total = sum(map(len, ids))
    assert windows.merge(windows.pieces).numpy().tolist() == list(range(total))
    assert windows.ids.numpy().tolist() == [piece for pieces in ids for piece in pieces]
    inside = windows.pieces.numpy() >= 0
    np.testing.assert_array_equal(
        windows.inputs["token_ids"].numpy()[inside], windows.ids.numpy()[windows.pieces.numpy()[inside]]
    )
    assert windows.texts.numpy().tolist() == [number for number, pieces in enumerate(ids) for _ in pieces]


def test_a_piece_is_kept_where_it_has_more_context():
    windows = window_texts(tokenizer(), [" ".join(["a"] * 40)], 14, 6)
    pieces, kept = windows.pieces.numpy(), windows.kept.numpy()
    context = {}
    for row in range(len(pieces)):
        inside = np.flatnonzero(pieces[row] >= 0)
        for place in inside:
            context.setdefault(pieces[row, place], []).append(
                (min(place - inside[0], inside[-1] - place), kept[row, place])
            )
    for seen in context.values():
        assert max(room for room, _ in seen) == next(room for room, is_kept in seen if is_kept)


def test_what_fits_is_as_the_tokenizer_gives_it():
    texts, heads = ["a ab c", "", "d"], ["c", "ab", ""]
    for windows, expected in (
        (window_texts(tokenizer(), texts, 16, 4), tokenizer()(texts)),
        (window_texts(tokenizer(), texts, 16, 4, heads=heads, max_head=4), tokenizer()(heads, texts)),
    ):
        for name, value in expected.items():
            np.testing.assert_array_equal(windows.inputs[name], value)


def test_heads_are_cut_and_stand_before_each_window():
    windows = window_texts(tokenizer(), ["a " * 9, "c"], 10, 2, heads=["d d d d d", "é"], max_head=3)
    rows = windows.inputs["token_ids"].numpy().tolist()
    head = [2, 7, 7, 7, 3]
    assert rows[:3] == [[*head, 4, 4, 4, 4, 3]] * 3, "windows of 4 pieces, each 2 further, until 9 are seen"
    assert rows[3][:9] == [*head, 4, 4, 4, 3]
    assert rows[4][:5] == [2, 8, 3, 6, 3]
    assert windows.owners.numpy().tolist() == [0, 0, 0, 0, 1]
    assert windows.spread(windows.starts, -9).numpy()[0].tolist() == [-9] * 5 + [0, 2, 4, 6] + [-9]


def test_a_batch_of_none_in_a_graph():
    signature = [tf.TensorSpec([None], tf.string)] * 2
    graph = tf.function(
        lambda texts, heads: window_texts(tokenizer(), texts, 16, 4, heads=heads, max_head=4), input_signature=signature
    )
    windows = graph(tf.zeros([0], tf.string), tf.zeros([0], tf.string))
    assert windows.inputs["token_ids"].shape[0] == windows.owners.shape[0] == windows.starts.shape[0] == 0
    assert graph(["a"], ["c"]).inputs["token_ids"].numpy().tolist() == [[2, 6, 3, 4, 3]]


@pytest.mark.parametrize(("length", "overlap", "head"), [(4, 2, None), (10, -1, None), (10, 4, 3), (2, 0, None)])
def test_no_room(length, overlap, head):
    with pytest.raises(InputError, match="window"):
        window_texts(tokenizer(), ["a"], length, overlap, heads=None if head is None else ["a"], max_head=head or 0)
