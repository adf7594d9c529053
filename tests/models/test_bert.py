"""BERT: published sizes, the float64 reference, padding, saving, export, XLA."""

import dataclasses
import importlib.util
import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kerasformer.errors import InputError
from kerasformer.models import BertConfig, bert, with_precision

_spec = importlib.util.spec_from_file_location(
    "reference", pathlib.Path(__file__).parents[1] / "layers" / "reference.py"
)
reference = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(reference)

SMALL = BertConfig(
    vocabulary_size=11, hidden_dim=8, num_layers=2, num_heads=2, intermediate_dim=12, max_sequence_length=9
)


def make(config=SMALL, seed=1, **arguments):
    model = bert(config, **{"pooled": True, **arguments})
    random = np.random.default_rng(seed)
    for weight in model.trainable_variables:
        weight.assign(random.normal(size=weight.shape) * 0.5)
    return model


MODEL = make()
TRIVIAL = make(remove_padding=False)


def inputs_of(mask, seed=0):
    mask = np.asarray(mask, "int32")
    random = np.random.default_rng(seed)
    return {
        "token_ids": random.integers(0, 11, mask.shape).astype("int32"),
        "segment_ids": random.integers(0, 2, mask.shape).astype("int32"),
        "padding_mask": mask,
    }


def exact(model, inputs, config=SMALL):
    """Both outputs in float64."""
    embedding = model.get_layer("embedding")
    tables = [np.asarray(t.embeddings, np.float64) for t in (embedding.token, embedding.segment, embedding.position)]
    x = tables[0][inputs["token_ids"]] + tables[1][inputs["segment_ids"]] + tables[2][: inputs["token_ids"].shape[1]]
    x = reference.layer_norm(x, *(np.asarray(v, np.float64) for v in (embedding.norm.gamma, embedding.norm.beta)))
    mask = inputs["padding_mask"] > 0
    for index in range(config.num_layers):
        weights = reference.block_weights(model.get_layer(f"block_{index}"))
        x = reference.encoder_block(x, weights, config.num_heads, mask[:, None, None])
    pooler = model.get_layer("pooler")
    pooled = np.tanh(x[:, 0] @ np.asarray(pooler.kernel, np.float64) + np.asarray(pooler.bias))
    return x * mask[..., None], pooled


def parameters(config):
    """Counted from the paper's description, pooler included."""
    width, inner = config.hidden_dim, config.intermediate_dim
    norm = 2 * width
    embeddings = (config.vocabulary_size + config.num_segments + config.max_sequence_length) * width + norm
    block = 4 * (width * width + width) + norm + width * inner + inner + inner * width + width + norm
    return embeddings + config.num_layers * block + width * width + width


PUBLISHED = {"tiny": 4.4, "mini": 11.2, "small": 28.8, "medium": 41.4, "base": 109.5, "large": 335.1}


@pytest.mark.parametrize("name", PUBLISHED)
def test_named_sizes(name):
    config = BertConfig.named(name)
    assert round(parameters(config) / 1e6, 1) == PUBLISHED[name]
    assert config.hidden_dim // config.num_heads == 64
    if name == "tiny":
        assert bert(config, pooled=True).count_params() == parameters(config)


def test_exact_published_counts():
    """BERT-base uncased and large uncased as their checkpoints count, pooler included."""
    assert parameters(BertConfig()) == 109_482_240
    assert parameters(BertConfig.named("large")) == 335_141_888
    assert BertConfig() == BertConfig.named("base")


