"""Writing a task as a SavedModel that TensorFlow Serving serves: strings in, answers out."""

import os
import pathlib

import tensorflow as tf

from kerasformer.errors import InputError
from kerasformer.files import written_beside
from kerasformer.layers.serving_form import use_serving_form
from kerasformer.models.int8 import use_int8
from kerasformer.serving.explanations import check_explanation, with_explanation
from kerasformer.serving.precision import PRECISIONS, plan_for
from kerasformer.serving.shared_weights import with_shared_weights
from kerasformer.serving.warmup import warmup_logs, write_warmup
from kerasformer.tasks import Task

# Texts in the largest batch of the warmup file.
_WARMUP_BATCH = 8


def export(
    task: Task,
    folder: str | os.PathLike,
    *,
    precision: str = "float32",
    data: tf.data.Dataset | None = None,
    explain: str | None = None,
) -> None:
    """Writes `task` as a SavedModel with the signatures of `task.serving_functions`.

    All signatures call one function. Its weights are variables: stored once, restored once, and shared by all
    sets of fetched outputs. Warmup requests for every signature go into `assets.extra`. Nothing is checked: `publish`
    does.

    Args:
        task: as in `kerasformer.tasks`.
        folder: written atomically; an older SavedModel is replaced.
        precision: "float32"; "bfloat16" to store and multiply in bfloat16; "int8" to store and multiply in 8-bit
            integers, where that loses little; or "int8_storage" to store in 8-bit integers and compute in float32.
        data: for "int8", batches of labelled examples, such as the validation data.
        explain: of a classifier, the method of a further signature `explain`: "integrated_gradients", "occlusion" or
            "gradient_x_input". None: there is no such signature.

    Raises:
        InputError: an unknown precision, int8 without `data` or on a processor that is no x86, an `explain` that does
            not fit the task or the precision, or `folder` holds something else than a SavedModel.
        OSError: the folder cannot be written, for example because the disk is full.
    """
    with written_beside(folder, replaces="saved_model.pb") as scratch:
        write_saved_model(task, scratch, precision, plan_for(task, precision, data), explain)


def write_saved_model(task, folder, precision, plan=None, explain=None):
    """`export` without the renaming: writes into a folder that exists; `plan` is of `plan_for`."""
    if precision not in PRECISIONS:
        raise InputError(f"`precision` must be one of {list(PRECISIONS)}. Received: precision={precision!r}.")
    check_explanation(task, explain, precision)
    model = task.serving_model("float32" if plan else precision)
    use_int8(model, plan)
    module = tf.Module()
    computed: dict[bytes, tf.Variable] = {}
    core = _core(task, model, module, computed)
    functions = task.serving_functions(core)
    if explain is not None:
        functions["explain"] = with_explanation(task, model, core, explain, module, computed)
    # A name for each output, also where the function gives one only.
    signatures = {name: function.get_concrete_function() for name, function in functions.items()}
    try:
        # The gradients of a frozen function cannot be saved, and a server needs none.
        options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
        tf.saved_model.save(module, str(folder), signatures=signatures, options=options)
        write_warmup(folder, warmup_logs(signatures, task.warmup_inputs(_WARMUP_BATCH)))
    except (tf.errors.ResourceExhaustedError, tf.errors.UnknownError, tf.errors.DataLossError) as error:
        # TensorFlow's file system reports a full disk with these.
        raise OSError(f"The SavedModel cannot be written to {pathlib.Path(folder).parent}: {error.message}") from None


def _core(task, model, module, computed):
    """`task.core_outputs` as a function of a dictionary of its inputs, called by all signatures.

    `model` is the export's own: it is changed. `computed` is as in `with_shared_weights`.
    """
    use_serving_form(model, task.row_groups)
    specs = task.core_inputs()
    structure = []

    def forward(inputs):
        outputs = _by_length(task, model, inputs) if task.row_groups > 1 else task.core_outputs(model, inputs)
        structure[:] = outputs
        # Callers see float32, whatever the model computes in.
        return [tf.cast(value, tf.float32) if value.dtype.is_floating else value for value in outputs.values()]

    function, module.weights, shapes = with_shared_weights(forward, specs, model.variables, computed)

    def core(inputs):
        outputs = function(*[inputs[name] for name in specs])
        # A graph that was imported knows less of its shapes.
        return {
            name: tf.ensure_shape(value, shape) for name, value, shape in zip(structure, outputs, shapes, strict=True)
        }

    return core


def _by_length(task, model, inputs):
    """`task.core_outputs`, computed with the rows in order of their lengths."""
    order = tf.argsort(tf.reduce_sum(tf.cast(inputs["padding_mask"] > 0, tf.int32), 1))
    outputs = task.core_outputs(model, {name: tf.gather(value, order) for name, value in inputs.items()})
    back = tf.math.invert_permutation(order)
    return {name: tf.gather(value, back) for name, value in outputs.items()}
