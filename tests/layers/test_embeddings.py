"""Token and position embeddings."""

import numpy as np
import pytest
import reference
import tensorflow as tf

from kerasformer.errors import InputError
from kerasformer.layers import (
    EmbeddingConfig,
    LearnedPositionEmbedding,
    NormConfig,
    SinusoidalPositionEmbedding,
    TokenEmbedding,
    TransformerEmbedding,
)


@pytest.mark.parametrize("width", [1, 2, 7, 64])
def test_sinusoidal_is_exact_in_float32(width):
    layer = SinusoidalPositionEmbedding()
    positions = [0, 1, 2, 255, 256, 257, 9_999, 100_000]
    table = layer(tf.zeros([len(positions), width]), positions=tf.constant(positions))
    exact = reference.sinusoidal_positions(positions, width)
    np.testing.assert_array_equal(table, exact.astype("float32"))


@pytest.mark.parametrize(("policy", "dtype"), [("mixed_bfloat16", tf.bfloat16), ("float16", tf.float16)])
def test_sinusoidal_in_low_precision_only_rounds_the_result(policy, dtype):
    table = SinusoidalPositionEmbedding(dtype=policy)(tf.zeros([1, 600, 16], dtype))
    assert table.dtype == dtype
    exact = tf.cast(tf.constant(reference.sinusoidal_positions(range(600), 16), tf.float32), dtype)
    np.testing.assert_array_equal(tf.cast(table[0], tf.float32), tf.cast(exact, tf.float32))
    rows = np.unique(np.asarray(tf.cast(table[0], tf.float32)), axis=0)
    assert len(rows) == 600  # positions above 256 do not collide


def test_sinusoidal_known_values():
    """Section 3.5 of the paper: sines at even places, cosines of the same angle beside them."""
    table = SinusoidalPositionEmbedding()(tf.zeros([2, 3, 4]))
    angles = np.array([[0, 0], [1, 0.01], [2, 0.02]])
    expected = np.stack([np.sin(angles), np.cos(angles)], -1).reshape(3, 4)
    np.testing.assert_allclose(table, np.broadcast_to(expected, (2, 3, 4)), atol=1e-7)
    with_wavelength = SinusoidalPositionEmbedding(max_wavelength=100)(tf.zeros([1, 3, 4]))
    np.testing.assert_allclose(with_wavelength[0], reference.sinusoidal_positions(range(3), 4, 100), atol=1e-7)


@pytest.mark.parametrize("layer", [SinusoidalPositionEmbedding(), LearnedPositionEmbedding(7)])
def test_positions_of_every_form_are_alike(layer):
    whole = layer(tf.zeros([1, 7, 4]))[0]
    positions = tf.constant([[3, 0], [6, 6]])
    np.testing.assert_array_equal(layer(tf.zeros([2, 2, 4]), positions=positions), tf.gather(whole, positions))
    np.testing.assert_array_equal(layer(tf.zeros([2, 2, 4]), positions=[3, 5]), tf.gather(whole, [[3, 5], [3, 5]]))
    np.testing.assert_array_equal(
        layer(tf.zeros([3, 4]), positions=tf.constant([2, 0, 2])), tf.gather(whole, [2, 0, 2])
    )
    for shape in ([0, 3, 4], [2, 1, 4]):
        assert layer(tf.zeros(shape)).shape == shape


@pytest.mark.parametrize("training", [False, True])
def test_learned_positions_and_their_gradient(training):
    layer = LearnedPositionEmbedding(5)
    x = tf.zeros([2, 3, 4])
    upstream = np.random.default_rng(0).normal(size=(2, 3, 4)).astype("float32")
    with tf.GradientTape() as tape:
        output = layer(x)
        loss = tf.reduce_sum(output * upstream)
    np.testing.assert_array_equal(output, np.broadcast_to(layer.embeddings[:3], (2, 3, 4)))
    expected = np.zeros((5, 4))
    expected[:3] = upstream.sum(0)
    np.testing.assert_allclose(tf.convert_to_tensor(tape.gradient(loss, layer.embeddings)), expected, atol=1e-6)


def test_learned_positions_that_are_too_many():
    layer = LearnedPositionEmbedding(5)
    with pytest.raises(InputError, match="at most 5 positions"):
        layer(tf.zeros([1, 6, 4]))
    with pytest.raises((InputError, tf.errors.InvalidArgumentError)):
        tf.function(layer, input_signature=[tf.TensorSpec([None, None, 4])])(tf.zeros([1, 6, 4]))


def test_token_embedding_and_its_gradient():
    layer = TokenEmbedding(5, 3)
    ids = tf.constant([[1, 1], [4, 0]])
    with tf.GradientTape() as tape:
        output = layer(ids)
        loss = tf.reduce_sum(output * tf.constant([[[1.0], [2.0]], [[4.0], [8.0]]]))
    np.testing.assert_array_equal(output, np.asarray(layer.embeddings)[ids])
    gradient = tf.convert_to_tensor(tape.gradient(loss, layer.embeddings))
    np.testing.assert_array_equal(gradient, np.outer([8, 3, 0, 0, 4], np.ones(3)))
    assert layer(tf.zeros([0, 2], tf.int32)).shape == (0, 2, 3)


def test_token_embedding_in_mixed_precision_keeps_float32_weights():
    layer = TokenEmbedding(5, 3, dtype="mixed_bfloat16")
    assert layer(tf.constant([1])).dtype == tf.bfloat16
    assert layer.embeddings.dtype == "float32"


@pytest.mark.parametrize("tokens", [0, 1, 5])
def test_bert_embedding(tokens):
    config = EmbeddingConfig(
        7, 4, max_sequence_length=6, position_offset=2, num_segments=2, norm=NormConfig(), dropout=0.5
    )
    layer = TransformerEmbedding(config)
    random = np.random.default_rng(1)
    ids, segments, positions = (random.integers(0, top, tokens) for top in (7, 2, 6))
    output = layer(*(tf.constant(x, tf.int32) for x in (ids, segments, positions)))
    tables = [np.asarray(part.embeddings, np.float64) for part in (layer.token, layer.segment, layer.position)]
    assert len(tables[2]) == 8
    summed = tables[0][ids] + tables[1][segments] + tables[2][positions + 2]
    np.testing.assert_allclose(output, reference.layer_norm(summed, 1, 0), rtol=1e-4, atol=1e-4)
