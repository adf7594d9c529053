"""Explanations of classifiers, as a graph: the same one in Python and in an export."""

import tensorflow as tf

from kerasformer.errors import InputError
from kerasformer.explain.problem import Problem
from kerasformer.explain.words import read_words
from kerasformer.models import Backbone
from kerasformer.tasks.task import string_spec


def check_classifier(task):
    """Raises InputError where a classifier cannot be explained."""
    if task.windows is not None:
        raise InputError(
            "Texts in windows have no explanation: use `task.replace(windows=None)`, which reads their beginnings."
        )


def classifier_score(task):
    """What is explained of a classifier: the logit of the label numbered by the target, int32 `[R]`; of a regression
    its number, before a sigmoid."""

    def score(outputs, target):
        logits = tf.cast(outputs["logits"], tf.float32)
        return logits[:, 0] * task.target_scale if task.is_regression else tf.gather(logits, target, batch_dims=1)

    return score


def _reads_first(task):
    """Whether a classifier's head reads the first token alone."""
    pooler = task.encoder.config.pooler if isinstance(task.encoder, Backbone) else None
    return task.pooling == "first" and (pooler is None or pooler.pooling == "first")


def explain_classifier(task, functions, method, features, target=None):
    """From a batch of texts to an explanation of each; in the graph.

    Args:
        functions: the `Functions` of the task's model.
        method: such as `IntegratedGradients()`.
        features: strings `[N]`, `{"text": …}`, of pairs also `"text_pair"`.
        target: int32 `[N]`, the numbers of the labels to explain; None, or -1, for the label of the highest score.

    Returns:
        `label` (not of a regression), `score`, `words` `[N, W]`, `word_starts`, `word_ends` (bytes), `word_fields` (0
        and 1 of the texts of a pair); `attributions` `[N, W]`; `gap` `[N]` where the method has one; empty slots are
        "", -1, -1, -1, 0. Beside them `predicted` (the task's own label) and `read_until` `[N, texts]`.
    """
    words = read_words(task.tokenizer, features["text"], features.get("text_pair"), tweets=task.normalize_tweets)
    inputs, score = task.model_inputs(words.inputs), classifier_score(task)
    outputs = functions.outputs(inputs)
    logits = tf.cast(outputs["logits"], tf.float32)
    predicted = tf.argmax(logits, -1, output_type=tf.int32)
    target = predicted if target is None else tf.where(target < 0, predicted, target)
    problem = Problem(functions, score, inputs, words, target, score(outputs, target), _reads_first(task))
    attributions, gap = method.attribute(problem, task.tokenizer)
    answer = task.answer(outputs)
    found = {"score": answer["score"] if task.is_regression else tf.gather(answer["scores"], target, batch_dims=1)}
    if not task.is_regression:
        names = tf.constant(task.label_names)
        found |= {"label": tf.gather(names, target), "predicted": tf.gather(names, predicted)}
    found |= {"words": words.words, "word_starts": words.starts, "word_ends": words.ends}
    found["word_fields"] = words.fields
    found |= {"attributions": attributions, "read_until": words.read_until}
    return found if gap is None else found | {"gap": gap}


def explain_signature(task, functions, method):
    """The signature `explain` of an export, a `tf.function` of strings `[N]`; see `explain_classifier`.

    What is not finite, as of weights that overflow, is 0.
    """
    names = task.feature_names

    @tf.function(input_signature=[string_spec(name) for name in names], autograph=False)
    def explain(*columns):
        found = explain_classifier(task, functions, method, dict(zip(names, columns, strict=True)))
        return {
            name: tf.where(tf.math.is_finite(value), value, 0.0) if value.dtype.is_floating else value
            for name, value in found.items()
            if name not in ("predicted", "read_until", *([] if task.pairs else ["word_fields"]))
        }

    return explain
