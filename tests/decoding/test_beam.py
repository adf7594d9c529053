"""Beam search against exhaustive search, and cached decoding against full recomputation."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
import toy
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasformer.decoding import Beam, ForbiddenTokens, Greedy, RecomputingSteps, Sample, TransformersBeam, search
from kerasformer.decoding.beams import top_k
from kerasformer.decoding.state import LOWEST
from kerasformer.errors import InputError
from kerasformer.models import DecoderSteps, TransformerConfig, transformer, with_precision

START, END = 0, 1
IDS = {"start_id": START, "end_id": END}


def results(found, row):
    """`(score, log probability, tokens, ended)` of each result of a row."""
    values = {name: value.numpy()[row] for name, value in found.items()}
    return [
        (score, total, ids[:length].tolist(), bool(ended))
        for score, total, ids, length, ended in zip(
            *[values[name] for name in ("scores", "log_probabilities", "token_ids", "lengths", "ended")], strict=True
        )
    ]


def assert_alike(actual, expected):
    for (score, total, tokens, ended), (*expected_numbers, expected_tokens, expected_ended) in zip(
        actual, expected, strict=True
    ):
        np.testing.assert_allclose([score, total], expected_numbers, atol=1e-4)
        assert (tokens, ended) == (expected_tokens, expected_ended)


@pytest.fixture(scope="module")
def wide_search():
    """A search that keeps every sequence of 4 tokens, 1 of them the end, up to length 3."""

    @tf.function(reduce_retracing=True)
    def wide(tables, max_length, penalty):
        return search(
            toy.TableSteps(tables),
            toy.inputs(tf.shape(tables)[0]),
            **IDS,
            num_results=8,
            max_length=max_length,
            select=Beam(40, length_penalty=penalty, stop_early=False),
        )

    types = (tf.float32, tf.int32, tf.float32)
    return lambda *arguments: wide(*[tf.constant(a, t) for a, t in zip(arguments, types, strict=True)])


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), penalties=st.tuples(*[st.sampled_from([-0.5, 0.0, 0.6, 2.0])] * 3))
def test_a_beam_that_holds_everything_is_exhaustive_search(wide_search, seed, penalties):
    tables = np.random.default_rng(seed).normal(size=(3, 4, 4)) * 2
    found = wide_search(tables, [3, 2, 1], penalties)
    for row, (penalty, max_length) in enumerate(zip(penalties, [3, 2, 1], strict=True)):
        expected = toy.all_sequences(tables[row], START, END, max_length, penalty)
        count = min(8, len(expected))
        assert_alike(results(found, row)[:count], expected[:count])
        assert not found["ended"].numpy()[row, count:].any()


@pytest.mark.parametrize("penalty", [-0.5, 0.0, 1.0, 2.0])
def test_in_the_way_of_transformers_cut_results_compete_with_ended_ones(penalty):
    tables = np.random.default_rng(7).normal(size=(2, 4, 4)) * 2
    select = TransformersBeam(40, penalty, early_stopping="never")
    # Without the start token, no two sequences have the same transitions and so the same score.
    options = IDS | {"max_length": 3, "num_results": 12, "processors": [ForbiddenTokens((START,))]}
    found = search(toy.TableSteps(tables), toy.inputs(2), **options, select=select)
    for row in range(2):
        expected = [
            (total / (len(tokens) + ended) ** penalty, total, tokens, ended)
            for _, total, tokens, ended in toy.all_sequences(tables[row], START, END, 3, 0.0)
            if START not in tokens
        ]
        expected = sorted(expected, key=lambda result: -result[0])[:12]
        assert len({ended for *_, ended in expected}) == 2, "the test must see both kinds"
        assert_alike(results(found, row), expected)


@pytest.mark.parametrize("penalty", [-60.0, -8.0, 60.0])
def test_no_penalty_is_too_large_for_a_sequence_to_be_found(wide_search, penalty):
    """Scores are as small as -1e12 then, or as near to 0."""
    tables = np.random.default_rng(0).normal(size=(3, 4, 4)) * 8
    found = wide_search(tables, [3, 3, 3], [penalty] * 3)
    for row in range(3):
        expected = toy.all_sequences(tables[row], START, END, 3, penalty)
        for (score, total, tokens, ended), (*numbers, wanted, wanted_ended) in zip(
            results(found, row), expected[:8], strict=True
        ):
            np.testing.assert_allclose([score, total], numbers, rtol=1e-3)
            assert (tokens, ended) == (wanted, wanted_ended)
    extreme = wide_search(tables, [3, 3, 3], [1e30, -1e30, 3e38])
    assert np.isfinite(extreme["scores"]).all()
    assert (extreme["ended"].numpy()[:, 0]).all()


@pytest.mark.parametrize(
    "select", [Greedy(), Beam(1, length_penalty=0.0, stop_early=False), Beam(1, length_penalty=0.0)]
)
def test_greedy_is_the_likeliest_token_each_time(select):
    tables = np.random.default_rng(0).normal(size=(20, 6, 6))
    found = search(toy.TableSteps(tables), toy.inputs(20), **IDS, max_length=7, select=select)
    for row in range(20):
        tokens, last, total, ended = [], START, 0.0, False
        while len(tokens) < 7 and not ended:
            log_probabilities = toy.log_softmax(tables[row, last])
            last = int(log_probabilities.argmax())
            total, ended = total + log_probabilities[last], last == END
            tokens += [] if ended else [last]
        assert_alike(results(found, row), [(total, total, tokens, ended)])


def test_rows_are_independent_and_leave_when_they_are_done():
    tables = np.random.default_rng(1).normal(size=(6, 5, 5))
    tables[:3, :, END] = 50  # these end at once
    tables[3:, :, END] = -50  # and these never
    steps = toy.TableSteps(tables)
    together = search(steps, toy.inputs(6), **IDS, max_length=tf.constant([9, 9, 9, 9, 4, 0]), select=Beam(2))
    computed = int(steps.computed)
    # The first token for one beam in five rows, then two beams in two rows up to 4, in one up to 9.
    assert computed == 5 + 2 * 2 * 3 + 2 * 5
    assert together["lengths"].numpy().ravel().tolist() == [0, 0, 0, 9, 4, 0]
    assert together["ended"].numpy().ravel().tolist() == [True] * 3 + [False] * 3
    for row in range(5):
        alone = search(
            toy.TableSteps(tables[row : row + 1]),
            toy.inputs(1),
            **IDS,
            max_length=[9, 9, 9, 9, 4][row],
            select=Beam(2),
        )
        assert_alike(results(together, row), results(alone, 0))


@pytest.mark.parametrize("select", [Greedy(), Beam(3), TransformersBeam(3), Sample(seed=1)])
def test_no_rows(select):
    found = search(toy.TableSteps(np.zeros((1, 4, 4))), toy.inputs(0), **IDS, max_length=5, select=select)
    assert {name: value.shape.as_list()[0] for name, value in found.items()} == dict.fromkeys(found, 0)


# ---- the Transformer's cache ----


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(5)
    config = TransformerConfig(
        vocabulary_size=12, hidden_dim=16, num_encoder_layers=1, num_decoder_layers=2, num_heads=2, intermediate_dim=16
    )
    model = transformer(config)
    random = np.random.default_rng(5)
    model.set_weights([weight + random.normal(size=weight.shape) * 0.5 for weight in model.get_weights()])
    return model


def sentences(count):
    random = np.random.default_rng(6)
    mask = (np.arange(7) < random.integers(1, 8, count)[:, None]).astype(np.int32)
    return {
        "source_token_ids": tf.constant(random.integers(2, 12, mask.shape).astype(np.int32) * mask),
        "source_padding_mask": tf.constant(mask),
    }


@pytest.mark.parametrize("beam_size", [1, 4])
def test_cached_decoding_is_full_recomputation(model, beam_size):
    """200 sentences: the same tokens, and scores within 1e-4."""

    options = IDS | {"max_length": 8, "select": Beam(beam_size), "num_results": beam_size}

    def run(steps):
        return tf.function(lambda inputs: search(steps, inputs, **options))(sentences(200))

    cached, recomputed = run(DecoderSteps(model)), run(RecomputingSteps(model))
    for name, value in cached.items():
        np.testing.assert_allclose(value, recomputed[name], atol=1e-4)
    assert len(np.unique(cached["lengths"])) > 2, "the test must see sentences of several lengths"
    whole = model(
        {
            **sentences(200),
            "target_token_ids": tf.pad(cached["token_ids"][:, 0], [[0, 0], [1, 0]]),
            "target_padding_mask": tf.ones_like(tf.pad(cached["token_ids"][:, 0], [[0, 0], [1, 0]])),
        }
    )["logits"]
    log_probabilities = toy.log_softmax(whole.numpy().astype(np.float64))
    for row in range(200):
        length, ended = int(cached["lengths"][row, 0]), bool(cached["ended"][row, 0])
        said = [*cached["token_ids"].numpy()[row, 0, :length].tolist(), *[END] * ended]
        total = sum(log_probabilities[row, place, token] for place, token in enumerate(said))
        np.testing.assert_allclose(cached["log_probabilities"][row, 0], total, atol=1e-4)
        np.testing.assert_allclose(cached["scores"][row, 0], total / toy.length_factor(length + ended, 0.6), atol=1e-4)


def test_coverage_penalty(model):
    steps, inputs = DecoderSteps(model, with_attention=True), sentences(6)
    options = IDS | {"max_length": 5, "num_results": 3}
    found = search(steps, inputs, **options, select=Beam(9, length_penalty=0.0, coverage_penalty=0.2))
    mask = inputs["source_padding_mask"].numpy()
    checked = 0
    for row, result in itertools.product(range(6), range(3)):
        if not bool(found["ended"][row, result]):
            continue
        length = int(found["lengths"][row, result])
        path = [START, *found["token_ids"].numpy()[row, result, :length]]
        context, state = steps.start({name: value[row : row + 1] for name, value in inputs.items()})
        coverage = np.zeros(7)
        for token in path:
            outputs, state = steps.step(tf.constant([[token]], tf.int32), context, state)
            coverage += outputs["attention"].numpy()[0, 0]
        expected = 0.2 * np.log(np.minimum(coverage, 1)[mask[row] > 0]).sum()
        np.testing.assert_allclose(
            found["scores"][row, result] - found["log_probabilities"][row, result], expected, atol=1e-4
        )
        checked += 1
    assert checked > 8
    kept = found["scores"].numpy()[found["ended"].numpy().all(1)]
    assert len(kept)
    assert (np.diff(kept, axis=1) <= 0).all()
    plain = search(steps, inputs, **options, select=Beam(9, length_penalty=0.0))
    assert (plain["token_ids"].shape != found["token_ids"].shape) or (
        plain["token_ids"].numpy() != found["token_ids"].numpy()
    ).any(), "coverage changes what is best"


def test_coverage_in_bfloat16(model):
    half = with_precision(model, "mixed_bfloat16")
    options = IDS | {"max_length": 5, "select": Beam(9, length_penalty=0.0, coverage_penalty=0.2)}
    found = search(DecoderSteps(half, with_attention=True), sentences(6), **options)
    expected = search(DecoderSteps(model, with_attention=True), sentences(6), **options)
    assert found["scores"].dtype == tf.float32
    np.testing.assert_allclose(found["scores"], expected["scores"], atol=0.2)


def test_coverage_needs_attention_and_a_mask(model):
    options = IDS | {"max_length": 5, "select": Beam(coverage_penalty=0.2)}
    with pytest.raises(InputError, match="with_attention=True"):
        search(DecoderSteps(model), sentences(2), **options)
    with pytest.raises(InputError, match="source_padding_mask"):
        search(toy.TableSteps(np.zeros((1, 4, 4))), toy.inputs(1), **options)


@pytest.mark.parametrize(
    ("beam", "arguments", "words"),
    [
        ({"size": 0}, {}, "size=0"),
        ({"size": 2}, {"num_results": 5}, "num_results=5"),
        ({}, {"max_length": 0}, "max_length=0"),
        ({}, {"max_length": [3, -1]}, r"max_length=\[3, -1\]"),
        ({}, {"start_id": None}, "`start_id`"),
        ({"length_penalty": float("nan")}, {}, "length_penalty=nan"),
        ({"coverage_penalty": -1.0}, {}, "coverage_penalty=-1.0"),
        ({"coverage_penalty": float("nan")}, {}, "coverage_penalty=nan"),
    ],
)
def test_bad_arguments(beam, arguments, words):
    steps, inputs = toy.TableSteps(np.zeros((2, 4, 4))), toy.inputs(2)
    with pytest.raises(InputError, match=words):
        search(steps, inputs, **{**IDS, "max_length": 5, "select": Beam(**beam), **arguments})


@pytest.mark.parametrize("size", [1, 7, 64, 65, 1000, 4099])
def test_the_largest_are_those_of_tensorflow_in_its_order(size):
    random = np.random.default_rng(size)
    values = {
        "different": random.normal(size=(2, 3, size)),
        "equal": random.integers(0, 4, (2, 3, size)),
        "forbidden": np.full((2, 3, size), LOWEST),
    }
    for k in sorted({1, min(8, size), size // 3 + 1, size}):
        for kind, some in values.items():
            found = top_k(tf.constant(some, tf.float32), tf.constant(k))
            for ours, theirs in zip(found, tf.math.top_k(tf.constant(some, tf.float32), k), strict=True):
                np.testing.assert_array_equal(ours, theirs, f"{k} of {kind}")


@pytest.mark.parametrize("num_results", [0, 2])
def test_greedy_search_has_one_result(num_results):
    with pytest.raises(InputError, match=f"num_results={num_results}"):
        search(toy.TableSteps(np.zeros((2, 4, 4))), toy.inputs(2), **IDS, max_length=5, num_results=num_results)
