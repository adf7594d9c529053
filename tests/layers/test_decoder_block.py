"""Decoder blocks, rotary and relative positions against float64, and the packed forms against the padded one."""

import math

import numpy as np
import pytest
import reference
import tensorflow as tf
from blocks import make_block

from kerasformer.errors import InputError
from kerasformer.layers import (
    EmbeddingConfig,
    KeyValueCache,
    MultiHeadAttention,
    RelativePositionBias,
    RotaryPositionEmbedding,
    TransformerEmbedding,
    padding_layout,
)

B, L, S, W = 3, 4, 5, 4
MASK = np.array([[1, 1, 1, 1], [1, 1, 0, 0], [1, 1, 1, 0]])
MEMORY_MASK = np.array([[1, 1, 0, 0, 0], [1, 1, 1, 1, 1], [1, 0, 0, 0, 0]])


def close(actual, expected, tolerance=2e-5):
    np.testing.assert_allclose(np.asarray(actual), expected, rtol=tolerance, atol=tolerance)


def example(seed=0):
    random = np.random.default_rng(seed)
    return random.normal(size=(B, L, W)), random.normal(size=(B, S, 6))


def decoder_block(**arguments):
    block = make_block(2, 5, activation="relu", decoder=True, **arguments)
    block.build((None, None, W), (None, None, 6))
    random = np.random.default_rng(1)
    for variable in block.trainable_variables:
        variable.assign(random.normal(size=variable.shape) * 0.6)
    return block


@pytest.mark.parametrize("norm_first", [False, True])
def test_block_against_float64_and_packed(norm_first):
    block = decoder_block(norm_first=norm_first)
    x, memory = example()
    bias = np.random.default_rng(2).normal(size=(1, 2, L, L))
    expected = reference.decoder_block(
        x,
        memory,
        reference.decoder_weights(block),
        2,
        MASK[:, None, None].astype(bool) & reference.causal_mask(L, L),
        MEMORY_MASK[:, None, None].astype(bool),
        bias,
        norm_first,
    )
    arguments = {"padding_mask": MASK, "memory_padding_mask": MEMORY_MASK, "bias": tf.constant(bias, tf.float32)}
    x, memory = tf.constant(x, tf.float32), tf.constant(memory, tf.float32)
    with tf.GradientTape() as tape:
        padded = block(x, memory, **arguments) * tf.constant(MASK[..., None], tf.float32)
        loss = tf.reduce_sum(padded**2)
    close(padded, expected * MASK[..., None])
    gradients = tape.gradient(loss, block.trainable_variables)

    layout, memory_layout = padding_layout(MASK), padding_layout(MEMORY_MASK)
    with tf.GradientTape() as tape:
        packed = block(x[MASK > 0], memory[MEMORY_MASK > 0], layout=layout, memory_layout=memory_layout, **arguments)
        loss = tf.reduce_sum(packed**2)
    close(packed, expected[MASK > 0])
    for one, other in zip(tape.gradient(loss, block.trainable_variables), gradients, strict=True):
        close(one, other, 1e-4)


def test_no_query_sees_later_tokens_or_padding():
    block = decoder_block()
    x, memory = example()
    first = block(x, memory, padding_mask=MASK, memory_padding_mask=MEMORY_MASK).numpy()
    x[:, 3], memory[MEMORY_MASK == 0] = 7, 8
    second = block(x, memory, padding_mask=MASK, memory_padding_mask=MEMORY_MASK).numpy()
    np.testing.assert_array_equal(first[:, :3], second[:, :3])
    assert not np.allclose(first[0, 3], second[0, 3])


@pytest.mark.parametrize("rotary", [False, True])
def test_step_by_step_is_the_whole(rotary):
    block = decoder_block(rotary=rotary)
    x, memory = (tf.constant(value, tf.float32) for value in example())
    whole = block(x, memory, memory_padding_mask=MEMORY_MASK)
    cache = {"self": KeyValueCache.empty(B, 2, 2), "memory": block.project_memory(memory)}
    for place in range(L):
        output, scores, cache["self"] = block(
            x[:, place : place + 1],
            memory_padding_mask=MEMORY_MASK,
            cache=cache,
            return_attention_scores=True,
        )
        close(output[:, 0], whole[:, place])
        assert scores.shape == (B, 2, 1, S)
        close(tf.reduce_sum(scores, -1), np.ones((B, 2, 1)))
        assert not np.any(scores.numpy() * (MEMORY_MASK == 0)[:, None, None])


