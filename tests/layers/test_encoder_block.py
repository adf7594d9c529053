"""Blocks, feed-forward networks, normalization and activations against float64."""

import keras
import numpy as np
import pytest
import reference
import tensorflow as tf
from blocks import make_block

from kerasformer.errors import InputError
from kerasformer.layers import FeedForward, LayerNormalization
from kerasformer.layers.activations import gelu, get_activation


def close(actual, expected, tolerance=2e-5):
    np.testing.assert_allclose(np.asarray(actual), expected, rtol=tolerance, atol=tolerance)


def randomize(layer, seed=0, scale=0.6):
    random = np.random.default_rng(seed)
    for variable in layer.trainable_variables:
        variable.assign(random.normal(size=variable.shape) * scale)
    return layer


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("activation", ["gelu", "relu"])
@pytest.mark.parametrize("shape", [(2, 3), (1, 1), (0, 2)])
def test_block_and_its_gradients(norm_first, activation, shape):
    batch, length = shape
    block = make_block(2, 5, activation=activation, norm_first=norm_first)
    block.build((None, None, 4))
    randomize(block)
    random = np.random.default_rng(1)
    x, upstream = random.normal(size=(batch, length, 4)), random.normal(size=(batch, length, 4))
    padding = random.random((batch, length)) < 0.7
    padding[1:2] = False  # nothing but padding
    looks = random.random((batch, length, length)) < 0.8
    bias = random.normal(size=(1, 2, length, length))
    mask = padding[:, None, None] & looks[:, None]
    upstream *= mask[:, 0].any(-1)[..., None]
    weights = reference.block_weights(block)
    function = {"gelu": reference.gelu, "relu": reference.relu}[activation]

    def expected():
        return reference.encoder_block(x, weights, 2, mask, bias, norm_first, function)

    inputs = tf.constant(x, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        output = block(
            inputs,
            padding_mask=padding,
            attention_mask=looks,
            bias=tf.constant(bias, tf.float32),
            training=True,
        )
        loss = tf.reduce_sum(output * tf.constant(upstream, tf.float32))
    close(output, expected())
    gradients = tape.gradient(loss, [inputs, *block.trainable_variables])
    tolerance = 2e-4  # of gradients of up to 1e2, in float32, through two normalizations
    close(gradients[0], reference.numeric_gradient(lambda: (expected() * upstream).sum(), x), tolerance)
    named = reference.named_gradients(block, gradients[1:])
    assert len(named) == 16
    for name, gradient in named.items():
        numeric = reference.numeric_gradient(lambda: (expected() * upstream).sum(), weights[name])
        close(gradient, numeric, tolerance)


def test_block_without_a_mask_and_at_inference():
    block = make_block(2, 5, dropout=0.5)
    block.build((None, None, 4))
    randomize(block)
    x = np.random.default_rng(2).normal(size=(2, 3, 4))
    close(block(tf.constant(x, tf.float32)), reference.encoder_block(x, reference.block_weights(block), 2))
    assert not np.allclose(block(tf.constant(x), training=True), block(tf.constant(x)))


@pytest.mark.parametrize("rates", [{"dropout": 0.5, "attention_dropout": 0.0}, {"attention_dropout": 0.5}])
def test_each_dropout_of_a_block_works_alone(rates):
    block = make_block(1, 5, **rates)
    x = tf.random.stateless_normal([2, 3, 4], [1, 2])
    assert not np.allclose(block(x, training=True), block(x))


def test_block_mask_of_an_embedding():
    ids = tf.constant([[1, 2, 0], [3, 0, 0]])
    embedded = keras.layers.Embedding(5, 4, mask_zero=True)(ids)
    block = make_block(2, 5)
    output = block(embedded)
    close(output, block(tf.identity(embedded), padding_mask=ids != 0))
    np.testing.assert_array_equal(output._keras_mask, ids != 0)
    np.testing.assert_array_equal(block(output)._keras_mask, ids != 0)


@pytest.mark.parametrize("argument", ["attention_mask", "bias"])
def test_first_token_only_minds_masks_and_bias(argument):
    """Either it heeds them as the whole block does, or it says that it cannot."""
    block = make_block(2, 5)
    x = tf.random.stateless_normal([6, 4], [1, 2])
    mask = tf.ones([2, 3])
    value = tf.random.stateless_uniform([2, 3, 3], [3, 4], 0, 2, tf.int32)
    value = value if argument == "attention_mask" else tf.cast(value[:, None] * 9, tf.float32)
    whole = tf.reshape(block(x, padding_mask=mask, **{argument: value}), [2, 3, 4])[:, 0]
    try:
        first = block(x, padding_mask=mask, first_token_only=True, **{argument: value})
    except InputError:
        return
    close(first, whole)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16", "float16", "bfloat16"])
@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_low_precision_is_finite_and_near(policy, norm_first, training):
    """With a text of nothing but padding, and zeros in its place, as padded inputs often are."""
    block = make_block(2, 8, norm_first=norm_first, dtype=policy)
    block.build((None, None, 8))
    random = np.random.default_rng(3)
    mask = np.array([[1, 1, 1], [1, 0, 0], [0, 0, 0]])
    x = random.normal(size=(3, 3, 8)) * mask[..., None]
    if not training:
        x[0, 1] = 0.25  # a constant row: its variance is 0, and its gradient beyond float16
    inputs = tf.cast(x, block.compute_dtype)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        output = block(inputs, padding_mask=mask, training=training)
        loss = tf.reduce_sum(output * tf.cast(mask, output.dtype)[..., None])
    assert output.dtype == block.compute_dtype
    for tensor in [output, *(tape.gradient(loss, [inputs, *block.trainable_variables]) if training else [])]:
        assert np.isfinite(tf.cast(tensor, tf.float32)).all()
    expected = reference.encoder_block(x, reference.block_weights(block), 2, mask[:, None, None] > 0, 0, norm_first)
    keep = mask[..., None].astype(bool) & (x != 0.25).all(-1)[..., None]
    close(np.where(keep, tf.cast(output, tf.float64), 0), np.where(keep, expected, 0), 0.15)


@pytest.mark.parametrize("shape", [(2, 3, 4), (5, 4), (1, 1, 4), (0, 3, 4)])
@pytest.mark.parametrize("activation", ["gelu", "gelu_approximate", "relu"])
def test_feed_forward_and_its_gradients(shape, activation):
    layer = FeedForward(6, activation=activation)
    layer.build((None, 4))
    randomize(layer)
    random = np.random.default_rng(4)
    x, upstream = random.normal(size=shape), random.normal(size=shape)
    weights = reference.feed_forward_weights(layer)

    def tanh_gelu(y):
        return 0.5 * y * (1 + np.tanh(np.sqrt(2 / np.pi) * (y + 0.044715 * y**3)))

    function = {"gelu": reference.gelu, "relu": reference.relu, "gelu_approximate": tanh_gelu}[activation]

    def expected():
        return reference.feed_forward(x, weights, function)

    inputs = tf.constant(x, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        output = layer(inputs, training=True)
        loss = tf.reduce_sum(output * tf.constant(upstream, tf.float32))
    close(output, expected())
    close(layer(inputs), expected())
    gradients = tape.gradient(loss, [inputs, *layer.trainable_variables])
    close(gradients[0], reference.numeric_gradient(lambda: (expected() * upstream).sum(), x))
    for name, gradient in reference.named_gradients(layer, gradients[1:]).items():
        close(gradient, reference.numeric_gradient(lambda: (expected() * upstream).sum(), weights[name]))


@pytest.mark.parametrize("shape", [(2, 3, 5), (4, 5), (0, 5), (1, 1, 5)])
@pytest.mark.parametrize("training", [False, True])
def test_normalization_and_its_gradients(shape, training):
    layer = LayerNormalization(epsilon=1e-3)
    layer.build((None, 5))
    randomize(layer)
    random = np.random.default_rng(5)
    x, upstream = random.normal(size=shape) * 3 + 2, random.normal(size=shape)
    gamma, beta = (np.asarray(v, np.float64) for v in (layer.gamma, layer.beta))

    def expected():
        return reference.layer_norm(x, gamma, beta, 1e-3)

    inputs = tf.constant(x, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        output = layer(inputs, training=training)
        loss = tf.reduce_sum(output * tf.constant(upstream, tf.float32))
    close(output, expected())
    gradients = tape.gradient(loss, [inputs, layer.gamma, layer.beta])
    for array, gradient in zip((x, gamma, beta), gradients, strict=True):
        close(gradient, reference.numeric_gradient(lambda: (expected() * upstream).sum(), array))


@pytest.mark.parametrize("scale", [1e-5, 1e-3, 1.0, 1e3, 1e5])
@pytest.mark.parametrize("epsilon", [1e-12, 1e-5])
@pytest.mark.parametrize("training", [False, True])
def test_normalization_of_any_size_of_numbers(scale, epsilon, training):
    """The epsilon is what it is said to be: it rules where the variance is as small, and nowhere else."""
    layer = LayerNormalization(epsilon=epsilon)
    layer.build((None, 6))
    x = np.random.default_rng(7).normal(size=(3, 6)) * scale
    close(layer(tf.constant(x, tf.float32), training=training), reference.layer_norm(x, 1, 0, epsilon), 1e-4)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize("training", [False, True])
def test_normalization_of_a_constant_row_is_beta(dtype, training):
    layer = LayerNormalization(dtype=dtype)
    layer.build((None, 4))
    output = layer(tf.constant([[0.0] * 4, [2.5] * 4], dtype), training=training)
    close(tf.cast(output, tf.float32), np.zeros((2, 4)))


def test_normalization_is_in_float32_when_training():
    """In bfloat16 itself the mean of these numbers would be off by more than their spread."""
    x = tf.constant(np.random.default_rng(6).normal(size=(1, 1024)) + 100, tf.bfloat16)
    layer = LayerNormalization(dtype="mixed_bfloat16")
    output = np.asarray(tf.cast(layer(x, training=True), tf.float64))
    exact = reference.layer_norm(np.asarray(tf.cast(x, tf.float64)), 1, 0)
    np.testing.assert_allclose(output, exact, rtol=2**-8, atol=1e-5)


X = np.concatenate([np.linspace(-9, 9, 721), [-40.0, 0.0, 40.0]])


@pytest.mark.parametrize("training", [False, True])
def test_gelu_and_its_gradient(training):
    inputs = tf.constant(X, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        output = gelu(inputs, training=training)
    exact = np.asarray(inputs, np.float64)
    np.testing.assert_allclose(output, reference.gelu(exact), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(tape.gradient(output, inputs), reference.gelu_gradient(exact), rtol=1e-6, atol=1e-6)


def test_the_gradient_of_gelu_that_the_reference_has():
    x = X[::60].copy()
    numeric = reference.numeric_gradient(lambda: reference.gelu(x).sum(), x)
    np.testing.assert_allclose(reference.gelu_gradient(x), numeric, atol=1e-8)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_gelu_in_low_precision(dtype):
    inputs = tf.cast(X, dtype)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        output = gelu(inputs, training=True)
    assert output.dtype == dtype
    exact = np.asarray(tf.cast(inputs, tf.float64))
    rounding = 2**-8 if dtype == "bfloat16" else 2**-10
    np.testing.assert_allclose(tf.cast(output, tf.float64), reference.gelu(exact), rtol=rounding, atol=1e-5)
    gradient = tf.cast(tape.gradient(output, inputs), tf.float64)
    np.testing.assert_allclose(gradient, reference.gelu_gradient(exact), rtol=rounding, atol=1e-5)


def test_activations_by_name_and_function():
    x = tf.constant([-1.0, 2.0])
    close(get_activation("tanh")(x, training=True), np.tanh([-1, 2]))
    close(get_activation(keras.activations.relu)(x, training=False), [0, 2])
