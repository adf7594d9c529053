"""Layers asked for the shapes of their outputs, before and after they are built; and layers given documents."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasformer as kf
from kerasformer.layers import AttentionConfig, FeedForwardConfig, MultiHeadAttention, TransformerBlock

ATTENTION, FEED_FORWARD = AttentionConfig(2), FeedForwardConfig(8)
EMBEDDING = kf.layers.EmbeddingConfig(20, 16, max_sequence_length=8, num_segments=2)

# Made by a function; the shapes of its arguments, and of what it returns.
SHAPES = {
    "MultiHeadAttention": (lambda: MultiHeadAttention(2), [(3, 7, 16)], (3, 7, 16)),
    "MultiHeadAttention of two": (lambda: MultiHeadAttention(2), [(3, 7, 16), (3, 5, 4)], (3, 7, 16)),
    "TransformerBlock": (lambda: TransformerBlock(ATTENTION, FEED_FORWARD), [(None, 7, 16)], (None, 7, 16)),
    "TransformerBlock of two": (
        lambda: TransformerBlock(ATTENTION, FEED_FORWARD, cross_attention=ATTENTION, causal=True),
        [(3, 7, 16), (3, None, 4)],
        (3, 7, 16),
    ),
    "BlockWithScores": (
        lambda: kf.layers.BlockWithScores(TransformerBlock(ATTENTION, FEED_FORWARD)),
        [(3, 7, 16)],
        [(3, 7, 16), (3, 2, 7, 7)],
    ),
    "FeedForward": (lambda: kf.layers.FeedForward(8), [(None, None, 16)], (None, None, 16)),
    "LayerNormalization": (kf.layers.LayerNormalization, [(3, 7, 16)], (3, 7, 16)),
    "RMSNormalization": (kf.layers.RMSNormalization, [(3, 7, 16)], (3, 7, 16)),
    "Dropout": (lambda: kf.layers.Dropout(0.1), [(3, None, 16)], (3, None, 16)),
    "TokenEmbedding": (lambda: kf.layers.TokenEmbedding(20, 16), [(3, 7)], (3, 7, 16)),
    "TransformerEmbedding": (
        lambda: kf.layers.TransformerEmbedding(EMBEDDING),
        [(None, 7), (None, 7), (None, 7)],
        (None, 7, 16),
    ),
    "LearnedPositionEmbedding": (lambda: kf.layers.LearnedPositionEmbedding(8), [(3, 7, 16)], (3, 7, 16)),
    "SinusoidalPositionEmbedding": (kf.layers.SinusoidalPositionEmbedding, [(3, 7, 16)], (3, 7, 16)),
    "RotaryPositionEmbedding": (kf.layers.RotaryPositionEmbedding, [(3, 2, 7, 16)], (3, 2, 7, 16)),
    "RelativePositionBias": (lambda: kf.layers.RelativePositionBias(2), [(3, 7, 16)], (1, 2, 7, 7)),
    "RelativeEmbedding": (lambda: kf.layers.RelativeEmbedding(16, 4), [(3, 7)], (14, 16)),
    "TokenConvolution": (kf.layers.TokenConvolution, [(3, 7, 16), (3, 7, 16)], (3, 7, 16)),
    "LanguageModelHead": (lambda: kf.layers.LanguageModelHead(20), [(3, 7, 16)], (3, 7, 20)),
    "MaskedLanguageModelHead": (
        lambda: kf.layers.MaskedLanguageModelHead(20),
        [(3, 7, 16), (3, 2), (20, 16)],
        (None, 20),
    ),
    "Pooler": (kf.layers.Pooler, [(None, 7, 16)], (None, 16)),
    "Pooler of a mean": (lambda: kf.layers.Pooler("mean"), [(3, 7, 16), (3, 7)], (3, 16)),
    "MeanPooling": (kf.layers.MeanPooling, [(None, 7, 16)], (None, 16)),
    "MeanPooling of two": (kf.layers.MeanPooling, [(3, 7, 16), (3, 7)], (3, 16)),
    "MaxPooling": (kf.layers.MaxPooling, [(3, None, 16)], (3, 16)),
    "FirstToken": (kf.layers.FirstToken, [(3, 7, 16)], (3, 16)),
    "LastToken": (kf.layers.LastToken, [(3, 7, 16)], (3, 16)),
    "MeanSqrtLengthPooling": (kf.layers.MeanSqrtLengthPooling, [(3, None, 16)], (3, 16)),
    "WeightedMeanPooling": (kf.layers.WeightedMeanPooling, [(3, None, 16)], (3, 16)),
    "Transitions": (kf.layers.Transitions, [(None, 7, 5)], (None, 6, 6)),
    "InterSentenceEncoder": (
        lambda: kf.layers.InterSentenceEncoder(3, 1, 2, 8),
        [(3, 7, 16), (3, 7), (3, 7)],
        {"logits": (3, None), "sentence_mask": (3, None)},
    ),
    "PaddingLayout": (kf.layers.PaddingLayout, [(3, 7)], {"pack": (None,), "unpack": (3, 7)}),
    "PackTokens": (kf.layers.PackTokens, [(None, 7, 16)], (None, 16)),
    "UnpackTokens": (kf.layers.UnpackTokens, [(21, 16), (3, 7)], (3, 7, 16)),
    "TokenPositions": (kf.layers.TokenPositions, [(None, 7)], (None,)),
    "SequenceMask": (kf.layers.SequenceMask, [(3, 7)], (3, 7, 7)),
}
INTEGERS = {
    "TokenEmbedding": (0,),
    "TransformerEmbedding": (0, 1, 2),
    "MaskedLanguageModelHead": (1,),
    "MeanPooling of two": (1,),
    "Pooler of a mean": (1,),
    "InterSentenceEncoder": (1, 2),
    "PaddingLayout": (0,),
    "UnpackTokens": (1,),
    "TokenPositions": (0,),
    "SequenceMask": (0,),
}


def tensors_of(name):
    """A tensor for each argument of a layer in SHAPES, 3 and 7 where the batch and the length are unknown."""
    _, shapes, _ = SHAPES[name]
    known = [[size or {0: 3, 1: 7}[axis] for axis, size in enumerate(shape)] for shape in shapes]
    return [
        tf.ones(shape, "int32" if place in INTEGERS.get(name, ()) else "float32") for place, shape in enumerate(known)
    ]


def as_shapes(structure):
    return [tuple(leaf.shape) for leaf in keras.tree.flatten(structure)]


def same_shapes(found, expected):
    """Whether shapes are equal; what is unknown beforehand may be found."""
    return len(found) == len(expected) and all(
        len(f) == len(e) and all(b is None or a == b for a, b in zip(f, e, strict=True))
        for f, e in zip(found, expected, strict=True)
    )


@pytest.mark.parametrize("built", [False, True])
@pytest.mark.parametrize("name", SHAPES)
def test_output_shapes_are_known_beforehand(name, built):
    make, shapes, expected = SHAPES[name]
    expected = (
        expected if isinstance(expected, list) else [*expected.values()] if isinstance(expected, dict) else [expected]
    )
    layer, tensors = make(), tensors_of(name)
    if built:
        assert same_shapes(as_shapes(layer(*tensors)), expected)
    specs = [keras.KerasTensor(shape, tensor.dtype.name) for shape, tensor in zip(shapes, tensors, strict=True)]
    before = len(layer.weights)
    assert as_shapes(layer.compute_output_spec(*specs)) == expected
    found = layer.compute_output_shape(*shapes)
    found = found if isinstance(found, (list, dict)) or isinstance(found[0], tuple) else [found]
    assert [*(found.values() if isinstance(found, dict) else found)] == expected
    assert len(layer.weights) == before, "asking makes no weights"


def test_all_layers_are_asked():
    classes = {name for name in kf.layers.__all__ if isinstance(getattr(kf.layers, name), type)}
    classes = {name for name in classes if issubclass(getattr(kf.layers, name), keras.layers.Layer)}
    assert {name.split()[0] for name in SHAPES} == classes - {
        "AttentionPositions",
        "DisentangledAttention",
    }  # hooks of attention, no `call`


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        *((name, (None, 4, 7, 16)) for name in ("TransformerBlock", "MultiHeadAttention", "FeedForward", "Dropout")),
        *((name, (None, 4, 7, 16)) for name in ("LayerNormalization", "RMSNormalization", "LearnedPositionEmbedding")),
        *((name, (None, 4, 16)) for name in ("MeanPooling", "MaxPooling", "FirstToken")),
        ("LanguageModelHead", (None, 4, 7, 20)),
    ],
)
def test_documents_are_read_sentence_by_sentence(name, expected):
    layer = SHAPES[name][0]()
    sentences = keras.Input((4, 7, 16))
    model = keras.Model(sentences, keras.layers.TimeDistributed(layer)(sentences))
    assert model.output.shape == expected
    x = np.random.default_rng(0).normal(size=(2, 4, 7, 16)).astype("float32")
    by_hand = layer(x.reshape(8, 7, 16))
    np.testing.assert_allclose(model(x), np.reshape(by_hand, (2, *expected[1:])), atol=1e-5)
