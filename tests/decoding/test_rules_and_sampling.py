"""What may be said, and sequences that are drawn."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
import toy

from kerasformer.decoding import Rules, beam_search, sample
from kerasformer.errors import InputError

START, END = 0, 1
IDS = {"start_id": START, "end_id": END}
TABLE = np.random.default_rng(3).normal(size=(1, 5, 5)) * 1.5
# Goes 2, 3, 4, 2, 3, 4, … and never ends by itself.
CIRCLE = np.zeros((1, 5, 5))
for here, there in [(0, 2), (2, 3), (3, 4), (4, 2)]:
    CIRCLE[0, here, there] = 9
CIRCLE[0, :, END] = 4


def search(table=TABLE, max_length=4, **rules):
    found = beam_search(
        toy.TableSteps(table), toy.inputs(1), **IDS, max_length=max_length, length_penalty=0.0,
        beam_size=40, num_results=40, stop_early=False, rules=Rules(**rules)
    )  # fmt: skip
    found = {name: value.numpy()[0] for name, value in found.items()}
    exists = found["log_probabilities"] != 0
    return [
        (ids[:length].tolist(), total, bool(ended))
        for ids, length, total, ended in zip(
            found["token_ids"][exists],
            found["lengths"][exists],
            found["log_probabilities"][exists],
            found["ended"][exists],
            strict=True,
        )
    ]


def expected(keep, max_length=4, count=40):
    return [
        (tokens, total, ended)
        for _, total, tokens, ended in toy.all_sequences(TABLE[0], START, END, max_length, 0.0)
        if keep(tokens, ended)
    ][:count]


def assert_alike(actual, wanted):
    assert [(tokens, ended) for tokens, _, ended in actual] == [(tokens, ended) for tokens, _, ended in wanted]
    np.testing.assert_allclose([total for _, total, _ in actual], [total for _, total, _ in wanted], atol=1e-4)


def test_forbidden_tokens_leave_the_scores_of_others():
    assert_alike(search(forbidden=(0, 3))[:15], expected(lambda tokens, ended: not {0, 3} & set(tokens))[:15])


def test_forced_tokens():
    found = search(forced=(2, None, 4))
    wanted = expected(lambda tokens, ended: len(tokens) > 2 and tokens[0] == 2 and tokens[2] == 4)
    assert_alike(found[:8], wanted[:8])
    assert all(tokens[0] == 2 and tokens[2] == 4 for tokens, _, _ in found)


def test_min_length():
    found = search(min_length=3)
    assert min(len(tokens) for tokens, _, _ in found) == 3
    assert_alike(found[:5], expected(lambda tokens, ended: len(tokens) >= 3)[:5])


def test_a_length_can_be_forced():
    found = search(max_length=3, min_length=3, forbidden=(0,))
    assert {len(tokens) for tokens, _, _ in found} == {3}
    assert not any(ended for _, _, ended in found)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_no_ngram_twice(size):
    def repeats(tokens):
        ngrams = [tuple(tokens[i : i + size]) for i in range(len(tokens) - size + 1)]
        return len(set(ngrams)) < len(ngrams)

    found = search(no_repeat_ngram=size)
    assert_alike(found[:10], expected(lambda tokens, ended: not repeats(tokens))[:10])
    first = search(CIRCLE, 9)[0][0]
    if size == 3:
        assert first == []  # to end at once is likeliest, so force it on
        tokens = search(CIRCLE, 9, forced=(2, 3, 4, 2, 3), no_repeat_ngram=3)[0][0]
        assert tokens[:5] == [2, 3, 4, 2, 3]
        assert tokens[5:6] != [4]


def test_repetition_penalty():
    logits = np.array([[[2.0, -1.0, 0.5, -3.0]]], np.float32)
    rules = Rules(repetition_penalty=2.0)
    sequences = np.array([[[0, 3, 2, 2]]], np.int32)
    np.testing.assert_allclose(rules.penalized(logits, sequences, 2), [[[1.0, -1.0, 0.5, -6.0]]])
    np.testing.assert_allclose(rules.penalized(logits, sequences, 0), logits)


@pytest.mark.parametrize(
    "arguments", [{"repetition_penalty": 0.0}, {"repetition_penalty": float("nan")}, {"min_length": -1}]
)
def test_bad_rules(arguments):
    with pytest.raises(InputError, match=next(iter(arguments))):
        Rules(**arguments)


def test_what_is_forced_is_said_whatever_the_other_rules_are():
    assert search(forced=(2, END))[0][0] == [2]
    assert search(forced=(2, END))[0][2]
    assert search(forced=(2, 2), no_repeat_ngram=1)[0][0][:2] == [2, 2]
    assert search(forced=(2, 3), min_length=4)[0][0][:2] == [2, 3]


def test_tokens_that_cannot_be():
    with pytest.raises(InputError, match=r"not both. Received both: \[2\]"):
        Rules(forced=(2, None), forbidden=(2, 3))
    for rules in ({"forced": (5,)}, {"forbidden": (-1,)}):
        with pytest.raises(InputError, match="ids below 5"):
            search(**rules)


# ---- sampling ----


def draw(count=4000, max_length=1, table=TABLE, seed=1, **options):
    drawn = sample(
        toy.TableSteps(table), toy.inputs(1), **IDS, max_length=max_length, seed=seed, num_results=count, **options
    )
    return {name: value.numpy()[0] for name, value in drawn.items()}


def frequencies(drawn):
    first = np.where(drawn["lengths"] > 0, drawn["token_ids"][:, 0], END)
    return np.bincount(first, minlength=5) / len(first)


@pytest.mark.parametrize(
    ("options", "kept", "temperature"),
    [
        ({}, 5, 1.0),
        ({"temperature": 0.5}, 5, 0.5),
        ({"top_k": 2}, 2, 1.0),
        ({"top_p": 1e-6}, 1, 1.0),
        ({"top_k": 3, "temperature": 2.0}, 3, 2.0),
    ],
)
def test_tokens_are_drawn_by_their_probabilities(options, kept, temperature):
    logits = TABLE[0, START] / temperature
    probabilities = np.exp(toy.log_softmax(logits))
    probabilities[np.argsort(-probabilities)[kept:]] = 0
    np.testing.assert_allclose(frequencies(draw(**options)), probabilities / probabilities.sum(), atol=0.03)


def test_top_p_keeps_the_fewest_that_reach_it():
    probabilities = np.exp(toy.log_softmax(TABLE[0, START]))
    ordered = np.sort(probabilities)[::-1]
    for count in range(1, 5):
        top_p = float(ordered[:count].sum() - 1e-3)
        assert (frequencies(draw(top_p=top_p)) > 0).sum() == count


def test_sequences_scores_and_seed():
    drawn, again, other = draw(50, 6), draw(50, 6), draw(50, 6, seed=2)
    np.testing.assert_array_equal(drawn["token_ids"], again["token_ids"])
    assert drawn["token_ids"].shape != other["token_ids"].shape or (drawn["token_ids"] != other["token_ids"]).any()
    log_probabilities = toy.log_softmax(TABLE[0])
    for ids, length, ended, score in zip(
        drawn["token_ids"], drawn["lengths"], drawn["ended"], drawn["scores"], strict=True
    ):
        path = [START, *ids[:length].tolist(), *[END] * bool(ended)]
        total = sum(log_probabilities[a, b] for a, b in itertools.pairwise(path))
        np.testing.assert_allclose(score, total, atol=1e-4)
        assert ended or length == 6
        assert not ids[length:].any()
    assert 0 < drawn["ended"].mean() <= 1


def test_rules_hold_when_drawing_and_rows_leave():
    drawn = draw(200, 5, rules=Rules(forbidden=(2, 0), min_length=2))
    said = [ids[:length].tolist() for ids, length in zip(drawn["token_ids"], drawn["lengths"], strict=True)]
    assert set(itertools.chain(*said)) == {3, 4}
    assert drawn["lengths"].min() == 2
    tables = np.zeros((2, 5, 5))
    tables[0, :, END] = 99
    steps = toy.TableSteps(tables)
    both = tf.function(lambda: sample(steps, toy.inputs(2), **IDS, max_length=[4, 4], seed=0, num_results=3))()
    assert both["lengths"][0].numpy().tolist() == [0, 0, 0]
    assert int(steps.computed) <= 6 + 3 * 3


def test_a_sequence_stops_where_nothing_may_be_said():
    drawn = draw(50, 6, rules=Rules(forbidden=(0, END), no_repeat_ngram=1))
    said = [ids[:length].tolist() for ids, length in zip(drawn["token_ids"], drawn["lengths"], strict=True)]
    assert {tuple(sorted(tokens)) for tokens in said} == {(2, 3, 4)}
    assert not drawn["ended"].any()
    assert drawn["scores"].min() > -100


@pytest.mark.parametrize("options", [{"temperature": 0.0}, {"top_p": 0.0}, {"top_k": -1}, {"num_results": 0}])
def test_bad_options(options):
    with pytest.raises(InputError, match=next(iter(options))):
        sample(toy.TableSteps(TABLE), toy.inputs(1), **{**IDS, "max_length": 3, "seed": 0, **options})
