"""The places of keys."""

import numpy as np
import pytest
import tensorflow as tf

from kerasformer.errors import InputError
from kerasformer.text.byte_pair_merges import BytePairMerges
from kerasformer.text.key_table import KeyTable


@pytest.mark.parametrize("count", [0, 1, 2, 100, 31_000])
@pytest.mark.parametrize("most", [2**31, 2**63 - 1], ids=["small", "large"])
def test_no_two_keys_have_one_place(count, most):
    draw = np.random.default_rng(count)
    keys = np.unique(draw.integers(0 if most < 2**32 else -most, most, count))
    table = KeyTable(keys)
    assert len({*table.places.tolist()}) == len(keys)
    assert table.size <= max(2.1 * count, 4)
    others = np.concatenate([keys, draw.integers(-most, most, 1000)])
    places = table.reader()(tf.constant(others)).numpy()
    np.testing.assert_array_equal(places, table.numpy_places(others))
    np.testing.assert_array_equal(places[: len(keys)], table.places)
    assert ((places >= 0) & (places < table.size)).all()


def test_too_many_ids():
    with pytest.raises(InputError, match="at most 1,048,576 ids and 2,097,151 merges"):
        BytePairMerges([(0, 1)], [2], 2**20 + 1)