def test_named_with_changes():
    config = BertConfig.named("tiny", vocabulary_size=100, dropout=0.0)
    assert (config.vocabulary_size, config.dropout, config.hidden_dim) == (100, 0.0, 128)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"hidden_dim": 0}, "`hidden_dim` must be a positive integer.*hidden_dim=0"),
        ({"num_layers": -1}, "num_layers=-1"),
        ({"vocabulary_size": 3.5}, "vocabulary_size=3.5"),
        ({"max_sequence_length": True}, "max_sequence_length=True"),
        ({"num_heads": "2"}, "num_heads='2'"),
        ({"dropout": 1.0}, r"`dropout` must be a number in \[0, 1\)"),
        ({"attention_dropout": -0.1}, "attention_dropout=-0.1"),
        ({"num_heads": 5}, "`num_heads` must divide `hidden_dim`. Received: num_heads=5, hidden_dim=768."),
    ],
)
def test_bad_configs(changes, words):
    with pytest.raises(InputError, match=words) as error:
        BertConfig(**changes)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("dropout", [None, "0.1"])
def test_a_rate_that_is_no_number(dropout):
    with pytest.raises(InputError, match="dropout"):
        BertConfig(dropout=dropout)


def test_an_unknown_activation():
    with pytest.raises(ValueError, match="gelo"):
        bert(dataclasses.replace(SMALL, activation="gelo"))


def test_unknown_names():
    with pytest.raises(InputError, match=r"must be one of \['tiny'.*Received: name='huge'"):
        BertConfig.named("huge")
    with pytest.raises(dataclasses.FrozenInstanceError):
        SMALL.width = 3


def test_the_contract():
    model = bert(SMALL)
    assert set(model.input) == {"token_ids", "segment_ids", "padding_mask"}
    assert all(tensor.shape == (None, None) and tensor.dtype == "int32" for tensor in model.input.values())
    assert model.output.keys() == {"sequence_output"}
    assert model.output["sequence_output"].shape == (None, None, 8)
    assert MODEL.output.keys() == {"sequence_output", "pooled_output"}
    assert MODEL.output["pooled_output"].shape == (None, 8)


