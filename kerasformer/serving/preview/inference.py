"""Predict, Classify and Regress on one loaded model: requests and responses are TensorFlow Serving's own messages."""

import math

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import classification_pb2, predict_pb2, regression_pb2

from kerasformer.errors import InputError
from kerasformer.serving.errors import ServingError
from kerasformer.serving.preview.loaded_model import DEFAULT_SIGNATURE, LoadedModel
from kerasformer.serving.warmup import read_warmup

# A tensor may repeat its last value, so that a few bytes can ask for any amount of memory.
MAX_ELEMENTS = 1 << 28

# A warmup record that takes longer fails, so that a version that never answers does not hold up the others.
WARMUP_SECONDS = 300.0

# The field of `TensorProto` that holds the values of a type.
_FIELDS = {
    tf.float32: "float_val",
    tf.float64: "double_val",
    tf.int8: "int_val",
    tf.int16: "int_val",
    tf.int32: "int_val",
    tf.uint8: "int_val",
    tf.int64: "int64_val",
    tf.uint32: "uint32_val",
    tf.uint64: "uint64_val",
    tf.bool: "bool_val",
}


def to_tensor_proto(array):
    """`array` as a `TensorProto` with its values in the typed fields, where TensorFlow Serving puts them.

    (`tf.make_tensor_proto` packs them into `tensor_content`, and clients that read `float_val` would find nothing.)
    """
    if array.dtype == object:
        return tf.make_tensor_proto(array, dtype=tf.string, shape=array.shape)
    dtype = tf.as_dtype(array.dtype)
    if dtype not in _FIELDS:
        return tf.make_tensor_proto(array)
    shape = tf.TensorShape(array.shape).as_proto()
    proto = tensor_pb2.TensorProto(dtype=dtype.as_datatype_enum, tensor_shape=shape)
    getattr(proto, _FIELDS[dtype]).extend(array.ravel().tolist())
    return proto


def from_tensor_proto(name, proto):
    """The NumPy array in the `TensorProto` of input `name`. Raises `ServingError` if values and shape disagree."""
    if math.prod(dim.size for dim in proto.tensor_shape.dim) > MAX_ELEMENTS:
        raise ServingError("INVALID_ARGUMENT", f"Input {name!r} has more than {MAX_ELEMENTS} elements.")
    try:
        return tf.make_ndarray(proto)
    except (KeyError, TypeError, ValueError) as error:
        raise ServingError("INVALID_ARGUMENT", f"Input {name!r} is no well-formed tensor: {error}") from error


def load(folder):
    """A `LoadedModel` that answered its warmup requests, so that its first request is not the slow one.

    Raises:
        ServingError: the folder is no loadable SavedModel, or a warmup record cannot be read or fails (as in TensorFlow
            Serving).
    """
    model = LoadedModel(folder)
    methods = {"predict_log": predict, "classify_log": classify, "regress_log": regress}
    try:
        for number, log in enumerate(read_warmup(folder), start=1):
            kind = log.WhichOneof("log_type")
            try:
                if kind not in methods:
                    raise ServingError("UNIMPLEMENTED", f"a {kind or 'record without a request'} cannot be replayed")
                methods[kind](model, getattr(log, kind).request, timeout=WARMUP_SECONDS)
            except ServingError as error:
                raise ServingError(error.code, f"Warmup record {number} fails: {error.message}") from error
    except InputError as error:
        model.close()
        raise ServingError("INVALID_ARGUMENT", str(error)) from error
    except ServingError:
        model.close()
        raise
    return model


def predict(model, request, timeout=None):
    """Answers a `PredictRequest`; `output_filter` chooses outputs. Raises `ServingError`."""
    inputs = {name: from_tensor_proto(name, proto) for name, proto in request.inputs.items()}
    outputs = model.run(request.model_spec.signature_name, inputs, list(request.output_filter), timeout)
    return predict_pb2.PredictResponse(outputs={name: to_tensor_proto(array) for name, array in outputs.items()})


