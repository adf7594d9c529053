"""What a classifier answers for labelled texts, and figures of it with confidence intervals."""

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np

from kerasformer import metrics
from kerasformer.data import Examples
from kerasformer.errors import InputError
from kerasformer.tasks import TextClassifier

_REPEATS, _LEVEL = 1000, 0.95


@dataclasses.dataclass(frozen=True)
class Figure:
    """A number and its 95 % confidence interval by the percentile bootstrap (Efron 1979): of 1,000 samples drawn from
    the same texts with replacement, 2.5 % give less than `low`, and 2.5 % more than `high`.

    Attributes:
        value: of all texts.
        low, high: ends of the interval; NaN where there are fewer than two texts.
    """

    value: float
    low: float
    high: float

    def __str__(self):
        if not np.isfinite(self.low):
            return f"{self.value:.3f}"
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


@dataclasses.dataclass(frozen=True, eq=False)
class Outcomes:
    """Labelled texts and what a classifier answers for them.

    Attributes:
        examples: N `Examples`.
        scores: float32 `[N, classes]` probabilities; of a regression `[N]` numbers.
        predictions: int32 `[N]`; of several labels a text bool `[N, classes]`; of a regression `[N]` numbers.
        label_names: as of the task; None for a regression.
    """

    examples: Examples
    scores: np.ndarray
    predictions: np.ndarray
    label_names: tuple[str, ...] | None

    def __len__(self):
        return len(self.examples)

    @property
    def targets(self):
        """What people say, as in `predictions`."""
        return self.examples.targets > 0 if self.examples.multi_label else self.examples.targets

    @property
    def errors(self):
        """How wrong each answer is, float `[N]`: 1 less the probability of the right label; of several labels the
        largest distance of a probability from its label; of a regression the distance."""
        if self.label_names is None:
            return np.abs(self.scores - self.targets)
        if self.examples.multi_label:
            return np.abs(self.scores - self.targets).max(1)
        return 1 - self.scores[np.arange(len(self)), self.targets]

    @property
    def right(self):
        """Whether each answer is right, all of its labels, bool `[N]`; None for a regression."""
        if self.label_names is None:
            return None
        same = self.predictions == self.targets
        return same.all(1) if self.examples.multi_label else same

    def select(self, indices) -> "Outcomes":
        """Those at `indices`, integers or a bool mask `[N]`."""
        return Outcomes(
            self.examples.select(indices), self.scores[indices], self.predictions[indices], self.label_names
        )

    def figures(self, seed: int = 0) -> dict[str, Figure]:
        """The usual metrics with their intervals, by name: of one label `accuracy` and `macro_f1`, of two classes also
        `f1`; of several labels a text `accuracy` and `micro_f1`; of a regression `mae`, and `spearman` where SciPy is
        installed."""
        if self.label_names is None:
            return _resampled(self._regression_metrics, len(self), seed, repeats=_REPEATS // 5)
        if self.examples.multi_label:
            return _resampled(self._multi_label_metrics, len(self), seed)
        return classification_figures(
            metrics.confusion_matrix(self.targets, self.predictions, len(self.label_names)), seed
        )

    def _regression_metrics(self, rows):
        targets, numbers = self.targets[rows], self.scores[rows]
        found = {"mae": np.abs(targets - numbers).mean()}
        if "spearman" in metrics.correlations(targets[:1], numbers[:1]):
            found["spearman"] = metrics.spearman(targets, numbers)
        return found

    def _multi_label_metrics(self, rows):
        found = metrics.multi_label_metrics(self.targets[rows], self.predictions[rows])
        return {name: found[name] for name in ("accuracy", "micro_f1")}


def outcomes(
    task: TextClassifier,
    examples: Examples,
    *,
    batch_size: int = 32,
    advance: Callable[[int, int], object] = lambda done, total: None,
) -> Outcomes:
    """Asks a classifier for each labelled text.

    Args:
        task: a `TextClassifier`.
        examples: as `task.labelled_examples` reads them.
        batch_size: texts computed at a time.
        advance: called with `(texts done, texts in all)`.

    Raises:
        InputError: another task, or examples without labels.
    """
    if not isinstance(task, TextClassifier):
        raise InputError(f"Answers are compared with labels for a TextClassifier. Received: a {type(task).__name__}.")
    if examples.targets is None or not len(examples):
        raise InputError(f"The examples must have a label or score each. Not in: {examples.source}")
    if (examples.pairs is not None) != task.pairs:
        raise InputError(
            f"The task reads {'pairs of texts' if task.pairs else 'single texts'}. Others are in: {examples.source}"
        )
    columns = [examples.texts] if examples.pairs is None else [examples.texts, examples.pairs]
    found = []
    # Some batches at a time, for the progress.
    step = 8 * batch_size
    for start in range(0, len(examples), step):
        found.append(task.predict(*[list(column[start : start + step]) for column in columns], batch_size=batch_size))
        advance(min(start + step, len(examples)), len(examples))
    key = "score" if task.is_regression else "scores"
    scores = np.concatenate([answer[key] for answer in found])
    return Outcomes(examples, scores, predicted(task, scores), task.label_names)


def predicted(task, scores):
    """What a classifier answers for its `scores`, see `Outcomes.predictions`."""
    if task.is_regression:
        return scores
    return scores >= task.threshold if task.multi_label else scores.argmax(-1).astype(np.int32)


def mean_figure(values, seed: int = 0) -> Figure:
    """The mean of the `values` of N texts, float `[N]`, as a `Figure`; NaN of none."""
    if not len(values):
        return Figure(*[float("nan")] * 3)
    values = np.asarray(values, np.float64)
    return _resampled(lambda rows: {"mean": values[rows].mean()}, len(values), seed)["mean"]


def classification_figures(confusion, seed: int = 0) -> dict[str, Figure]:
    """`Figure`s of a confusion matrix, int `[class, predicted class]`: `accuracy`, `macro_f1` over the classes that
    occur, and for two classes the `f1` of the second.

    A sample of texts with replacement is a sample of the matrix's cells from a multinomial distribution.
    """
    count = int(confusion.sum())
    drawn = np.random.default_rng(seed).multinomial(count, (confusion / count).ravel(), size=_REPEATS)
    samples = _of_confusion(drawn.reshape(_REPEATS, *confusion.shape))
    return {name: _figure(float(value), samples[name], count) for name, value in _of_confusion(confusion).items()}


def _of_confusion(confusion):
    right = np.diagonal(confusion, axis1=-2, axis2=-1).astype(float)
    true, given = confusion.sum(-1), confusion.sum(-2)
    f1 = np.divide(2 * right, true + given, out=np.zeros_like(right), where=true + given > 0)
    occurs = true > 0
    found = {
        "accuracy": right.sum(-1) / true.sum(-1),
        "macro_f1": (f1 * occurs).sum(-1) / np.maximum(occurs.sum(-1), 1),
    }
    return found | ({"f1": f1[..., 1]} if confusion.shape[-1] == 2 else {})


def _resampled(statistic: Callable[[np.ndarray], Mapping[str, float]], count, seed, repeats=_REPEATS):
    rng = np.random.default_rng(seed)
    samples = [statistic(rng.integers(0, count, count)) for _ in range(repeats if count > 1 else 0)]
    whole = statistic(np.arange(count))
    return {
        name: _figure(float(value), np.array([sample[name] for sample in samples]), count)
        for name, value in whole.items()
    }


def _figure(value, samples, count):
    if count < 2:
        return Figure(value, float("nan"), float("nan"))
    low, high = np.quantile(samples, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return Figure(value, float(low), float(high))
