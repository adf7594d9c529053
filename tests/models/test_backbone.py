"""Encoders, decoders and encoder-decoders from configs: their parts, what they share, what is inside."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasformer.errors import InputError
from kerasformer.models import (
    AttentionConfig,
    Backbone,
    BlockConfig,
    DecoderSteps,
    EmbeddingConfig,
    EncoderDecoderConfig,
    FeedForwardConfig,
    MaskedHeadConfig,
    ModelConfig,
    NormConfig,
    PoolerConfig,
    RelativeBiasConfig,
    RotaryConfig,
    decoder,
    encoder,
    encoder_decoder,
    with_precision,
)

MASK = np.array([[1] * 6, [1] * 3 + [0] * 3], np.int32)
INPUTS = {"token_ids": np.arange(12, dtype=np.int32).reshape(2, 6), "padding_mask": MASK}


def config(causal=False, cross=False, positions="learned", rotary=False, blocks=2, **changes):
    attention = AttentionConfig(4, 2)
    block = BlockConfig(
        attention.replace(positions=RotaryConfig() if rotary else None),
        FeedForwardConfig(24, "silu", gated=True),
        NormConfig("rms", 1e-5, placement="pre"),
        cross_attention=attention if cross else None,
        causal=causal,
    )
    embedding = EmbeddingConfig(20, 16, positions=positions, max_sequence_length=12)
    return ModelConfig(embedding, (block,) * blocks, norm=NormConfig("rms", 1e-5), **changes)


def disturbed(model):
    random = np.random.default_rng(0)
    for weight in model.trainable_variables:
        weight.assign(weight + 0.3 * random.normal(size=weight.shape))
    return model


@pytest.mark.filterwarnings("error")
def test_inputs_that_are_not_read():
    """A tokenizer gives `segment_ids` to models without segments, too."""
    model = disturbed(encoder(config()))
    more = {"token_ids": INPUTS["token_ids"], "segment_ids": np.zeros_like(MASK), "padding_mask": MASK}
    for one in (model, model.expose(hidden_states=False)):
        expected = one(INPUTS)["sequence_output"]
        np.testing.assert_array_equal(one(more)["sequence_output"], expected)
        np.testing.assert_allclose(one.predict(more, verbose=0)["sequence_output"], expected, rtol=0, atol=1e-5)


def test_parts():
    model = encoder(config(), pooled=True)
    assert isinstance(model, Backbone)
    assert len(model.blocks) == 2
    assert model.decoder is None
    parts = [model.embeddings, *model.blocks, model.norm, model.pooler]
    assert {id(weight) for part in parts for weight in part.weights} == {id(weight) for weight in model.weights}
    assert len(model.weights) == len({weight.path for weight in model.weights})


def test_shared_blocks_are_one_layer():
    shared, own = encoder(config(share_blocks=True, blocks=3)), encoder(config(blocks=3))
    assert shared.blocks[0] is shared.blocks[2]
    assert shared.blocks[0].count_params() * 2 == own.count_params() - shared.count_params()
    disturbed(shared)
    for index, block in enumerate(own.blocks):
        block.set_weights(shared.blocks[index].get_weights())
    own.embeddings.set_weights(shared.embeddings.get_weights())
    own.norm.set_weights(shared.norm.get_weights())
    np.testing.assert_allclose(shared(INPUTS)["sequence_output"], own(INPUTS)["sequence_output"], atol=1e-6)


def test_a_smaller_embedding_is_projected():
    small = config().replace(embedding=EmbeddingConfig(20, 16, embedding_dim=6, max_sequence_length=12, num_segments=1))
    model = disturbed(encoder(small))
    embeddings = model.embeddings
    assert embeddings.token.embeddings.shape == (20, 6)
    tables = [np.asarray(part.embeddings, np.float64) for part in (embeddings.token, embeddings.segment)]
    rows = tables[0][INPUTS["token_ids"][0]] + tables[1][0] + np.asarray(embeddings.position.embeddings)[:6]
    dense = embeddings.projection
    expected = rows @ np.asarray(dense.kernel) + np.asarray(dense.bias)
    exposed = model.expose()(INPUTS)["hidden_states"]
    np.testing.assert_allclose(exposed[0][0], expected, atol=1e-5)


@pytest.mark.parametrize("pooling", ["first", "mean"])
@pytest.mark.parametrize("final_norm", [True, False])
def test_a_pooler_is_data(pooling, final_norm):
    pooler = PoolerConfig(pooling, "relu", use_bias=False, norm=NormConfig(epsilon=1e-5, use_bias=False))
    changes = {} if final_norm else {"norm": None}
    model = disturbed(encoder(config(pooler=pooler).replace(**changes), pooled=True))
    assert {weight.path for weight in model.pooler.weights} == {"pooler/kernel", "pooler/norm/gamma"}
    outputs = model(INPUTS)
    states = np.asarray(outputs["sequence_output"], np.float64)
    vectors = states[:, 0] if pooling == "first" else states.sum(1) / MASK.sum(1, keepdims=True)
    hidden = np.maximum(vectors @ np.asarray(model.pooler.kernel), 0)
    centred = hidden - hidden.mean(-1, keepdims=True)
    expected = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * np.asarray(model.pooler.norm.gamma)
    np.testing.assert_allclose(outputs["pooled_output"], expected, atol=1e-5)
    np.testing.assert_allclose(model.expose()(INPUTS)["pooled_output"], expected, atol=1e-5)


def test_a_head_for_masked_tokens_is_data():
    embedding = EmbeddingConfig(20, 16, embedding_dim=6, max_sequence_length=12)
    head = MaskedHeadConfig("relu", NormConfig("rms", 1e-5), use_bias=False)
    model = encoder(config(masked_head=head).replace(embedding=embedding))
    layer = model.masked_head(name="masked")
    positions = np.array([[0, 3], [1, -1]], np.int32)
    scores = layer(model(INPUTS)["sequence_output"], positions, model.embeddings.token.embeddings)
    assert scores.shape == (3, 20)
    assert layer.transform.kernel.shape == (16, 6)
    assert layer.transform.bias is None
    default = encoder(config()).masked_head()
    assert (default.activation, default.norm.epsilon, default.use_bias) == ("silu", 1e-5, True)


def test_saved_with_its_config(tmp_path):
    pooler = PoolerConfig("mean", "relu", use_bias=False, norm=NormConfig())
    parts = {"pooler": pooler, "masked_head": MaskedHeadConfig("relu")}
    model = disturbed(encoder(config(rotary=True, positions=None, **parts), pooled=True))
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert isinstance(again, Backbone)
    assert again.config == model.config
    for name, value in model(INPUTS).items():
        np.testing.assert_array_equal(again(INPUTS)[name], value)


def test_hidden_states_and_attention_scores_are_padded_and_right():
    model = disturbed(encoder(config()))
    found = model.expose(attention_scores=True)(INPUTS)
    states, scores = found["hidden_states"], found["attention_scores"]
    assert [state.shape for state in states] == [(2, 6, 16)] * 3
    assert [score.shape for score in scores] == [(2, 4, 6, 6)] * 2
    np.testing.assert_allclose(states[-1], model(INPUTS)["sequence_output"], atol=1e-6)
    # By hand, one block after another, on the padded form.
    x = states[0]
    for index, block in enumerate(model.blocks):
        x, expected = block(x, padding_mask=MASK, return_attention_scores=True)
        np.testing.assert_allclose(scores[index][0], expected[0], atol=1e-5)
        np.testing.assert_allclose(scores[index][1, :, :3], expected[1, :, :3], atol=1e-5)
        x = x * MASK[..., None]
        if index == 0:
            np.testing.assert_allclose(states[1], x, atol=1e-5)
    assert not np.any(np.asarray(states[1])[MASK == 0])
    np.testing.assert_allclose(np.asarray(scores[0]).sum(-1)[0], 1.0, rtol=1e-5)


@pytest.mark.parametrize("options", [{"rotary": True, "positions": None}, {"positions": "learned"},
                                     {"positions": None, "position_bias": RelativeBiasConfig(8, 16)}])  # fmt: skip
@pytest.mark.parametrize("remove_padding", [True, False])
def test_a_decoder_with_a_prompt_is_the_whole(options, remove_padding):
    """Prompts of unequal length, padded on either side, then token by token."""
    model = disturbed(decoder(config(causal=True, **options), remove_padding=remove_padding))
    whole = model(INPUTS)["logits"]
    lengths = [4, 2]
    steps = DecoderSteps(model)
    for side in ("right", "left"):
        ids, mask = np.zeros((2, 4), np.int32), np.zeros((2, 4), np.int32)
        for row, length in enumerate(lengths):
            places = slice(length) if side == "right" else slice(4 - length, 4)
            ids[row, places], mask[row, places] = INPUTS["token_ids"][row, :length], 1
        context, state, outputs = steps.start({"token_ids": tf.constant(ids), "padding_mask": tf.constant(mask)})
        for row, length in enumerate(lengths):
            np.testing.assert_allclose(outputs["logits"][row, 0], whole[row, length - 1], atol=1e-5)
        following = np.array([[INPUTS["token_ids"][row, length]] for row, length in enumerate(lengths)])
        outputs, state = steps.step(tf.constant(following, tf.int32), context, state)
        for row, length in enumerate(lengths):
            np.testing.assert_allclose(outputs["logits"][row, 0], whole[row, length], atol=1e-5)


def test_tied_and_own_output():
    tied, own = decoder(config(causal=True)), decoder(config(causal=True, tie_output=False))
    assert tied.output_head is None
    assert own.output_head.table.shape == (20, 16)
    hidden = tied(INPUTS)["sequence_output"]
    expected = np.asarray(hidden) @ np.asarray(tied.embeddings.token.embeddings).T
    np.testing.assert_allclose(tied(INPUTS)["logits"], expected, atol=1e-5)


def test_precision_gives_a_backbone():
    model = disturbed(encoder(config(), pooled=True))
    half = with_precision(model, "bfloat16")
    assert isinstance(half, Backbone)
    assert {weight.dtype for weight in half.trainable_variables} == {"bfloat16"}
    np.testing.assert_allclose(
        tf.cast(half(INPUTS)["pooled_output"], tf.float32), model(INPUTS)["pooled_output"], atol=0.1
    )
    inputs = {name: keras.Input((None,), dtype="int32", name=name) for name in model.input}
    nested = keras.Model(inputs, keras.layers.Dense(2, name="head")(model(inputs)["pooled_output"]))
    half = with_precision(nested, "bfloat16", keep=("head",))
    dtypes = {weight.path.split("/")[0] == "head": weight.dtype for weight in half.trainable_variables}
    assert dtypes == {True: "float32", False: "bfloat16"}


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: encoder("bert"), "`config` must be of type ModelConfig"),
        (lambda: decoder(config()), "must be causal"),
        (lambda: decoder(config(causal=True, cross=True)), "must be causal, without `cross_attention`"),
        (lambda: EncoderDecoderConfig(config(), config(causal=True)), "need `cross_attention`"),
        (lambda: EncoderDecoderConfig(config(), config(cross=True)), "must be causal"),
        (lambda: EncoderDecoderConfig(config(), config(causal=True, cross=True, positions=None)), "equal `embedding`"),
        (lambda: encoder_decoder(config()), "of type EncoderDecoderConfig"),
        (lambda: config().replace(blocks=()), "a BlockConfig for each block"),
        (lambda: ModelConfig(EmbeddingConfig(9, 10), config().blocks), "num_heads=4, hidden_dim=10"),
        (lambda: EmbeddingConfig(9, 8, "spiral"), "positions='spiral'"),
        (lambda: EmbeddingConfig(9, 8, max_sequence_length=None), "max_sequence_length=None"),
        (lambda: PoolerConfig("last"), "pooling='last'"),
        (lambda: PoolerConfig(norm="layer"), "norm='layer'"),
        (lambda: MaskedHeadConfig(norm=None), "norm=None"),
        (lambda: config(pooler=None), "pooler=None"),
        (lambda: config(masked_head="gelu"), "'gelu'"),
        (lambda: DecoderSteps(encoder(config())), "a Backbone with a decoder"),
    ],
)
def test_bad_configs(make, match):
    with pytest.raises(InputError, match=match):
        make()
