"""Decoders without an encoder: steps with a cache against the whole, for all kinds of positions."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasformer.decoding import Beam, Greedy, RecomputingDecoderSteps, search
from kerasformer.models import (
    AttentionConfig,
    BlockConfig,
    DecoderSteps,
    EmbeddingConfig,
    FeedForwardConfig,
    ModelConfig,
    NormConfig,
    RelativeBiasConfig,
    RotaryConfig,
    decoder,
)

VOCABULARY, END = 29, 0
# Longer than the first room in the cache, 16 columns.
LENGTHS = np.array([1, 18, 7])
BIAS = RelativeBiasConfig(num_buckets=8, max_distance=12)


def config(attention, *, positions=None, norm=None, feed_forward=None, **further):
    norm = norm or NormConfig(placement="pre")
    block = BlockConfig(attention, feed_forward or FeedForwardConfig(24), norm, causal=True)
    return ModelConfig(EmbeddingConfig(VOCABULARY, 16, positions=positions), (block,) * 2, norm=norm, **further)


KINDS = {
    "as Llama": config(
        AttentionConfig(4, num_key_value_heads=2, use_bias=False, positions=RotaryConfig()),
        norm=NormConfig("rms", 1e-5, placement="pre"),
        feed_forward=FeedForwardConfig(24, "silu", gated=True, use_bias=False),
        tie_output=False,
    ),
    "as GPT-NeoX, with a window": config(AttentionConfig(4, window=5, positions=RotaryConfig(rotary_dim=2))),
    "as T5, wide heads": config(AttentionConfig(2, head_dim=6, scale=1.0), position_bias=BIAS),
    "a bias in each block": config(AttentionConfig(2, num_key_value_heads=1, positions=BIAS)),
    "sinusoidal, post-norm": config(AttentionConfig(2), positions="sinusoidal", norm=NormConfig(placement="post")),
}


def made(kind):
    keras.utils.set_random_seed(5)
    random = np.random.default_rng(5)
    model = decoder(KINDS[kind])
    for variable in model.variables:
        variable.assign(variable + 0.3 * random.standard_normal(variable.shape))
    return model


@pytest.fixture(params=KINDS, scope="module")
def model(request):
    return made(request.param)


def prompts(side):
    ids = np.random.default_rng(6).integers(1, VOCABULARY, (len(LENGTHS), LENGTHS.max())).astype(np.int32)
    mask = (np.arange(LENGTHS.max()) < LENGTHS[:, None]).astype(np.int32)
    order = slice(None, None, -1 if side == "left" else 1)
    ids = np.where(mask > 0, ids, 0)
    if side == "left":
        ids = np.array([np.roll(row, LENGTHS.max() - length) for row, length in zip(ids, LENGTHS, strict=True)])
    return {"token_ids": tf.constant(ids), "padding_mask": tf.constant(mask[:, order])}


@pytest.mark.parametrize("side", ["left", "right"])
def test_steps_are_the_whole_also_when_beams_change_places(model, side):
    count, steps = 6, DecoderSteps(model)
    said = np.random.default_rng(7).integers(1, VOCABULARY, (len(LENGTHS), count)).astype(np.int32)
    right = prompts("right")["token_ids"].numpy()
    whole = []
    for row, length in enumerate(LENGTHS):
        ids = np.concatenate([right[row, :length], said[row]])[None]
        logits = model({"token_ids": ids, "padding_mask": np.ones_like(ids)})["logits"].numpy()
        whole.append(logits[0, length - 1 :])
    whole = np.stack(whole)
    context, state, outputs = steps.start(prompts(side))
    np.testing.assert_allclose(outputs["logits"][:, 0], whole[:, 0], atol=2e-5)
    state = steps.reorder(state, tf.zeros([len(LENGTHS), 3], tf.int32))
    own = 0
    for place in range(count):
        chosen = np.full((len(LENGTHS), 3), 7, np.int32)
        chosen[:, own] = said[:, place]
        outputs, state = steps.step(tf.constant(chosen), context, state)
        np.testing.assert_allclose(outputs["logits"][:, own], whole[:, place + 1], atol=2e-5)
        # The sequence itself moves between beams 0 and 2; the others hold something else.
        parents = np.full((len(LENGTHS), 3), (own + 1) % 3, np.int32)
        parents[:, 2 - own] = own
        own = 2 - own
        state = steps.reorder(state, tf.constant(parents))


@pytest.mark.parametrize("select", [Greedy(), Beam(3)], ids=["greedy", "beam"])
def test_search_with_and_without_a_cache(select):
    model = made("as Llama")

    def found(steps):
        # The prompts are constants of the graph: their shape is known, and the caches outgrow it.
        run = tf.function(lambda: search(steps, prompts("left"), end_id=END, max_length=12, select=select))
        return {name: value.numpy() for name, value in run().items()}

    expected = found(RecomputingDecoderSteps(model))
    assert len({tuple(row) for row in expected["token_ids"][:, 0].tolist()}) == len(LENGTHS)
    for name, value in found(DecoderSteps(model)).items():
        np.testing.assert_allclose(value, expected[name], rtol=0, atol=5e-5, err_msg=name)


def test_candidates_are_the_tokens_that_are_scored(model):
    random, rows = np.random.default_rng(8), np.arange(len(LENGTHS))[:, None]
    candidates = np.array([random.permutation(VOCABULARY)[:6] for _ in LENGTHS], np.int32)
    candidates[1, 4:] = -1
    few, whole = DecoderSteps(model, candidates=tf.constant(candidates)), DecoderSteps(model)
    (few_context, few_state, found), (context, state, expected) = (made.start(prompts("left")) for made in (few, whole))
    for _ in range(2):
        wanted = np.where(candidates < 0, -1e9, expected["logits"].numpy()[rows, 0, candidates])
        np.testing.assert_allclose(found["logits"][:, 0], wanted, atol=2e-5)
        places = random.integers(0, 4, rows.shape)
        found, few_state = few.step(tf.constant(places), few_context, few_state)
        expected, state = whole.step(tf.constant(candidates[rows, places]), context, state)
