"""Metrics against slow definitions in plain Python, and against numbers worked out by hand."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasformer.metrics import (
    best_f1_threshold,
    classification_metrics,
    confusion_matrix,
    pearson,
    regression_metrics,
    spearman,
)

quick = settings(max_examples=100, deadline=None, derandomize=True)
LABELS = st.integers(2, 4).flatmap(
    lambda classes: st.tuples(
        st.just(classes),
        st.lists(st.tuples(st.integers(0, classes - 1), st.integers(0, classes - 1)), min_size=1, max_size=25),
    )
)
NUMBERS = st.lists(st.tuples(st.integers(-5, 5), st.integers(-5, 5)), min_size=1, max_size=15)


def slow_classification(targets, predictions, classes):
    """From the pairs themselves; Matthews as the correlation of the indicator vectors (Gorodkin 2004, equation 8)."""
    pairs = list(zip(targets, predictions, strict=True))
    f1, precision, recall = [], [], []
    for label in range(classes):
        hits = sum(t == p == label for t, p in pairs)
        wrong = sum(p == label != t for t, p in pairs)
        missed = sum(t == label != p for t, p in pairs)
        precision.append(hits / (hits + wrong) if hits + wrong else 0)
        recall.append(hits / (hits + missed) if hits + missed else 0)
        f1.append(2 * hits / (2 * hits + wrong + missed) if hits + wrong + missed else 0)
    occurring = sorted(set(targets))

    def covariance(x, y):
        total = Fraction(0)
        for label in range(classes):
            a, b = [Fraction(v == label) for v in x], [Fraction(v == label) for v in y]
            total += sum((i - sum(a) / len(a)) * (j - sum(b) / len(b)) for i, j in zip(a, b, strict=True))
        return total

    spread = covariance(targets, targets) * covariance(predictions, predictions)
    metrics = {
        "accuracy": sum(t == p for t, p in pairs) / len(pairs),
        "macro_f1": sum(f1[label] for label in occurring) / len(occurring),
        "macro_recall": sum(recall[label] for label in occurring) / len(occurring),
        "matthews": float(covariance(targets, predictions)) / math.sqrt(spread) if spread else 0.0,
    }
    if classes == 2:
        metrics |= {"f1": f1[1], "precision": precision[1], "recall": recall[1]}
    return metrics


@given(LABELS)
@quick
def test_classification_metrics(case):
    classes, pairs = case
    targets, predictions = zip(*pairs, strict=True)
    metrics = classification_metrics(np.array(targets), np.array(predictions), classes)
    expected = slow_classification(targets, predictions, classes)
    assert metrics.keys() == expected.keys()
    for name, value in metrics.items():
        assert isinstance(value, float)
        assert value == pytest.approx(expected[name], abs=1e-9), name


def test_classification_by_hand():
    targets, predictions = [0, 0, 0, 1, 1, 2], [0, 0, 1, 1, 2, 2]
    matrix = confusion_matrix(targets, predictions, 3)
    np.testing.assert_array_equal(matrix, [[2, 1, 0], [0, 1, 1], [0, 0, 1]])
    metrics = classification_metrics(targets, predictions, 3)
    # F1: 2*2/(3+2), 2*1/(2+2), 2*1/(1+2); recall: 2/3, 1/2, 1; R_K: (4*6 - 2*3 - 2*2 - 2*1) / sqrt((36-12)(36-14))
    assert metrics["accuracy"] == pytest.approx(4 / 6)
    assert metrics["macro_f1"] == pytest.approx((4 / 5 + 1 / 2 + 2 / 3) / 3)
    assert metrics["macro_recall"] == pytest.approx((2 / 3 + 1 / 2 + 1) / 3)
    assert metrics["matthews"] == pytest.approx(12 / math.sqrt(24 * 22))


def test_two_classes_by_hand():
    """Matthews 1975: (TP TN - FP FN) / sqrt((TP+FP)(TP+FN)(TN+FP)(TN+FN)), here of 6, 3, 1, 2."""
    targets = [1] * 6 + [0] * 3 + [0] * 1 + [1] * 2
    predictions = [1] * 6 + [0] * 3 + [1] * 1 + [0] * 2
    metrics = classification_metrics(targets, predictions, 2)
    assert metrics["matthews"] == pytest.approx((6 * 3 - 1 * 2) / math.sqrt(7 * 8 * 4 * 5))
    assert (metrics["precision"], metrics["recall"]) == pytest.approx((6 / 7, 6 / 8))
    assert metrics["f1"] == pytest.approx(12 / 15)


def test_large_counts_do_not_overflow():
    """Products of counts of 400,000 examples are beyond 32 bits."""
    targets = np.arange(400_000) % 2
    assert classification_metrics(targets, targets, 2)["matthews"] == pytest.approx(1)
    assert classification_metrics(targets, 1 - targets, 2)["matthews"] == pytest.approx(-1)


def slow_pearson(x, y):
    x, y = [Fraction(v) for v in x], [Fraction(v) for v in y]
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    spread = sum((a - mean_x) ** 2 for a in x) * sum((b - mean_y) ** 2 for b in y)
    covariance = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))
    return float(covariance) / math.sqrt(spread) if spread else 0.0


def slow_ranks(values):
    """One more than the number of smaller values, and half of the other equal ones."""
    return [1 + sum(v < x for v in values) + Fraction(sum(v == x for v in values) - 1, 2) for x in values]


@given(NUMBERS)
@quick
def test_correlations(pairs):
    x, y = zip(*pairs, strict=True)
    assert pearson(x, y) == pytest.approx(slow_pearson(x, y), abs=1e-9)
    assert spearman(x, y) == pytest.approx(slow_pearson(slow_ranks(x), slow_ranks(y)), abs=1e-9)


def test_correlations_by_hand():
    assert pearson([1, 2, 3], [2, 4, 6]) == pytest.approx(1)
    assert pearson([1, 2, 3], [1, 3, 2]) == pytest.approx(0.5)
    assert spearman([1, 2, 3, 4], [1, 10, 100, 50]) == pytest.approx(1 - 6 * 2 / (4 * 15))
    assert spearman([1, 1, 2], [3, 4, 5]) == pytest.approx(slow_pearson([1.5, 1.5, 3], [1, 2, 3]))
    assert spearman([3, 1, 2], np.exp([3, 1, 2])) == pytest.approx(1)


def test_constant_numbers_have_no_correlation():
    """0, also where the mean of equal floats is not quite that float."""
    for other in ([1.0, 2.0, 4.0], [0.1] * 3):
        assert pearson([0.1] * 3, other) == pytest.approx(0, abs=1e-9)
        assert spearman([0.1] * 3, other) == pytest.approx(0, abs=1e-9)


def test_regression_by_hand():
    found = regression_metrics([1, 2, 6], [2, 2, 4])
    assert found["mae"] == 1
    assert found["rmse"] == pytest.approx(np.sqrt(5 / 3))
    assert found["r2"] == pytest.approx(1 - 5 / 14)
    assert found["spearman"] == pytest.approx(np.sqrt(3) / 2)
    assert regression_metrics([3, 3], [1, 5])["r2"] == 0


def test_the_best_threshold_by_trying_all():
    random = np.random.default_rng(0)
    for _ in range(20):
        targets, scores = random.random(12) < 0.4, random.choice([0.1, 0.2, 0.35, 0.5, 0.8, 0.9], 12)
        threshold, best = best_f1_threshold(targets, scores)

        def f1(limit, targets=targets, scores=scores):
            given = scores >= limit
            return 2 * (given & targets).sum() / max(given.sum() + targets.sum(), 1)

        assert best == pytest.approx(max(map(f1, scores)))
        assert best == pytest.approx(f1(threshold))
        assert threshold not in scores, "half-way between scores"
    assert best_f1_threshold([False, False], [0.2, 0.9]) == (0.5, 0.0)
    assert best_f1_threshold([[True, False], [False, True]], [[0.9, 0.2], [0.3, 0.7]])[1] == 1
