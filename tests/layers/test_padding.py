"""Removal of padding: the layout, and that packed, trivial and padded forms are one and the same."""

import numpy as np
import pytest
import tensorflow as tf
from blocks import make_block
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from kerasformer.layers import (
    MultiHeadAttention,
    PackTokens,
    PaddingLayout,
    TokenPositions,
    UnpackTokens,
    padding_layout,
)
from kerasformer.layers.padding import first_rows, pack, unpack, with_round_number

MASKS = arrays(bool, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=5))
few = settings(max_examples=15, deadline=None, derandomize=True)


def slowly(mask):
    """The layout, slot by slot: real tokens, and the first slot in any case."""
    pack_index, unpack_index = [], np.zeros(mask.shape, int)
    for slot, real in enumerate(mask.ravel()):
        if real or slot == 0:
            unpack_index[np.unravel_index(slot, mask.shape)] = len(pack_index)
            pack_index.append(slot)
    return pack_index, unpack_index


@given(MASKS)
@example(np.zeros((2, 3), bool))
@example(np.zeros((0, 3), bool))
@example(np.array([[False, True], [True, False]]))
@settings(few, max_examples=40)
def test_the_layout_and_back(mask):
    layout = padding_layout(tf.constant(mask))
    pack_index, unpack_index = slowly(mask)
    assert layout["pack"].numpy().tolist() == pack_index
    np.testing.assert_array_equal(layout["unpack"], unpack_index)
    assert layout["pack"].dtype == layout["unpack"].dtype == tf.int32
    x = np.random.default_rng(0).normal(size=(*mask.shape, 3)).astype("float32")
    packed = pack(tf.constant(x), layout)
    np.testing.assert_array_equal(packed, x.reshape(-1, 3)[pack_index])
    np.testing.assert_array_equal(unpack(packed, layout, tf.constant(mask)), x * mask[..., None])
    np.testing.assert_array_equal(unpack(pack(tf.constant(x), None), None, tf.constant(mask)), x * mask[..., None])
    positions = np.arange(mask.size) % mask.shape[1]
    np.testing.assert_array_equal(TokenPositions()(tf.constant(mask), layout=layout), positions[pack_index])
    np.testing.assert_array_equal(TokenPositions()(tf.constant(mask)), positions)


@given(MASKS)
@example(np.zeros((2, 3), bool))
@example(np.zeros((0, 3), bool))
@few
def test_a_round_number_of_tokens_and_back(mask):
    layout = with_round_number(padding_layout(tf.constant(mask)))
    rows = np.random.default_rng(0).normal(size=(*mask.shape, 2)).astype("float32")
    packed = pack(tf.constant(rows), layout)
    assert len(packed) % 8 == 0
    np.testing.assert_array_equal(unpack(packed, layout, tf.constant(mask)), rows * mask[..., None])


def test_round_numbers_are_few_and_near():
    counts = np.concatenate([np.arange(1, 140), np.arange(140, 5000, 37)])
    found = np.array([len(with_round_number({"pack": tf.zeros(n, tf.int32), "unpack": None})["pack"]) for n in counts])
    assert np.all(found >= counts)
    assert np.all(found - counts < np.maximum(8, counts / 16))
    assert len(set(found)) < 16 + 16 * 6


@pytest.mark.parametrize("dtype", ["int32", "int64", "bool", "float32"])
def test_layers_keep_the_dtype(dtype):
    mask = tf.constant([[1, 1, 0], [1, 0, 0]], dtype if dtype != "bool" else "int32")
    mask = tf.cast(mask, dtype)
    layout = PaddingLayout(dtype="mixed_bfloat16")(mask)
    x = tf.cast(tf.reshape(tf.range(6), [2, 3]), dtype)
    packed = PackTokens(dtype="mixed_bfloat16")(x, layout=layout)
    assert packed.dtype == dtype
    if dtype != "bool":
        np.testing.assert_array_equal(packed, tf.cast([0, 1, 3], dtype))
        unpacked = UnpackTokens(dtype="mixed_bfloat16")(packed[:, None], mask, layout=layout)
        assert unpacked.dtype == dtype
        np.testing.assert_array_equal(unpacked[..., 0], tf.cast([[0, 1, 0], [3, 0, 0]], dtype))


def random_block(norm_first=False):
    block = make_block(2, 5, norm_first=norm_first)
    block.build((None, None, 4))
    random = np.random.default_rng(1)
    for weight in block.trainable_variables:
        weight.assign(random.normal(size=weight.shape) * 0.7)
    return block


BLOCKS = {norm_first: random_block(norm_first) for norm_first in (False, True)}


