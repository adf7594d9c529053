"""Exact match and F1 of answers, with the numbers of SQuAD's official scripts."""

import collections
import re
import string

import numpy as np

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = frozenset(string.punctuation)


def normalize_answer(text):
    """Lower case, without ASCII punctuation, articles and repeated white space."""
    text = "".join(char for char in text.lower() if char not in _PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", text).split())


def score_answer(prediction, answers, unanswerable=False):
    """Exact match and F1 of one prediction, each the best over the answers.

    Args:
        prediction: str, "" for no answer.
        answers: str each; none where there is no answer.
        unanswerable: score as the script of SQuAD 2.0 does, which knows questions without an answer, else as that of
            1.1 does.

    Returns:
        `(exact match, F1)`.
    """
    answers = [normalize_answer(answer) for answer in answers]
    if unanswerable:
        answers = [answer for answer in answers if answer] or [""]
    prediction = normalize_answer(prediction)
    exact = max((float(prediction == answer) for answer in answers), default=0.0)
    return exact, max((_f1(prediction, answer, unanswerable) for answer in answers), default=0.0)


def _f1(prediction, answer, unanswerable):
    found, wanted = prediction.split(), answer.split()
    if unanswerable and not (found and wanted):
        return float(found == wanted)
    common = sum((collections.Counter(found) & collections.Counter(wanted)).values())
    if not common:
        return 0.0
    precision, recall = common / len(found), common / len(wanted)
    return 2 * precision * recall / (precision + recall)


def best_threshold(no_answer, scores, answered, answerable):
    """The threshold with the best mean score if what lies above it is not answered.

    Args:
        no_answer: float `[N]`, the larger, the less likely there is an answer.
        scores: float `[N]`, of the predictions if all are given.
        answered: bool `[N]`, whether there is a prediction.
        answerable: bool `[N]`, whether there is an answer.

    Returns:
        `(threshold, mean score)`.
    """
    order = np.argsort(no_answer, kind="stable")
    no_answer = np.asarray(no_answer, np.float64)[order]
    # What is gained by giving one more prediction in place of no answer.
    gains = np.where(answerable, scores, -np.asarray(answered, np.float64))[order]
    totals = np.count_nonzero(~np.asarray(answerable)) + np.concatenate([[0.0], np.cumsum(gains)])
    # Equal numbers are answered together.
    possible = np.concatenate([[True], np.diff(no_answer) > 0, [True]])
    best = int(np.argmax(np.where(possible, totals, -np.inf)))
    # Between two numbers, not at one of them: a served model rounds in other places.
    edges = np.concatenate([[no_answer[0] - 2.0], no_answer, [no_answer[-1] + 2.0]])
    return float((edges[best] + edges[best + 1]) / 2), float(totals[best] / len(order))
