"""Masks that depend on the example and the step, and on nothing else."""

import numpy as np
import pytest
import tensorflow as tf

from kerasformer.layers import Dropout, keyed_dropout
from kerasformer.layers.padding import pack, padding_layout

MASK = np.array([[1, 1, 1, 0], [1, 1, 1, 1], [1, 1, 0, 0]])


def dropped(layer, inputs, step=3, examples=(0, 1, 2), mask=MASK):
    with keyed_dropout(tf.constant(step), tf.constant(examples), tf.constant(mask)):
        return layer(tf.constant(inputs), training=True).numpy()


def test_packed_padded_and_split_batches_get_the_same_masks():
    layer = Dropout(0.4, seed=5)
    padded = dropped(layer, np.ones((3, 4, 16), "float32"))
    packed = dropped(layer, np.ones((9, 16), "float32"))
    np.testing.assert_array_equal(packed, pack(padded, padding_layout(MASK)))
    flat = dropped(layer, np.ones((12, 16), "float32"))
    np.testing.assert_array_equal(flat, padded.reshape(12, 16))
    alone = dropped(layer, np.ones((1, 2, 16), "float32"), examples=[2], mask=MASK[2:, :2])
    np.testing.assert_array_equal(alone[0], padded[2, :2])


def test_attention_scores_get_the_same_masks_whatever_the_length():
    layer = Dropout(0.4, seed=5)
    long = dropped(layer, np.ones((3, 2, 4, 4), "float32"))
    short = dropped(layer, np.ones((1, 2, 3, 3), "float32"), examples=[0], mask=MASK[:1, :3])
    np.testing.assert_array_equal(short[0], long[0, :, :3, :3])


def test_steps_layers_examples_and_places_differ():
    ones = np.ones((3, 4, 64), "float32")
    layer = Dropout(0.5, seed=5)
    one = dropped(layer, ones)
    np.testing.assert_array_equal(one, dropped(layer, ones))
    for other in (dropped(layer, ones, step=4), dropped(Dropout(0.5, seed=6), ones)):
        assert 0.4 < (one == other).mean() < 0.6
    rows = (one > 0).reshape(12, 64)
    agreement = (rows[:, None] == rows).mean(-1)[np.triu_indices(12, 1)]
    assert agreement.min() > 0.2
    assert agreement.max() < 0.8


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_the_share_that_is_dropped(rate):
    found = dropped(Dropout(rate, seed=1), np.ones((3, 4, 5000), "float32"))
    assert (found == 0).mean() == pytest.approx(rate, abs=0.01)
    np.testing.assert_allclose(found[found > 0], 1 / (1 - rate), rtol=1e-4)
    # Columns and rows are as even as the whole.
    assert np.abs((found == 0).mean((0, 1)).mean() - rate) < 0.01
    assert np.abs((found == 0).mean(-1) - rate).max() < 0.03


def test_the_gradient_goes_where_the_mask_is_open():
    layer, inputs = Dropout(0.5, seed=2), tf.ones((3, 4, 8))
    with tf.GradientTape() as tape, keyed_dropout(1, tf.range(3), MASK):
        tape.watch(inputs)
        outputs = layer(inputs, training=True)
    np.testing.assert_array_equal(tape.gradient(outputs, inputs), outputs)


def test_outside_the_block_and_without_training_nothing_is_keyed():
    layer, ones = Dropout(0.5, seed=2), tf.ones((3, 64))
    first, second = layer(ones, training=True).numpy(), layer(ones, training=True).numpy()
    assert (first != second).any()
    with keyed_dropout(1, tf.range(3)):
        np.testing.assert_array_equal(layer(ones, training=False), ones)


def test_no_rows():
    assert dropped(Dropout(0.5, seed=2), np.ones((0, 8), "float32"), examples=[], mask=np.zeros((0, 3))).shape == (0, 8)
