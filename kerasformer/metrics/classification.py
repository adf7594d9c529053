"""Metrics of classification and regression over a data set, by scikit-learn and SciPy.

Accuracy and the confusion matrix need no library. The others are left out where theirs is not installed.
"""

import numpy as np

from kerasformer.extras import metric_library


def confusion_matrix(targets, predictions, num_classes):
    """int64 `[class, predicted class]`, from two int `[N]`."""
    targets, predictions = np.asarray(targets, np.int64), np.asarray(predictions, np.int64)
    counts = np.bincount(targets * num_classes + predictions, minlength=num_classes**2)
    return counts.reshape(num_classes, num_classes)


def per_class(targets, predictions, num_classes):
    """Precision, recall, F1 and number of examples of each class, `[classes]` each; 0 where undefined.

    None where scikit-learn is not installed.
    """
    sklearn = metric_library("sklearn.metrics", "precision, recall, F1, Matthews correlation")
    if sklearn is None:
        return None
    return sklearn.precision_recall_fscore_support(
        targets, predictions, labels=np.arange(num_classes), zero_division=0.0
    )


def classification_metrics(targets, predictions, num_classes):
    """Accuracy, macro F1, macro recall and Matthews correlation; for two classes also precision, recall and F1 of the
    second.

    The macro averages are over the classes that occur in `targets`, as in TweetEval and scikit-learn on full splits.
    Matthews correlation is that of several classes (Gorodkin 2004, R_K), 0 where undefined.
    """
    targets, predictions = np.asarray(targets, np.int64), np.asarray(predictions, np.int64)
    metrics = {"accuracy": float(np.mean(targets == predictions)) if len(targets) else 0.0}
    classes = per_class(targets, predictions, num_classes)
    if classes is None:
        return metrics
    from sklearn.metrics import matthews_corrcoef

    precision, recall, f1, counts = classes
    occurs = counts > 0
    metrics |= {
        "macro_f1": float(f1[occurs].mean()),
        "macro_recall": float(recall[occurs].mean()),
        # Of a single class scikit-learn warns.
        "matthews": float(matthews_corrcoef(targets, predictions)) if len({*targets, *predictions}) > 1 else 0.0,
    }
    if num_classes == 2:
        metrics |= {"f1": float(f1[1]), "precision": float(precision[1]), "recall": float(recall[1])}
    return metrics


def multi_label_metrics(targets, predictions):
    """Of several labels a text: `accuracy` (all labels right), `micro_f1` and `macro_f1`, as fractions.

    Args:
        targets, predictions: bool `[N, classes]`. A class without true and without predicted texts counts as 0.
    """
    right = (targets & predictions).sum(0).astype(float)
    total = (targets.sum(0) + predictions.sum(0)).astype(float)
    f1 = np.divide(2 * right, total, out=np.zeros_like(right), where=total > 0)
    return {
        "accuracy": float((targets == predictions).all(1).mean()),
        "micro_f1": float(2 * right.sum() / total.sum()) if total.sum() else 0.0,
        "macro_f1": float(f1.mean()),
    }


def best_f1_threshold(targets, scores):
    """The threshold on a score with the best F1, half-way to the next lower score.

    Args:
        targets: bool `[N]`, which are of the class; of several labels a text `[N, classes]`, for the micro F1.
        scores: float, the same shape; what is at least the threshold is given the class.

    Returns:
        `(threshold, F1)`; `(0.5, 0.0)` where `targets` has none of the class.
    """
    targets, scores = np.ravel(targets).astype(bool), np.ravel(scores).astype(np.float64)
    if not targets.any():
        return 0.5, 0.0
    order = np.argsort(-scores, kind="stable")
    scores, right = scores[order], np.cumsum(targets[order])
    f1 = 2 * right / (np.arange(1, len(right) + 1) + right[-1])
    # Equal scores are on the same side of a threshold.
    possible = np.append(np.diff(scores) < 0, True)
    best = int(np.argmax(np.where(possible, f1, -1.0)))
    next_lower = scores[best + 1] if best + 1 < len(scores) else 0.0
    return float((scores[best] + next_lower) / 2), float(f1[best])


def regression_metrics(targets, predictions):
    """`rmse`, `mae` and `r2` (0 where the targets are constant), and `correlations`, of two `[N]`."""
    targets, predictions = np.asarray(targets, np.float64), np.asarray(predictions, np.float64)
    errors, deviations = targets - predictions, targets - np.mean(targets)
    total = np.sum(deviations**2)
    return {
        "rmse": float(np.sqrt(np.mean(errors**2))),
        "mae": float(np.mean(np.abs(errors))),
        "r2": float(1 - np.sum(errors**2) / total) if total else 0.0,
        **correlations(targets, predictions),
    }


def correlations(targets, predictions):
    """`{"pearson", "spearman"}` of two `[N]`; empty where SciPy is not installed."""
    if metric_library("scipy.stats", "pearson, spearman") is None:
        return {}
    return {"pearson": pearson(targets, predictions), "spearman": spearman(targets, predictions)}


def pearson(x, y):
    """Pearson correlation of two `[N]`; 0 where one of them is constant, where SciPy returns NaN."""
    from scipy import stats

    return _correlation(stats.pearsonr, x, y)


def spearman(x, y):
    """Spearman correlation of two `[N]`: Pearson's of the ranks, equal values sharing their mean rank; 0 where one of
    them is constant, where SciPy returns NaN."""
    from scipy import stats

    return _correlation(stats.spearmanr, x, y)


def _correlation(function, x, y):
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if len(x) < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return 0.0
    return float(np.nan_to_num(function(x, y).statistic))