def classify(model, request, timeout=None):
    """Answers a `ClassificationRequest` by a signature `inputs [N]` → `classes [N, C]` and/or `scores [N, C]`."""
    name = request.model_spec.signature_name or DEFAULT_SIGNATURE
    signature = model.signature(name)
    wanted = [output for output in ("classes", "scores") if output in signature.outputs]
    expected = "the input `inputs` and the outputs `classes` and `scores`, or one of them"
    if len(signature.inputs) != 1 or len(signature.outputs) > 2:
        _refuse("INVALID_ARGUMENT", "Classify", expected, name, signature)
    if "inputs" not in signature.inputs or not wanted:
        _refuse("FAILED_PRECONDITION", "Classify", expected, name, signature)
    results = _run_examples(model, name, request.input, wanted, timeout)
    classes, scores = results.get("classes"), results.get("scores")
    if classes is not None and classes.dtype != object:
        raise ServingError("INVALID_ARGUMENT", f"The output `classes` must be strings. It is {classes.dtype}.")
    if scores is not None and scores.dtype != np.float32:
        raise ServingError("INVALID_ARGUMENT", f"The output `scores` must be float32. It is {scores.dtype}.")
    shapes = {array.shape for array in results.values()}
    if len(shapes) > 1 or any(len(shape) != 2 for shape in shapes):
        found = {output: array.shape for output, array in results.items()}
        raise ServingError("INVALID_ARGUMENT", f"Classify needs outputs of one shape [batch, classes]. Found: {found}.")
    response = classification_pb2.ClassificationResponse()
    for row in range(shapes.pop()[0]):
        classification = response.result.classifications.add()
        for column in range(next(iter(results.values())).shape[1]):
            item = classification.classes.add()
            if classes is not None:
                item.label = classes[row, column].decode("utf-8", "replace")
            if scores is not None:
                item.score = scores[row, column]
    return response


def regress(model, request, timeout=None):
    """Answers a `RegressionRequest` by a signature `inputs [N]` → `outputs` float32 `[N]` or `[N, 1]`."""
    name = request.model_spec.signature_name or DEFAULT_SIGNATURE
    signature = model.signature(name)
    if list(signature.inputs) != ["inputs"] or list(signature.outputs) != ["outputs"]:
        _refuse("INVALID_ARGUMENT", "Regress", "the input `inputs` and the output `outputs`", name, signature)
    values = _run_examples(model, name, request.input, ["outputs"], timeout)["outputs"]
    if values.dtype != np.float32 or values.ndim not in (1, 2) or values.shape[1:] not in ((), (1,)):
        raise ServingError(
            "INVALID_ARGUMENT",
            f"Regress needs a float32 output [batch] or [batch, 1]. Found: {values.dtype} {list(values.shape)}.",
        )
    response = regression_pb2.RegressionResponse()
    for value in values.ravel():
        response.result.regressions.add(value=value)
    return response


def _refuse(code, method, expected, name, signature):
    found = f"{sorted(signature.inputs)} and {sorted(signature.outputs)}"
    hint = "Choose another by `signature_name`, or call Predict."
    raise ServingError(code, f"{method} needs a signature with {expected}. {name!r} has {found}. {hint}")


def _run_examples(model, name, examples, outputs, timeout):
    """Feeds the `tf.Example`s of a request to a signature and returns its outputs, `[N, ...]` each."""
    kind = examples.WhichOneof("kind")
    context = b""
    if kind == "example_list_with_context":
        context = examples.example_list_with_context.context.SerializeToString()
    listed = getattr(examples, kind).examples if kind else []
    if not listed:
        raise ServingError("INVALID_ARGUMENT", "The request has no examples.")
    # Two serialized messages, one after the other, are the two merged.
    serialized = np.array([context + example.SerializeToString() for example in listed], object)
    results = model.run(name, {"inputs": serialized}, outputs, timeout)
    for output, array in results.items():
        if array.shape[:1] != serialized.shape:
            raise ServingError(
                "INVALID_ARGUMENT",
                f"Output {output!r} must have one row an example, {len(serialized)}. Its shape: {list(array.shape)}.",
            )
    return results
