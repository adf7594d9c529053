"""Warmup requests: what TensorFlow Serving replays before it takes a version into service."""

import pathlib

import numpy as np
import tensorflow as tf

from kerasformer.errors import InputError

WARMUP_FILE = pathlib.Path("assets.extra") / "tf_serving_warmup_requests"
# TensorFlow Serving refuses a version with more.
MAX_RECORDS = 1000

# Rows of token ids that warm up a signature, and their length.
_TOKENS = 8


def warmup_logs(signatures, texts):
    """`PredictionLog`s that ask each signature once and each output of `serving_default` alone.

    A server optimizes a graph for each set of outputs when it is first asked for.

    Args:
        signatures: `{name: tf.ConcreteFunction}`, outputs as dictionaries.
        texts: `{input name: NumPy array [N]}`, inputs of `serving_default`.
    """
    size = len(next(iter(texts.values())))
    single = {name: values[:1] for name, values in texts.items()}
    logs = [
        _predict_log("serving_default", {key: value[i : i + 1] for key, value in texts.items()})
        for i in reversed(range(size))
    ]
    logs.append(_predict_log("serving_default", texts))
    for output in _filters(signatures["serving_default"]):
        logs.append(_predict_log("serving_default", single, [output]))
    for name, function in signatures.items():
        if name != "serving_default":
            logs += [_log_of(name, function, columns) for columns in (single, texts)]
    return logs


def _filters(function):
    outputs = sorted(function.structured_outputs)
    return outputs if len(outputs) > 1 else []


def _log_of(name, function, texts):
    """A request of the kind that TensorFlow Serving answers with this signature."""
    positional, named = function.structured_input_signature
    specs = {spec.name: spec for spec in positional} | named
    inputs, outputs = set(specs), set(function.structured_outputs)
    if inputs == {"inputs"} and (outputs <= {"classes", "scores"} or outputs == {"outputs"}):
        return _examples_log(name, texts, "classify_log" if outputs != {"outputs"} else "regress_log")
    return _predict_log(name, {key: _values(key, spec, texts) for key, spec in specs.items()})


def _values(name, spec, texts):
    """Values for an input: texts, or ones, which are ids, lengths, weights and counts that all models take."""
    first = next(iter(texts.values()))
    if spec.dtype == tf.string:
        return texts.get(name, first)
    shape = [len(first), *(_TOKENS if size is None else size for size in spec.shape[1:])]
    # A model may have a single segment, number 0.
    fill = np.zeros if name == "segment_ids" else np.ones
    return fill(shape, spec.dtype.as_numpy_dtype)


def _predict_log(signature, inputs, outputs=()):
    from tensorflow_serving.apis import prediction_log_pb2

    log = prediction_log_pb2.PredictionLog()
    request = log.predict_log.request
    request.model_spec.signature_name = signature
    request.output_filter.extend(outputs)
    for name, value in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return log


def _examples_log(signature, texts, kind):
    from tensorflow_serving.apis import prediction_log_pb2

    log = prediction_log_pb2.PredictionLog()
    request = getattr(log, kind).request
    request.model_spec.signature_name = signature
    for row in zip(*texts.values(), strict=True):
        feature = request.input.example_list.examples.add().features.feature
        for name, text in zip(texts, row, strict=True):
            feature[name].bytes_list.value.append(text.encode() if isinstance(text, str) else text)
    return log


def write_warmup(folder, logs):
    """Writes a list of `PredictionLog`, at most 1,000, as a TFRecord below the SavedModel's `folder`."""
    path = pathlib.Path(folder) / WARMUP_FILE
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for log in logs:
            writer.write(log.SerializeToString())


def read_warmup(folder):
    """The `PredictionLog`s of a SavedModel, in order; none where it has no warmup file.

    Raises:
        InputError: a record cannot be read, or there are more than 1,000.
    """
    from google.protobuf import message
    from tensorflow_serving.apis import prediction_log_pb2

    path = pathlib.Path(folder) / WARMUP_FILE
    logs = []
    if not path.is_file():
        return logs
    try:
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            if len(logs) == MAX_RECORDS:
                raise InputError(f"More than {MAX_RECORDS} warmup records in {WARMUP_FILE}.")
            logs.append(prediction_log_pb2.PredictionLog.FromString(record))
    except message.DecodeError as error:
        raise InputError(f"Warmup record {len(logs) + 1} is no PredictionLog: {error}") from error
    except tf.errors.DataLossError as error:
        raise InputError(f"Warmup record {len(logs) + 1} cannot be read: {error.message}") from error
    return logs


def asked(log):
    """What a `PredictionLog` asks: `(kind, signature, {input: array}, output names)`.

    `kind` is "predict", "classify" or "regress"; the output names are empty where all are asked for.

    Raises:
        InputError: it is a log of another kind, or a tensor in it is malformed.
    """
    kind = (log.WhichOneof("log_type") or "").removesuffix("_log")
    if kind not in ("predict", "classify", "regress"):
        raise InputError(f"A warmup record must be a predict_log, classify_log or regress_log. Received: {kind!r}.")
    request = getattr(log, f"{kind}_log").request
    signature = request.model_spec.signature_name or "serving_default"
    if kind == "predict":
        inputs = {name: np.asarray(tf.make_ndarray(value)) for name, value in request.inputs.items()}
        return kind, signature, inputs, list(request.output_filter)
    examples = request.input.example_list.examples
    return kind, signature, {"inputs": np.array([example.SerializeToString() for example in examples], object)}, []
