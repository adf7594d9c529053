"""Largest token and first token, against NumPy."""

import keras
import numpy as np
import pytest

from kerasformer.layers import FirstToken, MaxPooling

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


def test_first_token():
    np.testing.assert_array_equal(FirstToken()(STATES), STATES[:, 0])


@pytest.mark.parametrize("layer", [MaxPooling(name="a"), FirstToken(name="b")])
def test_config(layer):
    assert type(layer).from_config(layer.get_config()).name == layer.name
