"""TensorFlow Serving's REST interface, for the client: dicts and NumPy arrays in and out."""

import base64
import http.client
import json
import queue
import socket
import urllib.parse

import numpy as np

from kerasformer.serving.errors import HTTP_STATUS, UNREACHABLE_HINT, ServingError, too_slow

_CODES = {status: code for code, status in HTTP_STATUS.items() if code != "OK"} | {
    400: "INVALID_ARGUMENT",
    409: "ABORTED",
    413: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
}


class RestTransport:
    """TensorFlow Serving's REST interface; connections are kept and shared between threads.

    Args:
        url: `http://host:port` or `https://host:port`.
        timeout: seconds for each call.
    """

    def __init__(self, url, timeout):
        parts = urllib.parse.urlsplit(url)
        self._url = f"{parts.scheme}://{parts.netloc}"
        self._netloc = parts.netloc
        self._connection = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._timeout = timeout
        self._idle = queue.LifoQueue()

    def predict(self, model, version, signature, inputs, outputs_of):
        columns = {name: _to_json(array) for name, array in inputs.items()}
        answer = self._ask(model, version, "predict", {"signature_name": signature, "inputs": columns})["outputs"]
        # Column form gives a single output bare, and no types: both are in the metadata.
        specs = outputs_of(fresh=False)
        if not _fits(answer, specs):
            specs = outputs_of(fresh=True)
        if not _fits(answer, specs):
            raise ServingError("INTERNAL", f"{model!r} at {self._url} gave other outputs than its metadata names.")
        named = answer if len(specs) > 1 else {next(iter(specs)): answer}
        return {name: _from_json(value, specs[name]) for name, value in named.items()}

    def classify(self, model, version, signature, examples):
        examples = [{name: _to_json_feature(value) for name, value in example.items()} for example in examples]
        return self._ask(model, version, "classify", {"signature_name": signature, "examples": examples})["results"]

    def regress(self, model, version, signature, examples):
        examples = [{name: _to_json_feature(value) for name, value in example.items()} for example in examples]
        return self._ask(model, version, "regress", {"signature_name": signature, "examples": examples})["results"]

    def metadata(self, model, version):
        return self._request("GET", f"{_path(model, version)}/metadata", None, model)

    def status(self, model, version):
        return self._request("GET", _path(model, version), None, model)

    def close(self):
        while not self._idle.empty():
            self._idle.get_nowait().close()

    def _ask(self, model, version, method, document):
        body = json.dumps(document, ensure_ascii=False).encode()
        return self._request("POST", f"{_path(model, version)}:{method}", body, model)

    def _request(self, method, path, body, model):
        status, answer = self._exchange(method, path, body)
        try:
            document = json.loads(answer.decode("utf-8", "replace"))
        except ValueError:
            document = None
        if status == 200 and isinstance(document, dict):
            return document
        details = document.get("error") if isinstance(document, dict) else answer[:200].decode("utf-8", "replace")
        code = _CODES.get(status, "UNKNOWN")
        raise ServingError(code, f"{model!r} at {self._url}: {details or f'HTTP status {status} without an answer'}")

    def _exchange(self, method, path, body):
        """`(HTTP status, bytes of the answer)`. Raises `ServingError` where there is none."""
        headers = {"Content-Type": "application/json"} if body is not None else {}
        while True:
            try:
                connection, fresh = self._idle.get_nowait(), False
            except queue.Empty:
                connection, fresh = self._connection(self._netloc, timeout=self._timeout), True
            try:
                connection.request(method, path, body, headers)
                response = connection.getresponse()
                answer = response.read()
            except TimeoutError as error:
                connection.close()
                raise ServingError("DEADLINE_EXCEEDED", too_slow(self._url, self._timeout)) from error
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                if not fresh:  # a kept connection that the server has closed meanwhile
                    continue
                what = "is no known host" if isinstance(error, socket.gaierror) else "cannot be reached over HTTP"
                raise ServingError("UNAVAILABLE", f"{self._url} {what}. {UNREACHABLE_HINT} ({error})") from error
            if response.will_close:
                connection.close()
            else:
                self._idle.put(connection)
            return response.status, answer


def _path(model, version):
    path = f"/v1/models/{urllib.parse.quote(model, safe='')}"
    if isinstance(version, str):
        return f"{path}/labels/{urllib.parse.quote(version, safe='')}"
    return path if version is None else f"{path}/versions/{version}"


def _to_json(array):
    if array.dtype != object:
        return array.tolist()
    values = np.empty(array.size, object)
    values[:] = [_to_json_string(value) for value in array.ravel()]
    return values.reshape(array.shape).tolist()


def _to_json_string(value):
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"b64": base64.b64encode(value).decode()}


def _to_json_feature(values):
    return [_to_json_string(value) if isinstance(value, bytes) else value for value in values]


def _fits(answer, specs):
    if len(specs) > 1:
        return isinstance(answer, dict) and answer.keys() == specs.keys()
    return not isinstance(answer, dict) or answer.keys() == {"b64"}


def _from_json(value, spec):
    """Nested lists as the array that the metadata `spec` of an output tells; strings as str, base64 as bytes."""
    shape = []
    leaves = [value]
    while leaves and isinstance(leaves[0], list):
        shape.append(len(leaves[0]))
        leaves = [leaf for part in leaves for leaf in part]
    if not leaves:  # an empty list hides the dimensions within it
        shape += [max(0, int(dim["size"])) for dim in spec["tensor_shape"].get("dim", [])[len(shape) :]]
    array = np.empty(len(leaves), numpy_dtype(spec))
    array[:] = [base64.b64decode(leaf["b64"]) if isinstance(leaf, dict) else leaf for leaf in leaves]
    return array.reshape(shape)


def numpy_dtype(spec):
    """The NumPy type of a tensor in the metadata, such as `{"dtype": "DT_INT32", ...}`; object for strings."""
    name = spec["dtype"].removeprefix("DT_").lower()
    return np.dtype({"string": "object", "float": "float32", "double": "float64", "half": "float16"}.get(name, name))
