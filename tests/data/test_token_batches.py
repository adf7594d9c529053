"""Batches by a budget of tokens."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import kerasformer as kf
from kerasformer.errors import InputError

LENGTHS = st.lists(st.integers(0, 30), max_size=60)


@given(
    lengths=LENGTHS,
    budget=st.integers(30, 100),
    padded=st.booleans(),
    seed=st.none() | st.integers(0, 5),
    epoch=st.integers(0, 3),
    pool=st.sampled_from([0, 1, 2, 7, 1000]),
)
def test_every_example_once_and_no_batch_over_the_budget(lengths, budget, padded, seed, epoch, pool):
    lengths = np.array(lengths, int)
    options = {"padded": padded, "shuffle_seed": seed, "epoch": epoch, "length_pool": pool}
    rows = kf.data.token_batch_rows(lengths, budget, **options)
    assert sorted(np.concatenate([*rows, []]).tolist()) == list(range(len(lengths)))
    for row in rows:
        cost = lengths[row].max() * len(row) if padded else lengths[row].sum()
        assert cost <= budget
        assert len(row)
    again = kf.data.token_batch_rows(lengths, budget, **options)
    assert all(np.array_equal(one, two) for one, two in zip(rows, again, strict=True))


def test_batches_are_as_full_as_they_can_be():
    rows = kf.data.token_batch_rows([4, 4, 3, 9, 1, 1], 10, length_pool=0)
    assert [row.tolist() for row in rows] == [[0, 1], [2], [3, 4], [5]]


def test_epochs_have_orders_of_their_own():
    lengths = np.random.default_rng(0).integers(1, 20, 200)
    orders = [
        np.concatenate(kf.data.token_batch_rows(lengths, 64, shuffle_seed=seed, epoch=epoch)).tolist()
        for seed, epoch in ((0, 0), (0, 1), (1, 0))
    ]
    assert orders[0] != orders[1] != orders[2] != orders[0]


def test_pools_make_for_little_padding():
    lengths = np.random.default_rng(0).integers(1, 100, 2000)

    def padding(pool):
        rows = kf.data.token_batch_rows(lengths, 2000, padded=True, shuffle_seed=0, length_pool=pool)
        slots = sum(lengths[row].max() * len(row) for row in rows)
        return 1 - lengths.sum() / slots

    assert padding(0) > 0.4
    assert padding(1000) < 0.06


def test_the_data_set_holds_texts_pairs_and_targets():
    texts, pairs = np.array(["a", "b b", "c"], object), np.array(["x", "y", "z"], object)
    examples = kf.data.Examples(texts, pairs, np.array([1, 0, 1], "int32"), ("no", "yes"), "")
    data = list(kf.data.token_batches(examples, [2, 3, 2], 4, length_pool=0).as_numpy_iterator())
    assert [element[0]["text"].tolist() for element in data] == [[b"a"], [b"b b"], [b"c"]]
    data = kf.data.token_batches(examples, [2, 3, 2], 4)
    assert int(data.cardinality()) == 2
    features, targets = next(data.as_numpy_iterator())
    assert features["text"].tolist() == [b"a", b"c"]
    assert features["text_pair"].tolist() == [b"x", b"z"]
    assert targets.tolist() == [1, 1]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (([3, 12, 4], 10), "example 1 has 12 tokens"),
        (([3], 0), "max_tokens=0"),
    ],
)
def test_a_budget_that_is_too_small(arguments, told):
    with pytest.raises(InputError, match=told):
        kf.data.token_batch_rows(*arguments)


def test_lengths_of_another_number():
    examples = kf.data.Examples(np.array(["a"], object), None, None, None, "")
    with pytest.raises(InputError, match=r"1 entries.*Received: 2"):
        kf.data.token_batches(examples, [1, 2], 10)


def test_no_examples():
    assert kf.data.token_batch_rows([], 10) == []
