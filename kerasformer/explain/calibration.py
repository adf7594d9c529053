"""Whether a classifier's probabilities say how often it is right, and the temperature that makes them do so."""

import dataclasses

import numpy as np

from kerasformer.data import Examples
from kerasformer.errors import InputError
from kerasformer.explain.outcomes import Outcomes, outcomes
from kerasformer.tasks import TextClassifier

BINS = 15

# Of a temperature that is looked for.
_COLDEST, _HOTTEST = 0.05, 20.0


@dataclasses.dataclass(frozen=True)
class Bin:
    """The answers whose confidence is in `(low, high]`: how many, their mean confidence, and the share that is right.
    The first bin has 0 too."""

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


def reliability(confidence, right, bins: int = BINS) -> list[Bin]:
    """The reliability curve (Guo et al. 2017, arXiv:1706.04599, section 2), in bins of equal width; empty ones are left
    out.

    Args:
        confidence: float `[N]`, from 0 to 1.
        right: bool `[N]`.
        bins: their number.
    """
    confidence, right = np.asarray(confidence, np.float64), np.asarray(right, bool)
    place = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    rows = []
    for number in np.unique(place):
        inside = place == number
        rows.append(
            Bin(
                number / bins,
                (number + 1) / bins,
                int(inside.sum()),
                float(confidence[inside].mean()),
                float(right[inside].mean()),
            )
        )
    return rows


def expected_calibration_error(confidence, right, bins: int = BINS) -> float:
    """The mean distance of confidence and accuracy over the bins of `reliability`, weighted by their counts (Guo et al.
    2017, equation 3); 0 is calibrated. It is never 0 on few texts, not even for the truth."""
    rows = reliability(confidence, right, bins)
    return sum(row.count * abs(row.confidence - row.accuracy) for row in rows) / max(len(confidence), 1)


def fit_temperature(scores, targets) -> float:
    """The temperature with the highest likelihood of the labels.

    Args:
        scores: float `[N, classes]` probabilities. Their logarithms are logits.
        targets: int `[N]`; of several labels a text bool `[N, classes]`.

    Returns:
        What the logits are to be divided by, from 0.05 to 20. The ends are reached where all answers are right, or are
        no better than chance.

    Raises:
        InputError: there is no text.
    """
    scores, targets = np.clip(np.asarray(scores, np.float64), 1e-30, 1.0), np.asarray(targets)
    if not len(scores):
        raise InputError("A temperature is found on labelled texts. Received: none.")
    if targets.ndim == 2:
        logits = np.log(scores) - np.log1p(-np.minimum(scores, 1 - 1e-7))
        true = (logits * targets).sum()
        expected = lambda factor: (logits / (1 + np.exp(-np.clip(factor * logits, -700, 700)))).sum()  # noqa: E731
    else:
        logits = np.log(scores)
        true = logits[np.arange(len(logits)), targets].sum()

        def expected(factor):
            weights = np.exp(factor * (logits - logits.max(1, keepdims=True)))
            return (logits * weights).sum(1) @ (1 / weights.sum(1))

    # The likelihood is concave in the factor 1 / temperature: its slope, true - expected, falls.
    low, high = 1 / _HOTTEST, 1 / _COLDEST
    for _ in range(60):
        middle = np.sqrt(low * high)
        low, high = (middle, high) if true > expected(middle) else (low, middle)
    return float(1 / np.sqrt(low * high))


def with_temperature(scores, temperature: float, *, multi_label: bool = False) -> np.ndarray:
    """Probabilities `[N, classes]` as they are after their logits were divided by `temperature`."""
    scores = np.clip(np.asarray(scores, np.float64), 1e-30, 1.0)
    if multi_label:
        logits = np.log(scores) - np.log1p(-np.minimum(scores, 1 - 1e-7))
        return 1 / (1 + np.exp(-logits / temperature))
    logits = np.log(scores) / temperature
    weights = np.exp(logits - logits.max(1, keepdims=True))
    return weights / weights.sum(1, keepdims=True)


def calibrate(task: TextClassifier, examples: Examples, *, batch_size: int = 32) -> TextClassifier:
    """The task with the temperature that fits labelled texts (Guo et al. 2017, section 4.2). Labels stay, and only
    probabilities change; they are kept by `save`, and exported.

    Args:
        task: a `TextClassifier` with labels.
        examples: texts that it was not trained on, such as `task.labelled_examples("validation.jsonl")`.
        batch_size: texts computed at a time.

    Returns:
        `task.replace(temperature=…)`; of several labels a text with the threshold that returns the same labels.

    Raises:
        InputError: a regression, another task, or examples without labels.
    """
    if isinstance(task, TextClassifier) and task.is_regression:
        raise InputError("A regression has no probabilities to calibrate.")
    plain = task.replace(temperature=1.0) if isinstance(task, TextClassifier) else task
    found = outcomes(plain, examples, batch_size=batch_size)
    temperature = fit_temperature(found.scores, found.targets)
    if not task.multi_label:
        return task.replace(temperature=temperature)
    threshold = with_temperature([[task.threshold]], temperature / task.temperature, multi_label=True)[0, 0]
    return task.replace(temperature=temperature, threshold=float(threshold))


@dataclasses.dataclass(frozen=True)
class Calibration:
    """How far probabilities can be believed.

    Attributes:
        rows: the `reliability` of the answers; of several labels a text, of the probability of each label.
        error: the expected calibration error.
        temperature: that would fit these texts, times which the task's own is to be taken.
        calibrated: the expected calibration error with a temperature that was fitted on the other half of the texts.
    """

    rows: list[Bin]
    error: float
    temperature: float
    calibrated: float


def calibration(found: Outcomes) -> Calibration:
    """The `Calibration` of labelled answers. Raises `InputError` for a regression."""
    if found.label_names is None:
        raise InputError("A regression has no probabilities to calibrate.")
    several = found.examples.multi_label
    halves = np.empty(found.scores.shape)
    for half in (0, 1):
        other = slice(1 - half, None, 2)
        scores, targets = found.scores[other], found.targets[other]
        factor = fit_temperature(scores, targets) if len(scores) else 1.0
        halves[half::2] = with_temperature(found.scores[half::2], factor, multi_label=several)
    confidence, right = _confidence(found.scores, found)
    return Calibration(
        reliability(confidence, right),
        expected_calibration_error(confidence, right),
        fit_temperature(found.scores, found.targets),
        expected_calibration_error(*_confidence(halves, found)),
    )


def _confidence(scores, found):
    if found.examples.multi_label:
        return scores.ravel(), found.targets.ravel()
    return scores.max(1), found.right
