"""Metrics of classification and regression over a whole data set, from the confusion matrix."""

import numpy as np


def confusion_matrix(targets, predictions, num_classes):
    """int64 `[class, predicted class]`, from two int `[N]`."""
    targets, predictions = np.asarray(targets, np.int64), np.asarray(predictions, np.int64)
    counts = np.bincount(targets * num_classes + predictions, minlength=num_classes**2)
    return counts.reshape(num_classes, num_classes)


def per_class(matrix):
    """Precision, recall and F1 of each class, float64 `[classes]` each; 0 where undefined, as is usual."""
    hits = np.diag(matrix).astype(np.float64)
    predicted, actual = matrix.sum(0), matrix.sum(1)
    precision = np.divide(hits, predicted, out=np.zeros_like(hits), where=predicted > 0)
    recall = np.divide(hits, actual, out=np.zeros_like(hits), where=actual > 0)
    f1 = np.divide(2 * hits, predicted + actual, out=np.zeros_like(hits), where=predicted + actual > 0)
    return precision, recall, f1


def matthews_correlation(matrix):
    """Matthews correlation, for several classes as Gorodkin 2004 (R_K); 0 where undefined."""
    matrix = matrix.astype(np.float64)
    total, hits = matrix.sum(), np.trace(matrix)
    predicted, actual = matrix.sum(0), matrix.sum(1)
    covariance = hits * total - predicted @ actual
    spread = np.sqrt(total**2 - predicted @ predicted) * np.sqrt(total**2 - actual @ actual)
    return float(covariance / spread) if spread else 0.0


def classification_metrics(targets, predictions, num_classes):
    """Accuracy, macro F1, macro recall and Matthews correlation; for two classes also the F1 of the second.

    The macro averages are over the classes that occur in `targets`, as in TweetEval and scikit-learn on full splits.
    """
    matrix = confusion_matrix(targets, predictions, num_classes)
    precision, recall, f1 = per_class(matrix)
    occurs = matrix.sum(1) > 0
    metrics = {
        "accuracy": float(np.trace(matrix) / max(matrix.sum(), 1)),
        "macro_f1": float(f1[occurs].mean()),
        "macro_recall": float(recall[occurs].mean()),
        "matthews": matthews_correlation(matrix),
    }
    if num_classes == 2:
        metrics |= {"f1": float(f1[1]), "precision": float(precision[1]), "recall": float(recall[1])}
    return metrics


def pearson(x, y):
    """Pearson correlation of two `[N]`; 0 where one of them is constant."""
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    # Asked before the mean is taken away, whose rounding would make a constant vary.
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return 0.0
    x, y = x - x.mean(), y - y.mean()
    spread = np.sqrt((x @ x) * (y @ y))
    return float(x @ y / spread) if spread else 0.0


def spearman(x, y):
    """Spearman correlation of two `[N]`: Pearson's of the ranks, equal values sharing their mean rank."""
    return pearson(_ranks(x), _ranks(y))


def _ranks(values):
    _, inverse, counts = np.unique(np.asarray(values), return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[inverse]
