"""Exports' weights: folded once, held by variables, and never in a graph."""

import keras
import numpy as np
import tensorflow as tf

from kerasformer.serving.shared_weights import with_shared_weights

SPECS = {"x": tf.TensorSpec([None, 64], tf.float32, name="x")}


class Weights(keras.layers.Layer):
    """One weight as it is, one of which parts are read, in a loop too, and a small one."""

    def build(self):
        self.whole = self.add_weight(shape=(64, 64), name="whole", initializer="glorot_uniform")
        self.halves = self.add_weight(shape=(64, 128), name="halves", initializer="glorot_uniform")
        self.small = self.add_weight(shape=(64,), name="small", initializer="ones")
        self.unread = self.add_weight(shape=(64, 64), name="unread", initializer="ones")
        self.built = True


def made():
    keras.utils.set_random_seed(1)
    layer = Weights()
    layer.build()

    def forward(inputs):
        halves = tf.convert_to_tensor(layer.halves)
        left, whole = halves[:, :64], tf.convert_to_tensor(layer.whole)

        def step(turn, x):
            # The right half is cut out in each step.
            right = halves[:, 64:]
            # Then what is computed of it, and a row so small that it is a constant.
            x = tf.tanh(x @ right + 2.0 * right[:1] * tf.range(64, dtype=tf.float32))
            # A large vector that comes from the loop's own small constants.
            seventh = tf.cast(tf.range(5000) == 7, tf.float32)
            return turn + 1, x @ whole + tf.reduce_sum(seventh * tf.cast(turn, tf.float32))

        x = inputs["x"] @ whole + layer.small
        _, looped = tf.while_loop(lambda turn, _: turn < 3, step, (0, x @ left))
        return [x, looped]

    return layer, forward


def nodes_of(graph):
    definition = graph.as_graph_def()
    return [*definition.node, *(node for function in definition.library.function for node in function.node_def)]


def test_outputs_and_variables():
    layer, forward = made()
    x = tf.constant(np.random.default_rng(0).normal(size=(3, 64)).astype("float32"))
    expected = forward({"x": x})
    function, weights, shapes = with_shared_weights(forward, SPECS, layer.variables)
    for found, wanted in zip(function(x), expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-6)
    assert [shape.as_list() for shape in shapes] == [[None, 64], [None, 64]]
    assert any(weight is layer.whole.value for weight in weights), "what is not changed is not copied"
    assert not any(weight is layer.unread.value for weight in weights)
    assert sorted(weight.shape.as_list() for weight in weights) == [[64, 64]] * 3, "whole, left and right"
    for weight in weights:  # what is served is read from these, and from nothing else
        weight.assign(tf.zeros_like(weight))
    np.testing.assert_array_equal(function(x)[0], np.ones((3, 64), "float32"))


def test_no_graph_holds_a_large_weight():
    layer, forward = made()
    function, _, _ = with_shared_weights(forward, SPECS, layer.variables)
    assert not [node.name for node in nodes_of(function.graph) if node.op == "StridedSlice"], "weights are cut once"
    sizes = [node.ByteSize() for node in nodes_of(function.graph) if node.op == "Const"]
    assert max(sizes) < 4096


def test_functions_share_what_they_compute_from_weights():
    layer, forward = made()

    def other(inputs):
        return [inputs["x"] @ tf.convert_to_tensor(layer.halves)[:, :64]]

    computed = {}
    _, first, _ = with_shared_weights(forward, SPECS, layer.variables, computed)
    function, second, _ = with_shared_weights(other, SPECS, layer.variables, computed)
    assert {id(weight) for weight in second} <= {id(weight) for weight in first}
    x = tf.ones([2, 64])
    np.testing.assert_allclose(function(x)[0], other({"x": x})[0], rtol=0, atol=1e-6)
