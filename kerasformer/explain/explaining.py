"""`explain`: texts to explanations, from Python."""

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from kerasformer.errors import InputError
from kerasformer.explain.classification import check_classifier, classifier_score, explain_classifier
from kerasformer.explain.explanation import Explanation
from kerasformer.explain.gradients import GradientXInput, IntegratedGradients, SmoothGrad
from kerasformer.explain.occlusion import Occlusion
from kerasformer.explain.vectors import model_functions
from kerasformer.tasks import Task, TextClassifier

_METHODS = {
    "gradient_x_input": GradientXInput,
    "integrated_gradients": IntegratedGradients,
    "smoothgrad": SmoothGrad,
    "occlusion": Occlusion,
}
METHODS = tuple(_METHODS)


def make_method(name, **options):
    """The method of a name.

    Raises:
        InputError: an unknown name or option, or one out of range.
    """
    if name not in _METHODS:
        raise InputError(f"`method` must be one of {list(METHODS)}. Received: method={name!r}.")
    fields = [field.name for field in dataclasses.fields(_METHODS[name])]
    for option in options:
        if option not in fields:
            raise InputError(f"The method {name!r} has the options {fields}. Received: {option!r}.")
    return _METHODS[name](**options)


class Explainer:
    """Explains the answers of a task by one method; for many calls, as the graph is traced once.

    Computed in float32, whatever the precision of the task. Of a task in another precision the weights are copied now.

    Args:
        task: a `TextClassifier`.
        method: one of `kf.explain.METHODS`.
        options: of the method, see its class.

    Raises:
        InputError: a task that cannot be explained, an unknown method or option.
    """

    def __init__(self, task: Task, method: str = "integrated_gradients", **options):
        if not isinstance(task, TextClassifier):
            raise InputError(f"`explain` is for a TextClassifier. Received: a {type(task).__name__}.")
        check_classifier(task)
        self.task, self.name, self.method = task, method, make_method(method, **options)
        model = task.core_model
        if any(variable.dtype != "float32" for variable in model.variables) or model.dtype_policy.name != "float32":
            model = task.serving_model("float32")
        self._functions = model_functions(model, classifier_score(task))

    def __call__(self, texts: Sequence, target: str | int | None = None, *, batch_size: int = 32) -> list[Explanation]:
        """An `Explanation` of each text.

        Args:
            texts: list of str, of pairs a list of tuples of two.
            target: the label to explain, a name or a number; None for the one that the task answers with.
            batch_size: texts computed at a time.

        Raises:
            InputError: something that is not a text, an unknown label, or a gradient that is not finite.
        """
        columns, number = self._columns(texts), self._target_number(target)
        count, explanations = len(next(iter(columns.values()))), []
        for first in range(0, count, batch_size):
            features = {name: column[first : first + batch_size] for name, column in columns.items()}
            rows = [tf.constant(column, tf.string) for column in features.values()]
            found = self._batch(tf.fill([tf.size(rows[0])], number), *rows)
            explanations += self._made(list(zip(*features.values(), strict=True)), found, first)
        return explanations

    @functools.cached_property
    def _batch(self):
        names = self.task.feature_names
        specs = [tf.TensorSpec([None], tf.int32), *[tf.TensorSpec([None], tf.string)] * len(names)]

        @tf.function(input_signature=specs, autograph=False)
        def batch(target, *columns):
            features = dict(zip(names, columns, strict=True))
            return explain_classifier(self.task, self._functions, self.method, features, target)

        return batch

    def _columns(self, texts):
        if isinstance(texts, (str, bytes)):
            raise InputError("`texts` must be a list of texts. Received one text. Put it in a list.")
        texts, names = list(texts), self.task.feature_names
        if len(names) == 1:
            return self.task.checked_columns([texts])
        wrong = [text for text in texts if isinstance(text, (str, bytes)) or len(text) != len(names)]
        if wrong:
            raise InputError(f"`texts` must be a list of pairs ({', '.join(names)}). Received in it: {wrong[0]!r:.40}.")
        return self.task.checked_columns([[text[place] for text in texts] for place in range(len(names))])

    def _target_number(self, target):
        names = self.task.label_names
        if target is None:
            return -1
        if names is None:
            raise InputError(f"A regression has no labels: leave `target` out. Received: target={target!r}.")
        if isinstance(target, str) and target in names:
            return names.index(target)
        if isinstance(target, (int, np.integer)) and not isinstance(target, bool) and 0 <= target < len(names):
            return int(target)
        raise InputError(f"`target` must be one of the labels {list(names)}. Received: target={target!r}.")

    def _made(self, texts, found, first):
        """Explanations of a batch, whose first text has the number `first`."""
        found = {name: value.numpy() for name, value in found.items()}
        explanations = []
        for row, columns in enumerate(texts):
            columns = tuple(c.decode("utf-8", "replace") if isinstance(c, bytes) else c for c in columns)
            is_word = found["word_starts"][row] >= 0
            attributions = found["attributions"][row][is_word]
            gap = float(found["gap"][row]) if "gap" in found else None
            if not (np.isfinite(attributions).all() and np.isfinite(gap or 0.0) and np.isfinite(found["score"][row])):
                raise InputError(
                    f"The explanation of text {first + row + 1} is not finite: the model's weights or gradients "
                    f"overflow. The text: {columns[0]!r:.40}"
                )
            until = tuple(None if place < 0 else int(place) for place in found["read_until"][row])
            explanations.append(
                Explanation(
                    text=columns if len(columns) > 1 else columns[0],
                    words=[word.decode("utf-8", "replace") for word in found["words"][row][is_word]],
                    starts=found["word_starts"][row][is_word].tolist(),
                    ends=found["word_ends"][row][is_word].tolist(),
                    attributions=attributions,
                    label=found["label"][row].decode() if "label" in found else "",
                    score=float(found["score"][row]),
                    predicted=found["predicted"][row].decode() if "predicted" in found else "",
                    method=self.name,
                    gap=gap,
                    fields=found["word_fields"][row][is_word].tolist() if "word_fields" in found else None,
                    read_until=until if len(columns) > 1 else until[0],
                )
            )
        return explanations


def explain(
    task: Task,
    texts: Sequence,
    method: str = "integrated_gradients",
    target: str | int | None = None,
    *,
    batch_size: int = 32,
    **options,
) -> list[Explanation]:
    """Which words made a task answer as it does.

    Args:
        task: a `TextClassifier`.
        texts: list of str, of pairs a list of tuples of two.
        method: one of `kf.explain.METHODS`.
        target: the label to explain, a name or a number; None for the one that the task answers with.
        batch_size: texts computed at a time.
        options: of the method: `baseline`, `steps`, `most_steps` of "integrated_gradients"; `baseline` of "occlusion";
            `samples`, `noise`, `seed` of "smoothgrad".

    Returns:
        An `Explanation` of each text.

    Raises:
        InputError: a task that cannot be explained; an unknown method, option or label; something that is not a text;
            a gradient that is not finite.
    """
    return Explainer(task, method, **options)(texts, target, batch_size=batch_size)
