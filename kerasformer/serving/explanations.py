"""The signature `explain` of an export."""

import dataclasses
import time

import tensorflow as tf

from kerasformer.errors import InputError
from kerasformer.explain.classification import check_classifier, classifier_score, explain_signature
from kerasformer.explain.explaining import Explainer, make_method
from kerasformer.explain.faithfulness import faithfulness
from kerasformer.explain.vectors import Functions, model_functions
from kerasformer.serving.precision import formed
from kerasformer.serving.shared_weights import with_shared_weights
from kerasformer.tasks import TextClassifier
from kerasformer.tasks.arrays import as_strings

# Methods that are served.
EXPLANATIONS = ("integrated_gradients", "occlusion", "gradient_x_input")

# Texts that explanations are measured on, and what is read of each: occlusion of long ones would take hours.
_TEXTS, _CHARACTERS = 100, 200


def check_explanation(task, name, precision):
    """Raises InputError where a task cannot be served with explanations by the method of this name."""
    if name is None:
        return
    if name not in EXPLANATIONS:
        raise InputError(f"`explain` must be one of {list(EXPLANATIONS)}. Received: explain={name!r}.")
    if not isinstance(task, TextClassifier):
        raise InputError(f"Explanations are served of a TextClassifier. Received: a {type(task).__name__}.")
    check_classifier(task)
    if precision != "float32" and name != "occlusion":
        # int8 has no gradients, and the logits of bfloat16 are coarser than the gap that completeness allows.
        raise InputError(
            f"{name!r} needs the gradients of a float32 export. Received: precision={precision!r}. Use "
            "explain='occlusion', which needs none, or precision='float32'."
        )


def with_explanation(task, model, core, name, module, computed):
    """The `tf.function` of the signature `explain`, which shares the weights of the export.

    Args:
        model: the export's own.
        core: the export's core, a function of a dictionary of inputs.
        name: one of `EXPLANATIONS`.
        module: what is saved; weights are added to `module.weights`.
        computed: as in `with_shared_weights`.
    """
    if name == "occlusion":
        return explain_signature(task, Functions(core), make_method(name))
    own = model_functions(model, classifier_score(task))
    token_ids = tf.TensorSpec([None, None], tf.int32)

    def shared(forward, specs):
        function, weights, _ = with_shared_weights(forward, specs, model.variables, computed)
        module.weights += [weight for weight in weights if all(weight is not known for known in module.weights)]
        return function

    inputs = task.core_inputs()
    look_up = shared(lambda given: [own.look_up(given["token_ids"])], {"token_ids": token_ids})
    dim = own.look_up(tf.zeros([0, 0], tf.int32)).shape[-1]
    specs = inputs | {"vectors": tf.TensorSpec([None, None, dim]), "target": tf.TensorSpec([None], tf.int32)}

    def forward(given):
        return list(own.gradients({key: given[key] for key in inputs}, given["vectors"], given["target"]))

    gradients = shared(forward, specs)

    def gradients_of(inputs, vectors, target):
        scores, found = gradients(*inputs.values(), vectors, target)
        return scores, tf.ensure_shape(found, [None, None, dim])

    return explain_signature(
        task,
        Functions(core, lambda ids: tf.ensure_shape(look_up(ids)[0], [None, None, dim]), gradients_of),
        make_method(name),
    )


def measured_explanation(task, name, data):
    """What explanations by a method cost and are worth, of the task in float32.

    Args:
        name: of the method.
        data: batches of labelled examples, of which the beginnings of 100 texts are read; None: short texts of the
            warmup are timed, and no more is known.

    Returns:
        `{"method", "answers": how many times the time of an answer an explanation takes, "words": the mean of these
        texts, "faithfulness": None or {"texts", "comprehensiveness", "sufficiency", "over_random"}}`, figures as
        `{"value", "low", "high"}`.
    """
    if data is None:
        columns = {key: [*values] * 8 for key, values in task.warmup_inputs(4).items()}
    else:
        columns = _first_texts(task, data)
    texts = list(zip(*columns.values(), strict=True)) if len(columns) > 1 else next(iter(columns.values()))
    explanations, explained = _timed(Explainer(task, name), texts)
    random, answered = _timed(Explainer(task, "random"), texts)
    found = {
        "method": name,
        "answers": explained / answered,
        "words": sum(len(one.words) for one in explanations) / len(texts),
        "faithfulness": None,
    }
    if data is not None and not task.is_regression:
        known = {}
        one, other = (faithfulness(task, made, known=known) for made in (explanations, random))
        if len(one.texts) > 1:
            figures = {key: one.figure(key) for key in ("comprehensiveness", "sufficiency")}
            found["faithfulness"] = {
                "texts": len(one.texts),
                **{key: dataclasses.asdict(figure) for key, figure in figures.items()},
                "over_random": {key: dataclasses.asdict(figure) for key, figure in one.over(other).items()},
            }
    return found


def _first_texts(task, data):
    """`{name: texts}`, the beginnings of the first texts of the data."""
    columns = {name: [] for name in task.feature_names}
    for features, _ in formed(task, data).as_numpy_iterator():
        for name, column in columns.items():
            column += [text[:_CHARACTERS] for text in as_strings(features[name])][: _TEXTS - len(column)]
        if len(column) == _TEXTS:
            break
    return columns


def _timed(explainer, texts):
    """`(explanations, seconds)`."""
    explainer(texts[:1])  # traced before it is timed
    begin = time.perf_counter()
    return explainer(texts), time.perf_counter() - begin
