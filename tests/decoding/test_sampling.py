"""Sequences that are drawn."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
import toy
from scipy import stats

from kerasformer.decoding import ForbiddenTokens, Greedy, MinLength, NoRepeatNgram, Sample, search
from kerasformer.decoding.draws import uniform
from kerasformer.errors import InputError

START, END = 0, 1
IDS = {"start_id": START, "end_id": END}
TABLE = np.random.default_rng(3).normal(size=(1, 5, 5)) * 1.5


def draw(count=4000, max_length=1, processors=(), **options):
    drawn = search(
        toy.TableSteps(TABLE), toy.inputs(1), **IDS, max_length=max_length, num_results=count,
        select=Sample(**{"seed": 1, **options}), processors=processors,
    )  # fmt: skip
    return {name: value.numpy()[0] for name, value in drawn.items()}


def generated(drawn):
    return [ids[:length].tolist() for ids, length in zip(drawn["token_ids"], drawn["lengths"], strict=True)]


def frequencies(drawn):
    first = np.where(drawn["lengths"] > 0, drawn["token_ids"][:, 0], END)
    return np.bincount(first, minlength=5) / len(first)


@pytest.mark.parametrize(
    ("options", "kept", "temperature"),
    [
        ({}, 5, 1.0),
        ({"temperature": 0.5}, 5, 0.5),
        ({"temperature": 0.0}, 1, 1.0),
        ({"top_k": 2}, 2, 1.0),
        ({"top_k": 99}, 5, 1.0),
        ({"top_p": 1e-6}, 1, 1.0),
        ({"top_k": 3, "temperature": 2.0}, 3, 2.0),
    ],
)
def test_tokens_are_drawn_by_their_probabilities(options, kept, temperature):
    logits = TABLE[0, START] / temperature
    probabilities = np.exp(toy.log_softmax(logits))
    probabilities[np.argsort(-probabilities)[kept:]] = 0
    found = frequencies(draw(**options))
    assert (found[probabilities == 0] == 0).all()
    np.testing.assert_allclose(found, probabilities / probabilities.sum(), atol=0.03)


@pytest.mark.parametrize("top_k", [0, 3])
def test_top_p_keeps_the_fewest_that_reach_it(top_k):
    ordered = np.sort(np.exp(toy.log_softmax(TABLE[0, START])))[::-1][: top_k or None]
    ordered /= ordered.sum()
    for count in range(1, min(len(ordered), 4) + 1):
        top_p = float(ordered[:count].sum() - 1e-3)
        assert (frequencies(draw(top_p=top_p, top_k=top_k)) > 0).sum() == count


def test_sequences_scores_and_seed():
    drawn, again, other = draw(50, 6), draw(50, 6), draw(50, 6, seed=2)
    np.testing.assert_array_equal(drawn["token_ids"], again["token_ids"])
    assert generated(drawn) != generated(other)
    log_probabilities = toy.log_softmax(TABLE[0])
    for tokens, ended, score in zip(generated(drawn), drawn["ended"], drawn["scores"], strict=True):
        path = [START, *tokens, *[END] * bool(ended)]
        total = sum(log_probabilities[a, b] for a, b in itertools.pairwise(path))
        np.testing.assert_allclose(score, total, atol=1e-4)
        assert ended or len(tokens) == 6
    for ids, length in zip(drawn["token_ids"], drawn["lengths"], strict=True):
        assert not ids[length:].any()
    assert 0 < drawn["ended"].mean() <= 1


def test_second_tokens_are_drawn_independently_of_first_ones():
    """The chi-squared test of independence, where the table makes the second token independent of the first."""
    table = np.tile(TABLE[:, :1], (1, 5, 1))
    table[..., END] = -99
    drawn = search(
        toy.TableSteps(table), toy.inputs(1), **IDS, max_length=2, num_results=4000, select=Sample(seed=5)
    )["token_ids"].numpy()[0]  # fmt: skip
    counts = np.zeros((5, 5))
    np.add.at(counts, tuple(drawn.T), 1)
    assert stats.chi2_contingency(counts[[0, 2, 3, 4]][:, [0, 2, 3, 4]]).pvalue > 1e-3


def test_rows_do_not_depend_on_their_batch():
    """Each row with its own options, alone, in another order, and beside rows that leave early."""
    tables = np.random.default_rng(4).normal(size=(5, 5, 5))
    tables[0, :, END] = 99
    options = {
        "temperature": np.float32([1, 0.7, 1, 2, 0]),
        "top_k": np.int32([0, 3, 2, 0, 0]),
        "top_p": np.float32([1, 1, 0.9, 0.8, 1]),
        "seed": np.int64([7, 7, -3, 2**40, 9]),
    }

    def run(rows):
        chosen = {name: tf.constant(values[rows]) for name, values in options.items()}
        steps, max_length = toy.TableSteps(tables[rows]), tf.constant(np.array([9, 8, 7, 6, 5])[rows])
        found = search(
            steps, toy.inputs(len(rows)), **IDS, max_length=max_length, num_results=3, select=Sample(**chosen)
        )
        return [generated({name: value.numpy()[row] for name, value in found.items()}) for row in range(len(rows))]

    together = run([0, 1, 2, 3, 4])
    assert run([4, 2, 0, 3, 1]) == [together[row] for row in (4, 2, 0, 3, 1)]
    for row in range(5):
        assert run([row]) == [together[row]]
    assert together[0] == [[], [], []]
    assert len({tuple(tokens) for tokens in together[4]}) == 1, "temperature 0 is greedy search"
    greedy = search(toy.TableSteps(tables[4:]), toy.inputs(1), **IDS, max_length=5, select=Greedy())
    assert greedy["token_ids"].numpy()[0, 0].tolist() == together[4][0]


def test_known_and_unknown_options_agree():
    """Python numbers leave the sorting out of the graph."""
    warm = {"temperature": 0.8}
    assert generated(draw(40, 6, temperature=tf.constant([0.8]))) == generated(draw(40, 6, **warm))
    sorted_ones = {"temperature": tf.constant([0.8]), "top_k": tf.constant([0]), "top_p": tf.constant([1.0])}
    np.testing.assert_allclose(frequencies(draw(4000, **sorted_ones)), frequencies(draw(4000, **warm)), atol=0.04)


def test_processors_hold_when_drawing():
    drawn = draw(200, 5, processors=[ForbiddenTokens((2, 0)), MinLength(2)])
    assert set(itertools.chain(*generated(drawn))) == {3, 4}
    assert drawn["lengths"].min() == 2


def test_rows_leave():
    tables = np.zeros((2, 5, 5))
    tables[0, :, END] = 99
    steps = toy.TableSteps(tables)
    select = Sample()
    both = tf.function(
        lambda: search(steps, toy.inputs(2), **IDS, max_length=[4, 4], num_results=3, select=select)
    )()  # fmt: skip
    assert both["lengths"][0].numpy().tolist() == [0, 0, 0]
    # The first token for one beam in two rows, then three in one row.
    assert int(steps.computed) <= 2 + 3 * 3


def test_a_sequence_stops_where_every_token_is_forbidden():
    drawn = draw(50, 6, processors=[ForbiddenTokens((0, END)), NoRepeatNgram(1)])
    assert {tuple(sorted(tokens)) for tokens in generated(drawn)} == {(2, 3, 4)}
    assert not drawn["ended"].any()
    assert drawn["scores"].min() > -100


def test_random_numbers_are_uniform():
    numbers = uniform(tf.range(200, dtype=tf.int64)[:, None, None], tf.range(10)[:, None], tf.range(5)).numpy()
    assert numbers.min() >= 0
    assert numbers.max() < 1
    assert stats.kstest(numbers.ravel(), "uniform").pvalue > 1e-3
    for axis in range(3):
        first, second = (np.take(numbers, indices, axis).ravel() for indices in (range(4), range(1, 5)))
        assert abs(np.corrcoef(first, second)[0, 1]) < 5 / np.sqrt(len(first))


@pytest.mark.parametrize(
    "options", [{"temperature": -1.0}, {"top_p": 0.0}, {"top_p": 1.5}, {"top_k": -1}, {"seed": "x"}]
)
def test_bad_options(options):
    with pytest.raises(InputError, match=next(iter(options))):
        Sample(**options)


def test_no_results():
    with pytest.raises(InputError, match="num_results=0"):
        draw(0)