def test_packed_texts_hear_nothing_of_each_other():
    """A memory of nothing but padding: the packed form must not let another text's token stand in."""
    attention = MultiHeadAttention(2)
    x, memory = (tf.constant(value, tf.float32) for value in example())
    mask = np.array([[1] * S, [0] * S, [1] * S])
    attention(x, memory)

    def second(memory):
        packed = tf.reshape(memory, [-1, 6])[mask.ravel() > 0]
        return attention(x, packed, padding_mask=mask, value_layout=padding_layout(mask))[1]

    np.testing.assert_array_equal(second(memory), second(memory + 1))


def test_rotary_positions():
    layer = RotaryPositionEmbedding()
    x = np.random.default_rng(0).normal(size=(2, 3, 5, 6))
    close(layer(tf.constant(x, tf.float32)), reference.rotate(x, range(5)))
    positions = np.array([[3, 1, 4, 1, 900], [0, 1, 2, 3, 4]], np.int32)
    turned = layer(tf.constant(x, tf.float32), positions)
    close(turned[0], reference.rotate(x[:1], positions[0])[0], 1e-4)

    def scores(shift):
        queries = layer(tf.constant(x, tf.float32), tf.range(5) + shift)
        return tf.matmul(queries, layer(tf.ones([2, 3, 5, 6]), tf.range(5) + shift), transpose_b=True)

    close(scores(40), scores(0), 1e-4)
    with pytest.raises(InputError, match=r"even.*head_dim=3"):
        layer(tf.zeros([1, 1, 2, 3]))


def t5_bucket(distance, bidirectional, buckets, max_distance):
    """Raffel et al. 2020, in words: half of the buckets exact, the rest logarithmic."""
    result = 0
    if bidirectional:
        buckets //= 2
        result, distance = (buckets if distance > 0 else 0), abs(distance)
    else:
        distance = max(-distance, 0)
    exact = buckets // 2
    if distance < exact:
        return result + distance
    far = exact + int(math.log(distance / exact) / math.log(max_distance / exact) * (buckets - exact) + 1e-6)
    return result + min(far, buckets - 1)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_relative_buckets_and_bias(bidirectional):
    layer = RelativePositionBias(2, bidirectional=bidirectional)
    distances = np.arange(-300, 300, dtype=np.int32)
    expected = [t5_bucket(int(d), bidirectional, 32, 128) for d in distances]
    np.testing.assert_array_equal(layer.bucket(distances), expected)
    bias = layer(tf.zeros([1, 6, 3])).numpy()
    assert bias.shape == (1, 2, 6, 6)
    table = np.asarray(layer.table)
    for query in range(6):
        for key in range(6):
            np.testing.assert_array_equal(bias[0, :, query, key], table[t5_bucket(key - query, bidirectional, 32, 128)])
    rows = layer(tf.zeros([2, 1]), np.array([[5], [2]], np.int32), np.tile(np.arange(6, dtype=np.int32), (2, 1)))
    np.testing.assert_array_equal(rows[0, :, 0], bias[0, :, 5])
    np.testing.assert_array_equal(rows[1, :, 0], bias[0, :, 2])


@pytest.mark.parametrize("arguments", [{"num_buckets": 2}, {"num_buckets": 32, "max_distance": 8}])
def test_bad_buckets(arguments):
    with pytest.raises(InputError, match="num_buckets"):
        RelativePositionBias(2, **arguments)


def test_embedding_scales_adds_positions_and_scores():
    config = EmbeddingConfig(7, W, positions="sinusoidal", scale_by_dim=True, initializer_range=None)
    layer = TransformerEmbedding(config)
    ids, positions = np.array([3, 1, 6], np.int32), np.array([0, 1, 5], np.int32)
    embedded = layer(ids, positions=positions)
    table = np.asarray(layer.token.embeddings, np.float64)
    close(embedded, table[ids] * 2 + reference.sinusoidal_positions(positions, W))
    close(layer(tf.ones([2, W]), reverse=True), np.ones((2, W)) @ table.T)
    assert layer(ids[:0], positions=positions[:0]).shape == (0, W)
    with pytest.raises(InputError, match="positions='spiral'"):
        EmbeddingConfig(7, W, "spiral")
