"""A client for TensorFlow Serving and for the preview server, over gRPC or REST."""

import urllib.parse

import numpy as np

from kerasformer.errors import InputError
from kerasformer.serving.client_rest import RestTransport, numpy_dtype


class Client:
    """Queries a served model, over gRPC or REST.

        with Client("localhost:8500", model="sentiment") as client:
            client.predict(text=["a fine day", "a bad day"])["label"]

    One client may be used by many threads. REST loads no message of TensorFlow Serving; gRPC does.

    Args:
        address: `host:port` (gRPC), `grpc://host:port`, `grpcs://host:port` (TLS), `http://host:port` or
            `https://host:port`.
        model: the model's name.
        protocol: "grpc" or "rest", for an address without a scheme; "grpc" by default.
        timeout: seconds to wait for each answer.

    Raises:
        InputError: the address or the protocol is none of these.

    Every call raises `ServingError`, with the server's code, if the server refuses it or cannot be reached, and
    `InputError` if its arguments cannot be sent. `version` in every call is a number, or a label as str; None is the
    version that the server prefers.
    """

    def __init__(self, address, *, model=None, protocol=None, timeout=30.0):
        scheme, _, rest = address.rpartition("://")
        scheme = scheme.lower() or {None: "grpc", "grpc": "grpc", "rest": "http"}.get(protocol, "")
        kind = {"grpc": "grpc", "grpcs": "grpc", "http": "rest", "https": "rest"}.get(scheme)
        if kind is None or protocol not in (None, kind):
            raise InputError(
                "`address` must be HOST:PORT with or without grpc://, grpcs://, http:// or https://, and `protocol` "
                f"'grpc', 'rest' or left out. Received: address={address!r}, protocol={protocol!r}."
            )
        parts = urllib.parse.urlsplit(f"//{rest}")
        try:
            complete = parts.hostname and (parts.port or kind == "rest") and not parts.path.strip("/")
        except ValueError:
            complete = False
        if not complete:
            raise InputError(f"`address` must name a host and a port, as localhost:8500 does. Received: {address!r}.")
        self.model = model
        if kind == "rest":
            self._transport = RestTransport(f"{scheme}://{parts.netloc}", timeout)
        else:
            from kerasformer.serving.client_grpc import GrpcTransport

            self._transport = GrpcTransport(parts.netloc, timeout, secure=scheme == "grpcs")
        self._signatures = {}

    def predict(self, inputs=None, /, *, signature="serving_default", version=None, **named_inputs):
        """Runs a signature.

        Args:
            inputs: input name to values, for names that are no Python names, or are taken here (`signature`,
                `version`).
            signature: the signature's name.
            version: a number, a label, or None.
            **named_inputs: values by input name: a list or an array of str, bytes, int, float or bool, `[batch, ...]`.
                A single value is a batch of 1, and the answers are batches then, too.

        Returns:
            Output name to NumPy array `[batch, ...]`. Strings are str in arrays of objects; those whose name ends with
            `_bytes` are bytes.
        """
        inputs = {**(inputs or {}), **named_inputs}
        if not inputs:
            raise InputError("`predict` needs the model's inputs by name, such as predict(text=[...]).")
        model = self._model()
        arrays = {name: _to_array(name, value) for name, value in inputs.items()}
        if any(array.dtype != object or not array.size for array in arrays.values()):
            # A list of integers does not distinguish int32 from int64, an empty one has no type; the signature decides.
            specs = self._signature(version, signature)["inputs"]
            arrays = {name: _fit(name, array, specs.get(name)) for name, array in arrays.items()}
        outputs = self._transport.predict(
            model,
            version,
            signature,
            arrays,
            lambda fresh: self._signature(version, signature, fresh)["outputs"],
        )
        return {name: _as_text(name, array) for name, array in outputs.items()}

    def classify(self, examples, *, signature="classify", version=None):
        """Classifies `tf.Example`s.

        Args:
            examples: for each example a dict from feature name to a value or a list of values: str or bytes, or int,
                or float. A feature that is a float anywhere is sent as floats.
            signature: the signature's name.
            version: a number, a label, or None.

        Returns:
            `{"classes": [batch, classes] str, "scores": [batch, classes] float32}`.
        """
        rows = self._transport.classify(self._model(), version, signature, _to_features(examples))
        classes = np.array([[label for label, _ in row] for row in rows], object)
        scores = np.array([[score for _, score in row] for row in rows], np.float32)
        return {"classes": classes.reshape(scores.shape), "scores": scores}

    def regress(self, examples, *, signature="regress", version=None):
        """Predicts a number for each `tf.Example`; arguments as in `classify`. Returns float32 `[batch]`."""
        values = self._transport.regress(self._model(), version, signature, _to_features(examples))
        return np.array(values, np.float32)

    def metadata(self, *, version=None):
        """The signatures, in the form of TensorFlow Serving's REST interface.

        Returns:
            `{"model_spec": {"name": ..., "version": ...}, "metadata": {"signature_def": {"signature_def": {...}}}}`.
        """
        return self._transport.metadata(self._model(), version)

    def status(self, *, version=None):
        """The state of each version, in the form of TensorFlow Serving's REST interface.

        Returns:
            `{"model_version_status": [{"version": "1", "state": "AVAILABLE", "status": {...}}, ...]}`.
        """
        return self._transport.status(self._model(), version)

    def close(self):
        """Closes the connections."""
        self._transport.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def _model(self):
        if not self.model:
            raise InputError("The client needs the name of a model: Client(address, model='NAME').")
        return self.model

    def _signature(self, version, name, fresh=False):
        """Inputs and outputs of a signature as in the metadata, which is asked for once; `{}` if it is unknown."""
        if fresh or (version, name) not in self._signatures:
            signatures = self.metadata(version=version)["metadata"]["signature_def"]["signature_def"]
            self._signatures[version, name] = signatures.get(name, {"inputs": {}, "outputs": {}})
        return self._signatures[version, name]


