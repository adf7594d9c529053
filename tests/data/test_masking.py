"""Masks of language models: how many, which, and what becomes of them."""

import numpy as np
import pytest
import tensorflow as tf

from kerasformer.data.masking import TokenMasking
from kerasformer.errors import InputError
from kerasformer.text import WordPieceTokenizer

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
TOKENIZER = WordPieceTokenizer([*SPECIAL, *[f"w{n}" for n in range(500)], *[f"##p{n}" for n in range(495)]])


def rows(count, length, seed=0, special=0.02):
    """Texts of random lengths and pieces, special tokens among them."""
    random = np.random.default_rng(seed)
    ids = random.integers(5, 1000, [count, length])
    ids = np.where(random.random([count, length]) < special, random.integers(1, 4, [count, length]), ids)
    ids[:, 0] = 2
    lengths = random.integers(2, length + 1, count)
    mask = (np.arange(length) < lengths[:, None]).astype(np.int32)
    seeds = np.stack([np.full(count, 7), np.arange(count)], 1).astype(np.int32)
    return np.where(mask, ids, 0).astype(np.int32), mask, seeds


def masked(ids, mask, seeds, **options):
    hidden, positions, labels = (x.numpy() for x in TokenMasking(TOKENIZER, **options)(ids, mask, seeds))
    chosen = np.zeros(ids.shape, bool)
    row, slot = np.nonzero(positions >= 0)
    chosen[row, positions[row, slot]] = True
    assert (labels[positions >= 0] == ids[row, positions[row, slot]]).all()
    assert ((labels >= 0) == (positions >= 0)).all()
    assert chosen.sum() == (positions >= 0).sum()
    assert (hidden == ids)[~chosen].all()
    return hidden, chosen


@pytest.mark.parametrize("whole_words", [False, True])
def test_shares_over_a_million_positions(whole_words):
    ids, mask, seeds = rows(17_000, 128)
    hidden, chosen = masked(ids, mask, seeds, whole_words=whole_words)
    can_choose = (mask > 0) & (ids > 4)
    assert can_choose.sum() > 1_000_000
    assert not (chosen & ~can_choose).any()
    assert abs(chosen.sum() / can_choose.sum() - 0.15) < 0.001
    became = hidden[chosen]
    kept = (became == ids[chosen]).mean()
    assert abs((became == 4).mean() - 0.8) < 0.005
    # A random token is now and then the one that stood there.
    assert abs(kept - (0.1 + 0.1 / 995)) < 0.005
    replaced = became[(became != 4) & (became != ids[chosen])]
    assert replaced.min() > 4
    counts = np.bincount(replaced, minlength=1000)[5:]
    assert counts.min() > 0
    assert counts.max() < 3 * counts.mean()
    # No place in the text is preferred; few texts reach the last ones.
    shares = chosen[:, 1:100].sum(0) / can_choose[:, 1:100].sum(0)
    assert shares.min() > 0.13
    assert shares.max() < 0.17


@pytest.mark.parametrize("whole_words", [False, True])
def test_each_text_its_own_share(whole_words):
    ids, mask, seeds = rows(3000, 64)
    rates = np.where(np.arange(3000) % 2, 0.5, 0.15).astype(np.float32)
    masking = TokenMasking(TOKENIZER, whole_words=whole_words)
    together = [value.numpy() for value in masking(ids, mask, seeds, rates)]
    for rate, row in ((0.15, slice(0, None, 2)), (0.5, slice(1, None, 2))):
        own = TokenMasking(TOKENIZER, rate, whole_words=whole_words)(ids[row], mask[row], seeds[row])
        np.testing.assert_array_equal(together[0][row], own[0])
        most = own[1].shape[1]
        np.testing.assert_array_equal(together[1][row, :most], own[1])
        assert (together[1][row, most:] == -1).all()
        share = (own[1].numpy() >= 0).sum() / ((mask > 0) & (ids > 4))[row].sum()
        assert abs(share - rate) < 0.005


def test_whole_words_stay_whole():
    ids, mask, seeds = rows(2_000, 64)
    _, chosen = masked(ids, mask, seeds, whole_words=True)
    continues = (ids[:, 1:] >= 505) & (ids[:, :-1] > 4) & (mask[:, 1:] > 0)
    assert (chosen[:, 1:] == chosen[:, :-1])[continues].all()
    _, single = masked(ids, mask, seeds)
    assert (single[:, 1:] != single[:, :-1])[continues].any()


@pytest.mark.parametrize("whole_words", [False, True])
def test_at_most_so_many(whole_words):
    ids, mask, seeds = rows(500, 128)
    masking = TokenMasking(TOKENIZER, whole_words=whole_words, max_masked=6)
    _, positions, labels = masking(ids, mask, seeds)
    assert positions.shape == labels.shape == (500, 6)
    count = (positions.numpy() >= 0).sum(1)
    assert count.max() == 6


def test_a_text_keeps_its_masks_beside_other_texts_and_in_graphs():
    ids, mask, seeds = rows(40, 50)
    masking = TokenMasking(TOKENIZER, whole_words=True)
    together = masking(ids, mask, seeds)
    graph = tf.function(masking)(tf.constant(ids), tf.constant(mask), tf.constant(seeds))
    for one, other in zip(together, graph, strict=True):
        np.testing.assert_array_equal(one, other)
    wide = np.pad(ids[7:9], [[0, 0], [0, 30]]), np.pad(mask[7:9], [[0, 0], [0, 30]]), seeds[7:9]
    alone = masking(*wide)
    np.testing.assert_array_equal(alone[0][:, :50], together[0][7:9])
    np.testing.assert_array_equal(alone[2], together[2][7:9, : alone[2].shape[1]])


def test_other_seeds_other_masks():
    ids, mask, seeds = rows(200, 60)
    _, chosen = masked(ids, mask, seeds)
    _, other = masked(ids, mask, seeds + [[1, 0]])
    overlap = (chosen & other).sum() / chosen.sum()
    assert 0.1 < overlap < 0.2


@pytest.mark.parametrize("shape", [(0, 5), (3, 0), (0, 0)])
def test_nothing_to_hide(shape):
    ids = tf.zeros(shape, tf.int32)
    hidden, positions, labels = TokenMasking(TOKENIZER)(ids, ids, tf.zeros([shape[0], 2], tf.int32))
    assert hidden.shape == shape
    assert positions.shape == labels.shape == (shape[0], 0)


def test_special_tokens_alone():
    ids = np.array([[2, 1, 3]], np.int32)
    hidden, positions, _ = TokenMasking(TOKENIZER)(ids, np.ones_like(ids), np.zeros([1, 2], np.int32))
    np.testing.assert_array_equal(hidden, ids)
    assert positions.shape == (1, 0)


def test_bad_arguments():
    with pytest.raises(InputError, match="lacks"):
        TokenMasking(WordPieceTokenizer([*SPECIAL[:4], "a"]))
    with pytest.raises(InputError, match="rate"):
        TokenMasking(TOKENIZER, rate=1.0)
    with pytest.raises(InputError, match="max_masked"):
        TokenMasking(TOKENIZER, max_masked=0)
