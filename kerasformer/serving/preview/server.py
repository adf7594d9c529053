"""The preview server: models, REST and gRPC."""

import json
import shlex
import time

import tensorflow as tf

from kerasformer.errors import InputError
from kerasformer.serving.preview.grpc_server import GrpcServer
from kerasformer.serving.preview.http_server import HttpServer
from kerasformer.serving.preview.loaded_model import DEFAULT_SIGNATURE, shape_text
from kerasformer.serving.preview.ports import listen
from kerasformer.serving.preview.registry import Registry
from kerasformer.serving.preview.rest import MAX_BODY_BYTES, RestApplication
from kerasformer.serving.preview.service import Service

# Kubernetes kills 30 seconds after its signal.
GRACE_SECONDS = 20.0


class PreviewServer:
    """Serves the SavedModels of a folder with TensorFlow Serving's REST and gRPC interfaces.

    The newest version of a model answers by default, any other by its number; labels come from `models.config` in the
    folder. The folder is polled each second: a new version answers as soon as it is loaded.

        with PreviewServer("savedmodels", rest_port=0, grpc_port=0) as server:
            with Client(f"http://127.0.0.1:{server.rest_port}", model="sentiment") as client:
                client.predict(text=["a text"])

    Args:
        folder: `NAME/VERSION/saved_model.pb` below it, or one model's folder, `VERSION/saved_model.pb` below it.
        rest_port: port of the REST interface; 0 chooses a free one.
        grpc_port: port of the gRPC interface; 0 chooses a free one.
        host: address to listen on.
        tell: called with one line per event, such as a version that failed to load.
        max_body_bytes: larger REST requests are refused.

    Attributes:
        rest_port, grpc_port: the ports in use.

    Raises:
        InputError: there is no model to serve in the folder, or a port is taken.
    """

    def __init__(
        self,
        folder,
        rest_port=8501,
        grpc_port=8500,
        host="127.0.0.1",
        tell=lambda line: None,
        max_body_bytes=MAX_BODY_BYTES,
    ):
        self.host = host
        self._registry = Registry(folder, tell)
        service = Service(self._registry)
        listener = listen(host, rest_port, "--rest-port")
        self.rest_port = listener.getsockname()[1]
        self._http = HttpServer(RestApplication(service, max_body_bytes), listener)
        try:
            if grpc_port:
                # gRPC writes a page to stderr about a busy port; asking first gives one line.
                listen(host, grpc_port, "--grpc-port").close()
            self._grpc = GrpcServer(service, host, grpc_port)
        except OSError as error:
            self._http.stop()
            raise InputError(f"gRPC cannot listen on {host}:{grpc_port} (--grpc-port): {error}") from error
        except InputError:
            self._http.stop()
            raise
        self.grpc_port = self._grpc.port

    def start(self):
        """Loads the models and answers from then on. Raises `InputError` if none can be served."""
        try:
            self._registry.load()
        except InputError:
            self.stop(grace=0)
            raise
        self._registry.watch()
        self._http.start()
        self._grpc.start()

    def stop(self, grace=GRACE_SECONDS):
        """Accepts no more requests, and waits `grace` seconds for pending ones. Longer requests get no answer;
        their threads end with the process.

        Returns:
            Whether all of them ended in time.
        """
        end = time.monotonic() + grace
        self._registry.stop()
        ended = self._grpc.stop(grace)
        answered = self._http.stop(grace)
        return ended.wait(max(0.0, end - time.monotonic()) + 1.0) and self._grpc.is_idle() and answered

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *exc):
        self.stop()

    def models(self):
        """Model name to the number of the version that answers."""
        models = self._registry.models.values()
        return {model.name: model.current.number for model in models if model.current is not None}

    def describe(self):
        """Lines that describe what is served, and how to query it."""
        lines = [f"REST on http://{_url_host(self.host)}:{self.rest_port}, gRPC on {self.host}:{self.grpc_port}"]
        for model in self._registry.models.values():
            if model.current is None:
                continue
            others = sorted(set(model.versions) - {model.current.number})
            also = f" (also on disk: {', '.join(map(str, others))})" if others else ""
            lines.append(f"{model.name}, version {model.current.number}{also}")
            signatures = model.current.load().signatures
            for name, signature in sorted(signatures.items()):
                if not name.startswith("__"):
                    lines.append(f"  {name}: {_tensors(signature.inputs)} → {_tensors(signature.outputs)}")
            if DEFAULT_SIGNATURE in signatures:
                lines.append("  " + self._curl(model.name, signatures[DEFAULT_SIGNATURE]))
        return lines

    def _curl(self, model, signature):
        instance = {name: _example(info, skip=1) for name, info in sorted(signature.inputs.items())}
        body = json.dumps({"instances": [instance]})
        url = f"http://{_url_host(self.host)}:{self.rest_port}/v1/models/{model}:predict"
        return f"curl -d {shlex.quote(body)} {shlex.quote(url)}"


def _url_host(host):
    return f"[{host}]" if ":" in host else host


def _tensors(infos):
    return ", ".join(
        f"{name} {tf.as_dtype(info.dtype).name} {shape_text(info.tensor_shape)}" for name, info in sorted(infos.items())
    )


def _example(info, skip):
    """A JSON value that fits a `TensorInfo`, without its first `skip` dimensions."""
    dtype = tf.as_dtype(info.dtype)
    value = "some text" if dtype == tf.string else True if dtype == tf.bool else 1.0 if dtype.is_floating else 1
    for dim in reversed(info.tensor_shape.dim[skip:]):
        value = [value] * (dim.size if dim.size >= 0 else 1)
    return value
