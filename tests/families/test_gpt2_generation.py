"""Generation with GPT-2 against `generate` of transformers, recorded by `record_gpt2.py` from 50 prompts."""

import functools
import json

import numpy as np
import pytest
import tensorflow as tf
from recorded import FIXTURES, Recorded, loaded

from kerasformer.decoding import RecomputingDecoderSteps, TransformersBeam, search
from kerasformer.models import DecoderSteps

NEW = 20
METHODS = {"greedy": {}, "beam": {"select": TransformersBeam(4), "num_results": 4}}


@pytest.fixture(scope="module")
def recorded():
    return Recorded(FIXTURES / "gpt2.npz", prefix="generation/")


@pytest.fixture(scope="module")
def backbone(recorded, tmp_path_factory):
    return loaded(recorded.write(tmp_path_factory.mktemp("gpt2") / "model"))


@pytest.fixture(scope="module")
def steps(backbone):
    return DecoderSteps(backbone)


@pytest.fixture(scope="module")
def prompts(recorded):
    return {"token_ids": tf.constant(recorded["prompts/ids"]), "padding_mask": tf.constant(recorded["prompts/mask"])}


@pytest.fixture(scope="module")
def end(recorded):
    return json.loads(str(recorded["config"]))["eos_token_id"]


@functools.cache
def searched(steps, end, method):
    """A graph from prompts to what `search` finds."""
    options = {"end_id": end, "padding_id": end, "max_length": NEW, **METHODS[method]}
    return tf.function(lambda prompts: search(steps, prompts, **options), reduce_retracing=True)


def generated(steps, prompts, end, method):
    """Token ids `[batch, results, NEW]`, padded with the end token, and scores."""
    results = {name: value.numpy() for name, value in searched(steps, end, method)(prompts).items()}
    token_ids = results["token_ids"]
    missing = [(0, 0), (0, 0), (0, NEW - token_ids.shape[2])]
    return results | {"token_ids": np.pad(token_ids, missing, constant_values=end)}


@pytest.fixture(scope="module", params=METHODS)
def answers(request, steps, prompts, end):
    return request.param, generated(steps, prompts, end, request.param)


def test_tokens_of_transformers(recorded, answers, end):
    method, found = answers
    expected = recorded[f"{method}/ids"].reshape(50, -1, NEW)
    scores = recorded["greedy/scores"].sum(-1, keepdims=True) if method == "greedy" else recorded["beam/scores"]
    np.testing.assert_allclose(found["scores"], scores, rtol=0, atol=5e-5)
    # Where two candidates are equally good, either may be the first.
    gaps = recorded["greedy/gap"] if method == "greedy" else -np.diff(scores).max(-1)
    tied = gaps < 1e-5
    assert tied.sum() <= 2
    np.testing.assert_array_equal(found["token_ids"][~tied], expected[~tied])
    np.testing.assert_array_equal(found["ended"][~tied], (expected[~tied] == end).any(-1))
    # The prompts are told apart, and some continuations end before the others.
    assert len(np.unique(expected[:, 0], axis=0)) >= 25
    assert 5 <= found["ended"][:, 0].sum() <= 45


def test_without_a_cache(answers, backbone, prompts, end):
    method, found = answers
    assert_equal(generated(RecomputingDecoderSteps(backbone), prompts, end, method), found)


def test_one_by_one(answers, steps, prompts, end):
    """Neither the other prompts of a batch nor the side of the padding changes what follows a prompt."""
    method, found = answers
    for row in (7, 14):
        own = {name: value[row : row + 1] for name, value in prompts.items()}
        own = {name: tf.boolean_mask(value, own["padding_mask"] > 0)[None] for name, value in own.items()}
        padded = {name: tf.pad(value, [[0, 0], [0, 14 - row]]) for name, value in own.items()}
        assert padded["token_ids"].shape == (1, 15)
        alone = generated(steps, padded, end, method)
        assert_equal(alone, {name: value[row : row + 1] for name, value in found.items()})


def assert_equal(one, other):
    for name, value in one.items():
        np.testing.assert_allclose(value, other[name], rtol=0, atol=5e-5, err_msg=name)
