"""The signature `explain` of an export."""

import tensorflow as tf

from kerasformer.errors import InputError
from kerasformer.explain.classification import check_classifier, classifier_score, explain_signature
from kerasformer.explain.explaining import make_method
from kerasformer.explain.vectors import Functions, model_functions
from kerasformer.serving.shared_weights import with_shared_weights
from kerasformer.tasks import TextClassifier

# Methods that are served.
EXPLANATIONS = ("integrated_gradients", "occlusion", "gradient_x_input")


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
