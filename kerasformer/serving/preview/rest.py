"""The REST interface of TensorFlow Serving as a WSGI application."""

import gzip
import http
import io
import json
import logging
import re
import zlib

from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_pb2,
    regression_pb2,
)

from kerasformer.serving.errors import HTTP_STATUS, ServingError
from kerasformer.serving.messages import metadata_dict, status_dict
from kerasformer.serving.preview import rest_examples, rest_json
from kerasformer.serving.preview.folders import MAX_VERSION

MAX_BODY_BYTES = 64 << 20
TIMEOUT = 30.0  # seconds, TensorFlow Serving's default for REST

_MODEL = r"/v1/models(?:/(?P<name>[^/:]+))?(?:/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?"
_ASK = re.compile(_MODEL + r":(?P<method>classify|regress|predict)", re.IGNORECASE | re.ASCII)
_LOOK = re.compile(_MODEL + r"(?P<metadata>/metadata)?", re.IGNORECASE | re.ASCII)
_log = logging.getLogger(__name__)


class RestApplication:
    """A WSGI application that answers as TensorFlow Serving's REST interface does.

    Args:
        service: a `Service`.
        max_body_bytes: larger requests are refused with 413.
    """

    def __init__(self, service, max_body_bytes=MAX_BODY_BYTES):
        self._service = service
        self._max_body_bytes = max_body_bytes

    def __call__(self, environ, start_response):
        try:
            status, answer = 200, self._answer(environ)
        except _TooLarge as error:
            status, answer = 413, rest_json.write({"error": str(error)})
        except ServingError as error:
            status, answer = HTTP_STATUS[error.code], rest_json.write({"error": error.message})
        except Exception as error:
            _log.exception("A request failed inside the server")
            status, answer = 500, rest_json.write({"error": f"{type(error).__name__}: {error}"})
        reason = http.HTTPStatus(status).phrase if status != 499 else "Client Closed Request"
        headers = [("Content-Type", "application/json"), ("Content-Length", str(len(answer)))]
        start_response(f"{status} {reason}", headers)
        return [answer]

    def _answer(self, environ):
        method = environ["REQUEST_METHOD"]
        path = environ["PATH_INFO"].encode("latin-1").decode("utf-8", "replace")
        if not path.lower().startswith("/v1/"):
            raise ServingError("NOT_FOUND", f"There is nothing at {path}. Try GET /v1/models/NAME.")
        if method == "GET" and (match := _LOOK.fullmatch(path)):
            return self._look(_spec(match), bool(match["metadata"]))
        if method == "POST" and (match := _ASK.fullmatch(path)) and match["name"]:
            document = rest_json.parse(self._body(environ))
            return getattr(self, f"_{match['method'].lower()}")(_spec(match), document)
        raise ServingError(
            "INVALID_ARGUMENT",
            f"Malformed request: {method} {path}. Expected GET /v1/models/NAME[/versions/N][/metadata] or "
            "POST /v1/models/NAME[/versions/N or /labels/LABEL]:predict, :classify or :regress.",
        )

    def _body(self, environ):
        length = int(environ.get("CONTENT_LENGTH") or 0)
        if length > self._max_body_bytes:
            raise _TooLarge(self._max_body_bytes)
        body = environ["wsgi.input"].read(length)
        if "gzip" not in environ.get("HTTP_CONTENT_ENCODING", "").lower():
            return body
        try:
            body = gzip.GzipFile(fileobj=io.BytesIO(body)).read(self._max_body_bytes + 1)
        except (OSError, EOFError, zlib.error) as error:
            raise ServingError("INVALID_ARGUMENT", f"The body is said to be gzip, and is not: {error}.") from error
        if len(body) > self._max_body_bytes:
            raise _TooLarge(self._max_body_bytes)
        return body

    def _predict(self, spec, document):
        model, _ = self._service.registry.find(spec)
        name = rest_json.signature_name(document)
        inputs, row_form = rest_json.read_predict(document, model.signature(name).inputs)
        return rest_json.write_predict(model.run(name, inputs, timeout=TIMEOUT), row_form)

    def _classify(self, spec, document):
        request = classification_pb2.ClassificationRequest(model_spec=spec)
        rest_examples.read_examples(document, request)
        return rest_examples.write_classification(self._service.classify(request, TIMEOUT))

    def _regress(self, spec, document):
        request = regression_pb2.RegressionRequest(model_spec=spec)
        rest_examples.read_examples(document, request)
        return rest_examples.write_regression(self._service.regress(request, TIMEOUT))

    def _look(self, spec, metadata):
        if not spec.name:
            raise ServingError("INVALID_ARGUMENT", "The path names no model. Expected /v1/models/NAME.")
        if not metadata:
            return _json(status_dict(self._service.status(get_model_status_pb2.GetModelStatusRequest(model_spec=spec))))
        request = get_model_metadata_pb2.GetModelMetadataRequest(model_spec=spec, metadata_field=["signature_def"])
        return _json(metadata_dict(self._service.metadata(request)))


class _TooLarge(Exception):
    def __init__(self, limit):
        super().__init__(f"The body is larger than {limit} bytes. Send fewer examples at once, or use gRPC.")


def _spec(match):
    digits = (match["version"] or "").lstrip("0")
    if len(digits) > 19 or int(digits or 0) > MAX_VERSION:
        raise ServingError("INVALID_ARGUMENT", f"{match['version']} is no 64-bit version number.")
    spec = model_pb2.ModelSpec(name=match["name"] or "")
    if match["version"] is not None:
        spec.version.value = int(match["version"])
    elif match["label"] is not None:
        spec.version_label = match["label"]
    return spec


def _json(document):
    return (json.dumps(document, indent=1) + "\n").encode()
