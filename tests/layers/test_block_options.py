"""What configs add to attention, feed-forward networks and normalizations, against float64."""

import keras
import numpy as np
import pytest
import reference
import tensorflow as tf

from kerasformer.errors import InputError
from kerasformer.layers import (
    AttentionConfig,
    FeedForward,
    FeedForwardConfig,
    KeyValueCache,
    LayerNormalization,
    MultiHeadAttention,
    NormConfig,
    RelativeBiasConfig,
    RMSNormalization,
    RotaryConfig,
    RotaryPositionEmbedding,
    TransformerBlock,
    padding_layout,
)

B, L, W = 3, 5, 8
MASK = np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 0, 0, 0, 0]])


def close(actual, expected, tolerance=2e-5):
    np.testing.assert_allclose(np.asarray(actual), expected, rtol=tolerance, atol=tolerance)


def randomize(layer, seed=0):
    random = np.random.default_rng(seed)
    for weight in layer.trainable_variables:
        weight.assign(random.normal(size=weight.shape) * 0.5)
    return layer


def example(seed=1):
    return np.random.default_rng(seed).normal(size=(B, L, W))


def projected(layer, x):
    """Queries, keys and values `[B, heads, L, head_dim]` of a self-attention layer, in float64."""
    dense = layer.query_key_value
    rows = x @ np.asarray(dense.kernel, np.float64)
    rows = rows + np.asarray(dense.bias, np.float64) if dense.use_bias else rows
    heads = rows.reshape(*x.shape[:2], -1, layer.head_dim).transpose(0, 2, 1, 3)
    few = layer.num_key_value_heads
    queries, keys, values = np.split(heads, [layer.num_heads, layer.num_heads + few], axis=1)
    return queries, *(np.repeat(part, layer.num_heads // few, axis=1) for part in (keys, values))


def expected_attention(layer, x, mask=True, bias=0.0, scale=None, rotate=None):
    queries, keys, values = projected(layer, x)
    if rotate is not None:
        queries, keys = rotate(queries), rotate(keys)
    attended, _ = reference.attention(queries, keys, values, mask, bias, scale)
    dense = layer.output_projection
    merged = attended.transpose(0, 2, 1, 3).reshape(*x.shape[:2], -1) @ np.asarray(dense.kernel, np.float64)
    return merged + np.asarray(dense.bias, np.float64) if dense.use_bias else merged


OPTIONS = {
    "fewer key and value heads": {"num_heads": 4, "num_key_value_heads": 2},
    "one key and value head": {"num_heads": 4, "num_key_value_heads": 1},
    "wide heads": {"num_heads": 2, "head_dim": 6},
    "narrow heads, no biases": {"num_heads": 4, "num_key_value_heads": 2, "head_dim": 3, "use_bias": False},
    "output bias alone": {"num_heads": 2, "use_bias": False, "use_output_bias": True},
    "query, key and value biases alone": {"num_heads": 2, "use_bias": True, "use_output_bias": False},
    "scale": {"num_heads": 2, "scale": 1.0},
    "window": {"num_heads": 2, "window": 1},
    "rotary": {"num_heads": 2, "positions": RotaryConfig(max_wavelength=100)},
    "rotary in part": {"num_heads": 2, "positions": RotaryConfig(rotary_dim=2)},
    "relative": {"num_heads": 2, "positions": RelativeBiasConfig(8, 16)},
}


@pytest.mark.parametrize("name", OPTIONS)
def test_attention_options(name):
    """Padded, packed, the first token alone, and step by step."""
    options = OPTIONS[name]
    layer = MultiHeadAttention(**options)
    layer.build((None, None, W))
    randomize(layer)
    x = example()
    mask = np.broadcast_to(MASK[:, None, None] > 0, (B, 1, L, L))
    distance = np.arange(L)[None, :] - np.arange(L)[:, None]
    if "window" in options:
        mask = mask & (np.abs(distance) <= options["window"])
    bias, rotate = 0.0, None
    if name == "relative":
        table = np.asarray(layer.positions.table, np.float64)
        bias = table[np.asarray(layer.positions.bucket(distance.astype(np.int32)))].transpose(2, 0, 1)[None]
    if name.startswith("rotary"):
        rate, dim = options["positions"].max_wavelength, options["positions"].rotary_dim or 4

        def rotate(heads):
            half = dim // 2
            rates = float(rate) ** (-np.arange(half) / half)
            turned = heads[..., :half] + 1j * heads[..., half:dim]
            turned = turned * np.exp(1j * np.arange(L)[:, None] * rates)
            return np.concatenate([turned.real, turned.imag, heads[..., dim:]], -1)

    scale = options.get("scale")
    expected = expected_attention(layer, x, mask, bias, scale, rotate)
    real = MASK[..., None]
    inputs = tf.constant(x, tf.float32)
    close(layer(inputs, padding_mask=MASK) * real, expected * real)
    layout = padding_layout(MASK)
    close(layer(inputs[MASK > 0], padding_mask=MASK, layout=layout), expected[MASK > 0])
    close(layer.attend_first(inputs[MASK > 0], MASK, layout=layout), expected[:, 0])
    close(layer.attend_first(inputs), expected_attention(layer, x, mask=_all(options), bias=bias, scale=scale,
                                                         rotate=rotate)[:, 0])  # fmt: skip

    causal = expected_attention(layer, x, _all(options) & reference.causal_mask(L, L), bias, scale, rotate)
    close(layer(inputs, use_causal_mask=True), causal)
    cache = KeyValueCache.empty(B, layer.num_key_value_heads, layer.head_dim)
    rows = []
    for start, count in ((0, 2), (2, 1), (3, 2)):
        output, cache = layer(inputs[:, start : start + count], cache=cache, use_causal_mask=True)
        rows.append(output)
    close(tf.concat(rows, 1), causal)


def _all(options):
    distance = np.abs(np.arange(L)[None, :] - np.arange(L)[:, None])
    return (distance <= options.get("window", L))[None, None]


@pytest.mark.parametrize(("window", "length"), [(3, 320), (3, 321), (70, 500)])
def test_long_texts_within_a_window(window, length):
    """Blocks, of a packed batch and of static shapes, as a mask of all pairs; forward and backward."""
    layer = MultiHeadAttention(2, window=window)
    layer.build((None, None, W))
    randomize(layer)
    random = np.random.default_rng(7)
    mask = np.arange(length) < np.array([length, length // 2, 1])[:, None]
    near = np.abs(np.arange(length)[None, :] - np.arange(length)[:, None]) <= window
    x, weights = (tf.constant(random.normal(size=(3, length, W)), tf.float32) for _ in range(2))
    rows, layout = x[mask], padding_layout(mask)

    @tf.function(input_signature=[tf.TensorSpec([None, W])])
    def packed(rows):
        return layer(rows, padding_mask=mask, layout=layout)

    def gradients(function, inputs, weights):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = function(inputs)
            loss = tf.reduce_sum(outputs * weights)
        return outputs, tape.gradient(loss, inputs)

    expected, wanted = gradients(
        lambda x: layer(x, padding_mask=mask, attention_mask=near[None])[mask], x, weights[mask]
    )
    for function, inputs, real in (
        (packed, rows, ...),
        (lambda x: layer(x, padding_mask=mask)[mask], x, mask),
        (tf.function(lambda x: layer(x, padding_mask=mask)[mask], jit_compile=True), x, mask),
    ):
        outputs, found = gradients(function, inputs, weights[mask])
        close(outputs, expected)
        close(found[real], wanted[mask])
    layer.serving_form = True
    close(packed.python_function(rows), expected)
    np.testing.assert_array_equal(layer(x[:0], padding_mask=mask[:0]).shape, (0, length, W))


def test_a_block_without_a_norm_of_attention():
    """The first block of a pre-norm model whose embeddings are normalized."""
    arguments = AttentionConfig(2), FeedForwardConfig(6), NormConfig(placement="pre")
    block = TransformerBlock(*arguments, norm_attention=False)
    block.build((None, None, W))
    randomize(block)
    x = tf.constant(example(), tf.float32)
    middle = x + block.attention(x, padding_mask=MASK)
    close(block(x, padding_mask=MASK), middle + block.feed_forward(block.feed_forward_norm(middle)))
    close(block(x, padding_mask=MASK, first_token_only=True), block(x, padding_mask=MASK)[:, 0])
    assert block.attention_norm is None
    again = TransformerBlock.from_config(block.get_config())
    assert again.config == block.config


@pytest.mark.parametrize("use_bias", [True, False])
def test_gated_feed_forward(use_bias):
    layer = FeedForward(6, "silu", gated=True, use_bias=use_bias)
    layer.build((None, W))
    randomize(layer)
    x = example()

    def project(inputs, dense):
        outputs = inputs @ np.asarray(dense.kernel, np.float64)
        return outputs + np.asarray(dense.bias, np.float64) if use_bias else outputs

    gate = project(x, layer.gate)
    expected = project(gate / (1 + np.exp(-gate)) * project(x, layer.inner), layer.outer)
    close(layer(tf.constant(x, tf.float32)), expected)
    assert len(layer.trainable_variables) == (6 if use_bias else 3)
    layer.serving_form = True
    close(layer(tf.constant(x, tf.float32)), expected)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_normalizations(dtype):
    x = example()
    rms, plain = RMSNormalization(1e-3, dtype=dtype), LayerNormalization(1e-3, use_bias=False, dtype=dtype)
    for layer in (rms, plain):
        layer.build((None, W))
        layer.gamma.assign(np.arange(1, W + 1) / 4)
    gamma, tolerance = np.arange(1, W + 1) / 4, 2e-5 if dtype == "float32" else 0.05
    inputs = tf.cast(x, dtype)
    rows = np.asarray(tf.cast(inputs, tf.float64))
    expected = rows / np.sqrt((rows**2).mean(-1, keepdims=True) + 1e-3) * gamma
    close(tf.cast(rms(inputs), tf.float32), expected, tolerance)
    close(tf.cast(plain(inputs), tf.float32), reference.layer_norm(rows, gamma, 0, 1e-3), tolerance)
    assert plain.beta is None
    assert rms(inputs).dtype == dtype


def test_a_cache_in_a_loop_grows():
    rows = tf.constant(np.random.default_rng(0).normal(size=(9, 2, 3, 1, 4)), tf.float32)

    @tf.function
    def append_all():
        def step(place, cache):
            return place + 1, cache.append(rows[place], -rows[place])

        return tf.while_loop(lambda place, _: place < 9, step, (tf.constant(0), KeyValueCache.empty(2, 3, 4)))[1]

    cache = append_all()
    expected = np.asarray(rows)[:, :, :, 0].transpose(1, 2, 0, 3)
    np.testing.assert_array_equal(cache.keys, expected)
    np.testing.assert_array_equal(cache.values, -expected)


def test_a_layer_is_called_as_it_was_built():
    x = tf.ones([1, 2, W])
    attention = MultiHeadAttention(2)
    attention(x)
    with pytest.raises(InputError, match=r"self-attention.*takes no `value`"):
        attention(x, x)
    cross = MultiHeadAttention(2)
    cross(x, x)
    with pytest.raises(InputError, match=r"cross-attention.*needs `value` or a cache"):
        cross(x)
    decoder = TransformerBlock(AttentionConfig(2), FeedForwardConfig(4), causal=True)
    np.testing.assert_allclose(decoder(x)[:, 0], decoder(x[:, :1])[:, 0], rtol=0, atol=1e-6)
    with pytest.raises(InputError, match="takes no `memory`"):
        decoder(x, x)
    with pytest.raises(InputError, match="needs `memory`"):
        TransformerBlock(AttentionConfig(2), FeedForwardConfig(4), cross_attention=AttentionConfig(2))(x)
    with pytest.raises(InputError, match="KeyValueCache"):
        decoder(x, cache={"self": (x, x)})


def test_positions_of_keys():
    """Rotary positions are relative: moving queries and keys alike changes nothing, the keys alone does."""
    random = np.random.default_rng(5)
    x, value = (tf.constant(random.normal(size=(2, length, W)), tf.float32) for length in (3, 5))
    attention = MultiHeadAttention(2, positions=RotaryConfig())
    plain = attention(x, value)
    np.testing.assert_array_equal(attention(x, value, key_positions=tf.range(5)), plain)
    moved = {"positions": tf.range(3) + 7, "key_positions": tf.range(5) + 7}
    np.testing.assert_allclose(attention(x, value, **moved), plain, atol=1e-4)
    assert np.abs(attention(x, value, key_positions=tf.range(5) * 3) - plain).max() > 1e-3
    with pytest.raises(InputError, match="without a cache"):
        MultiHeadAttention(2)(x, key_positions=tf.range(3))


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"padding_mask": np.ones((2, 3))}, r"`padding_mask` must be \[batch, length\] = \[2, 4\].*\(2, 3\)"),
        ({"padding_mask": np.ones((2, 1, 1, 4))}, r"`padding_mask` must be.*attention_mask"),
        ({"attention_mask": np.ones((2, 4))}, r"`attention_mask` must be.*`padding_mask`"),
        ({"attention_mask": np.ones((2, 4, 5))}, "key length 4"),
        ({"attention_mask": np.ones((2, 3, 4))}, "query length 4"),
    ],
)
def test_masks_that_do_not_fit(arguments, match):
    with pytest.raises(InputError, match=match):
        MultiHeadAttention(2)(tf.ones([2, 4, W]), **arguments)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: AttentionConfig(4, 3), "num_key_value_heads=3, num_heads=4"),
        (lambda: AttentionConfig(0), "num_heads=0"),
        (lambda: AttentionConfig(2, dropout=1.0), r"dropout=1\.0"),
        (lambda: AttentionConfig(2, positions="rotary"), "positions='rotary'"),
        (lambda: FeedForwardConfig(-1), "intermediate_dim=-1"),
        (lambda: NormConfig("batch"), "kind='batch'"),
        (lambda: NormConfig(placement="middle"), "placement='middle'"),
        (lambda: TransformerBlock(2, 4), "`attention` must be of type AttentionConfig"),
        (lambda: RotaryPositionEmbedding(rotary_dim=3)(tf.ones([1, 1, 2, 4])), "rotary_dim=3, head_dim=4"),
    ],
)
def test_bad_configs(make, match):
    with pytest.raises(InputError, match=match):
        make()


def test_configs_are_values():
    config = AttentionConfig(4, 2, positions=RotaryConfig(rotary_dim=2))
    assert config == AttentionConfig(4, 2, positions=RotaryConfig(rotary_dim=2))
    assert len({config, config.replace(dropout=0.1)}) == 2
    saved = keras.saving.serialize_keras_object(config)
    assert keras.saving.deserialize_keras_object(saved) == config
