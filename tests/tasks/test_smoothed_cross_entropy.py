"""The label-smoothed loss against float64 and automatic differentiation."""

import numpy as np
import pytest
import tensorflow as tf

from kerasformer.tasks.smoothed_cross_entropy import smoothed_cross_entropy


def plainly(hidden, table, labels, smoothing, bias=0.0):
    scores = tf.matmul(hidden, table, transpose_b=True) + bias
    targets = (1 - smoothing) * tf.one_hot(labels, table.shape[0], dtype=scores.dtype)
    targets += tf.cast(smoothing / table.shape[0], scores.dtype)
    return -tf.reduce_sum(targets * tf.nn.log_softmax(scores), -1)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("size", [1.0, 30.0])
def test_losses_and_gradients(smoothing, size):
    random = np.random.default_rng(0)
    hidden, table = random.normal(size=(7, 5)), random.normal(size=(11, 5)) * size
    labels, weights = random.integers(0, 11, 7).astype(np.int32), random.random(7)

    def run(loss, dtype):
        variables = [tf.Variable(value, dtype=dtype) for value in (hidden, table)]
        with tf.GradientTape() as tape:
            losses = loss(*[tf.convert_to_tensor(variable) for variable in variables], labels, smoothing)
            total = tf.reduce_sum(losses * tf.cast(weights, losses.dtype))
        return [losses, *tape.gradient(total, variables)]

    expected = run(plainly, tf.float64)
    for one, other in zip(run(lambda *a: smoothed_cross_entropy(*a)[0], tf.float32), expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-4, atol=2e-5 * size)
    plain = smoothed_cross_entropy(tf.constant(hidden, tf.float32), tf.constant(table, tf.float32), labels, 0.3)[1]
    np.testing.assert_allclose(plain, plainly(hidden, tf.constant(table), labels, 0.0), rtol=2e-4, atol=2e-5 * size)
    low = run(lambda *a: smoothed_cross_entropy(*a)[0], tf.bfloat16)
    np.testing.assert_allclose(tf.cast(low[1], tf.float32), expected[1], rtol=0.1, atol=0.1 * size)
    empty = smoothed_cross_entropy(tf.zeros([0, 5]), tf.zeros([11, 5]), labels[:0], smoothing)
    assert [value.shape for value in empty] == [(0,), (0,)]


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_losses_and_gradients_with_a_bias(smoothing):
    random = np.random.default_rng(1)
    values = random.normal(size=(7, 5)), random.normal(size=(11, 5)), random.normal(size=11)
    labels, weights = random.integers(0, 11, 7).astype(np.int32), random.random(7)

    def run(loss, dtype):
        hidden, table, bias = variables = [tf.Variable(value, dtype=dtype) for value in values]
        with tf.GradientTape() as tape:
            losses = loss(*map(tf.convert_to_tensor, (hidden, table)), labels, smoothing, tf.convert_to_tensor(bias))
            total = tf.reduce_sum(losses * tf.cast(weights, losses.dtype))
        return [losses, *tape.gradient(total, variables)]

    found = run(lambda *a: smoothed_cross_entropy(*a)[0], tf.float32)
    for one, other in zip(found, run(plainly, tf.float64), strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-4, atol=2e-5)
