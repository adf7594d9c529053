"""The layers over sentences: against the same blocks on padded sentences, alone as in a batch, in a saved model."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasformer.errors import InputError
from kerasformer.layers import InterSentenceEncoder, SinusoidalPositionEmbedding, keyed_dropout

START = 7
IDS = np.array([[7, 1, 7, 2, 3, 7], [7, 1, 1, 1, 1, 1], [3, 7, 7, 0, 0, 0], [0, 0, 0, 0, 0, 0]], "int32")
MASK = np.array([[1] * 6, [1] * 6, [1, 1, 1, 0, 0, 0], [0] * 6], "int32")
STARTS = [[0, 2, 5], [0], [0, 1, 2], [0]]
# The tokens of each sentence, its first one among them.
TOKENS = [[[0, 1], [2, 3, 4], [5]], [[0, 1, 2, 3, 4, 5]], [[0], [1], [2]], [[0]]]
STATES = np.random.default_rng(0).normal(size=(4, 6, 8)).astype("float32")


@pytest.fixture(scope="module", params=["first", "mean"])
def layer(request):
    keras.utils.set_random_seed(3)
    layer = InterSentenceEncoder(
        START, num_layers=2, num_heads=2, intermediate_dim=12, dropout=0.3, pooling=request.param
    )
    layer(STATES, IDS, MASK)
    for weight in layer.trainable_variables:
        weight.assign(weight + np.random.default_rng(1).normal(size=weight.shape, scale=0.3))
    return layer


def test_the_same_blocks_on_each_text_alone(layer):
    outputs = layer(STATES, IDS, MASK)
    assert outputs["sentence_mask"].numpy().tolist() == [[1, 1, 1], [1, 0, 0], [1, 1, 1], [1, 0, 0]]
    for row, starts in enumerate(STARTS):
        x = STATES[row, starts][None]
        if layer.pooling == "mean":
            means = np.stack([STATES[row, tokens].mean(0) for tokens in TOKENS[row]])
            x = layer.sentence_norm(means)[None]
        x = x + SinusoidalPositionEmbedding()(x)
        for block in layer.blocks:
            x = block(x, padding_mask=np.ones([1, len(starts)], "int32"))
        logits = layer.classifier(layer.norm(x))[0, :, 0]
        np.testing.assert_allclose(outputs["logits"][row, : len(starts)], logits, atol=1e-5)
        assert not outputs["logits"][row, len(starts) :].numpy().any()


def test_padding_does_not_matter_nor_with_the_first_tokens_any_other(layer):
    states = STATES.copy()
    states[MASK == 0] = 99
    states[3, 0] = STATES[3, 0]
    if layer.pooling == "first":
        states[0, [1, 3, 4]] = 99
    np.testing.assert_array_equal(layer(states, IDS, MASK)["logits"], layer(STATES, IDS, MASK)["logits"])


def test_means_of_long_sentences_in_bfloat16():
    keras.utils.set_random_seed(3)
    layer = InterSentenceEncoder(START, 1, 2, 12, pooling="mean", dtype="mixed_bfloat16")
    states = np.random.default_rng(0).normal(3, 1, size=(1, 600, 8)).astype("float32")
    states[:, :, 0] += 1  # so that the normalized mean is far from noise
    ids = np.array([[START] + [1] * 299 + [START] + [1] * 299])
    seen = []
    layer(states, ids, np.ones_like(ids))
    layer.positions.call = lambda x, positions: seen.append(x) or tf.zeros_like(x)
    layer(states, ids, np.ones_like(ids))
    means = states.reshape(2, 300, 8).mean(1)
    normed = (means - means.mean(1, keepdims=True)) / means.std(1, keepdims=True)
    np.testing.assert_allclose(tf.cast(seen[0], tf.float32), normed, atol=0.1)


def test_another_pooling():
    with pytest.raises(InputError, match=r""""first" or "mean"\. Received: pooling='max'"""):
        InterSentenceEncoder(START, pooling="max")


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


def test_gradients_reach_what_stands_for_a_sentence(layer):
    states = tf.constant(STATES)
    with tf.GradientTape() as tape:
        tape.watch(states)
        loss = tf.reduce_sum(layer(states, IDS, MASK, training=True)["logits"] ** 2)
    reached = np.abs(tape.gradient(loss, states)).sum(-1) > 0
    expected = np.zeros([4, 6], bool)
    for row, starts in enumerate(STARTS):
        expected[row, starts if layer.pooling == "first" else np.concatenate(TOKENS[row])] = True
    np.testing.assert_array_equal(reached, expected)
