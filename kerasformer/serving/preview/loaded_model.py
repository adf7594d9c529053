"""One version of a SavedModel in memory, run as TensorFlow Serving runs it."""

import numpy as np
import tensorflow as tf

from kerasformer.serving.errors import CODES, ServingError
from kerasformer.serving.session import open_session

DEFAULT_SIGNATURE = "serving_default"


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
        ServingError: the folder is no loadable SavedModel.
    """

    def __init__(self, folder):
        try:
            self._session, self.signatures = open_session(folder)
        except tf.errors.OpError as error:
            raise as_serving_error(error) from error
        except Exception as error:  # whatever a broken protobuf makes the loader raise
            raise ServingError("INTERNAL", f"{type(error).__name__}: {error}".splitlines()[0]) from error
        self._defaults = {
            name: {key: tf.make_ndarray(value) for key, value in signature.defaults.items()}
            for name, signature in self.signatures.items()
        }

    def close(self):
        """Lets the session go; the model cannot be run afterwards."""
        self._session.close()

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


def numpy_dtype(info):
    """The NumPy type of a `TensorInfo`: object for strings."""
    return np.dtype(object) if info.dtype == tf.string.as_datatype_enum else tf.as_dtype(info.dtype).as_numpy_dtype
