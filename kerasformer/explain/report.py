"""What a report says of a classifier: computed here, written by `report_page`."""

import collections
import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from kerasformer.data import Examples
from kerasformer.errors import InputError
from kerasformer.explain.calibration import Calibration, calibration
from kerasformer.explain.explaining import METHODS, Explainer
from kerasformer.explain.explanation import Explanation
from kerasformer.explain.faithfulness import Faithfulness, Stability, faithfulness, stability
from kerasformer.explain.inside import attention, has_layers, layer_scores
from kerasformer.explain.neighbours import label_of, nearest_examples
from kerasformer.explain.outcomes import Figure, Outcomes, outcomes
from kerasformer.explain.slices import Slice, slices
from kerasformer.tasks import TextClassifier

RANDOM = "random"

# Texts that are shown, words of each class, texts with attention, and its most tokens.
_WRONG, _OTHERS, _WORDS, _ATTENTION, _TOKENS = 40, 40, 20, 3, 40

# Texts that stability is measured on, and texts explained at a time, for the progress.
_STABLE, _AT_ONCE = 25, 64

# Training texts among which the nearest are looked for.
_TRAINING = 5_000


@dataclasses.dataclass(frozen=True, eq=False)
class Shown:
    """A text of the report: its explanation, what people say, how wrong the answer is, whether it is right (None for a
    regression), and the nearest training examples as `nearest_examples` has them."""

    explanation: Explanation
    target: str
    error: float
    right: bool | None
    near: Sequence[tuple[str, str, float]] = ()


@dataclasses.dataclass(frozen=True, eq=False)
class Compared:
    """A method: milliseconds a text, its `Faithfulness`, by how much that is above random attributions, and its
    `Stability`; None for what random attributions themselves have none of."""

    method: str
    milliseconds: float | None
    faithfulness: Faithfulness
    over_random: Mapping[str, Figure] | None
    stability: Stability | None


@dataclasses.dataclass(frozen=True, eq=False)
class Report:
    """Everything that the page shows; None or empty where the task has none of it."""

    name: str
    task: TextClassifier
    found: Outcomes
    method: str
    explained: int
    figures: Mapping[str, Figure]
    parts: Sequence[Slice]
    calibration: Calibration | None
    wrong: Sequence[Shown]
    others: Sequence[Shown]
    words: Mapping[str, Sequence[tuple[str, int, float]]]
    compared: Sequence[Compared]
    compared_texts: int
    left_out: Mapping[str, str]
    layers: np.ndarray | None
    layer_targets: np.ndarray | None
    attention: Sequence[tuple[str, list[str], np.ndarray]]
    training: str | None
    seconds: float


def make_report(
    task: TextClassifier,
    examples: Examples,
    *,
    name: str,
    method: str = "occlusion",
    training: Examples | None = None,
    most: int = 2000,
    compared: int = 200,
    seed: int = 0,
    tell: Callable[[str], object] = lambda line: None,
) -> Report:
    """Computes a report.

    Args:
        task: a `TextClassifier`.
        examples: labelled texts that it was not trained on.
        name: of the model, for people.
        method: of the explanations.
        training: what it was trained on, for the nearest examples of the wrong answers. Of more than 5,000 a random
            sample is taken.
        most: texts explained by `method`, a random sample; all are answered.
        compared: texts of these that all methods are compared on.
        seed: of the samples.
        tell: called with what is being done, a line.

    Raises:
        InputError: another task, an unknown method, or examples that do not fit the task.
    """
    if method not in METHODS:
        raise InputError(f"`method` must be one of {', '.join(METHODS)}. Received: method={method!r}.")
    begin = time.perf_counter()
    found = outcomes(task, examples, advance=lambda done, total: tell(f"answering: {done:,} of {total:,} texts"))
    tell("comparing with the labels")
    order = np.random.default_rng(seed).permutation(len(found))
    sample = np.sort(order[:most])
    worst = np.argsort(-found.errors, kind="stable")[:_WRONG]
    if found.right is not None:
        worst = worst[~found.right[worst]]
    rows = np.unique(np.concatenate([sample, worst]))
    explainer = Explainer(task, method)
    explained, milliseconds = _explained(explainer, found, rows, tell)
    explanations = dict(zip(rows.tolist(), explained, strict=True))
    others = order[: min(most, _OTHERS)]
    near: list = [()] * len(worst)
    if training is not None and len(worst):
        tell("looking for the nearest training examples")
        if len(training) > _TRAINING:
            training = training.select(np.sort(np.random.default_rng(seed).permutation(len(training))[:_TRAINING]))
        near = nearest_examples(task, training, examples.select(worst))
    methods, left_out, compared_texts = [], {}, 0
    if not task.is_regression:
        chosen = np.sort(order[: min(most, compared)])
        compared_texts = len(chosen)
        known = _Known(explainer, [explanations[row] for row in chosen], milliseconds)
        methods, left_out = _compared(task, found, chosen, known, tell)
    layers = targets = None
    heads = []
    if has_layers(task):
        tell("reading the layers")
        chosen = np.sort(order[: min(most, compared)])
        layers = layer_scores(task, *_columns(found, chosen))
        targets = None if found.right is None or examples.multi_label else found.targets[chosen]
        heads = _attention(task, found, [*worst, *others])
    return Report(
        name=name,
        task=task,
        found=found,
        method=method,
        explained=len(sample),
        figures=found.figures(),
        parts=slices(found),
        calibration=None if task.is_regression else calibration(found),
        wrong=[_shown(found, explanations, row, about) for row, about in zip(worst, near, strict=True)],
        others=[_shown(found, explanations, row) for row in others],
        words=_words([explanations[row] for row in sample]),
        compared=methods,
        compared_texts=compared_texts,
        left_out=left_out,
        layers=layers,
        layer_targets=targets,
        attention=heads,
        training=None if training is None else training.source,
        seconds=time.perf_counter() - begin,
    )


