"""Products in 8-bit integers against NumPy's in float64."""

import functools
import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import special

from kerasformer.layers.embeddings import TokenEmbedding
from kerasformer.layers.int8 import Int8
from kerasformer.layers.projection import Projection, project

ACTIVATIONS = {
    None: lambda x: x,
    "gelu": lambda x: x * special.ndtr(x),
    "gelu_approximate": lambda x: 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
    "relu": lambda x: np.maximum(x, 0),
    "tanh": np.tanh,
    # One that TensorFlow does not fuse.
    "silu": lambda x: x * special.expit(x),
}


def projection(dim, units, use_bias=True, seed=0):
    random = np.random.default_rng(seed)
    layer = Projection(units, use_bias=use_bias)
    layer.build((None, dim))
    layer.set_weights([random.normal(size=weight.shape) for weight in layer.weights])
    return layer


def expected(layer, form, rows, units=slice(None), activation=None):
    """What the integers say, in float64. Of inputs half way between two integers, either will do."""
    scales = np.ones(rows.shape[1]) if form.scales is None else np.float64(form.scales)
    step = form.largest / 127
    exact = np.clip(rows / scales / step, -127.5, 127)
    inputs = call(lambda rows: tf.bitcast(form.quantized_inputs(rows), tf.int8), rows) if len(rows) else exact
    assert np.abs(inputs - exact).max(initial=0) < 0.5001
    return of_integers(layer, form, inputs, units, activation)


def of_integers(layer, form, inputs, units=slice(None), activation=None):
    scales = np.ones(inputs.shape[1]) if form.scales is None else np.float64(form.scales)
    kernel = layer.kernel.numpy().astype(np.float64)[:, units] * scales[:, None]
    kernel[list(form.wide)] = 0
    steps = np.abs(kernel).max(0) / 63
    outputs = inputs @ np.round(kernel / steps) * (steps * form.largest / 127)
    return ACTIVATIONS[activation](outputs + (layer.bias.numpy()[units] if layer.use_bias else 0))


def apply(layer, units, activation, rows):
    return layer.apply(rows, units, activation)


def call(function, rows):
    # As it is served: in a graph, of any number of rows.
    spec = tf.TensorSpec([None, rows.shape[1]])
    return tf.function(lambda rows: function(rows), input_signature=[spec], autograph=False)(rows).numpy()


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("use_bias", [True, False])
def test_equals_the_integers_of_numpy(activation, use_bias):
    layer = projection(33, 17, use_bias)
    rows = np.random.default_rng(1).normal(size=(9, 33)).astype("float32")
    # Larger inputs are clipped.
    rows[0, 0] = 100
    for form in (Int8(2.5), Int8(2.5, scales=np.linspace(0.5, 2, 33)), Int8(2.5, wide=(0, 7))):
        layer.int8 = form
        for units in (slice(None), slice(3, 11)):
            found = call(functools.partial(apply, layer, units, activation), rows)
            np.testing.assert_allclose(found, expected(layer, form, rows, units, activation), atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("count", [0, 1, 200])
def test_of_any_number_of_rows(count):
    layer = projection(16, 8)
    layer.int8 = Int8(3.0)
    rows = np.random.default_rng(0).normal(size=(count, 16)).astype("float32")
    found = call(functools.partial(apply, layer, slice(None), None), rows)
    np.testing.assert_allclose(found, expected(layer, layer.int8, rows), atol=2e-5)


def test_a_chain_hands_on_integers():
    first, second = projection(32, 24, seed=1), projection(24, 8, seed=2)
    first.int8, second.int8 = Int8(3.0), Int8(9.0)
    rows = np.random.default_rng(0).normal(size=(50, 32)).astype("float32")
    between = call(lambda rows: tf.bitcast(first.apply(rows, activation="gelu", into=second), tf.int8), rows)
    exact = np.clip(expected(first, first.int8, rows, activation="gelu") / (9 / 127), -127, 127)
    assert np.abs(between - exact).max() < 0.501
    found = call(lambda rows: second.apply(first.apply(rows, activation="gelu", into=second)), rows)
    reference = of_integers(second, second.int8, between)
    np.testing.assert_allclose(found, reference, atol=2e-5, rtol=1e-5)


def test_trains_in_floats_and_returns_to_them():
    layer = projection(16, 8)
    rows = tf.constant(np.random.default_rng(0).normal(size=(5, 16)), tf.float32)
    before = layer(rows).numpy()
    np.testing.assert_array_equal(before, project(rows, layer.kernel, layer.bias))
    layer.int8 = Int8(3.0)
    assert np.abs(call(layer, rows) - before).max() > 1e-4
    layer.int8 = None
    np.testing.assert_array_equal(layer(rows), before)


def test_a_table_keeps_its_rows():
    table = TokenEmbedding(40, 12)
    table.build()
    table.embeddings.assign(np.random.default_rng(0).normal(size=(40, 12)) * np.logspace(-3, 3, 40)[:, None])
    ids = tf.constant([[0, 39, 5]])
    before = table(ids).numpy()
    table.int8 = True
    assert np.all(np.abs(table(ids) - before) <= np.abs(before).max(-1, keepdims=True) / 253)
    with_zeros = TokenEmbedding(3, 4, keras.initializers.Zeros())
    with_zeros.build()
    with_zeros.int8 = True
    np.testing.assert_array_equal(with_zeros(tf.constant([1])), np.zeros((1, 4)))


PROGRAM = """
import json, numpy as np, tensorflow as tf
from kerasformer.layers.int8 import Int8
ones = np.ones((256, 256), np.float32)
f = tf.function(lambda x, w: Int8(1.0).product(x, w, None, None, None, "float32"))
print(json.dumps(f(ones, ones).numpy().tolist()))
"""


def test_sums_do_not_saturate_without_vnni():
    """Where two products are added in 16 bits."""
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2", "TF_CPP_MIN_LOG_LEVEL": "3"}
    process = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    np.testing.assert_allclose(json.loads(process.stdout.splitlines()[-1]), np.full((256, 256), 256.0), rtol=1e-5)
