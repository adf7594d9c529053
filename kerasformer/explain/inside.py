"""What is inside of a classifier: its answer at each layer, and where each head looks."""

import keras
import numpy as np
import tensorflow as tf

from kerasformer.errors import InputError
from kerasformer.models import Backbone
from kerasformer.tasks import TextClassifier


def layer_scores(task: TextClassifier, *columns, batch_size: int = 32) -> np.ndarray:
    """What the classifier's head answers for the hidden states before the first block and after each (the logit lens,
    nostalgebraist 2020): from which layer on the answer is there. The head was trained on the last layer alone.

    Args:
        task: a `TextClassifier` whose encoder is a `Backbone`.
        columns: as `task.predict` takes them. Of a long text its beginning counts.
        batch_size: texts computed at a time.

    Returns:
        float32 `[layers + 1, N, classes]` probabilities, the last ones those of the task; of a regression `[…, N, 1]`
        numbers.

    Raises:
        InputError: another task or encoder.
    """
    features = task.checked_columns(columns)
    exposed = _encoder(task).expose()
    mask = task.encoder.input["padding_mask"]
    *states, last = exposed.output["hidden_states"]
    norm = task.encoder.norm
    states = [*([state if norm is None else norm(state) for state in states]), last]
    if task.pooling == "mean":
        pool = task.model.get_layer("text_vector")
    else:
        pool = task.encoder.pooler
    model = keras.Model(exposed.input, [task.head.output(pool(state, padding_mask=mask)) for state in states])

    @tf.function(input_signature=[_specs(features)], autograph=False)
    def scores(batch):
        inputs = task.batch_inputs(batch)
        answers = [task.answer({"logits": logits}) for logits in model(inputs, training=False)]
        return tf.stack([answer["score"][:, None] if task.is_regression else answer["scores"] for answer in answers])

    count = len(next(iter(features.values())))
    found = [scores(_batch(features, start, batch_size)).numpy() for start in range(0, count, batch_size)]
    classes = 1 if task.is_regression else len(task.label_names)
    return np.concatenate(found, axis=1) if found else np.zeros([len(states), 0, classes], np.float32)


def attention(task: TextClassifier, *texts: str) -> tuple[list[str], np.ndarray]:
    """Where each head looks in one text.

    Args:
        task: a `TextClassifier` whose encoder is a `Backbone`.
        texts: one text; of a task of pairs two.

    Returns:
        `(tokens, weights)`: the T tokens as the vocabulary has them, and float32 `[layers, heads, T, T]`: of each token
        how much it takes from each, 1 in all.

    Raises:
        InputError: another task or encoder.
    """
    features = task.checked_columns([[text] for text in texts])
    inputs = task.batch_inputs(_batch(features, 0, 1))
    exposed = _encoder(task).expose(hidden_states=False, attention_scores=True)
    count = int(tf.reduce_sum(tf.cast(inputs["padding_mask"] > 0, tf.int32)))
    ids = inputs["token_ids"].numpy()[0, :count]
    weights = [scores.numpy()[0, :, :count, :count] for scores in exposed(inputs, training=False)["attention_scores"]]
    return [task.tokenizer.vocabulary[number] for number in ids], np.stack(weights).astype(np.float32)


def has_layers(task) -> bool:
    """Whether `layer_scores` and `attention` can look into a task."""
    return isinstance(task, TextClassifier) and isinstance(task.encoder, Backbone)


def _encoder(task):
    if not has_layers(task):
        raise InputError(f"Layers are read of a TextClassifier with a Backbone. Received: a {type(task).__name__}.")
    return task.encoder


def _specs(features):
    return {name: tf.TensorSpec([None], tf.string) for name in features}


def _batch(features, start, size):
    return {name: tf.constant(values[start : start + size]) for name, values in features.items()}
