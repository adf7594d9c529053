"""One version of a SavedModel in memory, run as TensorFlow Serving runs it.

TensorFlow Serving loads a SavedModel into a `Session` and runs the tensors that a signature names; it never builds
Python objects from it. `tf.compat.v1.saved_model.load` is the same way in, and finds what that server would find:
missing initializers, unknown ops, wrong shapes.
"""

from pathlib import Path

import numpy as np
import tensorflow as tf
import tensorflow_text  # noqa: F401  registers the text ops that TensorFlow Serving links

from kerasformer.serving.errors import CODES, ServingError

DEFAULT_SIGNATURE = "serving_default"
WARMUP_FILE = "assets.extra/tf_serving_warmup_requests"
MAX_WARMUP_RECORDS = 1000


def as_serving_error(error):
    """The `ServingError` of a `tf.errors.OpError`, without the node dump that Python adds to it."""
    message = error.message.removeprefix("Graph execution error:").split("\nDetected at node")[0]
    message = message.split("\n\t [[")[0].strip()
    code = CODES[error.error_code] if error.error_code < len(CODES) else "UNKNOWN"
    return ServingError(code, message)


class LoadedModel:
    """A SavedModel in a session of its own.

    Args:
        folder: the version folder, with `saved_model.pb`.

    Attributes:
        signatures: signature name to `SignatureDef`.

    Raises:
        ServingError: the folder is no loadable SavedModel, or a warmup record in it fails (as in TensorFlow Serving).
    """

    def __init__(self, folder):
        graph = tf.Graph()
        self._session = tf.compat.v1.Session(graph=graph)
        try:
            with graph.as_default():
                meta_graph = tf.compat.v1.saved_model.load(self._session, ["serve"], str(folder))
            # From here on threads share the graph: nobody may add to it.
            graph.finalize()
            self.signatures = {name: _own(signature) for name, signature in meta_graph.signature_def.items()}
            self._defaults = {
                name: {key: tf.make_ndarray(value) for key, value in signature.defaults.items()}
                for name, signature in self.signatures.items()
            }
            replay_warmup(self, Path(folder) / WARMUP_FILE)
        except tf.errors.OpError as error:
            self._session.close()
            raise as_serving_error(error) from error
        except ServingError:
            self._session.close()
            raise
        except Exception as error:  # whatever a broken protobuf makes the loader raise
            self._session.close()
            raise ServingError("INTERNAL", f"{type(error).__name__}: {error}".splitlines()[0]) from error

    def signature(self, name, code="INVALID_ARGUMENT"):
        """The `SignatureDef` called `name`; "" is `serving_default`. Raises `ServingError` with `code` if unknown."""
        name = name or DEFAULT_SIGNATURE
        if name not in self.signatures:
            known = ", ".join(sorted(key for key in self.signatures if not key.startswith("__")))
            raise ServingError(code, f"No signature is called {name!r}. This model has: {known}.")
        return self.signatures[name]

    def run(self, signature_name, inputs, outputs=(), timeout=None):
        """Runs a signature.

        Args:
            signature_name: its name; "" is `serving_default`.
            inputs: input name to NumPy array (bytes objects for strings).
            outputs: names of the outputs to compute; empty means all.
            timeout: seconds, or None.

        Returns:
            Output name to NumPy array.

        Raises:
            ServingError: a name, type or shape does not fit the signature, or the graph fails.
        """
        signature = self.signature(signature_name, code="FAILED_PRECONDITION")
        feeds = self._feeds(signature, self._defaults[signature_name or DEFAULT_SIGNATURE], inputs)
        fetches = self._fetches(signature, outputs)
        options = None
        if timeout is not None:
            options = tf.compat.v1.RunOptions(timeout_in_ms=max(1, int(timeout * 1000)))
        try:
            return self._session.run(fetches, feeds, options=options)
        except tf.errors.OpError as error:
            raise as_serving_error(error) from error

    def _feeds(self, signature, defaults, inputs):
        extra = sorted(set(inputs) - set(signature.inputs))
        missing = sorted(set(signature.inputs) - set(inputs) - set(defaults))
        if extra or missing:
            raise ServingError(
                "INVALID_ARGUMENT",
                f"The signature takes the inputs {sorted(signature.inputs)}. "
                f"Received: {sorted(inputs)}; missing: {missing}, unknown: {extra}.",
            )
        feeds = {}
        for name, info in signature.inputs.items():
            value = inputs[name] if name in inputs else defaults[name]
            check_input(name, value, info)
            feeds[info.name] = value
        return feeds

    def _fetches(self, signature, names):
        for name in names:
            if name not in signature.outputs:
                raise ServingError(
                    "INVALID_ARGUMENT",
                    f"The signature has no output {name!r}. It has: {sorted(signature.outputs)}.",
                )
        if len(set(names)) < len(names):
            raise ServingError("INVALID_ARGUMENT", f"An output is asked for twice: {sorted(names)}.")
        return {name: signature.outputs[name].name for name in (names or sorted(signature.outputs))}


