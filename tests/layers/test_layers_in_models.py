"""Every layer in somebody else's model: saved, loaded, compiled, fitted, exported, in mixed precision, under XLA."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from blocks import make_block

from kerasformer import layers

B, L, W = 3, 4, 8


def packed(function):
    """A model that packs its padded inputs, applies the function, and unpacks."""

    def build(x, mask, ids):
        layout = layers.PaddingLayout()(mask)
        tokens = layers.PackTokens()(x, layout=layout)
        return layers.UnpackTokens()(function(tokens, mask, layout), mask, layout=layout)

    return build


def block(x, **arguments):
    return make_block(2, 16, dropout=0.1, norm_first=True, activation="gelu_approximate")(x, **arguments)


def bert_embedding(x, mask, ids):
    layout = layers.PaddingLayout()(mask)
    tokens = layers.PackTokens()(ids, layout=layout)
    segments = layers.PackTokens()(mask, layout=layout)
    positions = layers.TokenPositions()(mask, layout=layout)
    config = layers.EmbeddingConfig(
        10, W, max_sequence_length=L, num_segments=2, norm=layers.NormConfig(), dropout=0.1, initializer_range=0.05
    )
    embedded = layers.TransformerEmbedding(config)(tokens, segment_ids=segments, positions=positions)
    return layers.UnpackTokens()(embedded, mask, layout=layout)


def small_layers(x, mask, ids):
    x = keras.layers.Add()([layers.LayerNormalization(1e-5)(x), layers.TokenEmbedding(10, W)(ids)])
    x = keras.layers.Add()([layers.SinusoidalPositionEmbedding(100)(x), x, layers.LearnedPositionEmbedding(L)(x)])
    return layers.Dropout(0.3, seed=1)(x)


def decoder(x, mask, ids):
    positions = layers.RelativePositionBias(2, 6, 8, bidirectional=False)(x)
    block = make_block(2, 16, "relu", 0.1, norm_first=True, rotary=True, decoder=True)
    return block(x, keras.layers.Dense(5)(x), padding_mask=mask, memory_padding_mask=mask, bias=positions)


def packed_decoder(x, mask, layout):
    memory = keras.layers.Dense(6)(x)
    return make_block(2, 16, dropout=0.1, decoder=True)(
        x, memory, padding_mask=mask, memory_padding_mask=mask, layout=layout, memory_layout=layout
    )


def scores(x, mask, ids):
    layer = layers.LanguageModelHead(10)
    return keras.layers.Concatenate()([layer(x), layer(x, score=False)])


def reversed_embedding(x, mask, ids):
    config = layers.EmbeddingConfig(10, W, max_sequence_length=10, scale_by_dim=True, dropout=0.1)
    embedding = layers.TransformerEmbedding(config)
    return embedding(keras.layers.Add()([x, embedding(ids, positions=ids)]), reverse=True)


def disentangled(x, mask, ids):
    scheme = layers.DisentangledConfig(share_projections=False, dropout=0.1)
    vectors = layers.RelativeEmbedding(W, 3, 8, layers.NormConfig())(mask)
    attended = layers.MultiHeadAttention(2, positions=scheme)(x, padding_mask=mask, relative=vectors)
    return layers.TokenConvolution(dropout=0.1)(x, attended, padding_mask=mask)


BUILDERS = {
    "decoder block": decoder,
    "packed decoder block": packed(packed_decoder),
    "reversed embedding": reversed_embedding,
    "token scores": scores,
    "rotated": lambda x, mask, ids: keras.layers.Reshape((-1, W))(
        layers.RotaryPositionEmbedding(100)(keras.layers.Reshape((2, -1, W // 2))(x))
    ),
    "self-attention": lambda x, mask, ids: layers.MultiHeadAttention(2, dropout=0.1)(x, padding_mask=mask),
    "cross-attention": lambda x, mask, ids: layers.MultiHeadAttention(2, use_bias=False)(
        x, keras.layers.Dense(5)(x), padding_mask=mask, use_causal_mask=True
    ),
    "masked embedding": lambda x, mask, ids: block(keras.layers.Embedding(10, W, mask_zero=True)(ids)),
    "disentangled attention": disentangled,
    "feed-forward": lambda x, mask, ids: layers.FeedForward(16, keras.activations.silu, 0.1, "he_normal")(x),
    "block": lambda x, mask, ids: block(x, padding_mask=mask),
    "packed block": packed(lambda x, mask, layout: block(x, padding_mask=mask, layout=layout)),
    "packed attention": packed(
        lambda x, mask, layout: layers.MultiHeadAttention(4)(x, padding_mask=mask, layout=layout)
    ),
    "small layers": small_layers,
    "bert embedding": bert_embedding,
}


def model_of(name):
    x = keras.Input((None, W), name="x")
    mask = keras.Input((None,), dtype="int32", name="mask")
    ids = keras.Input((None,), dtype="int32", name="ids")
    outputs = BUILDERS[name](x, mask, ids)
    # Somebody's own head on top.
    return keras.Model({"x": x, "mask": mask, "ids": ids}, keras.layers.Dense(1, dtype="float32")(outputs))


def inputs():
    random = np.random.default_rng(0)
    mask = np.array([[1, 1, 1, 1], [1, 0, 1, 0], [0, 0, 0, 0]], "int32")
    ids = random.integers(1, 10, (B, L)).astype("int32") * mask
    return {"x": random.normal(size=(B, L, W)).astype("float32"), "mask": mask, "ids": ids}


@pytest.fixture(autouse=True)
def _restore_policy():
    before = keras.config.dtype_policy()
    yield
    keras.config.set_dtype_policy(before)


@pytest.mark.parametrize("name", BUILDERS)
def test_save_fit_load_and_export(name, tmp_path):
    keras.utils.set_random_seed(1)
    model = model_of(name)
    model.compile("sgd", "mse")
    before = [np.array(weight) for weight in model.trainable_variables]
    losses = model.fit(inputs(), np.ones((B, L, 1)), epochs=2, batch_size=2, verbose=0).history["loss"]
    assert np.isfinite(losses).all()
    assert not all(np.array_equal(a, b) for a, b in zip(before, model.trainable_variables, strict=True))
    expected = model.predict(inputs(), verbose=0)

    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.predict(inputs(), verbose=0), expected)
    for layer, same in zip(model.layers, loaded.layers, strict=True):
        assert layer.get_config() == same.get_config()

    model.export(tmp_path / "exported", verbose=False)
    served_model = tf.saved_model.load(tmp_path / "exported")
    served = served_model.serve(inputs())
    np.testing.assert_allclose(served, expected, rtol=1e-5, atol=1e-5)
    empty = {key: value[:0] for key, value in inputs().items()}
    assert served_model.serve(empty).shape == (0, L, 1)


@pytest.mark.parametrize(
    ("name", "policy"),
    [
        pytest.param(name, policy, marks=() if place % 2 == half else pytest.mark.exhaustive)
        for half, policy in enumerate(("mixed_bfloat16", "mixed_float16"))
        for place, name in enumerate(BUILDERS)
    ],
)
def test_mixed_precision(name, policy):
    keras.utils.set_random_seed(2)
    full = model_of(name)
    keras.config.set_dtype_policy(policy)
    model = model_of(name)
    model.set_weights(full.get_weights())
    assert {str(weight.dtype) for weight in model.trainable_variables} == {"float32"}
    output = model(inputs())
    np.testing.assert_allclose(output, full(inputs()), atol=0.1, rtol=0.05)
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(model(inputs(), training=True) ** 2)
    for gradient in tape.gradient(loss, model.trainable_variables):
        assert np.isfinite(tf.convert_to_tensor(gradient)).all()


@pytest.mark.parametrize(
    "name", ["self-attention", "cross-attention", "disentangled attention", "block", "feed-forward", "small layers"]
)
def test_xla(name):
    model = model_of(name)
    compiled = tf.function(model, jit_compile=True)
    np.testing.assert_allclose(compiled(inputs()), model(inputs()), rtol=1e-5, atol=1e-5)


LAYERS = [
    layers.MultiHeadAttention(4, 2, 3, False, True, 0.5, 4, layers.RotaryConfig(100, 2), 0.1, "he_normal", True),
    layers.FeedForward(8, "relu", 0.1, "he_normal", True, False),
    make_block(2, 8, "relu", 0.1, 0.2, True, 1e-6, keras.initializers.RandomNormal(0.1), True, decoder=True),
    layers.BlockWithScores(make_block(2, 8, name="inner_block")),
    layers.RMSNormalization(1e-5),
    layers.RelativePositionBias(2, 8, 16, False),
    layers.RelativeEmbedding(4, 4, 8, layers.NormConfig("rms"), "normal"),
    layers.DisentangledAttention(2, 3, False, True, False, 0.1, "he_normal"),
    layers.TokenConvolution(5, "relu", layers.NormConfig("rms"), 0.1, "he_normal"),
    layers.RotaryPositionEmbedding(100, 2),
    layers.LanguageModelHead(5),
    layers.LayerNormalization(1e-5, False),
    layers.Dropout(0.25, seed=3),
    layers.TokenEmbedding(5, 3, "normal"),
    layers.LearnedPositionEmbedding(5, "normal", 2),
    layers.SinusoidalPositionEmbedding(100),
    layers.TransformerEmbedding(
        layers.EmbeddingConfig(5, 8, "learned", 4, 1, 2, 3, True, layers.NormConfig("rms"), 0.1, None),
        dtype="mixed_bfloat16",
    ),
    layers.MeanPooling(),
    layers.MaxPooling(),
    layers.FirstToken(),
    layers.LastToken(),
    layers.MeanSqrtLengthPooling(),
    layers.WeightedMeanPooling(),
    layers.Transitions(),
    layers.InterSentenceEncoder(3, 1, 2, 8, 0.2, 1e-5),
    layers.PaddingLayout(),
    layers.PackTokens(),
    layers.UnpackTokens(),
    layers.TokenPositions(True),
    layers.SequenceMask(),
    layers.MaskedLanguageModelHead(
        7, "relu", layers.NormConfig("rms", 1e-6), False, 3, keras.initializers.RandomNormal(0.1), False
    ),
    layers.Pooler("mean", "relu", False, layers.NormConfig(use_bias=False), keras.initializers.RandomNormal(0.1)),
]


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: type(layer).__name__)
def test_configs_make_the_same_layer(layer):
    config = layer.get_config()
    assert type(layer).from_config(config).get_config() == config
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert again.get_config() == config
    assert again.name == layer.name


def test_all_layers_are_here():
    classes = {getattr(layers, name) for name in layers.__all__}
    classes = {item for item in classes if isinstance(item, type) and issubclass(item, keras.layers.Layer)}
    assert {type(layer) for layer in LAYERS} == classes - {layers.AttentionPositions}  # a base class


def test_a_mask_survives_a_change_of_precision():
    """The mask of a float32 embedding, in layers that compute in bfloat16."""
    ids = tf.constant([[1, 2, 0]])
    embedded = keras.layers.Embedding(4, W, mask_zero=True)(ids)
    layer = make_block(2, 8, dtype="mixed_bfloat16")
    with_mask = layer(tf.identity(embedded), padding_mask=ids)
    np.testing.assert_array_equal(tf.cast(layer(embedded), tf.float32), tf.cast(with_mask, tf.float32))


def test_projections_start_different():
    first, second = (make_block(2, W, kernel_initializer="normal") for _ in range(2))
    for layer in (first, second):
        layer.build((None, None, W))
    kernels = [np.array(v) for layer in (first, second) for v in layer.weights if v.path.endswith("kernel")]
    squares = [kernel[:W, :W] for kernel in kernels]
    assert len({square.tobytes() for square in squares}) == len(squares) == 8
