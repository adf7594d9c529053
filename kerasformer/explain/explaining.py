"""`explain`: texts to explanations, from Python."""

import dataclasses
import functools
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from kerasformer._compat import flatten_layers
from kerasformer.errors import InputError
from kerasformer.explain.attention import AttentionRollout, AttentionXGradient, Random
from kerasformer.explain.classification import check_classifier, classifier_score, explain_classifier
from kerasformer.explain.explanation import Explanation, made
from kerasformer.explain.gradients import GradientXInput, IntegratedGradients, SmoothGrad
from kerasformer.explain.occlusion import Occlusion
from kerasformer.explain.spans import GivenAnswers, SpanExplainer, TaggedEntities, span_score
from kerasformer.explain.vectors import model_functions
from kerasformer.tasks import QuestionAnswerer, Tagger, Task, TextClassifier

_METHODS = {
    "gradient_x_input": GradientXInput,
    "integrated_gradients": IntegratedGradients,
    "smoothgrad": SmoothGrad,
    "occlusion": Occlusion,
    "attention_rollout": AttentionRollout,
    "attention_x_gradient": AttentionXGradient,
    "random": Random,
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
        task: a `TextClassifier`, a `Tagger` or a `QuestionAnswerer`.
        method: one of `kf.explain.METHODS`.
        options: of the method, see its class.

    Raises:
        InputError: a task that cannot be explained, an unknown method or option.
    """

    def __init__(self, task: Task, method: str = "occlusion", **options):
        kinds: dict[type, Callable] = {Tagger: TaggedEntities, QuestionAnswerer: GivenAnswers}
        kind = next((make(task) for cls, make in kinds.items() if isinstance(task, cls)), None)
        if kind is None and not isinstance(task, TextClassifier):
            raise InputError(
                "`explain` is for a TextClassifier, a Tagger or a QuestionAnswerer; `explain_similarity` for a "
                f"TextEmbedder, `explain_translations` for a Translator. Received: a {type(task).__name__}."
            )
        if kind is None:
            check_classifier(task)
        self.task, self.name, self.method = task, method, make_method(method, **options)
        model = task.core_model
        if any(layer.compute_dtype in ("bfloat16", "float16") for layer in flatten_layers(model)):
            model = task.serving_model("float32")
        self._functions = model_functions(model, span_score if kind else classifier_score(task))
        self._spans: SpanExplainer | None = (
            None if kind is None else SpanExplainer(kind, self._functions, self.method, method)
        )

    def __call__(self, texts: Sequence, target: str | int | None = None, *, batch_size: int = 32) -> list[Explanation]:
        """An `Explanation` of each text; of a tagger of each entity, of an answerer of each answer.

        Args:
            texts: list of str, of pairs a list of tuples of two; of an answerer (question, context).
            target: the label to explain, a name or a number, of a tagger the entities' type; None for what the task
                answers with.
            batch_size: texts computed at a time.

        Raises:
            InputError: something that is not a text, an unknown label, or a gradient that is not finite.
        """
        columns, explanations = self._columns(texts), []
        number = None if self._spans else self._target_number(target)
        for first in range(0, len(next(iter(columns.values()))), batch_size):
            features = {name: column[first : first + batch_size] for name, column in columns.items()}
            if self._spans:
                explanations += self._spans.explain(features, target, first)
                continue
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
        names = ("words", "word_starts", "word_ends", "word_fields", "read_until")
        explanations = []
        for row, columns in enumerate(texts):
            explanations.append(
                made(
                    columns,
                    [found[name][row] for name in names],
                    found["attributions"][row],
                    found["gap"][row] if "gap" in found else None,
                    number=first + row + 1,
                    label=found["label"][row].decode() if "label" in found else "",
                    score=float(found["score"][row]),
                    predicted=found["predicted"][row].decode() if "predicted" in found else "",
                    method=self.name,
                )
            )
        return explanations


def explain(
    task: Task,
    texts: Sequence,
    method: str = "occlusion",
    target: str | int | None = None,
    *,
    batch_size: int = 32,
    **options,
) -> list[Explanation]:
    """Which words made a task answer as it does.

    Args:
        task: a `TextClassifier`, a `Tagger` or a `QuestionAnswerer`.
        texts: list of str, of pairs a list of tuples of two; of an answerer (question, context).
        method: one of `kf.explain.METHODS`.
        target: the label to explain, a name or a number, of a tagger the entities' type; None for what the task
            answers with.
        batch_size: texts computed at a time.
        options: of the method: `baseline`, `steps`, `most_steps` of "integrated_gradients"; `baseline` of "occlusion";
            `samples`, `noise`, `seed` of "smoothgrad"; `seed` of "random".

    Returns:
        An `Explanation` of each text; of a tagger of each entity (its words' mean logit), of an answerer of each answer
        (the logits of its start and end), with `span`. Of long texts what one window of the model holds is explained.

    Raises:
        InputError: a task that cannot be explained; an unknown method, option or label; something that is not a text;
            a gradient that is not finite.
    """
    return Explainer(task, method, **options)(texts, target, batch_size=batch_size)
