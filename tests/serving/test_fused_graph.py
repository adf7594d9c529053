"""What TensorFlow makes of an exported encoder on a CPU: the fused operations, and the right numbers all the same."""

import collections

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

import kerasformer as kf
from kerasformer.layers.serving_form import use_serving_form


def run_frozen(function, spec, feeds):
    """Outputs and the ops of the final graph, through a session as a server has it."""
    frozen = convert_variables_to_constants_v2(tf.function(function, input_signature=spec).get_concrete_function())
    graph = tf.Graph()
    with graph.as_default(), tf.compat.v1.Session(graph=graph) as session:
        tf.import_graph_def(frozen.graph.as_graph_def(), name="")
        options = tf.compat.v1.RunOptions(output_partition_graphs=True)
        metadata = tf.compat.v1.RunMetadata()
        values = session.run(
            [tensor.name for tensor in frozen.outputs],
            {tensor.name: feeds[tensor.name.split(":")[0]] for tensor in frozen.inputs},
            options=options,
            run_metadata=metadata,
        )
    return values, collections.Counter(node.op for part in metadata.partition_graphs for node in part.node)


@pytest.mark.parametrize("epsilon", [1e-12, 1e-5, 1e-3])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("bfloat16", 0.02)])
def test_normalization_keeps_its_epsilon(epsilon, dtype, tolerance):
    """TensorFlow's fused operation has an epsilon of its own, 1e-3: seen with inputs of a small variance."""
    layer = kf.layers.LayerNormalization(epsilon, dtype=dtype)
    x = tf.cast(np.random.default_rng(0).normal(size=(7, 64)) * 0.02, dtype)
    layer.build(x.shape)
    # Not ones and zeros, which TensorFlow would simplify away, and with them the fused operation.
    layer.gamma.assign(np.full(64, 1.5)), layer.beta.assign(np.full(64, 0.5))
    (served,), ops = run_frozen(
        lambda x: tf.cast(layer(x + x), tf.float32), [tf.TensorSpec([None, 64], dtype, name="x")], {"x": x.numpy()}
    )
    doubled = 2 * tf.cast(x, tf.float64).numpy()
    centred = doubled - doubled.mean(-1, keepdims=True)
    expected = 1.5 * centred / np.sqrt(doubled.var(-1, keepdims=True) + epsilon) + 0.5
    np.testing.assert_allclose(served, expected, atol=tolerance)
    assert ops["_MklLayerNorm"] == 0, "it starts its threads three times, whatever the size"


@pytest.mark.parametrize("row_groups", [1, 3])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-4), ("bfloat16", 0.1)])
def test_a_block_is_fused_and_right(dtype, tolerance, row_groups):
    keras.utils.set_random_seed(0)
    config = kf.models.BertConfig.named("tiny", vocabulary_size=50, max_sequence_length=16)
    model = kf.models.bert(config, dtype="float32")
    for weight in model.weights:
        if weight.name in ("gamma", "beta", "bias"):
            weight.assign(weight + 0.1 * np.random.default_rng(2).normal(size=weight.shape))
    served_model = kf.models.with_precision(model, dtype)
    use_serving_form(served_model, row_groups)
    rng = np.random.default_rng(1)
    mask = np.array([[1] * 9, [1] * 4 + [0] * 5, [1] + [0] * 8], np.int32)
    feeds = {"token_ids": rng.integers(0, 50, mask.shape).astype(np.int32), "padding_mask": mask}
    feeds["segment_ids"] = 0 * mask

    def forward(token_ids, segment_ids, padding_mask):
        inputs = {"token_ids": token_ids, "segment_ids": segment_ids, "padding_mask": padding_mask}
        return tf.cast(served_model(inputs, training=False)["sequence_output"], tf.float32)

    spec = [tf.TensorSpec([None, None], tf.int32, name=name) for name in ("token_ids", "segment_ids", "padding_mask")]
    (served,), ops = run_frozen(forward, spec, feeds)
    np.testing.assert_allclose(served, model(feeds)["sequence_output"], atol=tolerance)
    if any(op.startswith("_Mkl") for op in ops):
        layers = config.num_layers
        assert ops["_MklNativeFusedMatMul"] == 6 * layers, "projections with bias, and with GELU or residual"
        assert ops["_MklMatMul"] == 0
        assert ops["AddN"] == layers, "halves of a feed-forward network and residual at once, so that neither waits"
        assert ops["_MklFusedBatchMatMulV2"] == row_groups * layers, "many scores, with scale and mask"
        assert ops["BatchMatMulV3"] == 2 * layers, "few scores"
        assert ops["Transpose"] + ops["_MklTranspose"] == 0, "heads are split and merged by gathers"
