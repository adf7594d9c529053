"""Explanations of spans: why a tagger finds an entity, and why an answerer gives an answer."""

import functools

import numpy as np
import tensorflow as tf

from kerasformer.errors import InputError
from kerasformer.explain.explanation import made
from kerasformer.explain.problem import Problem
from kerasformer.explain.words import read_words

_NEVER = -1e9


def span_score(outputs, target):
    """The sum of some of the logits of tokens: `target` is their weights, float32 `[R, L, logits]`."""
    logits = tf.cast(outputs["logits"], tf.float32)
    # A method may leave out padding.
    return tf.reduce_sum(logits * target[:, : tf.shape(logits)[1]], [1, 2])


class TaggedEntities:
    """The entities of a `Tagger`, one explanation each: the mean of its words' logits, of its own type."""

    def __init__(self, task):
        self.task = task

    def words(self, features):
        """The `Words` of texts, of long ones what one window holds."""
        return read_words(self.task.tokenizer, features["text"], max_length=self.task.window)

    def targets(self, words, logits, texts, label):
        """What is to be explained: for each `(row, label, score, (start, end), weights [L, logits])`."""
        names = np.array(self.task.tag_names)
        for row, entities in enumerate(self.task.predict(list(texts["text"]))):
            for entity in entities:
                if label is not None and entity["label"] != label:
                    continue
                inside = (words.starts[row] >= entity["start"]) & (words.ends[row] <= entity["end"])
                # A tag is that of its word's first piece.
                places = [np.argmax(words.slots[row] == word) for word in np.flatnonzero(inside)]
                own = [name == entity["label"] or name[1:] == f"-{entity['label']}" for name in names]
                weights = np.zeros(logits.shape[1:], np.float32)
                for place in places:
                    tag = np.where(own, logits[row, place], -np.inf).argmax()
                    weights[place, tag] = 1 / len(places)
                if places:
                    yield row, entity["label"], entity["score"], (entity["start"], entity["end"]), weights

    def labels(self):
        """Names that may be asked for."""
        return self.task.entity_types


class GivenAnswers:
    """The answer of a `QuestionAnswerer`, the best span of what one window holds: the logits of its start and end."""

    def __init__(self, task):
        self.task = task

    def words(self, features):
        """The `Words` of questions and contexts."""
        return read_words(
            self.task.tokenizer,
            features["question"],
            features["context"],
            max_length=self.task.window,
            truncation="only_second",
        )

    def targets(self, words, logits, texts, label):
        """As in `TaggedEntities`; one for each question, unless the context is empty."""
        for row, slots in enumerate(words.slots):
            possible = np.array([slot >= 0 and words.fields[row][slot] == 1 for slot in slots])
            if not possible.any():
                continue
            starts, ends = (np.where(possible, logits[row, :, side], _NEVER) for side in (0, 1))
            spans = np.triu(np.tril(np.ones([len(slots)] * 2), self.task.max_answer - 1)) > 0
            scores = np.where(spans, starts[:, None] + ends[None, :], 2 * _NEVER)
            first, last = np.unravel_index(scores.argmax(), scores.shape)
            nothing = logits[row, 0].sum()
            everything = np.logaddexp.reduce([*scores[scores > _NEVER / 2], nothing])
            weights = np.zeros(logits.shape[1:], np.float32)
            weights[first, 0] = weights[last, 1] = 1
            start, end = int(words.starts[row][slots[first]]), int(words.ends[row][slots[last]])
            text = texts["context"][row]
            data = text if isinstance(text, bytes) else text.encode()
            label = data[start:end].decode("utf-8", "replace")
            yield row, label, float(np.exp(scores[first, last] - everything)), (start, end), weights

    def labels(self):
        """None: answers have no names."""
        return None


def checked_label(kind, target):
    """`target`, None or the name of a label.

    Raises:
        InputError: there is no such label.
    """
    names = kind.labels()
    if target is not None and (names is None or target not in names):
        wanted = f"one of {list(names)}" if names else "left out"
        raise InputError(f"`target` must be {wanted}. Received: target={target!r}.")
    return target


def attribute_spans(kind, functions, method, features, rows, weights):
    """The attributions of some spans of a batch of texts; in the graph.

    Args:
        rows: int32 `[R]`, the text of each.
        weights: float32 `[R, L, logits]`, see `span_score`.

    Returns:
        `{"attributions": [R, W]}`, and `"gap"` `[R]` where the method has one.
    """
    texts = {name: tf.gather(column, rows) for name, column in features.items()}
    words = kind.words(texts)
    inputs = kind.task.model_inputs(words.inputs)
    # Texts of this batch alone may be shorter.
    weights = weights[:, : tf.shape(words.slots)[1]]
    problem = Problem(functions, span_score, inputs, words, weights, span_score(functions.outputs(inputs), weights))
    attributions, gap = method.attribute(problem, kind.task.tokenizer)
    return {"attributions": attributions} | ({} if gap is None else {"gap": gap})


class SpanExplainer:
    """What `Explainer` does for taggers and answerers.

    Args:
        kind: such as `TaggedEntities(task)`.
        functions: the `Functions` of the task's model, for `span_score`.
        method: such as `Occlusion()`.
        name: of the method.
    """

    def __init__(self, kind, functions, method, name):
        self.kind, self.functions, self.method, self.name = kind, functions, method, name

    def explain(self, columns, target, first):
        """The explanations of a batch.

        Args:
            columns: `{name: list of N str}`.
            target: as in `Explainer`.
            first: number of the first text.
        """
        strings = [tf.constant(column, tf.string) for column in columns.values()]
        words, logits = tf.nest.map_structure(lambda value: value.numpy(), self._read(*strings))
        found = list(self.kind.targets(words, logits, columns, checked_label(self.kind, target)))
        if not found:
            return []
        rows, labels, scores, spans, weights = zip(*found, strict=True)
        explained = self._attribute(tf.constant(rows), tf.constant(np.stack(weights)), *strings)
        explained = {name: value.numpy() for name, value in explained.items()}
        texts = list(zip(*columns.values(), strict=True))
        explanations = []
        for place, row in enumerate(rows):
            explanations.append(
                made(
                    texts[row],
                    words.of_row(row),
                    explained["attributions"][place],
                    explained["gap"][place] if "gap" in explained else None,
                    number=first + row + 1,
                    label=labels[place],
                    score=float(scores[place]),
                    predicted=labels[place],
                    method=self.name,
                    span=tuple(map(int, spans[place])),
                )
            )
        return explanations

    @functools.cached_property
    def _read(self):
        names = self.kind.task.feature_names

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string)] * len(names), autograph=False)
        def read(*columns):
            words = self.kind.words(dict(zip(names, columns, strict=True)))
            logits = self.functions.outputs(self.kind.task.model_inputs(words.inputs))["logits"]
            return words, tf.cast(logits, tf.float32)

        return read

    @functools.cached_property
    def _attribute(self):
        names = self.kind.task.feature_names
        specs = [tf.TensorSpec([None], tf.int32), tf.TensorSpec([None, None, None])]
        specs += [tf.TensorSpec([None], tf.string)] * len(names)

        @tf.function(input_signature=specs, autograph=False)
        def attribute(rows, weights, *columns):
            features = dict(zip(names, columns, strict=True))
            return attribute_spans(self.kind, self.functions, self.method, features, rows, weights)

        return attribute
