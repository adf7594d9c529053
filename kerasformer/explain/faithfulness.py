"""Whether explanations are true: does the answer change when the words that count are taken away?"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from kerasformer import metrics
from kerasformer.errors import InputError
from kerasformer.explain.explanation import Explanation
from kerasformer.explain.outcomes import Figure, mean_figure
from kerasformer.extras import require
from kerasformer.tasks import TextClassifier

# Shares of the words that are taken, as DeYoung et al. have them.
SHARES = (0.01, 0.05, 0.1, 0.2, 0.5)

# A text says something about explanations only where its words together move the probability by as much.
_LEAST_EFFECT = 0.05


@dataclasses.dataclass(frozen=True, eq=False)
class Faithfulness:
    """How much the words that a method names count, of N texts.

    Attributes:
        texts: int `[N]`, places of the texts that count: those where the empty text's probability is lower by at least
            0.05.
        comprehensiveness, sufficiency: float `[N]`, normalized, from 0 to 1; higher is better for both.
        fall_without, fall_alone: float `[N]`, by how much the probability falls without the words, and with nothing
            but them: the comprehensiveness and sufficiency of DeYoung et al., of which the second is better when low.
    """

    texts: np.ndarray
    comprehensiveness: np.ndarray
    sufficiency: np.ndarray
    fall_without: np.ndarray
    fall_alone: np.ndarray

    def figure(self, name: str) -> Figure:
        """The mean of "comprehensiveness" or "sufficiency" with its interval."""
        return mean_figure(getattr(self, name))

    def over(self, other: "Faithfulness") -> dict[str, Figure]:
        """By how much both normalized figures are above those of another method, text by text; with the intervals of
        the mean. A method is better where the interval is above 0."""
        return {
            name: mean_figure(getattr(self, name) - getattr(other, name))
            for name in ("comprehensiveness", "sufficiency")
        }


def faithfulness(
    task: TextClassifier, explanations: Sequence[Explanation], *, batch_size: int = 32, known: dict | None = None
) -> Faithfulness:
    """Takes the words with the highest attributions away, and keeps nothing but them, and asks the task again.

    Comprehensiveness is by how much the label's probability falls without the words, sufficiency by how little with
    nothing but them, both the mean over `SHARES` of the words, at least one word (DeYoung et al. 2020,
    arXiv:1911.03429, section 4). They are divided by the fall for the empty text, and cut to 0 and 1 (Carton et al.
    2020, arXiv:2010.04736, section 3): only so can they be compared between models.

    Args:
        task: a `TextClassifier` with labels, which made the explanations.
        explanations: of N texts by one method. The label that was explained counts.
        batch_size: texts computed at a time.
        known: probabilities of texts that were asked before are taken from here, and new ones put here: give the same
            dictionary for several methods.

    Raises:
        InputError: a regression, or another task.
    """
    _check(task)
    asked = _Asked(task, batch_size, known)
    rows = []
    for explanation in explanations:
        count = len(explanation.words)
        order = np.argsort(-np.asarray(explanation.attributions), kind="stable")
        tops = [order[: max(int(np.ceil(share * count)), 1)] for share in SHARES]
        chosen = [np.isin(np.arange(count), top) for top in tops]
        none = np.zeros(count, bool)
        rows.append([with_words(explanation, kept) for kept in [~none, none, *[~c for c in chosen], *chosen]])
    asked.ask([text for row in rows for text in row])
    falls = np.zeros([len(rows), 1 + 2 * len(SHARES)])
    for place, (explanation, row) in enumerate(zip(explanations, rows, strict=True)):
        label = task.label_names.index(explanation.label)
        whole, *others = (asked(text)[label] for text in row)
        falls[place] = [max(0.0, whole - other) for other in others]
    counted = np.flatnonzero(falls[:, 0] >= _LEAST_EFFECT)
    effect, without, alone = np.split(falls[counted], [1, 1 + len(SHARES)], axis=1)
    return Faithfulness(
        texts=counted,
        comprehensiveness=np.clip(without / effect, 0, 1).mean(1),
        sufficiency=np.clip(1 - alone / effect, 0, 1).mean(1),
        fall_without=without.mean(1),
        fall_alone=alone.mean(1),
    )


def with_words(explanation: Explanation, kept) -> str | tuple[str, ...]:
    """What was read of the text, less the words that are not in `kept`, bool `[W]`, and the space before each."""
    texts = explanation.text if isinstance(explanation.text, tuple) else (explanation.text,)
    ends = explanation.read_until
    until = list(ends) if isinstance(ends, tuple) else [ends] * len(texts)
    fields = explanation.fields or [0] * len(explanation.words)
    left = []
    for place, text in enumerate(texts):
        data, parts, at = text.encode()[: until[place]], [], 0
        spans = zip(explanation.starts, explanation.ends, kept, fields, strict=True)
        for start, end, stays, field in spans:
            if field == place and not stays and start >= at:
                parts.append(data[at:start].rstrip())
                at = end
        left.append(b"".join([*parts, data[at:]]).decode("utf-8", "ignore"))
    return tuple(left) if isinstance(explanation.text, tuple) else left[0]


@dataclasses.dataclass(frozen=True)
class Stability:
    """How alike the explanations of like texts are.

    Attributes:
        repeated: the largest difference between two explanations of the same text in other batches, as a share of its
            largest attribution; 0 is the same.
        changed: the rank correlation (Spearman) of the attributions of the other words, when the one word is taken away
            that changes the answer least; None where SciPy is not installed or no text has 4 words.
    """

    repeated: float
    changed: Figure | None


def stability(
    task: TextClassifier,
    explanations: Sequence[Explanation],
    explain: Callable[[list], list[Explanation]],
    *,
    batch_size: int = 32,
    known: dict | None = None,
) -> Stability:
    """Explains the same texts again, in reverse order; and again without the word of each that changes the probability
    of the label least when it is taken away.

    Args:
        task, batch_size, known: as in `faithfulness`.
        explanations: of N texts by one method.
        explain: makes explanations of a list of texts by the same method.
    """
    _check(task)
    texts = [explanation.text for explanation in explanations]
    again = explain(texts[::-1])[::-1]
    repeated = max(
        (
            np.abs(one.attributions - other.attributions).max() / max(np.abs(one.attributions).max(), 1e-12)
            for one, other in zip(explanations, again, strict=True)
            if len(one.words) and one.words == other.words
        ),
        default=0.0,
    )
    asked = _Asked(task, batch_size, known)
    # Fewer words have too few orders, and more take too long.
    long = [explanation for explanation in explanations if 4 <= len(explanation.words) <= 64]
    rows = [
        [with_words(explanation, np.arange(len(explanation.words)) != gone) for gone in range(len(explanation.words))]
        for explanation in long
    ]
    asked.ask([text for row in rows for text in [*row]] + [explanation.text for explanation in long])
    least = []
    for explanation, row in zip(long, rows, strict=True):
        label = task.label_names.index(explanation.label)
        whole = asked(explanation.text)[label]
        least.append(int(np.argmin([abs(asked(text)[label] - whole) for text in row])))
    changed = explain([row[gone] for row, gone in zip(rows, least, strict=True)]) if long else []
    alike = []
    for explanation, other, gone in zip(long, changed, least, strict=True):
        rest = np.delete(np.asarray(explanation.attributions), gone)
        words = [word for place, word in enumerate(explanation.words) if place != gone]
        if words == other.words and metrics.correlations(rest, other.attributions):
            alike.append(metrics.spearman(rest, other.attributions))
    return Stability(float(repeated), mean_figure(alike) if alike else None)


def plausibility(
    explanations: Sequence[Explanation], spans: Sequence[Sequence[tuple[int, int]]]
) -> Mapping[str, Figure]:
    """How well the words with the highest attributions are those that people marked (DeYoung et al. 2020, section 4).
    An explanation that is true of the model need not be what people would say.

    Args:
        explanations: of N texts, not pairs, by one method.
        spans: of each text what people marked as its reasons, `(start, end)` in bytes. Texts with no marked word, or
            none but marked ones, are left out.

    Returns:
        `auprc`, the area under the curve of precision and recall of the words by their attributions, and `token_f1` of
        as large a share of each text's words as people mark in the mean.

    Raises:
        InputError: scikit-learn is not installed, or nothing is left.
    """
    sklearn = require("sklearn.metrics", "recipes", "Plausibility")
    rows = []
    for explanation, marked in zip(explanations, spans, strict=True):
        inside = np.array(
            [
                any(first < end and start < last for first, last in marked)
                for start, end in zip(explanation.starts, explanation.ends, strict=True)
            ],
            bool,
        )
        if inside.any() and not inside.all():
            rows.append((inside, np.asarray(explanation.attributions)))
    if not rows:
        raise InputError("Plausibility needs texts of which some words are marked and some are not. Received: none.")
    share = np.mean([inside.mean() for inside, _ in rows])
    areas, f1 = [], []
    for inside, values in rows:
        areas.append(sklearn.average_precision_score(inside, values))
        top = np.argsort(-values, kind="stable")[: int(np.ceil(share * len(values)))]
        f1.append(2 * inside[top].sum() / (len(top) + inside.sum()))
    return {"auprc": mean_figure(areas), "token_f1": mean_figure(f1)}


class _Asked:
    """Probabilities of texts, each computed once."""

    def __init__(self, task, batch_size, known):
        self._task, self._batch_size = task, batch_size
        self._known = {} if known is None else known

    def ask(self, texts):
        # In order of length, so that long texts are together.
        new = sorted({text for text in texts if text not in self._known}, key=lambda text: len("".join(text)))
        if not new:
            return
        columns = zip(*new, strict=True) if self._task.pairs else [new]
        scores = self._task.predict(*map(list, columns), batch_size=self._batch_size)["scores"]
        self._known.update(zip(new, scores.astype(np.float64), strict=True))

    def __call__(self, text):
        return self._known[text]


def _check(task):
    if not isinstance(task, TextClassifier) or task.is_regression:
        kind = "regression" if isinstance(task, TextClassifier) else type(task).__name__
        raise InputError(f"Faithfulness is of the probabilities of a TextClassifier. Received: a {kind}.")
