"""The layers over sentences: against the same blocks on padded sentences, alone as in a batch, in a saved model."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasformer.layers import InterSentenceEncoder, SinusoidalPositionEmbedding, keyed_dropout

START = 7
IDS = np.array([[7, 1, 7, 2, 3, 7], [7, 1, 1, 1, 1, 1], [3, 7, 7, 0, 0, 0], [0, 0, 0, 0, 0, 0]], "int32")
MASK = np.array([[1] * 6, [1] * 6, [1, 1, 1, 0, 0, 0], [0] * 6], "int32")
STARTS = [[0, 2, 5], [0], [0, 1, 2], [0]]
STATES = np.random.default_rng(0).normal(size=(4, 6, 8)).astype("float32")


@pytest.fixture(scope="module")
def layer():
    keras.utils.set_random_seed(3)
    layer = InterSentenceEncoder(START, num_layers=2, num_heads=2, inner_width=12, dropout=0.3)
    layer(STATES, IDS, MASK)
    for weight in layer.trainable_variables:
        weight.assign(weight + np.random.default_rng(1).normal(size=weight.shape, scale=0.3))
    return layer


def test_the_same_blocks_on_each_text_alone(layer):
    outputs = layer(STATES, IDS, MASK)
    assert outputs["sentence_mask"].numpy().tolist() == [[1, 1, 1], [1, 0, 0], [1, 1, 1], [1, 0, 0]]
    for row, starts in enumerate(STARTS):
        x = STATES[row, starts][None]
        x = x + SinusoidalPositionEmbedding()(x)
        for block in layer.blocks:
            x = block(x, padding_mask=np.ones([1, len(starts)], "int32"))
        logits = layer.classifier(layer.norm(x))[0, :, 0]
        np.testing.assert_allclose(outputs["logits"][row, : len(starts)], logits, atol=1e-5)
        assert not outputs["logits"][row, len(starts) :].numpy().any()


def test_what_is_not_a_start_does_not_matter(layer):
    states = STATES.copy()
    states[0, [1, 3, 4]] = 99
    np.testing.assert_array_equal(layer(states, IDS, MASK)["logits"][0], layer(STATES, IDS, MASK)["logits"][0])


@pytest.mark.parametrize("length", [0, 6])
def test_a_batch_of_0(layer, length):
    outputs = layer(STATES[:0, :length], IDS[:0, :length], MASK[:0, :length])
    assert outputs["logits"].shape == outputs["sentence_mask"].shape == (0, 0)


def test_keyed_dropout_is_that_of_the_example(layer):
    def logits(rows):
        with keyed_dropout(5, np.array(rows), MASK[rows]):
            return layer(STATES[rows], IDS[rows], MASK[rows], training=True)["logits"].numpy()

    whole = logits([0, 1, 2])
    np.testing.assert_allclose(logits([2])[0], whole[2], atol=1e-5)
    np.testing.assert_allclose(logits([0, 2])[0], whole[0], atol=1e-5)
    assert not np.allclose(whole[0], layer(STATES, IDS, MASK)["logits"][0])


def test_saved_in_a_model(layer, tmp_path):
    inputs = [keras.Input([None, 8]), keras.Input([None], dtype="int32"), keras.Input([None], dtype="int32")]
    model = keras.Model(inputs, layer(*inputs))
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again([STATES, IDS, MASK])["logits"], model([STATES, IDS, MASK])["logits"])


def test_gradients_reach_the_states_that_sentences_begin_with(layer):
    states = tf.constant(STATES)
    with tf.GradientTape() as tape:
        tape.watch(states)
        loss = tf.reduce_sum(layer(states, IDS, MASK, training=True)["logits"] ** 2)
    reached = np.abs(tape.gradient(loss, states)).sum(-1) > 0
    expected = np.zeros([4, 6], bool)
    for row, starts in enumerate(STARTS):
        expected[row, starts] = True
    np.testing.assert_array_equal(reached, expected)
