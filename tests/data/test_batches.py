import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasformer.data import Examples, batches, epoch_order
from kerasformer.errors import InputError

# The order of 8 examples in batches of 3, with seed 7 in epoch 2.
EXPECTED = [6, 0, 2, 3, 7, 5, 1, 4]


def numbered(count, *, pairs=False, targets=True, seed=0):
    """Examples whose text tells their number, of random lengths."""
    lengths = np.random.default_rng(seed).integers(0, 50, count)
    texts = np.array([f"{k}:" + "ä" * length for k, length in enumerate(lengths)], object)
    return Examples(
        texts,
        np.array([f"pair {k}" for k in range(count)], object) if pairs else None,
        np.arange(count, dtype=np.int32) if targets else None,
        None,
        "test",
    )


def numbers(dataset):
    return [labels.tolist() for _, labels in dataset.as_numpy_iterator()]


OPTIONS = st.fixed_dictionaries(
    {
        "batch_size": st.integers(1, 9),
        "shuffle_seed": st.none() | st.integers(0, 2**63),
        "epoch": st.integers(0, 5),
        "drop_remainder": st.booleans(),
        "length_pool": st.integers(0, 4),
    }
)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 60), OPTIONS, st.integers(0, 8))
def test_every_example_once_and_any_resumption_is_the_tail(count, options, skip):
    examples = numbered(count)
    whole = numbers(batches(examples, **options))
    seen = [number for batch in whole for number in batch]
    size = options["batch_size"]
    if options["drop_remainder"]:
        assert len(set(seen)) == len(seen) == count - count % size
    else:
        assert sorted(seen) == list(range(count))
    assert all(len(batch) == size for batch in whole[:-1])
    assert seen == epoch_order(examples, **options).tolist()
    assert numbers(batches(examples, **options, skip_batches=skip)) == whole[skip:]


def test_order_is_that_of_the_examples_without_a_seed():
    assert numbers(batches(numbered(5), 2)) == [[0, 1], [2, 3], [4]]
    assert numbers(batches(numbered(5), 2, drop_remainder=True)) == [[0, 1], [2, 3]]


def test_order_depends_on_seed_and_epoch_alone():
    orders = [
        tuple(epoch_order(numbered(50), 8, shuffle_seed=seed, epoch=epoch)) for seed in (0, 1) for epoch in (0, 1)
    ]
    assert len(set(orders)) == 4
    assert orders[0] == tuple(epoch_order(numbered(50), 8, shuffle_seed=0, epoch=0))
    # The stream of seeds is part of what a checkpoint relies on: these numbers must not change.
    assert epoch_order(numbered(8), 3, shuffle_seed=7, epoch=2).tolist() == EXPECTED


@pytest.mark.parametrize("pairs", [False, True])
@pytest.mark.parametrize("targets", [False, True])
def test_elements(pairs, targets):
    examples = numbered(5, pairs=pairs, targets=targets)
    dataset = batches(examples, 3, shuffle_seed=1, length_pool=1)
    elements = list(dataset.as_numpy_iterator())
    inputs = [element[0] if targets else element for element in elements]
    order = epoch_order(examples, 3, shuffle_seed=1, length_pool=1)
    names = {"text": examples.texts} | ({"text_pair": examples.pairs} if pairs else {})
    for name, column in names.items():
        assert [text.decode() for batch in inputs for text in batch[name]] == column[order].tolist()
    assert all(set(batch) == set(names) for batch in inputs)
    if targets:
        assert dataset.element_spec[1].dtype == "int32"
        assert [label for _, labels in elements for label in labels] == order.tolist()


def test_zero_bytes_and_empty_texts_survive():
    texts = np.array(["a\0", "", "\0", "🎄"], object)
    dataset = batches(Examples(texts, None, None, None, ""), 4)
    assert next(dataset.as_numpy_iterator())["text"].tolist() == [text.encode() for text in texts]


def test_length_pool_puts_similar_lengths_together_and_stays_random():
    examples = numbered(1000, seed=3)
    lengths = np.array([len(text.encode()) for text in examples.texts])

    def padding(**options):
        chunks = np.split(lengths[epoch_order(examples, 10, shuffle_seed=5, **options)], 100)
        return sum(chunk.max() * len(chunk) for chunk in chunks) / lengths.sum()

    assert padding() > 1.7
    assert padding(length_pool=25) < 1.1
    order = epoch_order(examples, 10, shuffle_seed=5, length_pool=25)
    longest = lengths[order].reshape(100, 10).max(1)
    assert abs(np.corrcoef(longest, np.arange(100))[0, 1]) < 0.3
    first, second = (epoch_order(examples, 10, shuffle_seed=5, epoch=e, length_pool=25) for e in (0, 1))
    assert {frozenset(b) for b in first.reshape(100, 10)}.isdisjoint({frozenset(b) for b in second.reshape(100, 10)})


def test_length_pool_counts_both_texts_of_a_pair():
    texts = np.array(["x" * 9, "x", "x" * 8, "xx"], object)
    examples = Examples(texts, texts[::-1].copy(), None, None, "")
    assert epoch_order(examples, 2, length_pool=2).tolist() == [1, 2, 0, 3]


def test_the_short_batch_is_drawn_at_random():
    examples = numbered(11, seed=1)
    last = {epoch_order(examples, 5, shuffle_seed=seed, length_pool=2)[-1] for seed in range(60)}
    assert len(last) == 11


def test_a_large_data_set_starts_at_once():
    examples = numbered(67_349)
    next(iter(batches(examples, 32)))
    start = time.perf_counter()
    next(iter(batches(examples, 32, shuffle_seed=1, length_pool=50)))
    assert time.perf_counter() - start < 5  # 0.1 s on an idle machine


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "`batch_size` must be 1 or more. Received: batch_size=0."),
        ({"batch_size": 2, "skip_batches": -1}, "`skip_batches` must be 0 or more. Received: skip_batches=-1."),
        ({"batch_size": 2, "length_pool": -1}, "`length_pool` must be 0 or more. Received: length_pool=-1."),
        ({"batch_size": 2, "shuffle_seed": -1}, "`shuffle_seed` must be 0 or more. Received: shuffle_seed=-1."),
        ({"batch_size": 2, "epoch": -1}, "`epoch` must be 0 or more. Received: epoch=-1."),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(InputError) as caught:
        batches(numbered(3), **options)
    assert str(caught.value) == message
