"""Attention and multi-head attention against float64."""

import keras
import numpy as np
import pytest
import reference
import tensorflow as tf

from kerasformer.errors import InputError
from kerasformer.layers import KeyValueCache, MultiHeadAttention, scaled_dot_product_attention

# batch, heads, queries, keys, head width, value width
SHAPES = [(2, 2, 3, 4, 4, 3), (1, 1, 1, 1, 1, 1), (2, 3, 1, 5, 2, 2), (1, 2, 4, 2, 3, 3), (0, 2, 3, 3, 4, 4)]
MASKS = ["none", "arbitrary", "causal", "causal and arbitrary", "bias", "all"]


def close(actual, expected, tolerance=1e-5):
    np.testing.assert_allclose(np.asarray(actual), expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("kind", MASKS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("training", [False, True])
def test_attention_and_its_gradients(shape, kind, training):
    batch, heads, queries, keys, width, value_width = shape
    random = np.random.default_rng(0)
    query, key = random.normal(size=(batch, heads, queries, width)), random.normal(size=(batch, heads, keys, width))
    value = random.normal(size=(batch, heads, keys, value_width))
    mask, bias, arguments = np.ones((batch, 1, queries, keys), bool), 0.0, {}
    if kind in ("arbitrary", "causal and arbitrary", "all"):
        mask = random.random(size=mask.shape) < 0.6
        mask[:, :, -1] = False  # looks nowhere
        arguments["mask"] = mask
    if kind in ("causal", "causal and arbitrary", "all"):
        mask = mask & reference.causal_mask(queries, keys)
        arguments["use_causal_mask"] = True
    if kind in ("bias", "all"):
        bias = random.normal(size=(1, heads, queries, keys))
        arguments["bias"] = tf.constant(bias, tf.float32)
    upstream = random.normal(size=(batch, heads, queries, value_width))
    # Nobody reads a query that looks nowhere; what it gives is compared, how it came about has no gradient.
    read = upstream * mask.any(-1)[..., None]

    inputs = [tf.constant(array, tf.float32) for array in (query, key, value)]
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        output, scores = scaled_dot_product_attention(
            *inputs, **arguments, training=training, return_attention_scores=True
        )
        loss = tf.reduce_sum(output * tf.constant(read, tf.float32))
    expected, probabilities = reference.attention(query, key, value, mask, bias)
    close(output, expected)
    close(scores, probabilities)
    for array, gradient in zip((query, key, value), tape.gradient(loss, inputs), strict=True):
        close(
            gradient,
            reference.numeric_gradient(
                lambda: (reference.attention(query, key, value, mask, bias)[0] * read).sum(), array
            ),
        )


def test_a_query_that_looks_nowhere_spreads_its_gradient_evenly():
    value = tf.random.stateless_normal([1, 1, 4, 2], [1, 2])
    query = tf.random.stateless_normal([1, 1, 1, 3], [3, 4])
    key = tf.random.stateless_normal([1, 1, 4, 3], [5, 6])
    with tf.GradientTape() as tape:
        tape.watch([query, key, value])
        output = scaled_dot_product_attention(query, key, value, mask=tf.zeros([1, 1, 1, 4]), training=True)
    gradients = tape.gradient(output, [query, key, value])
    close(output[0, 0, 0], tf.reduce_mean(value[0, 0], 0))
    close(gradients[2], np.full((1, 1, 4, 2), 0.25))
    assert all(np.isfinite(gradient).all() for gradient in gradients)


@pytest.mark.parametrize("dtype", ["bool", "int32", "int64", "uint8", "float32", "float16"])
def test_masks_are_positive_where_attention_may_look(dtype):
    random = np.random.default_rng(1)
    query, key, value = (tf.constant(random.normal(size=(2, 1, 3, 2)), tf.float32) for _ in range(3))
    mask = random.random((2, 1, 3, 3)) < 0.5
    given = mask * (3 if dtype != "bool" else 1)
    if dtype in ("float32", "float16"):
        given = mask * 0.25
    close(
        scaled_dot_product_attention(query, key, value, mask=tf.constant(given.astype(dtype))),
        reference.attention(*(np.asarray(x, np.float64) for x in (query, key, value)), mask)[0],
    )


@pytest.mark.parametrize("dtype", ["int32", "float32"])
def test_negative_numbers_close_a_mask(dtype):
    """Positive or true opens; -1, and the -1e9 of an additive mask, do not."""
    value = tf.constant([[[[1.0], [5.0]]]])
    mask = tf.constant([[[[1, -1]]]], dtype)
    close(scaled_dot_product_attention(value, value, value, mask=mask)[0, 0, 0], [1.0])


@pytest.mark.parametrize("scale", [1, 1.0, 0.3, 2])
def test_scale(scale):
    random = np.random.default_rng(2)
    query, key, value = (random.normal(size=(1, 2, 3, 4)) for _ in range(3))
    given = [tf.constant(x, tf.float32) for x in (query, key, value)]
    close(scaled_dot_product_attention(*given, scale=scale), reference.attention(query, key, value, scale=scale)[0])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("training", [False, True])
def test_low_precision_is_finite_and_near(dtype, training):
    random = np.random.default_rng(3)
    query, key, value = (tf.cast(random.normal(size=(2, 2, 5, 8)) * 6, dtype) for _ in range(3))
    mask = random.random((2, 1, 5, 5)) < 0.5
    mask[0, :, 2:4] = False
    with tf.GradientTape() as tape:
        tape.watch([query, key, value])
        output = scaled_dot_product_attention(
            query, key, value, mask=mask, use_causal_mask=True, bias=tf.random.stateless_normal([1, 2, 5, 5], [1, 2]),
            training=training,
        )  # fmt: skip
    assert output.dtype == dtype
    for tensor in [output, *tape.gradient(output, [query, key, value])]:
        assert np.isfinite(tf.cast(tensor, tf.float32)).all()


def test_softmax_is_in_float32_when_training():
    """Of 4,096 keys a bfloat16 softmax loses whole percents, one in float32 only the rounding of its results."""
    query = tf.ones([1, 1, 1, 1], tf.bfloat16)
    key = tf.constant(np.linspace(0, 1, 4096).reshape(1, 1, -1, 1), tf.bfloat16)
    _, scores = scaled_dot_product_attention(query, key, key, training=True, return_attention_scores=True)
    exact = np.exp(np.asarray(tf.cast(key, tf.float64))[0, 0, :, 0])
    exact /= exact.sum()
    np.testing.assert_allclose(np.asarray(tf.cast(scores, tf.float64))[0, 0, 0], exact, rtol=2**-8)


def make_layer(width=6, heads=2, value_width=None, **arguments):
    layer = MultiHeadAttention(heads, **arguments)
    value_shape = None if value_width is None else (None, None, value_width)
    layer.build((None, None, width), value_shape)
    random = np.random.default_rng(4)
    for variable in layer.weights:
        if not variable.path.endswith("seed_generator_state"):
            variable.assign(random.normal(size=variable.shape) * 0.5)
    return layer


def compare_with_gradients(layer, heads, x, value, mask, added, **arguments):
    """Output, scores, and the gradients by inputs and weights, with a random upstream gradient."""
    weights = reference.attention_weights(layer)
    upstream = np.random.default_rng(5).normal(size=x.shape)
    mask = np.broadcast_to(mask, (x.shape[0], heads, x.shape[1], (x if value is None else value).shape[1]))
    upstream = upstream * mask.all(1).any(-1)[..., None]
    inputs = [tf.constant(array, tf.float32) for array in (x, value) if array is not None]
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        output, scores = layer(*inputs, **arguments, return_attention_scores=True, training=True)
        loss = tf.reduce_sum(output * tf.constant(upstream, tf.float32))
    expected, probabilities = reference.multi_head_attention(x, weights, heads, value, mask, added)
    close(output, expected)
    close(scores, probabilities)
    gradients = tape.gradient(loss, [inputs, layer.trainable_variables])

    def numeric(array):
        return reference.numeric_gradient(
            lambda: (reference.multi_head_attention(x, weights, heads, value, mask, added)[0] * upstream).sum(), array
        )

    for array, gradient in zip([a for a in (x, value) if a is not None], gradients[0], strict=True):
        close(gradient, numeric(array), 2e-5)
    for name, gradient in reference.named_gradients(layer, gradients[1]).items():
        close(gradient, numeric(weights[name]), 5e-5)


@pytest.mark.parametrize("shape", [(2, 3), (1, 1), (3, 4), (0, 3)])
@pytest.mark.parametrize("kind", ["plain", "padding", "causal", "arbitrary", "with heads", "all"])
def test_self_attention_and_its_gradients(shape, kind):
    batch, length = shape
    layer = make_layer()
    random = np.random.default_rng(6)
    x = random.normal(size=(batch, length, 6))
    mask, bias, arguments = np.ones((batch, 1, length, length), bool), 0.0, {}
    if kind in ("padding", "all"):
        padding = random.random((batch, length)) < 0.7
        padding[-1:] = False  # a text of nothing but padding
        arguments["padding_mask"] = padding.astype("int32")
        mask = mask & padding[:, None, None]
    if kind in ("causal", "all"):
        mask = mask & reference.causal_mask(length, length)
        arguments["use_causal_mask"] = True
    if kind in ("arbitrary", "all"):
        attention_mask = random.random((batch, length, length)) < 0.7
        mask = mask & attention_mask[:, None]
        arguments["attention_mask"] = attention_mask
    if kind == "with heads":
        attention_mask = random.random((batch, 2, length, length)) < 0.7
        mask = mask & attention_mask
        arguments["attention_mask"] = attention_mask
    if kind in ("with heads", "all"):
        bias = random.normal(size=(1, 2, length, length))
        arguments["bias"] = tf.constant(bias, tf.float32)
    compare_with_gradients(layer, 2, x, None, mask, bias, **arguments)


@pytest.mark.parametrize("shape", [(2, 3, 4), (1, 1, 1), (2, 1, 3), (0, 2, 3)])
def test_cross_attention_and_its_gradients(shape):
    batch, queries, keys = shape
    layer = make_layer(value_width=4)
    random = np.random.default_rng(7)
    x, value = random.normal(size=(batch, queries, 6)), random.normal(size=(batch, keys, 4))
    padding = random.random((batch, keys)) < 0.7
    mask = np.broadcast_to(padding[:, None, None], (batch, 1, queries, keys))
    compare_with_gradients(layer, 2, x, value, mask, 0.0, padding_mask=padding)


def test_without_biases():
    layer = make_layer(use_bias=False)
    assert [weight.shape for weight in layer.trainable_variables] == [(6, 18), (6, 6)]
    x = np.random.default_rng(8).normal(size=(2, 3, 6))
    close(
        layer(tf.constant(x, tf.float32)), reference.multi_head_attention(x, reference.attention_weights(layer), 2)[0]
    )


def test_the_projection_is_fused():
    layer = make_layer()
    assert {tuple(weight.shape) for weight in layer.trainable_variables} == {(6, 18), (18,), (6, 6), (6,)}
    cross = make_layer(value_width=4)
    assert {tuple(weight.shape) for weight in cross.trainable_variables} == {(6, 6), (6,), (4, 12), (12,)}


@pytest.mark.parametrize("steps", [(1, 1, 1, 1, 1), (2, 3), (1, 4), (5,)])
def test_decoding_with_a_cache_gives_the_causal_rows(steps):
    layer, heads, width = make_layer(), 2, 6
    x = tf.random.stateless_normal([2, 5, width], [1, 2])
    whole = layer(x, use_causal_mask=True)
    cache = KeyValueCache.empty(2, heads, width // heads)
    rows, start = [], 0
    for step in steps:
        output, cache = layer(x[:, start : start + step], cache=cache, use_causal_mask=True)
        rows.append(output)
        start += step
    assert cache.keys.shape == cache.values.shape == (2, heads, 5, width // heads)
    close(tf.concat(rows, 1), whole)


def test_a_cache_with_padding_and_scores():
    layer = make_layer()
    x = tf.random.stateless_normal([2, 4, 6], [1, 2])
    padding = tf.constant([[1, 0, 1, 1], [1, 1, 1, 1]])
    whole, whole_scores = layer(x, padding_mask=padding, use_causal_mask=True, return_attention_scores=True)
    cache = KeyValueCache.empty(2, 2, 3)
    _, cache = layer(x[:, :3], cache=cache, padding_mask=padding[:, :3], use_causal_mask=True)
    output, scores, _ = layer(
        x[:, 3:],
        cache=cache,
        padding_mask=padding,
        use_causal_mask=True,
        return_attention_scores=True,
    )
    close(output[:, 0], whole[:, 3])
    close(scores[:, :, 0], whole_scores[:, :, 3])


def test_a_cache_of_cross_attention_is_projected_once():
    layer = make_layer(value_width=4)
    x, value = tf.random.stateless_normal([2, 3, 6], [1, 2]), tf.random.stateless_normal([2, 5, 4], [3, 4])
    padding = tf.constant([[1, 1, 0, 0, 0], [1, 1, 1, 1, 1]])
    cache = layer.project_key_value(value)
    close(layer(x, padding_mask=padding, cache=cache), layer(x, value, padding_mask=padding))


def test_the_mask_of_an_embedding_is_honoured_and_carried_on():
    ids = tf.constant([[1, 2, 0], [3, 0, 0]])
    embedded = keras.layers.Embedding(5, 6, mask_zero=True)(ids)
    layer = make_layer()
    output = layer(embedded)
    close(output, layer(tf.identity(embedded), padding_mask=tf.cast(ids != 0, tf.int32)))
    assert not np.allclose(output, layer(tf.identity(embedded)))
    np.testing.assert_array_equal(output._keras_mask, ids != 0)
    other = tf.constant([[[1.0] * 6, [2.0] * 6], [[3.0] * 6, [4.0] * 6]])
    np.testing.assert_array_equal(layer(embedded, padding_mask=tf.ones([2, 3]))._keras_mask, ids != 0)
    cross = make_layer(value_width=6)
    close(cross(other, embedded), cross(other, tf.identity(embedded), padding_mask=tf.cast(ids != 0, tf.int32)))


def test_dropout_is_on_the_probabilities_when_training():
    layer = make_layer(dropout=0.5)
    x = tf.random.stateless_normal([2, 4, 6], [1, 2])
    close(layer(x), layer(x, training=False))
    _, scores = layer(x, training=True, return_attention_scores=True)
    close(tf.reduce_sum(scores, -1), np.ones((2, 2, 4)))
    assert not np.allclose(layer(x, training=True), layer(x, training=True))


@pytest.mark.parametrize(
    ("arguments", "words"), [({"num_heads": 0}, "num_heads"), ({"num_heads": 2, "dropout": 1.0}, "dropout")]
)
def test_bad_arguments(arguments, words):
    with pytest.raises(InputError, match=words):
        MultiHeadAttention(**arguments)


def test_bad_calls():
    with pytest.raises(InputError, match=r"must divide.*num_heads=4, hidden_dim=6"):
        MultiHeadAttention(4)(tf.zeros([1, 2, 6]))
    layer = make_layer()
    with pytest.raises(InputError, match="needs `padding_mask`"):
        layer(tf.zeros([3, 6]))
    with pytest.raises(InputError, match="`query_mask`"):
        layer(tf.zeros([3, 6]), padding_mask=tf.ones([1, 3]), cache=KeyValueCache.empty(1, 2, 3))
    memory_attention = MultiHeadAttention(2)
    with pytest.raises(InputError, match=r"A value of rank 2.*`padding_mask`"):
        memory_attention(tf.zeros([1, 3, 6]), tf.zeros([3, 6]))
