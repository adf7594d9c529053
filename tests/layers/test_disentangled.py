"""Disentangled attention and the convolution beside it, against float64 loops over queries and keys."""

import math

import keras
import numpy as np
import pytest
import reference
import tensorflow as tf

from kerasformer.errors import InputError
from kerasformer.layers import (
    AttentionConfig,
    ConvolutionConfig,
    DisentangledConfig,
    KeyValueCache,
    MultiHeadAttention,
    NormConfig,
    RelativeEmbedding,
    RelativeEmbeddingConfig,
    TokenConvolution,
    padding_layout,
)

B, L, W, HEADS = 3, 9, 8, 2
MASK = np.array([[1] * 9, [1] * 4 + [0] * 5, [0, 0, 1, 1, 1, 0, 0, 0, 0]])


def randomize(layer):
    random = np.random.default_rng(0)
    for weight in layer.trainable_variables:
        weight.assign(random.normal(size=weight.shape) * 0.5)
    return layer


def bucket(distance, count, max_distance):
    """The row of a table for query position - key position (He et al. 2021, equation 3; buckets of the authors' code,
    `DeBERTa/deberta/da_utils.py`)."""
    if max_distance is not None and abs(distance) > count // 2:
        exact = count // 2
        far = math.log(abs(distance) / exact) / math.log((max_distance - 1) / exact) * (exact - 1)
        distance = math.copysign(math.ceil(far - 1e-12) + exact, distance)
    return int(min(max(distance + count, 0), 2 * count - 1))


def expected_attention(layer, table, x, mask):
    """One score at a time, equation 4."""

    def dense(part, rows):
        return rows @ np.asarray(part.kernel, np.float64) + np.asarray(part.bias, np.float64)

    width, own = W // HEADS, layer.positions
    parts = np.split(dense(layer.query_key_value, x), 3, -1)
    vectors = np.asarray(table.embeddings, np.float64)
    if table.norm is not None:
        vectors = reference.layer_norm(vectors, np.asarray(table.norm.gamma), np.asarray(table.norm.beta), 1e-7)
    shared = np.split(dense(layer.query_key_value, vectors), 3, -1)[:2]
    position_queries, position_keys = (
        content if part is None else dense(part, vectors)
        for part, content in zip((own.query, own.key), shared, strict=True)
    )
    terms = 1 + own.content_to_position + own.position_to_content
    output = np.zeros_like(x)
    for b in range(B):
        for head in range(HEADS):
            at = slice(head * width, (head + 1) * width)
            queries, keys, values = (part[b, :, at] for part in parts)
            for i in range(L):
                scores = []
                for j in range(L):
                    score = queries[i] @ keys[j]
                    if own.content_to_position:
                        row = bucket(i - j, table.num_distances, table.max_distance)
                        score += queries[i] @ position_keys[row, at]
                    if own.position_to_content:
                        row = bucket(i - j, table.num_distances, table.max_distance)
                        score += keys[j] @ position_queries[row, at]
                    scores.append(score / math.sqrt(width * terms))
                output[b, i, at] = reference.masked_softmax(np.array(scores), mask[b] > 0) @ values
    return dense(layer.output_projection, output)


def example():
    return np.random.default_rng(1).normal(size=(B, L, W))


def layers(scheme, distances=4, max_distance=8, norm=None):
    attention = MultiHeadAttention(HEADS, positions=scheme)
    attention.build((B, L, W))
    table = RelativeEmbedding(W, distances, max_distance, norm)
    table.build()
    return randomize(attention), randomize(table)


@pytest.mark.parametrize(
    ("scheme", "table"),
    [
        (DisentangledConfig(), {"norm": NormConfig(epsilon=1e-7)}),
        (DisentangledConfig(share_projections=False), {}),
        (DisentangledConfig(position_to_content=False), {"max_distance": None}),
        (DisentangledConfig(content_to_position=False, share_projections=False), {"distances": 32, "max_distance": 40}),
    ],
)
def test_attention_one_score_at_a_time(scheme, table):
    attention, table = layers(scheme, **table)
    x = example()
    expected = expected_attention(attention, table, x, MASK) * MASK[..., None]
    relative = table(tf.constant(MASK))
    padded = attention(tf.constant(x, tf.float32), padding_mask=MASK, relative=relative)
    np.testing.assert_allclose(padded * MASK[..., None], expected, rtol=0, atol=2e-5)

    layout = padding_layout(MASK)
    rows = tf.gather(tf.constant(x.reshape(-1, W), tf.float32), layout["pack"])
    packed = attention(rows, padding_mask=MASK, layout=layout, relative=relative)
    expected_rows = expected.reshape(-1, W)[layout["pack"]]
    real = MASK.reshape(-1)[layout["pack"]] > 0
    np.testing.assert_allclose(np.asarray(packed)[real], expected_rows[real], rtol=0, atol=2e-5)
    first = attention.attend_first(rows, MASK, layout, relative=relative)
    np.testing.assert_allclose(first[:2], expected[:2, 0], rtol=0, atol=2e-5)

    compiled = tf.function(attention, jit_compile=True)(
        tf.constant(x, tf.float32), padding_mask=MASK, relative=relative
    )
    np.testing.assert_allclose(compiled, padded, rtol=0, atol=2e-5)


