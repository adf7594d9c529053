"""Dropout: the rate, the scale, the seed, the gradient."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasformer.errors import InputError
from kerasformer.layers import Dropout


@pytest.mark.parametrize("rate", [0.01, 0.1, 0.5, 0.9])
def test_rate_and_scale(rate):
    size = 400_001  # odd: half a random word is left over
    output = Dropout(rate, seed=1)(tf.ones([size]), training=True).numpy()
    dropped = int((output == 0).sum())
    kept_value = np.unique(output[output != 0])
    rounded = round(rate * 65536) / 65536
    np.testing.assert_allclose(kept_value, [1 / (1 - rounded)], rtol=1e-6)
    # Five standard deviations of a binomial.
    assert abs(dropped - size * rounded) < 5 * math.sqrt(size * rounded * (1 - rounded))


def test_elements_are_independent():
    """Neighbours share a random word: their joint frequencies must be those of independent ones (chi-square)."""
    kept = Dropout(0.3, seed=2)(tf.ones([400_000]), training=True).numpy() != 0
    for first, second in [(kept[::2], kept[1::2]), (kept[:-1], kept[1:]), (kept[:-2], kept[2:])]:
        observed = np.bincount(first * 2 + second, minlength=4)
        expected = len(first) * np.array([0.09, 0.21, 0.21, 0.49])
        assert ((observed - expected) ** 2 / expected).sum() < 25


def test_seeds():
    x = tf.ones([100])
    first, second = Dropout(0.5, seed=3), Dropout(0.5, seed=3)
    calls = [first(x, training=True) for _ in range(2)]
    np.testing.assert_array_equal(calls[0], second(x, training=True))
    np.testing.assert_array_equal(calls[1], second(x, training=True))
    assert not np.array_equal(calls[0], calls[1])
    assert not np.array_equal(calls[0], Dropout(0.5, seed=4)(x, training=True))


def test_the_global_seed():
    def draw():
        keras.utils.set_random_seed(5)
        return [Dropout(0.5)(tf.ones([100]), training=True).numpy() for _ in range(2)]

    once, again = draw(), draw()
    np.testing.assert_array_equal(once, again)
    assert not np.array_equal(*once)  # two layers draw different numbers


@pytest.mark.parametrize("shape", [[0], [1], [0, 3], [2, 3, 5]])
def test_identity_at_inference_and_shapes(shape):
    x = tf.ones(shape)
    layer = Dropout(0.4)
    np.testing.assert_array_equal(layer(x), x)
    np.testing.assert_array_equal(layer(x, training=False), x)
    np.testing.assert_array_equal(Dropout(0.0)(x, training=True), x)
    assert layer(x, training=True).shape == shape
    in_graph = tf.function(lambda x: layer(x, training=True), input_signature=[tf.TensorSpec([None] * len(shape))])
    assert in_graph(x).shape == shape


def test_the_gradient_is_the_mask():
    x = tf.random.stateless_normal([1000], [1, 2])
    with tf.GradientTape() as tape:
        tape.watch(x)
        output = Dropout(0.25, seed=6)(x, training=True)
    np.testing.assert_allclose(output, tape.gradient(output, x) * x, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_low_precision(dtype):
    output = Dropout(0.1, seed=7, dtype=dtype)(tf.ones([1000], dtype), training=True)
    assert output.dtype == dtype
    np.testing.assert_allclose(np.unique(tf.cast(output, tf.float32)), [0, 1 / 0.9], rtol=2**-8)


def test_the_keras_mask_goes_through():
    embedded = keras.layers.Embedding(3, 2, mask_zero=True)(tf.constant([[1, 0]]))
    np.testing.assert_array_equal(Dropout(0.1)(embedded, training=True)._keras_mask, [[True, False]])


@pytest.mark.parametrize("rate", [-0.1, 1.0, 1.5, math.nan])
def test_bad_rates(rate):
    with pytest.raises(InputError, match=r"`rate` must be in \[0, 1\)"):
        Dropout(rate)


@pytest.mark.parametrize("rate", [1e-6, 0.99999, 0.9999999])
def test_rates_at_the_ends(rate):
    """Every rate in [0, 1) that is taken is computed, with finite numbers."""
    output = Dropout(rate, seed=8)(tf.ones([1000]), training=True)
    assert np.isfinite(output).all()
