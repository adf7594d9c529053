"""The linear chain against every tag sequence there is."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasformer.layers import Transitions, crf_decode, crf_log_partition, crf_marginals, crf_score

TAGS = 3
MASK = np.array([[1, 1, 1, 1], [1, 0, 1, 0], [0, 0, 0, 0], [0, 1, 0, 0]], bool)


@pytest.fixture(scope="module")
def chain():
    random = np.random.default_rng(3)
    logits = random.normal(size=(*MASK.shape, TAGS)).astype("float32") * 2
    transitions = random.normal(size=(TAGS + 1, TAGS + 1)).astype("float32") * 2
    transitions[0, 0] = 0
    return logits, transitions


def score(logits, tags, transitions):
    """Of one sequence without holes, in float64."""
    numbers = [0, *[tag + 1 for tag in tags], 0]
    moves = sum(float(transitions[a, b]) for a, b in itertools.pairwise(numbers))
    return moves + sum(float(logits[place, tag]) for place, tag in enumerate(tags))


def all_scores(logits, transitions):
    sequences = list(itertools.product(range(TAGS), repeat=len(logits)))
    return sequences, np.array([score(logits, tags, transitions) for tags in sequences])


def test_against_all_sequences(chain):
    logits, transitions = chain
    partition = crf_log_partition(logits, MASK, transitions).numpy()
    marginals = crf_marginals(logits, MASK, transitions).numpy()
    decoded = crf_decode(logits, MASK, transitions).numpy()
    for row, mask in enumerate(MASK):
        sequences, scores = all_scores(logits[row][mask], transitions)
        assert partition[row] == pytest.approx(np.log(np.exp(scores).sum()), abs=1e-4)
        assert tuple(decoded[row][mask]) == sequences[scores.argmax()]
        probabilities = np.exp(scores - partition[row])
        for place, step in enumerate(np.flatnonzero(mask)):
            expected = [
                sum(p for tags, p in zip(sequences, probabilities, strict=True) if tags[place] == c)
                for c in range(TAGS)
            ]
            np.testing.assert_allclose(marginals[row, step], expected, atol=1e-5)
    assert not decoded[~MASK].any()


def test_the_marginals_of_a_long_sequence_are_exact():
    random = np.random.default_rng(0)
    logits = random.normal(0, 4, [1, 200, TAGS]).astype("float32")
    transitions = random.normal(0, 4, [TAGS + 1, TAGS + 1]).astype("float32")
    forward, backward = [np.exp(transitions[0, 1:].astype("float64"))], [np.exp(transitions[1:, 0].astype("float64"))]
    factors, moves = np.exp(logits[0].astype("float64")), np.exp(transitions[1:, 1:].astype("float64"))
    for here, following in zip(factors, factors[::-1], strict=True):
        forward.append((forward[-1] * here) @ moves)
        backward.append(moves @ (backward[-1] * following))
        forward[-1] /= forward[-1].sum()
        backward[-1] /= backward[-1].sum()
    expected = np.array(forward[:-1]) * factors * np.array(backward[-2::-1])
    expected /= expected.sum(-1, keepdims=True)
    marginals = crf_marginals(logits, np.ones([1, 200], bool), transitions)
    np.testing.assert_allclose(marginals[0], expected, atol=2e-6)


def test_score_of_given_tags(chain):
    logits, transitions = chain
    tags = np.random.default_rng(0).integers(0, TAGS, MASK.shape).astype("int32")
    tags[~MASK] = -1
    expected = [score(logits[row][mask], tags[row][mask], transitions) for row, mask in enumerate(MASK)]
    np.testing.assert_allclose(crf_score(logits, tags, MASK, transitions), expected, atol=1e-5)


def test_the_gradient_of_the_partition_is_the_marginals(chain):
    logits, transitions = chain
    with tf.GradientTape() as tape:
        variable = tf.constant(logits)
        tape.watch(variable)
        partition = crf_log_partition(variable, MASK, transitions)
    marginals = crf_marginals(logits, MASK, transitions).numpy() * MASK[:, :, None]
    np.testing.assert_allclose(tape.gradient(partition, variable), marginals, atol=1e-5)


def test_a_forbidden_transition_is_never_taken(chain):
    logits, transitions = chain
    transitions = transitions.copy()
    transitions[2, 3] = transitions[0, 3] = -1e9
    logits = logits + np.array([0, 9, 10], "float32")  # tags 1 and 2 wherever they may
    mask = np.ones_like(MASK)
    decoded = crf_decode(logits, mask, transitions).numpy()
    assert (decoded[:, 0] != 2).all()
    assert not ((decoded[:, :-1] == 1) & (decoded[:, 1:] == 2)).any()
    assert np.isfinite(crf_log_partition(logits, mask, transitions)).all()
    assert crf_marginals(logits, mask, transitions).numpy()[:, 0, 2].max() == 0


@pytest.mark.parametrize("shape", [(0, 4), (2, 0)])
def test_nothing_to_do(chain, shape):
    transitions = chain[1]
    logits, mask = tf.zeros([*shape, TAGS]), tf.ones(shape, tf.bool)
    graph = tf.function(lambda *x: (crf_decode(*x), crf_marginals(*x), crf_log_partition(*x)))
    decoded, marginals, partition = graph(logits, mask, transitions)
    assert decoded.shape == shape
    assert marginals.shape == (*shape, TAGS)
    np.testing.assert_allclose(partition, np.zeros(shape[0]), atol=1e-6)


def test_the_layer_in_a_model(tmp_path):
    inputs = keras.Input((None, TAGS))
    model = keras.Model(inputs, Transitions(name="transitions")(inputs))
    weights = np.arange(16, dtype="float32").reshape(4, 4) + 1
    model.get_layer("transitions").set_weights([weights])
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")(np.zeros((2, 5, TAGS))).numpy()
    weights[0, 0] = 0
    np.testing.assert_array_equal(again, [weights, weights])