def test_one_token_and_no_texts():
    attention, table = layers(DisentangledConfig())
    one = attention(tf.ones([2, 1, W]), relative=table(tf.ones([2, 1])))
    longer = attention(tf.ones([2, 3, W]), padding_mask=np.array([[1, 0, 0]] * 2), relative=table(tf.ones([2, 3])))
    np.testing.assert_allclose(one[:, 0], longer[:, 0], atol=1e-6)
    dynamic = tf.function(lambda x: attention(x, relative=table(x)), input_signature=[tf.TensorSpec([None, None, W])])
    np.testing.assert_allclose(dynamic(tf.ones([2, 1, W])), one, atol=1e-6)
    assert dynamic(tf.ones([0, 3, W])).shape == (0, 3, W)


@pytest.mark.parametrize(("count", "max_distance"), [(256, 512), (4, 8), (5, 9), (32, 128), (2, 3), (7, None)])
def test_rows_of_distances(count, max_distance):
    distances = np.arange(-600, 600)
    rows = RelativeEmbedding(W, count, max_distance).row(tf.constant(distances, tf.int32))
    np.testing.assert_array_equal(rows, [bucket(distance, count, max_distance) for distance in distances])


def test_rows_of_distances_are_those_of_transformers():
    torch = pytest.importorskip("torch")
    modeling = pytest.importorskip("transformers.models.deberta_v2.modeling_deberta_v2")
    distances = np.arange(-1100, 1100)
    for count, max_distance in [(256, 512), (4, 8), (32, 128), (64, 300), (128, 2048)]:
        rows = RelativeEmbedding(W, count, max_distance).row(tf.constant(distances, tf.int32))
        expected = modeling.make_log_bucket_position(torch.tensor(distances), count, max_distance).long() + count
        np.testing.assert_array_equal(rows, expected.clamp(0, 2 * count - 1))


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("size", [1, 3, 5])
def test_convolution(size, packed):
    layer = TokenConvolution(size, "tanh", NormConfig(epsilon=1e-7))
    layer.build((B, L, W))
    randomize(layer)
    x, residual = example(), np.random.default_rng(2).normal(size=(B, L, W))
    kernel, reach = np.asarray(layer.kernel, np.float64), size // 2
    hidden = np.zeros_like(x)
    for b in range(B):
        for i in range(L):
            hidden[b, i] = layer.bias
            for j in range(max(0, i - reach), min(L, i + reach + 1)):
                hidden[b, i] += MASK[b, j] * x[b, j] @ kernel[j - i + reach]
    gamma, beta = np.asarray(layer.norm.gamma), np.asarray(layer.norm.beta)
    expected = reference.layer_norm(residual + np.tanh(hidden), gamma, beta, 1e-7)
    inputs, kept = [tf.constant(x, tf.float32), tf.constant(residual, tf.float32)], MASK > 0
    arguments = {}
    if packed:
        layout = padding_layout(MASK)
        arguments = {"layout": layout}
        inputs = [tf.gather(tf.reshape(rows, [-1, W]), layout["pack"]) for rows in inputs]
        expected, kept = (rows.reshape(B * L, -1)[layout["pack"]] for rows in (expected, kept))
        kept = kept[:, 0]
    found = layer(*inputs, padding_mask=tf.constant(MASK), **arguments)
    np.testing.assert_allclose(np.asarray(found)[kept], expected[kept], rtol=0, atol=2e-5)


X = keras.random.normal((2, 3, W))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DisentangledConfig(False, False), "both are false"),
        (lambda: RelativeEmbeddingConfig(1, 8), "num_distances=1"),
        (lambda: RelativeEmbeddingConfig(16, 9), "max_distance=9"),
        (lambda: RelativeEmbeddingConfig(4, norm="layer"), "norm='layer'"),
        (lambda: ConvolutionConfig(2), "kernel_size=2"),
        (lambda: ConvolutionConfig(norm=None), "norm=None"),
        (lambda: AttentionConfig(4, 2, positions=DisentangledConfig()), "num_key_value_heads=2"),
        (lambda: MultiHeadAttention(2, positions=DisentangledConfig())(X), "no `relative`"),
        (lambda: MultiHeadAttention(2)(X, relative=X[0]), "takes no `relative`"),
        (lambda: MultiHeadAttention(2, positions=DisentangledConfig())(X, X, relative=X[0]), "is self-attention"),
        (
            lambda: MultiHeadAttention(2, positions=DisentangledConfig())(
                X, relative=X[0], cache=KeyValueCache.empty(2, 2, 4, "float32")
            ),
            "a cache or `positions`",
        ),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(InputError, match=message.replace("(", r"\(")):
        make()
