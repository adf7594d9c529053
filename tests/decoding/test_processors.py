"""What may be generated."""

import numpy as np
import pytest
import tensorflow as tf
import toy

from kerasformer.decoding import (
    Beam,
    ForbiddenTokens,
    ForcedTokens,
    MinLength,
    NoRepeatNgram,
    Processor,
    RepetitionPenalty,
    search,
)
from kerasformer.decoding.state import Said
from kerasformer.errors import InputError

START, END = 0, 1
IDS = {"start_id": START, "end_id": END}
TABLE = np.random.default_rng(3).normal(size=(1, 5, 5)) * 1.5
# Goes 2, 3, 4, 2, 3, 4, … and never ends by itself.
CIRCLE = np.zeros((1, 5, 5))
for here, there in [(0, 2), (2, 3), (3, 4), (4, 2)]:
    CIRCLE[0, here, there] = 9
CIRCLE[0, :, END] = 4


def found_with(*processors, table=TABLE, max_length=4):
    """All sequences that a beam of 40 finds, `(tokens, log probability, ended)`, the best first."""
    found = search(
        toy.TableSteps(table), toy.inputs(1), **IDS, max_length=max_length, num_results=40,
        select=Beam(40, length_penalty=0.0, stop_early=False), processors=processors,
    )  # fmt: skip
    found = {name: value.numpy()[0] for name, value in found.items()}
    exists = found["log_probabilities"] != 0
    columns = [found[name][exists] for name in ("token_ids", "lengths", "log_probabilities", "ended")]
    return [(ids[:length].tolist(), total, bool(ended)) for ids, length, total, ended in zip(*columns, strict=True)]


def expected(keep, max_length=4):
    """The same by brute force, of all sequences that `keep` accepts."""
    everything = toy.all_sequences(TABLE[0], START, END, max_length, 0.0)
    return [(tokens, total, ended) for _, total, tokens, ended in everything if keep(tokens, ended)]


def assert_alike(actual, wanted):
    assert [(tokens, ended) for tokens, _, ended in actual] == [(tokens, ended) for tokens, _, ended in wanted]
    np.testing.assert_allclose([total for _, total, _ in actual], [total for _, total, _ in wanted], atol=1e-4)


def said(sequences, step, prompt=None, rows=None):
    sequences = tf.constant(sequences, tf.int32)
    rows = tf.range(sequences.shape[0]) if rows is None else tf.constant(rows)
    prompt = tf.zeros([sequences.shape[0], 0], tf.int32) if prompt is None else tf.constant(prompt, tf.int32)
    return Said(rows, prompt, sequences, tf.constant(step), END)


def test_forbidden_tokens_leave_the_scores_of_others():
    found = found_with(ForbiddenTokens((0, 3)))
    assert_alike(found[:15], expected(lambda tokens, ended: not {0, 3} & set(tokens))[:15])


def test_forced_tokens():
    found = found_with(ForcedTokens((2, None, 4)))
    wanted = expected(lambda tokens, ended: len(tokens) > 2 and tokens[0] == 2 and tokens[2] == 4)
    assert_alike(found[:8], wanted[:8])
    assert all(tokens[0] == 2 and tokens[2] == 4 for tokens, _, _ in found)


def test_min_length():
    found = found_with(MinLength(3))
    assert min(len(tokens) for tokens, _, _ in found) == 3
    assert_alike(found[:5], expected(lambda tokens, ended: len(tokens) >= 3)[:5])


def test_both_lengths_can_differ_by_row_and_rows_keep_theirs_when_others_leave():
    tables = np.zeros((4, 5, 5))
    tables[:, :, END], tables[:, :, 2] = 9, 5
    options = IDS | {"select": Beam(2), "max_length": tf.constant([1, 9, 9, 2])}
    found = search(toy.TableSteps(tables), toy.inputs(4), **options, processors=[MinLength(tf.constant([0, 3, 1, 5]))])
    assert found["lengths"].numpy().ravel().tolist() == [0, 3, 1, 2]
    assert found["ended"].numpy().ravel().tolist() == [True, True, True, False]