def _to_array(name, value):
    """`value` as an array `[batch, ...]`: strings as objects of type bytes. Raises `InputError`."""
    array = value if isinstance(value, np.ndarray) else np.asarray(value, object)
    items = array.ravel().tolist()
    if any(isinstance(item, (list, tuple, np.ndarray)) for item in items):
        raise InputError(f"Input {name!r} is ragged: every list at one depth must have the same length.")
    shape = array.shape or (1,)
    if array.dtype == object and not any(isinstance(item, (str, bytes)) for item in items):
        array = np.array(items)
    if array.dtype.kind in "bifu":
        return array.reshape(shape)
    encoded = np.empty(len(items), object)
    encoded[:] = [_to_bytes(name, item) for item in items]
    return encoded.reshape(shape)


def _to_bytes(name, value):
    if isinstance(value, bytes):
        return value
    if not isinstance(value, str):
        raise InputError(f"Input {name!r} must hold str, bytes, int, float or bool. Received: {type(value).__name__}.")
    try:
        return value.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"Input {name!r} holds half a surrogate pair, which is no text: {value!r:.80}.") from error


def _fit(name, array, spec):
    """`array` in the type of the signature, where no value changes by that. Raises `InputError`."""
    if spec is None:
        return array
    dtype = numpy_dtype(spec)
    if not array.size:
        inner = [max(0, int(dim["size"])) for dim in spec["tensor_shape"].get("dim", [])[array.ndim :]]
        return np.empty((*array.shape, *inner), dtype)
    if array.dtype == object:
        return array
    if dtype == array.dtype:
        return array
    fitted = array.astype(dtype) if dtype.kind in "biuf" else None
    exact = fitted is not None and (np.array_equal(fitted, array) or array.dtype.kind == dtype.kind == "f")
    if not exact or "b" in (array.dtype.kind, dtype.kind):
        raise InputError(f"Input {name!r} takes {spec['dtype'][3:].lower()}. Received: {array.dtype} that do not fit.")
    return fitted


def _as_text(name, array):
    if array.dtype != object or name.endswith("_bytes"):
        return array
    text = np.empty(array.size, object)
    text[:] = [item.decode("utf-8", "replace") if isinstance(item, bytes) else item for item in array.ravel()]
    return text.reshape(array.shape)


def _to_features(examples):
    """Each feature as a list of bytes, of int, or of float, the same in every example. Raises `InputError`."""
    if isinstance(examples, dict):
        examples = [examples]
    listed = [
        {name: value if isinstance(value, (list, tuple, np.ndarray)) else [value] for name, value in example.items()}
        for example in examples
    ]
    floats = {
        name
        for example in listed
        for name, values in example.items()
        if any(isinstance(value, (float, np.floating)) for value in values)
    }
    return [
        {name: _to_values(name, list(values), name in floats) for name, values in example.items()} for example in listed
    ]


def _to_values(name, values, as_float):
    if all(isinstance(value, (str, bytes)) for value in values):
        return [_to_bytes(name, value) for value in values]
    if all(isinstance(value, (bool, int, float, np.bool_, np.number)) for value in values):
        return [float(value) if as_float else int(value) for value in values]
    raise InputError(f"Feature {name!r} must hold str or bytes, or int, or float. Received: {values!r:.80}.")
