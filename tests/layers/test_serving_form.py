"""The serving form of layers gives what the usual form gives."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasformer as kf
from kerasformer.layers import FeedForward
from kerasformer.layers.serving_form import use_serving_form


@pytest.mark.parametrize("inner_width", [1, 2, 7, 8])
@pytest.mark.parametrize("shape", [(5, 6), (2, 3, 6), (0, 6)])
def test_feed_forward(inner_width, shape):
    layer = FeedForward(inner_width, "gelu")
    layer.build(shape)
    random = np.random.default_rng(1)
    for variable in layer.trainable_variables:
        variable.assign(random.normal(size=variable.shape))
    x = tf.constant(random.normal(size=shape), tf.float32)
    usual = layer(x)
    layer.serving_form = True
    np.testing.assert_allclose(layer(x), usual, rtol=1e-5, atol=1e-5)
    # Training is as it was: the gradient of all of a variable, not of its halves.
    with tf.GradientTape() as tape:
        outputs = layer(x, training=True)
    assert all(gradient is not None for gradient in tape.gradient(outputs, layer.trainable_variables))


@pytest.mark.parametrize("pooled", [False, True])
def test_a_whole_model(pooled):
    keras.utils.set_random_seed(0)
    config = kf.models.BertConfig.named("tiny", vocabulary_size=50, max_length=16)
    model = kf.models.bert(config, pooled=pooled)
    for weight in model.weights:
        if weight.name in ("gamma", "beta", "bias"):
            weight.assign(weight + 0.1 * np.random.default_rng(2).normal(size=weight.shape))
    mask = np.array([[1] * 9, [1] * 4 + [0] * 5, [0] * 9], np.int32)
    inputs = {"token_ids": np.arange(27, dtype=np.int32).reshape(3, 9), "segment_ids": 0 * mask, "padding_mask": mask}
    served = keras.models.clone_model(model)
    served.set_weights(model.get_weights())
    use_serving_form(served)
    assert not any(getattr(layer, "serving_form", False) for layer in model._flatten_layers())
    usual = model(inputs)
    for name, values in served(inputs).items():
        np.testing.assert_allclose(values, usual[name], atol=1e-5)
