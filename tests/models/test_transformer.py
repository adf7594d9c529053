"""The Transformer: padding, precision, saving, sizes, and its steps against the whole."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasformer as kf
from kerasformer.errors import InputError
from kerasformer.models import DecoderSteps, TransformerConfig, transformer

SOURCE_MASK = np.array([[1] * 6, [1] * 4 + [0] * 2, [1] * 2 + [0] * 4], np.int32)
TARGET_MASK = np.array([[1] * 3 + [0] * 2, [1] * 5, [1] * 4 + [0]], np.int32)


def small(**changes):
    sizes = {"num_encoder_layers": 2, "num_decoder_layers": 2, "hidden_dim": 16, "intermediate_dim": 32, "num_heads": 2}
    return TransformerConfig(**{"vocabulary_size": 20, "max_sequence_length": 30, **sizes, **changes})


def example(vocabulary_size=13):
    random = np.random.default_rng(0)
    return {
        "source_token_ids": random.integers(0, vocabulary_size, SOURCE_MASK.shape).astype(np.int32),
        "source_padding_mask": SOURCE_MASK,
        "target_token_ids": random.integers(0, vocabulary_size, TARGET_MASK.shape).astype(np.int32),
        "target_padding_mask": TARGET_MASK,
    }


KINDS = {
    "paper": small(),
    "pre-norm, learned, two vocabularies": small(norm_first=True, positions="learned", target_vocabulary_size=13),
    "rotary, untied": small(positions="rotary", tie_embeddings=False),
    "relative": small(positions="relative", norm_first=True),
}


@pytest.fixture(params=KINDS, scope="module")
def made(request):
    keras.utils.set_random_seed(3)
    config = KINDS[request.param]
    return config, transformer(config)


def test_padding_changes_nothing(made):
    config, model = made
    inputs = example()
    logits = model(inputs)["logits"].numpy()
    assert logits.shape == (3, 5, config.target_vocabulary_size or config.vocabulary_size)
    assert not logits[TARGET_MASK == 0].any()
    static = transformer(config, remove_padding=False)
    static.set_weights(model.get_weights())
    np.testing.assert_allclose(static(inputs)["logits"], logits, atol=1e-5)
    other = {
        key: np.where(SOURCE_MASK, value, 5) if key == "source_token_ids" else value for key, value in inputs.items()
    }
    np.testing.assert_array_equal(model(other)["logits"], logits)
    for row in range(3):
        cut = {
            key: value[row : row + 1, : (SOURCE_MASK if "source" in key else TARGET_MASK)[row].sum()]
            for key, value in inputs.items()
        }
        np.testing.assert_allclose(model(cut)["logits"][0], logits[row, : TARGET_MASK[row].sum()], atol=1e-5)
    empty = {key: value[:0] for key, value in inputs.items()}
    assert model(empty)["logits"].shape == (0, 5, logits.shape[-1])


def test_all_weights_learn_and_dropout_works(made):
    _, model = made
    inputs = example()
    with tf.GradientTape() as tape:
        logits = model(inputs, training=True)["logits"]
        loss = tf.reduce_sum(logits**2)
    assert not np.allclose(logits, model(inputs)["logits"])
    for gradient in tape.gradient(loss, model.trainable_variables):
        assert np.abs(tf.convert_to_tensor(gradient)).max() > 0


def test_steps_are_the_whole_also_when_beams_change_places(made, tmp_path):
    _, model = made
    model.save(tmp_path / "model.keras")
    model = keras.saving.load_model(tmp_path / "model.keras")
    inputs = example()
    whole = model({**inputs, "target_padding_mask": np.ones_like(TARGET_MASK)})["logits"].numpy()
    steps = DecoderSteps(model, with_attention=True)
    context, state = steps.start({key: tf.constant(value) for key, value in inputs.items()})
    tokens = tf.constant(inputs["target_token_ids"])
    outputs, state = steps.step(tokens[:, :1], context, state)
    np.testing.assert_allclose(outputs["logits"][:, 0], whole[:, 0], atol=1e-5)
    for place in range(1, 5):
        # The text itself moves between beams 0 and 2; beam 1 holds something else.
        own = 0 if place % 2 else 2
        parents = [[0, 0, 0]] * 3 if place == 1 else [[2, 1, 1]] * 3 if own == 0 else [[1, 1, 0]] * 3
        state = steps.reorder(state, tf.constant(parents))
        chosen = np.full((3, 3), 7, np.int32)
        chosen[:, own] = tokens[:, place]
        outputs, state = steps.step(tf.constant(chosen), context, state)
        np.testing.assert_allclose(outputs["logits"][:, own], whole[:, place], atol=1e-5)
        assert not np.allclose(outputs["logits"][:, 1], whole[:, place], atol=1e-3)
        np.testing.assert_allclose(tf.reduce_sum(outputs["attention"], -1), np.ones((3, 3)), atol=1e-5)
        assert not (outputs["attention"].numpy() * (SOURCE_MASK == 0)[:, None]).any()


def test_lower_precision_is_near(made):
    config, model = made
    other = kf.models.with_precision(model, "bfloat16")
    assert {str(weight.dtype) for weight in other.trainable_variables} == {"bfloat16"}
    expected = model(example())["logits"]
    np.testing.assert_allclose(tf.cast(other(example())["logits"], tf.float32), expected, atol=0.15)
    mixed = transformer(config, dtype="mixed_bfloat16")
    mixed.set_weights(model.get_weights())
    np.testing.assert_allclose(tf.cast(mixed(example())["logits"], tf.float32), expected, atol=0.15)


@pytest.mark.parametrize(("name", "millions"), [("base", 65), ("big", 213)])
def test_published_sizes(name, millions):
    """Table 3 of the paper, parameters in millions; ours has biases in attention and normalization, as the paper's
    code has in the latter only."""
    config = TransformerConfig.named(name)
    width, inner = config.hidden_dim, config.intermediate_dim
    assert (config.num_encoder_layers, config.num_decoder_layers) == (6, 6)
    assert (config.num_heads, config.dropout) == {"base": (8, 0.1), "big": (16, 0.3)}[name]
    attention = 4 * width * width
    block = 2 * width * inner
    encoder, decoder = config.num_encoder_layers, config.num_decoder_layers
    total = config.vocabulary_size * width + encoder * (attention + block) + decoder * (2 * attention + block)
    assert round(total / 1e6) == pytest.approx(millions, abs=4)
    tiny = transformer(TransformerConfig.named("tiny", vocabulary_size=100))
    attention, block = 4 * 128 * 129, 2 * 128 * 256 + 256 + 128
    assert tiny.count_params() == 100 * 128 + 4 * (attention + block + 2 * 256) + 4 * (2 * attention + block + 3 * 256)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"hidden_dim": 0}, "hidden_dim=0"),
        ({"num_heads": 3}, "num_heads=3, hidden_dim=16"),
        ({"dropout": 1.0}, "dropout=1.0"),
        ({"positions": "none"}, "positions='none'"),
        ({"target_vocabulary_size": -1}, "target_vocabulary_size=-1"),
    ],
)
def test_bad_configs(changes, words):
    with pytest.raises(InputError, match=words):
        small(**changes)


def test_bad_names_and_models():
    with pytest.raises(InputError, match="'huge'"):
        TransformerConfig.named("huge")
    with pytest.raises(InputError, match="transformer"):
        DecoderSteps(keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(1)]))