def _own(signature):
    # A submessage keeps its whole MetaGraphDef alive, weights held as constants included.
    copy = type(signature)()
    copy.CopyFrom(signature)
    return copy


def shape_text(shape):
    """A `TensorShapeProto` as people write it: `[?, 2]`."""
    if shape.unknown_rank:
        return "of any rank"
    return "[" + ", ".join("?" if dim.size < 0 else str(dim.size) for dim in shape.dim) + "]"


def check_input(name, value, info):
    """Raises `ServingError` unless `value` has the type and shape of the `TensorInfo` `info`."""
    expected = tf.as_dtype(info.dtype)
    received = tf.as_dtype(value.dtype) if value.dtype != object else tf.string
    if received != expected:
        raise ServingError("INVALID_ARGUMENT", f"Input {name!r} is of type {expected.name}. Received: {received.name}.")
    if info.tensor_shape.unknown_rank:
        return
    dims = [dim.size for dim in info.tensor_shape.dim]
    fits = len(dims) == value.ndim and all(dim in (-1, size) for dim, size in zip(dims, value.shape, strict=True))
    if not fits:
        raise ServingError(
            "INVALID_ARGUMENT",
            f"Input {name!r} has the shape {shape_text(info.tensor_shape)}. Received: {list(value.shape)}.",
        )


def replay_warmup(model, path):
    """Runs the warmup records of a version, so that its first request is not the slow one.

    Args:
        model: a `LoadedModel`.
        path: a TFRecord of `tensorflow.serving.PredictionLog`; may be absent.

    Raises:
        ServingError: a record cannot be read or fails, or there are more than 1,000.
    """
    from tensorflow_serving.apis import prediction_log_pb2

    from kerasformer.serving.preview import inference

    if not path.exists():
        return
    for number, record in enumerate(tf.data.TFRecordDataset(str(path)).as_numpy_iterator(), start=1):
        if number > MAX_WARMUP_RECORDS:
            raise ServingError("INVALID_ARGUMENT", f"More than {MAX_WARMUP_RECORDS} warmup records in {WARMUP_FILE}.")
        try:
            log = prediction_log_pb2.PredictionLog.FromString(record)
        except Exception as error:  # google.protobuf.message.DecodeError, of whichever implementation
            raise ServingError("INVALID_ARGUMENT", f"Warmup record {number} is no PredictionLog: {error}") from error
        kind = log.WhichOneof("log_type")
        try:
            if kind == "predict_log":
                inference.predict(model, log.predict_log.request)
            elif kind == "classify_log":
                inference.classify(model, log.classify_log.request)
            elif kind == "regress_log":
                inference.regress(model, log.regress_log.request)
            else:
                raise ServingError("UNIMPLEMENTED", f"a {kind or 'record without a request'} cannot be replayed here")
        except ServingError as error:
            raise ServingError(error.code, f"Warmup record {number} fails: {error.message}") from error


def numpy_dtype(info):
    """The NumPy type of a `TensorInfo`: object for strings."""
    return np.dtype(object) if info.dtype == tf.string.as_datatype_enum else tf.as_dtype(info.dtype).as_numpy_dtype