def _texts(found, rows):
    columns = _columns(found, rows)
    return columns[0] if len(columns) == 1 else list(zip(*columns, strict=True))


def _columns(found, rows):
    part = found.examples.select(rows)
    return [list(column) for column in (part.texts, part.pairs) if column is not None]


def _explained(explainer, found, rows, tell):
    """`(explanations, milliseconds of each)`."""
    texts, made = _texts(found, rows), []
    explainer(texts[:1])  # traced before it is timed
    begin = time.perf_counter()
    for start in range(0, len(texts), _AT_ONCE):
        tell(f"explaining by {explainer.name}: {start:,} of {len(texts):,} texts")
        made += explainer(texts[start : start + _AT_ONCE])
    return made, 1e3 * (time.perf_counter() - begin) / max(len(texts), 1)


@dataclasses.dataclass(frozen=True, eq=False)
class _Known:
    """A method that has explained the texts already."""

    explainer: Explainer
    explanations: Sequence[Explanation]
    milliseconds: float


def _compared(task, found, rows, first, tell):
    """`([Compared], {method: why it is left out})`, the best first; `first` is `_Known`."""
    explainers, made = {first.explainer.name: first.explainer}, {first.explainer.name: first.explanations}
    times, known, left_out = {first.explainer.name: first.milliseconds}, {}, {}
    for method in METHODS:
        if method in made:
            continue
        try:
            explainers[method] = Explainer(task, method)
            made[method], times[method] = _explained(explainers[method], found, rows, tell)
        except InputError as error:
            left_out[method] = str(error)
    faithful = {}
    for method, explanations in made.items():
        tell(f"taking away the words that {method} names")
        faithful[method] = faithfulness(task, explanations, known=known)
    compared = []
    for method, explanations in made.items():
        stable = None
        if method != RANDOM:
            tell(f"explaining by {method} again")
            stable = stability(task, explanations[:_STABLE], explainers[method], known=known)
        over = None if method == RANDOM else faithful[method].over(faithful[RANDOM])
        compared.append(Compared(method, times.get(method), faithful[method], over, stable))
    return sorted(compared, key=_mean, reverse=True), left_out


def _mean(row):
    both = np.concatenate([row.faithfulness.comprehensiveness, row.faithfulness.sufficiency])
    return float(both.mean()) if len(both) else 0.0


def _attention(task, found, rows):
    """`[(text, tokens, weights)]` of the first texts that are short enough."""
    shown = []
    for text in dict.fromkeys(_texts(found, np.array(rows, int))):
        if len(shown) < _ATTENTION and len("".join(text)) <= 8 * _TOKENS:
            tokens, weights = attention(task, *([text] if isinstance(text, str) else text))
            if len(tokens) <= _TOKENS:
                shown.append((text if isinstance(text, str) else "\n".join(text), tokens, weights))
    return shown


def _words(explanations):
    """Of each explained label the words that count most in all its texts: `(word, texts, mean share)`, where a share is
    an attribution over the sum of the absolute ones of its text. Case is ignored."""
    shares = collections.defaultdict(lambda: collections.defaultdict(list))
    for explanation in explanations:
        total = float(np.abs(explanation.attributions).sum())
        own = collections.defaultdict(float)
        for word, value in zip(explanation.words, explanation.attributions, strict=True):
            own[word.casefold()] += float(value) / total if total else 0.0
        for word, share in own.items():
            shares[explanation.label][word].append(share)
    found = {}
    for label, words in sorted(shares.items()):
        ranked = sorted(words.items(), key=lambda item: -sum(item[1]))[:_WORDS]
        found[label] = [(word, len(each), float(np.mean(each))) for word, each in ranked if sum(each) > 0]
    return found


def _shown(found, explanations, row, near=()):
    right = None if found.right is None else bool(found.right[row])
    return Shown(explanations[int(row)], label_of(found.examples, row), float(found.errors[row]), right, near)
