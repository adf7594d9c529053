"""Models in 8-bit integers: what is chosen for which inputs, and how near their outputs stay."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasformer._compat import flatten_layers
from kerasformer.errors import InputError
from kerasformer.layers import FeedForward
from kerasformer.layers.embeddings import TokenEmbedding
from kerasformer.layers.padding import PaddingLayout
from kerasformer.layers.projection import Projection
from kerasformer.layers.serving_form import use_serving_form
from kerasformer.models import (
    AttentionConfig,
    BertConfig,
    BlockConfig,
    EmbeddingConfig,
    FeedForwardConfig,
    ModelConfig,
    NormConfig,
    RotaryConfig,
    TransformerConfig,
    bert,
    decoder,
    encoder,
    int8_plan,
    int8_storage_plan,
    transformer,
    use_int8,
)

random = np.random.default_rng(0)
IDS = random.integers(1, 60, [8, 12]).astype(np.int32)
MASK = (np.arange(12) < random.integers(4, 13, [8, 1])).astype(np.int32)


def gated(**attention):
    block = BlockConfig(
        AttentionConfig(4, use_bias=False, **attention),
        FeedForwardConfig(48, "silu", gated=True, use_bias=False),
        NormConfig("rms", 1e-5, placement="pre"),
    )
    return ModelConfig(EmbeddingConfig(60, 32, positions=None), (block,) * 2, norm=NormConfig("rms", 1e-5))


def of_tokens(model):
    return {name: value for name, value in INPUTS.items() if name in model.input}


INPUTS = {
    "token_ids": IDS,
    "padding_mask": MASK,
    "segment_ids": np.zeros_like(IDS),
    **{f"{side}_token_ids": IDS for side in ("source", "target")},
    **{f"{side}_padding_mask": MASK for side in ("source", "target")},
}
MODELS = {
    "bert": lambda: bert(BertConfig(60, 32, 2, 4, 64, 12, initializer_range=0.2), pooled=True),
    "gated, rotary": lambda: encoder(gated(positions=RotaryConfig())),
    "few key heads, causal": lambda: decoder(
        gated(num_key_value_heads=2).replace(
            blocks=tuple(block.replace(causal=True) for block in gated(num_key_value_heads=2).blocks)
        )
    ),
    "encoder-decoder": lambda: transformer(TransformerConfig(60, 60, 32, 2, 2, 4, 64)),
}


@pytest.mark.parametrize("kind", MODELS)
def test_outputs_stay_near(kind):
    keras.utils.set_random_seed(0)
    model = MODELS[kind]()
    inputs = of_tokens(model)
    before = {name: value.numpy() for name, value in model(inputs).items()}
    plan = int8_plan(model, lambda: model(inputs))
    use_int8(model, plan)
    found = {name: value.numpy() for name, value in tf.function(model)(inputs).items()}
    for name, exact in before.items():
        error = np.sqrt(np.mean((found[name] - exact) ** 2)) / exact.std()
        assert 1e-4 < error < 0.06, f"{name}: {error}"
    assert not plan.kept
    assert set(plan.forms) == set(plan.errors)
    scored = "logits" in before
    assert len(plan.forms) == sum(isinstance(layer, Projection) for layer in flatten_layers(model)) + scored
    assert any(path.endswith("/scores") for path in plan.forms) == scored, "the scores of the vocabulary, too"
    use_int8(model, None)
    for name, exact in before.items():
        np.testing.assert_array_equal(model(inputs)[name], exact)


@pytest.mark.parametrize("kind", MODELS)
def test_stored_in_integers_is_the_model_with_rounded_weights(kind):
    keras.utils.set_random_seed(0)
    model = MODELS[kind]()
    inputs = of_tokens(model)
    plan = int8_storage_plan(model)
    use_int8(model, plan)
    found = {name: value.numpy() for name, value in tf.function(model)(inputs).items()}
    use_int8(model, None)
    layers = flatten_layers(model)
    for layer in layers:
        if isinstance(layer, Projection | TokenEmbedding):
            weights = layer.get_weights()
            steps = np.abs(weights[0]).max(0 if isinstance(layer, Projection) else 1, keepdims=True) / 127
            layer.set_weights([np.round(weights[0] / steps) * steps, *weights[1:]])
    for name, expected in model(inputs).items():
        # A weight between two integers may be rounded to either.
        np.testing.assert_allclose(found[name], expected, atol=1e-3 * np.abs(expected).max())
    assert not [layer for layer in layers if isinstance(layer, PaddingLayout) and layer.round_number]


def network(disturb):
    """A feed-forward network as a model, with rows for it."""
    keras.utils.set_random_seed(0)
    layer = FeedForward(128, kernel_initializer="random_normal")
    rows = np.random.default_rng(1).normal(size=(300, 32)).astype("float32")
    inputs = keras.Input((32,))
    model = keras.Model(inputs, layer(inputs))
    disturb(layer, rows)
    return model, layer, rows


def wide_inputs(layer, rows):
    rows[:, 3] *= 60


def wide_unit(layer, rows):
    # A unit that is silent but for few rows, as those of trained networks are.
    kernel, bias = layer.inner.kernel.numpy(), layer.inner.bias.numpy()
    kernel[:, 5] = 0
    kernel[0, 5] = 100
    bias[5] = -150
    layer.inner.set_weights([kernel, bias])


def nothing(layer, rows):
    pass


@pytest.mark.parametrize(("disturb", "inner", "outer"), [(wide_inputs, "scales", None), (wide_unit, None, "wide")])
def test_what_is_wide_does_not_make_the_rest_coarse(disturb, inner, outer):
    model, layer, rows = network(disturb)
    plan = int8_plan(model, lambda: model(rows))
    for projection, form in ((layer.inner, inner), (layer.outer, outer)):
        found = plan.forms[projection.path]
        assert (found.scales is not None, bool(found.wide)) == (form == "scales", form == "wide"), projection.path
    exact = model(rows).numpy()
    use_int8(model, plan)
    error = np.sqrt(np.mean((tf.function(model)(rows) - exact) ** 2)) / exact.std()
    assert error < 0.05, "without its form it would be 0.2 or more"


def test_the_serving_form_is_the_same_in_two_streams():
    model, layer, rows = network(wide_unit)
    use_int8(model, int8_plan(model, lambda: model(rows)))
    before = tf.function(model)(rows).numpy()
    use_serving_form(model)
    np.testing.assert_allclose(tf.function(lambda rows: model(rows))(rows), before, atol=0.02 * before.std())
    assert len(layer.outer.int8.wide) == 2, "in one of the streams alone"


def test_what_loses_too_much_stays_in_floats():
    model, layer, rows = network(nothing)
    plan = int8_plan(model, lambda: model(rows), largest_error=0)
    assert set(plan.kept) == {layer.inner.path, layer.outer.path}
    assert not plan.forms
    exact = model(rows).numpy()
    use_int8(model, plan)
    np.testing.assert_array_equal(model(rows), exact)
    # One of two: the other takes floats, and gives floats.
    middle = sum(int8_plan(model, lambda: model(rows)).errors.values()) / 2
    plan = int8_plan(model, lambda: model(rows), largest_error=middle)
    assert len(plan.forms) == len(plan.kept) == 1
    use_int8(model, plan)
    error = np.sqrt(np.mean((tf.function(model)(rows) - exact) ** 2)) / exact.std()
    assert 1e-4 < error < 0.05


def test_a_plan_of_another_model():
    model, _, rows = network(nothing)
    plan = int8_plan(model, lambda: model(rows))
    other = FeedForward(128, name="another")
    inputs = keras.Input((32,))
    with pytest.raises(InputError, match=r"the model lacks: \['feed_forward"):
        use_int8(keras.Model(inputs, other(inputs)), plan)


def test_needs_inputs():
    model, _, _ = network(nothing)
    with pytest.raises(InputError, match="reach the model's projections"):
        int8_plan(model, lambda: None)