def output_and_gradients(function, x, upstream, variables):
    x = tf.constant(x, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(x)
        output = function(x)
        loss = tf.reduce_sum(output * tf.constant(upstream, tf.float32))
    return [output, *tape.gradient(loss, [x, *variables])]


def assert_alike(*results):
    for tensors in zip(*results, strict=True):
        for tensor in tensors[1:]:
            np.testing.assert_allclose(tensor, tensors[0], rtol=2e-5, atol=2e-5)


@given(MASKS, st.booleans())
@example(np.zeros((2, 3), bool), False)
@example(np.zeros((0, 3), bool), False)
@example(np.zeros((1, 1), bool), True)
@example(np.array([[False, False], [False, True], [True, True]]), True)
@few
def test_packed_trivial_and_padded_are_alike(mask, norm_first):
    block = BLOCKS[norm_first]
    random = np.random.default_rng(2)
    x, upstream = random.normal(size=(*mask.shape, 4)), random.normal(size=(*mask.shape, 4))
    mask = tf.constant(mask)

    def packed(x):
        layout = padding_layout(mask)
        return unpack(block(pack(x, layout), padding_mask=mask, layout=layout, training=True), layout, mask)

    def trivial(x):
        return unpack(block(pack(x, None), padding_mask=mask, training=True), None, mask)

    def padded(x):
        return block(x, padding_mask=mask, training=True) * tf.cast(mask, tf.float32)[..., None]

    forms = (packed, trivial, padded)
    assert_alike(*[output_and_gradients(form, x, upstream, block.trainable_variables) for form in forms])


@given(MASKS, st.booleans())
@example(np.zeros((0, 3), bool), False)
@example(np.array([[True, False], [False, True], [True, True]]), True)
@few
def test_the_first_token_alone_is_the_first_row(mask, norm_first):
    mask[:, 0] = True
    block = BLOCKS[norm_first]
    random = np.random.default_rng(3)
    x, upstream = random.normal(size=(*mask.shape, 4)), random.normal(size=(mask.shape[0], 4))
    mask = tf.constant(mask)

    def alone(x, layout):
        tokens = pack(x, layout)
        return block(tokens, padding_mask=mask, layout=layout, first_token_only=True, training=True)

    def whole(x):
        return block(x, padding_mask=mask, training=True)[:, 0]

    forms = (whole, lambda x: alone(x, None), lambda x: alone(x, padding_layout(mask)))
    assert_alike(*[output_and_gradients(form, x, upstream, block.trainable_variables) for form in forms])


@given(MASKS)
@few
def test_the_first_token_alone_is_finite_where_it_is_padding(mask):
    x = tf.constant(np.random.default_rng(4).normal(size=(*mask.shape, 4)), tf.float32)
    for layout in (padding_layout(tf.constant(mask)), None):
        first = BLOCKS[False](pack(x, layout), padding_mask=tf.constant(mask), layout=layout, first_token_only=True)
        assert first.shape == (mask.shape[0], 4)
        assert np.isfinite(first).all()


def test_first_rows():
    mask = tf.constant([[1, 1], [1, 0]])
    x = tf.reshape(tf.range(4.0), [2, 2, 1])
    layout = padding_layout(mask)
    assert first_rows(pack(x, layout), mask, layout).numpy().tolist() == [[0], [2]]
    assert first_rows(pack(x, None), mask).numpy().tolist() == [[0], [2]]


@given(MASKS, st.integers(0, 2**32 - 1))
@few
def test_a_packed_query_with_other_masks_and_bias(mask, seed):
    layer = MultiHeadAttention(2)
    layer.build((None, None, 4))
    random = np.random.default_rng(seed)
    batch, length = mask.shape
    x = tf.constant(random.normal(size=(batch, length, 4)), tf.float32)
    looks = random.random((batch, length, length)) < 0.6
    looks |= np.eye(length, dtype=bool)  # each token at itself: none looks nowhere
    bias = tf.constant(random.normal(size=(1, 2, length, length)), tf.float32)
    arguments = {"padding_mask": tf.constant(mask), "attention_mask": looks, "bias": bias}
    layout = padding_layout(tf.constant(mask))
    packed, scores = layer(pack(x, layout), layout=layout, **arguments, return_attention_scores=True)
    padded, padded_scores = layer(x, **arguments, return_attention_scores=True)
    np.testing.assert_allclose(unpack(packed, layout, mask), padded * mask[..., None], rtol=1e-5, atol=1e-5)
    real = mask[:, None, :, None]
    np.testing.assert_allclose(scores * real, padded_scores * real, rtol=1e-5, atol=1e-5)


def test_texts_of_a_batch_do_not_see_each_other():
    """Also where a query may look nowhere: it then attends evenly, but never to another text."""
    layer = MultiHeadAttention(2)
    layer.build((None, None, 4))
    mask = tf.constant([[1, 1, 0], [1, 1, 0]])
    layout = padding_layout(mask)
    x = tf.random.stateless_normal([2, 3, 4], [1, 2])
    looks = tf.constant([[[1, 1, 1]] * 3, [[0, 0, 0]] * 3])

    def second_text(first_text):
        both = tf.stack([first_text, x[1]])
        return layer(pack(both, layout), padding_mask=mask, attention_mask=looks, layout=layout)[2:]

    np.testing.assert_array_equal(second_text(x[0]), second_text(x[0] + 1))


def test_gradients_of_a_packed_block_in_a_saved_model(tmp_path):
    """The gradients of the gathers are the package's own; a saved function must keep them."""
    block = BLOCKS[False]

    class Module(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None, None, 4]), tf.TensorSpec([None, None], tf.int32)])
        def call(self, x, mask):
            layout = padding_layout(mask)
            return unpack(block(pack(x, layout), padding_mask=mask, layout=layout), layout, mask)

    module = Module()
    module.block = block
    tf.saved_model.save(module, tmp_path, options=tf.saved_model.SaveOptions(experimental_custom_gradients=True))
    loaded = tf.saved_model.load(tmp_path)
    x, mask = tf.random.stateless_normal([2, 3, 4], [1, 2]), tf.constant([[1, 0, 0], [1, 1, 1]])
    results = [
        output_and_gradients(lambda x, m=m: m.call(x, mask), x, np.ones((2, 3, 4)), []) for m in (module, loaded)
    ]
    assert_alike(*results)
