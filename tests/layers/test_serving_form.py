"""The serving form of layers gives what the usual form gives."""

import keras
import numpy as np
import pytest
import reference
import tensorflow as tf

import kerasformer as kf
from kerasformer._compat import flatten_layers
from kerasformer.layers import FeedForward, MultiHeadAttention, attention
from kerasformer.layers.serving_form import use_serving_form

# batch, heads, queries, keys, head width, value width
SHAPES = [(2, 2, 3, 4, 4, 3), (1, 1, 1, 1, 1, 1), (2, 3, 1, 5, 2, 2), (4, 3, 7, 7, 5, 5), (0, 2, 3, 3, 4, 4)]


@pytest.mark.parametrize("limit", [0, 10**9], ids=["many", "few"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("mask_queries", [None, 1, "all"])
def test_attention(mask_queries, dtype, limit, monkeypatch):
    """In a session, as it is served: there TensorFlow fuses, and once fused the wrong operand, where it was split."""
    monkeypatch.setattr(attention, "_FEW_SCORES", limit)
    specs = [tf.TensorSpec([None, None, None, None])] * 3 + [tf.TensorSpec([None, 1, None, None], tf.bool)]
    for shape in SHAPES:
        batch, heads, queries, keys, width, value_width = shape
        random = np.random.default_rng(0)
        arrays = [
            random.normal(size=(batch, heads, rows, columns))
            for rows, columns in ((queries, width), (keys, width), (keys, value_width))
        ]
        arrays = [tf.cast(tf.cast(array, dtype), tf.float64).numpy() for array in arrays]
        mask = random.random(size=(batch, 1, queries if mask_queries == "all" else 1, keys)) < 0.6
        mask[:1] = False  # look nowhere
        graph = tf.Graph()
        with graph.as_default(), tf.compat.v1.Session(graph=graph) as session:
            *inputs, open_keys = [tf.compat.v1.placeholder(spec.dtype, spec.shape) for spec in specs]
            shaped = [
                tf.ensure_shape(tf.cast(x, dtype), [None, heads, None, columns])
                for x, columns in zip(inputs, (width, width, value_width), strict=True)
            ]
            served = attention.attention_for_serving(*shaped, open_keys if mask_queries else None)
            assert served.dtype == dtype
            output = session.run(
                tf.cast(served, tf.float32), {**dict(zip(inputs, arrays, strict=True)), open_keys: mask}
            )
        expected, _ = reference.attention(*arrays, mask if mask_queries else True)
        np.testing.assert_allclose(output, expected, atol=1e-5 if dtype == "float32" else 0.03)


@pytest.mark.parametrize("limit", [0, 10**9], ids=["many", "few"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("lengths", [[], [4], [0, 0, 0, 5], [1, 2, 3, 4, 5, 6, 7], [7, 1, 5, 2, 7]], ids=str)
@pytest.mark.parametrize("groups", [2, 4])
def test_attention_in_groups_of_rows(groups, lengths, dtype, limit, monkeypatch):
    """Also where the rows do not stand in order: then there is just less to save."""
    monkeypatch.setattr(attention, "_FEW_SCORES", limit)
    random = np.random.default_rng(0)
    arrays = random.normal(size=(3, len(lengths), 2, 7, 4))
    arrays = tf.cast(tf.cast(arrays, dtype), tf.float64).numpy()
    mask = (np.arange(7) < np.array(lengths, int)[:, None])[:, None, None, :]
    graph = tf.Graph()
    with graph.as_default(), tf.compat.v1.Session(graph=graph) as session:
        inputs = [tf.compat.v1.placeholder(tf.float32, [None, 2, None, 4]) for _ in arrays]
        open_keys = tf.compat.v1.placeholder(tf.bool, [None, 1, None, None])
        served = attention.attention_for_serving(*(tf.cast(x, dtype) for x in inputs), open_keys, groups)
        feeds = {**dict(zip(inputs, arrays, strict=True)), open_keys: mask}
        output = session.run(tf.cast(served, tf.float32), feeds)
    assert output.shape == arrays.shape[1:]
    expected, _ = reference.attention(*arrays, mask)
    # What padding asks is nobody's concern.
    real = np.swapaxes(mask, -1, -2)
    np.testing.assert_allclose(output * real, expected * real, atol=1e-5 if dtype == "float32" else 0.03)


def test_groups_are_as_long_as_their_longest_row(monkeypatch):
    monkeypatch.setattr(attention, "_FEW_SCORES", 0)
    seen = []

    def attend(query, key, value, *_):
        seen.append((query.shape[:3], key.shape[:3], value.shape[:3]))
        return None, query

    monkeypatch.setattr(attention, "_attend", attend)
    mask = tf.sequence_mask([2, 3, 5, 6, 8, 9, 9], 9)[:, None, None]
    x = tf.ones([7, 2, 9, 4])
    attention.attention_for_serving(x, x, x, mask, 3)
    assert [shapes[0].as_list() for shapes in seen] == [[2, 2, 3], [2, 2, 6], [3, 2, 9]]
    assert all(len(set(map(tuple, shapes))) == 1 for shapes in seen)


def test_cross_attention_is_never_cut(monkeypatch):
    """Its queries are not as long as its keys."""
    monkeypatch.setattr(attention, "_FEW_SCORES", 0)
    keras.utils.set_random_seed(0)
    layer = MultiHeadAttention(2)
    x, memory = (tf.random.normal([6, length, 8]) for length in (5, 3))
    mask = tf.sequence_mask([1, 1, 2, 2, 3, 3], 3)
    usual = layer(x, memory, padding_mask=mask)
    layer.serving_form, layer.row_groups = True, 3
    np.testing.assert_allclose(layer(x, memory, padding_mask=mask), usual, atol=1e-5)


def test_only_few_scores_are_computed_by_the_operations_for_few(monkeypatch):
    monkeypatch.setattr(attention, "_attend_few", lambda query, *_: tf.zeros_like(query))
    longest = int((attention._FEW_SCORES / 2) ** 0.5)  # of one text, two heads

    @tf.function(input_signature=[tf.TensorSpec([None, 2, None, 4])])
    def attend(x):
        return attention.attention_for_serving(x, x, x)

    np.testing.assert_allclose(attend(tf.ones([1, 2, longest, 4])), 0)
    np.testing.assert_allclose(attend(tf.ones([1, 2, longest + 1, 4])), 1, rtol=1e-5)


@pytest.mark.parametrize("intermediate_dim", [1, 2, 7, 8])
@pytest.mark.parametrize("shape", [(5, 6), (2, 3, 6), (0, 6)])
def test_feed_forward(intermediate_dim, shape):
    layer = FeedForward(intermediate_dim, "gelu")
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


@pytest.mark.parametrize("row_groups", [1, 3])
@pytest.mark.parametrize("pooled", [False, True])
def test_a_whole_model(pooled, row_groups, monkeypatch):
    if row_groups > 1:
        monkeypatch.setattr(attention, "_FEW_SCORES", 0)
    keras.utils.set_random_seed(0)
    config = kf.models.BertConfig.named("tiny", vocabulary_size=50, max_sequence_length=16)
    model = kf.models.bert(config, pooled=pooled)
    for weight in model.weights:
        if weight.name in ("gamma", "beta", "bias"):
            weight.assign(weight + 0.1 * np.random.default_rng(2).normal(size=weight.shape))
    mask = np.array([[1] * 9, [1] * 4 + [0] * 5, [0] * 9], np.int32)
    inputs = {"token_ids": np.arange(27, dtype=np.int32).reshape(3, 9), "segment_ids": 0 * mask, "padding_mask": mask}
    served = keras.models.clone_model(model)
    served.set_weights(model.get_weights())
    use_serving_form(served, row_groups)
    assert {layer.row_groups for layer in flatten_layers(served) if hasattr(layer, "row_groups")} == {row_groups}
    assert not any(getattr(layer, "serving_form", False) for layer in flatten_layers(model))
    usual = model(inputs)
    for name, values in served(inputs).items():
        np.testing.assert_allclose(values, usual[name], atol=1e-5)
