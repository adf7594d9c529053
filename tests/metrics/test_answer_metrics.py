"""Exact match and F1 against SQuAD's two official scripts, written again as they stand."""

import collections
import re
import string

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasformer.metrics import best_threshold, normalize_answer, score_answer


def official_normalize(s):
    def remove_articles(text):
        return re.sub(r"\b(a|an|the)\b", " ", text)

    def white_space_fix(text):
        return " ".join(text.split())

    def remove_punc(text):
        exclude = set(string.punctuation)
        return "".join(ch for ch in text if ch not in exclude)

    return white_space_fix(remove_articles(remove_punc(s.lower())))


def official_1_1(prediction, ground_truths):
    def f1_score(prediction, ground_truth):
        prediction_tokens = official_normalize(prediction).split()
        ground_truth_tokens = official_normalize(ground_truth).split()
        common = collections.Counter(prediction_tokens) & collections.Counter(ground_truth_tokens)
        num_same = sum(common.values())
        if num_same == 0:
            return 0
        precision = 1.0 * num_same / len(prediction_tokens)
        recall = 1.0 * num_same / len(ground_truth_tokens)
        return (2 * precision * recall) / (precision + recall)

    exact = max(official_normalize(prediction) == official_normalize(truth) for truth in ground_truths)
    return int(exact), max(f1_score(prediction, truth) for truth in ground_truths)


def official_2_0(a_pred, answers):
    def get_tokens(s):
        return official_normalize(s).split() if s else []

    def compute_f1(a_gold, a_pred):
        gold_toks, pred_toks = get_tokens(a_gold), get_tokens(a_pred)
        common = collections.Counter(gold_toks) & collections.Counter(pred_toks)
        num_same = sum(common.values())
        if len(gold_toks) == 0 or len(pred_toks) == 0:
            return int(gold_toks == pred_toks)
        if num_same == 0:
            return 0
        precision = 1.0 * num_same / len(pred_toks)
        recall = 1.0 * num_same / len(gold_toks)
        return (2 * precision * recall) / (precision + recall)

    gold_answers = [a for a in answers if official_normalize(a)]
    if not gold_answers:
        gold_answers = [""]
    exact = max(int(official_normalize(a) == official_normalize(a_pred)) for a in gold_answers)
    return exact, max(compute_f1(a, a_pred) for a in gold_answers)


def official_best_threshold(scores, na_probs, predictions, has_answer):
    """find_best_thresh of the script of 2.0."""
    num_no_ans = sum(1 for has in has_answer if not has)
    cur_score = best_score = num_no_ans
    best_thresh = 0.0
    for i in sorted(range(len(scores)), key=lambda k: na_probs[k]):
        if has_answer[i]:
            diff = scores[i]
        else:
            diff = -1 if predictions[i] else 0
        cur_score += diff
        if cur_score > best_score:
            best_score = cur_score
            best_thresh = na_probs[i]
    return best_score / len(scores), best_thresh


WORDS = ["the", "The", "a", "cat", "Cat's", "sat", "Ann", "an", ".", "5%", "Ä", "«x»", "\xa0", ""]
texts = st.one_of(st.lists(st.sampled_from(WORDS)).map(" ".join), st.text(max_size=12))


@settings(max_examples=400, deadline=None)
@given(texts, st.lists(texts, min_size=1, max_size=3))
def test_scores_are_those_of_the_script_1_1(prediction, answers):
    assert score_answer(prediction, answers) == pytest.approx(official_1_1(prediction, answers))


@settings(max_examples=400, deadline=None)
@given(texts, st.lists(texts, max_size=3))
def test_scores_are_those_of_the_script_2_0(prediction, answers):
    assert score_answer(prediction, answers, unanswerable=True) == pytest.approx(official_2_0(prediction, answers))


def test_known_values():
    assert normalize_answer("The  U.S. Army's an-A ") == "us armys ana"
    assert score_answer("the Norse leader", ["Rollo", "Norse leader Rollo"]) == (0.0, pytest.approx(0.8))
    assert score_answer("", [], unanswerable=True) == (1.0, 1.0)
    assert score_answer("x", [], unanswerable=True) == (0.0, 0.0)
    assert score_answer("x", []) == (0.0, 0.0)


rows = st.lists(st.tuples(st.floats(0, 1), st.booleans(), st.booleans()), min_size=1, max_size=12)


@settings(max_examples=300, deadline=None)
@given(rows, st.randoms())
def test_the_best_threshold_is_that_of_the_script(rows, random):
    scores, answered, has_answer = map(list, zip(*rows, strict=True))
    na_probs = list(range(len(rows)))
    random.shuffle(na_probs)
    threshold, best = best_threshold(na_probs, scores, answered, np.array(has_answer))
    expected, _ = official_best_threshold(scores, na_probs, answered, has_answer)
    assert best == pytest.approx(expected)
    # What is promised comes out when it is applied.
    given_up = [
        score if has else float(not text) for score, text, has in zip(scores, answered, has_answer, strict=True)
    ]
    applied = [
        got if probability <= threshold else float(not has)
        for got, probability, has in zip(given_up, na_probs, has_answer, strict=True)
    ]
    assert np.mean(applied) == pytest.approx(best)


def test_equal_numbers_are_answered_together():
    threshold, best = best_threshold([0.5, 0.5], [1.0, 0.0], [True, True], np.array([True, False]))
    assert best == 0.5
    assert best_threshold([0.1, 0.5], [1.0, 0.0], [True, True], np.array([True, False])) == (0.3, 1.0)
    assert threshold != 0.5, "equal numbers are on one side of it"