@given(st.lists(st.lists(st.booleans(), min_size=4, max_size=4), min_size=1, max_size=4))
@example([[False] * 4])
@example([[False] * 4, [True, False, True, True]])
@example([[False, True, True, False], [True] * 4])
@settings(max_examples=15, deadline=None, derandomize=True)
def test_against_float64_packed_and_trivial(mask):
    inputs = inputs_of(mask)
    sequence, pooled = exact(MODEL, inputs)
    starts = inputs["padding_mask"][:, 0] > 0  # a text that begins with padding has nothing to pool
    for model in (MODEL, TRIVIAL):
        outputs = model(inputs)
        np.testing.assert_allclose(outputs["sequence_output"], sequence, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(outputs["pooled_output"][starts], pooled[starts], rtol=1e-4, atol=1e-4)
        assert np.isfinite(outputs["pooled_output"]).all()


@pytest.mark.parametrize("model", [MODEL, TRIVIAL], ids=["packed", "trivial"])
def test_zero_at_padding_and_batch_of_zero(model):
    mask = np.array([[1, 1, 0], [0, 0, 0], [1, 0, 1]])
    output = model(inputs_of(mask))["sequence_output"].numpy()
    assert (output[mask == 0] == 0).all()
    assert (np.abs(output[mask == 1]).sum(-1) > 0).all()
    empty = model(inputs_of(np.zeros((0, 3))))
    assert empty["sequence_output"].shape == (0, 3, 8)
    assert empty["pooled_output"].shape == (0, 8)
    assert model.predict(inputs_of(mask), verbose=0)["pooled_output"].shape == (3, 8)


@pytest.mark.parametrize("model", [MODEL, TRIVIAL], ids=["packed", "trivial"])
def test_the_amount_of_padding_and_the_other_texts_do_not_matter(model):
    ids = np.array([[1, 2, 3]], "int32")
    alone = model({"token_ids": ids, "segment_ids": ids * 0, "padding_mask": np.ones_like(ids)})
    for padding in (1, 4):
        other = np.random.default_rng(padding).integers(0, 11, (2, 3 + padding)).astype("int32")
        other[1, :3] = ids
        mask = np.ones_like(other)
        mask[1, 3:] = 0
        outputs = model({"token_ids": other, "segment_ids": other * 0, "padding_mask": mask})
        np.testing.assert_allclose(outputs["sequence_output"][1, :3], alone["sequence_output"][0], atol=1e-5)
        np.testing.assert_allclose(outputs["pooled_output"][1], alone["pooled_output"][0], atol=1e-5)


@pytest.mark.parametrize("model", [MODEL, TRIVIAL], ids=["packed", "trivial"])
def test_a_text_of_nothing_but_padding_does_not_hear_the_others(model):
    """Its pooled output means nothing, but must not depend on which texts share its batch."""

    def pooled(first):
        ids = np.array([[first, 2, 3], [0, 0, 0]], "int32")
        mask = np.array([[1, 1, 1], [0, 0, 0]], "int32")
        return model({"token_ids": ids, "segment_ids": ids * 0, "padding_mask": mask})["pooled_output"][1]

    np.testing.assert_allclose(pooled(1), pooled(5), atol=1e-6)


def test_gradients_packed_and_trivial():
    inputs = inputs_of([[1, 1, 1, 0], [1, 0, 0, 0], [1, 1, 0, 1]])
    upstream = np.random.default_rng(2).normal(size=(3, 4, 8)).astype("float32")

    def gradients(model):
        with tf.GradientTape() as tape:
            outputs = model(inputs, training=False)
            loss = tf.reduce_sum(outputs["sequence_output"] * upstream) + tf.reduce_sum(outputs["pooled_output"])
        return [tf.convert_to_tensor(g) for g in tape.gradient(loss, model.trainable_variables)]

    for packed, trivial in zip(gradients(MODEL), gradients(TRIVIAL), strict=True):
        np.testing.assert_allclose(packed, trivial, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("name", ["packed", "trivial"])
def test_save_load_and_export(name, tmp_path):
    model = {"packed": MODEL, "trivial": TRIVIAL}[name]
    inputs = inputs_of([[1, 1, 1], [1, 0, 0], [0, 0, 0]])
    expected = model(inputs)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    for key, value in loaded(inputs).items():
        np.testing.assert_array_equal(value, expected[key])
    model.export(tmp_path / "exported", verbose=False)
    served = tf.saved_model.load(tmp_path / "exported")
    for key, value in served.serve(inputs).items():
        np.testing.assert_allclose(value, expected[key], rtol=1e-5, atol=1e-5)
    longer = inputs_of(np.ones((1, 5)))
    np.testing.assert_allclose(
        served.serve(longer)["pooled_output"], model(longer)["pooled_output"], rtol=1e-5, atol=1e-5
    )


def test_xla():
    inputs = inputs_of([[1, 1, 1], [1, 0, 0], [0, 0, 0]])
    compiled = tf.function(lambda inputs: TRIVIAL(inputs, training=False), jit_compile=True)
    for key, value in compiled(inputs).items():
        np.testing.assert_allclose(value, TRIVIAL(inputs)[key], rtol=1e-5, atol=1e-5)


def test_inside_another_model_with_fit():
    keras.utils.set_random_seed(0)
    encoder = bert(dataclasses.replace(SMALL, attention_dropout=0.0, dropout=0.0, initializer_range=0.3), pooled=True)
    score = keras.layers.Dense(1, activation="sigmoid")(encoder(encoder.input)["pooled_output"])
    model = keras.Model(encoder.input, score)
    model.compile(keras.optimizers.Adam(1e-2), "binary_crossentropy")
    inputs = inputs_of(np.arange(6)[None, :] < np.array([[6], [3], [2], [5]] * 4))
    targets = (inputs["token_ids"][:, :1] > 5).astype("float32")
    losses = model.fit(inputs, targets, epochs=15, batch_size=8, verbose=0).history["loss"]
    assert losses[-1] < losses[0] * 0.8


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16", "bfloat16"])
@pytest.mark.parametrize("remove_padding", [True, False])
def test_precisions(policy, remove_padding):
    model = make(dtype=policy, remove_padding=remove_padding)
    inputs = inputs_of([[1, 1, 1], [1, 0, 0], [0, 0, 0]])
    expected = MODEL(inputs)
    outputs = model(inputs)
    assert outputs["sequence_output"].dtype == model.get_layer("embedding").compute_dtype
    sequence = tf.cast(outputs["sequence_output"], tf.float32)
    np.testing.assert_allclose(sequence, expected["sequence_output"], atol=0.25, rtol=0.1)
    assert np.isfinite(tf.cast(outputs["pooled_output"], tf.float32)).all()
    with tf.GradientTape() as tape:
        pooled = model(inputs, training=True)["pooled_output"][:2]
    for gradient in tape.gradient(pooled, model.trainable_variables):
        assert np.isfinite(tf.cast(tf.convert_to_tensor(gradient), tf.float32)).all()


def test_with_precision():
    inputs = inputs_of([[1, 1, 1], [1, 0, 0]])
    low = with_precision(MODEL, "bfloat16", keep=("pooler",))
    assert {str(weight.dtype) for weight in low.get_layer("block_0").trainable_variables} == {"bfloat16"}
    assert low.get_layer("pooler").kernel.dtype == "float32"
    np.testing.assert_allclose(low(inputs)["pooled_output"], MODEL(inputs)["pooled_output"], atol=0.25)
    back = with_precision(MODEL, "float32")
    for key, value in back(inputs).items():
        np.testing.assert_array_equal(value, MODEL(inputs)[key])
    back.get_layer("pooler").bias.assign_add(np.ones(8))
    assert not np.array_equal(back.get_layer("pooler").bias, MODEL.get_layer("pooler").bias)


def test_initial_weights():
    """Truncated normal of 0.02 for kernels and tables (the paper's code), zeros and ones elsewhere; no two alike."""
    model = bert(BertConfig.named("tiny", vocabulary_size=2000), pooled=True)
    kernels = []
    for weight in model.trainable_variables:
        values = np.asarray(weight)
        if weight.path.endswith(("bias", "beta")):
            assert (values == 0).all()
        elif weight.path.endswith("gamma"):
            assert (values == 1).all()
        else:
            assert np.abs(values).max() <= 0.04 + 1e-6
            kernels.append(values.ravel()[:200].tobytes())
    assert len(set(kernels)) == len(kernels)


def test_a_length_beyond_the_positions_is_an_error():
    with pytest.raises(tf.errors.InvalidArgumentError):
        MODEL(inputs_of(np.ones((1, 10))))


@pytest.mark.parametrize("remove_padding", [True, False])
def test_packed_sequences_do_not_see_each_other(remove_padding):
    packed = make(packed_sequences=True, remove_padding=remove_padding)
    inputs = inputs_of([[1, 1, 1, 2, 2, 3, 0, 0, 0], [1, 1, 1, 1, 1, 1, 1, 1, 1], [1, 2, 3, 4, 5, 5, 5, 0, 0]])
    found = packed(inputs)["sequence_output"].numpy()
    for row, numbers in enumerate(inputs["padding_mask"]):
        for number in range(1, numbers.max() + 1):
            own = numbers == number
            alone = {name: values[row][own][None] for name, values in inputs.items()}
            alone["padding_mask"] = np.ones_like(alone["padding_mask"])
            np.testing.assert_allclose(found[row][own], MODEL(alone)["sequence_output"][0], atol=1e-5)
        assert (found[row][numbers == 0] == 0).all()


def test_packed_model_with_plain_masks():
    packed, inputs = make(packed_sequences=True), inputs_of([[1, 1, 1, 0], [1, 1, 1, 1], [0, 0, 0, 0]])
    for name, values in MODEL(inputs).items():
        # Of a row of nothing but padding only that it is finite is known.
        np.testing.assert_allclose(packed(inputs)[name][:2], values[:2], atol=1e-5)
        assert np.isfinite(packed(inputs)[name]).all()