def test_a_length_can_be_forced():
    found = found_with(MinLength(3), ForbiddenTokens((0,)), max_length=3)
    assert {len(tokens) for tokens, _, _ in found} == {3}
    assert not any(ended for _, _, ended in found)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_no_ngram_twice(size):
    def repeats(tokens):
        ngrams = [tuple(tokens[i : i + size]) for i in range(len(tokens) - size + 1)]
        return len(set(ngrams)) < len(ngrams)

    assert_alike(found_with(NoRepeatNgram(size))[:10], expected(lambda tokens, ended: not repeats(tokens))[:10])


@pytest.mark.parametrize(
    ("size", "prompt", "generated", "forbidden"),
    [
        (2, [-1, -1, 4, 2], [], set()),
        (2, [4, 3, 2, 4], [], {3}),  # all of it in the prompt
        (3, [-1, 4, 3, 2], [4, 3], {2}),  # the first one in the prompt, the second one behind it
        (3, [-1, -1, 4, 3], [2, 4, 3], {2}),  # the first one crosses the border
        (3, [-1, -1, -1, 3], [2, 4, 3], set()),  # what stands in front of the prompt is no token
        (1, [-1, 0, 3, 3], [4], {0, 3, 4}),
    ],
)
def test_ngrams_of_prompts_count(size, prompt, generated, forbidden):
    state = said([[[*generated, *[0] * (5 - len(generated))]]], len(generated), [prompt])
    scores = tf.zeros([1, 1, 5])
    restricted = NoRepeatNgram(size).restrict(scores, scores, state).numpy()[0, 0]
    assert set(np.flatnonzero(restricted < 0)) == forbidden


def test_repetition_penalty():
    logits = tf.constant([[[2.0, -1.0, 0.5, -3.0]]])
    penalty = RepetitionPenalty(2.0)
    sequences = [[[0, 3, 2, 2]]]
    np.testing.assert_allclose(penalty.reweight(logits, said(sequences, 2)), [[[1.0, -1.0, 0.5, -6.0]]])
    np.testing.assert_allclose(penalty.reweight(logits, said(sequences, 0)), logits)
    prompted = penalty.reweight(logits, said(sequences, 1, [[-1, 1]]))
    np.testing.assert_allclose(prompted, [[[1.0, -2.0, 0.5, -3.0]]])


def test_what_is_forced_is_generated_whatever_comes_before_it():
    assert found_with(ForcedTokens((2, END)))[0][0] == [2]
    assert found_with(ForcedTokens((2, END)))[0][2]
    assert found_with(NoRepeatNgram(1), ForcedTokens((2, 2)))[0][0][:2] == [2, 2]
    assert found_with(MinLength(4), ForbiddenTokens((2,)), ForcedTokens((2, 3)))[0][0][:2] == [2, 3]
    tokens = found_with(NoRepeatNgram(3), ForcedTokens((2, 3, 4, 2, 3)), table=CIRCLE, max_length=9)[0][0]
    assert tokens[:5] == [2, 3, 4, 2, 3]
    assert tokens[5:6] != [4]


def test_a_custom_processor():
    class OnlyEven(Processor):
        def restrict(self, scores, logits, said):
            even = tf.range(scores.shape[-1]) % 2 == 0
            return tf.where(even | (tf.range(scores.shape[-1]) == said.end_id), scores, -1e9)

    assert_alike(found_with(OnlyEven())[:12], expected(lambda tokens, ended: not any(t % 2 for t in tokens))[:12])


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: RepetitionPenalty(0.0), "penalty=0.0"),
        (lambda: RepetitionPenalty(float("nan")), "penalty=nan"),
        (lambda: MinLength(-1), "length=-1"),
        (lambda: MinLength([1, -2]), r"length=\[1, -2\]"),
        (lambda: NoRepeatNgram(-1), "size=-1"),
        (lambda: found_with(ForcedTokens((5,))), "ids below 5"),
        (lambda: found_with(ForbiddenTokens((-1,))), "ids below 5"),
    ],
)
def test_bad_arguments(make, words):
    with pytest.raises(InputError, match=words):
        make()
