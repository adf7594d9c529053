"""The training examples that are nearest to a text, by the vectors that the classifier itself reads."""

import keras
import numpy as np
import tensorflow as tf

from kerasformer.data import Examples
from kerasformer.tasks import TextClassifier


def text_vectors(task: TextClassifier, *columns, batch_size: int = 32) -> np.ndarray:
    """The vector of each text that the classifier's last layer reads.

    Args:
        task: a `TextClassifier`.
        columns: as `task.predict` takes them. Of a long text its beginning counts.
        batch_size: texts computed at a time.

    Returns:
        float32 `[N, hidden_dim]`.
    """
    features = task.checked_columns(columns)
    model = keras.Model(task.model.input, task.model.get_layer("classifier").input)
    specs = {name: tf.TensorSpec([None], tf.string) for name in features}

    @tf.function(input_signature=[specs], autograph=False)
    def vectors(batch):
        return tf.cast(model(task.batch_inputs(batch), training=False), tf.float32)

    arrays = [np.array(values, object) for values in features.values()]
    found = np.zeros([len(arrays[0]), model.output.shape[-1]], np.float32)
    # In order of length, so that long texts are together.
    order = np.argsort([sum(map(len, row)) for row in zip(*arrays, strict=True)], kind="stable")
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        batch = {name: tf.constant(array[rows], tf.string) for name, array in zip(features, arrays, strict=True)}
        found[rows] = vectors(batch).numpy()
    return found


def nearest(vectors, others, count: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Of each vector `[N, dim]` the nearest of the `others` `[M, dim]`, by the cosine.

    Returns:
        `(places, cosines)`, int64 and float32 `[N, min(count, M)]`, the nearest first.
    """
    cosines = _unit(vectors) @ _unit(others).T
    places = np.argsort(-cosines, axis=1, kind="stable")[:, :count]
    return places, np.take_along_axis(cosines, places, axis=1)


def nearest_examples(
    task: TextClassifier, training: Examples, texts: Examples, count: int = 3
) -> list[list[tuple[str, str, float]]]:
    """Of each text the nearest training examples: `(text, label or number, cosine)`, the nearest first. A training text
    that is the text itself is among them.

    Args:
        task: a `TextClassifier`.
        training: the examples that it was trained on.
        texts: `Examples` too.
        count: how many of each.
    """
    vectors, others = (text_vectors(task, *_columns(examples)) for examples in (texts, training))
    places, cosines = nearest(vectors, others, count)
    return [
        [
            (_text(training, place), label_of(training, place), float(cosine))
            for place, cosine in zip(row, near, strict=True)
        ]
        for row, near in zip(places, cosines, strict=True)
    ]


def label_of(examples, place):
    """The label of an example as a text: its name, of several their names with a comma; a number with 3 digits."""
    target, names = examples.targets[place], examples.label_names
    if names is None:
        return f"{target:.3g}"
    if examples.multi_label:
        return ", ".join(name for name, given in zip(names, target, strict=True) if given) or "none"
    return names[target]


def _columns(examples):
    return [list(column) for column in (examples.texts, examples.pairs) if column is not None]


def _text(examples, place):
    first = examples.texts[place]
    return first if examples.pairs is None else f"{first}\n{examples.pairs[place]}"


def _unit(vectors):
    vectors = np.asarray(vectors, np.float32)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
