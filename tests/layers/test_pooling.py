"""Largest token and first token, against NumPy."""

import keras
import numpy as np
import pytest

from kerasformer.layers import (
    FirstToken,
    LastToken,
    MaxPooling,
    MeanPooling,
    MeanSqrtLengthPooling,
    WeightedMeanPooling,
)

STATES = np.random.default_rng(0).normal(size=(3, 4, 5)).astype("float32") - 3
MASK = np.array([[1, 1, 1, 1], [1, 0, 1, 0], [0, 0, 0, 0]])


def test_max_pooling():
    expected = np.stack([STATES[0].max(0), STATES[1, [0, 2]].max(0), np.zeros(5)])
    np.testing.assert_array_equal(MaxPooling()(STATES, padding_mask=MASK), expected)
    np.testing.assert_array_equal(MaxPooling()(STATES), STATES.max(1))
    assert MaxPooling()(STATES.astype("float16"), padding_mask=MASK).dtype == "float32"
    assert MaxPooling()(STATES[:0], padding_mask=MASK[:0]).shape == (0, 5)


def test_max_pooling_with_keras_mask():
    inputs = keras.Input([None], dtype="int32")
    model = keras.Model(inputs, MaxPooling()(keras.layers.Embedding(9, 3, mask_zero=True)(inputs)))
    ids = np.array([[1, 2, 0], [3, 0, 0]])
    table = model.layers[1].get_weights()[0]
    expected = np.stack([table[[1, 2]].max(0), table[3]])
    np.testing.assert_array_equal(model(ids), expected)


def test_first_and_last_token():
    np.testing.assert_array_equal(FirstToken()(STATES), STATES[:, 0])
    np.testing.assert_array_equal(LastToken()(STATES), STATES[:, -1])
    mask = np.array([[0, 1, 1, 1], [1, 0, 1, 0], [0, 0, 0, 0]])
    zeros = np.zeros(5)
    np.testing.assert_array_equal(FirstToken()(STATES, padding_mask=mask), [STATES[0, 1], STATES[1, 0], zeros])
    np.testing.assert_array_equal(LastToken()(STATES, padding_mask=mask), [STATES[0, 3], STATES[1, 2], zeros])


def test_weighted_sums():
    rows, zeros = [STATES[0], STATES[1, [0, 2]]], np.zeros(5)
    expected = {
        MeanPooling: [row.mean(0) for row in rows],
        MeanSqrtLengthPooling: [row.sum(0) / len(row) ** 0.5 for row in rows],
        WeightedMeanPooling: [np.array([1, 2, 3, 4]) @ rows[0] / 10, np.array([1, 3]) @ rows[1] / 4],
    }
    for layer, values in expected.items():
        np.testing.assert_allclose(layer()(STATES, padding_mask=MASK), [*values, zeros], rtol=1e-5)
        assert layer()(STATES.astype("float16")).dtype == "float32"


@pytest.mark.parametrize("layer", [MaxPooling(name="a"), FirstToken(name="b"), WeightedMeanPooling(name="c")])
def test_config(layer):
    assert type(layer).from_config(layer.get_config()).name == layer.name
