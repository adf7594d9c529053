"""`PredictionService` and `ModelService` over gRPC."""

import logging
from concurrent import futures

import grpc
from tensorflow_serving.apis import (
    model_service_pb2_grpc,
    prediction_service_pb2_grpc,
)

from kerasformer.serving.errors import ServingError

_OPTIONS = (
    # Without this two servers share one port in silence.
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
)
_log = logging.getLogger(__name__)


def _call(context, method, request, **arguments):
    try:
        return method(request, **arguments)
    except ServingError as error:
        code, message = error.code, error.message
    except Exception as error:
        _log.exception("A request failed inside the server")
        code, message = "INTERNAL", f"{type(error).__name__}: {error}"
    return context.abort(grpc.StatusCode[code], message)


def _timeout(context):
    """Seconds that the caller still waits; None for ever, which gRPC tells as some hundred years."""
    seconds = context.time_remaining()
    return seconds if seconds is not None and seconds < 1e6 else None


class _PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    def __init__(self, service):
        self._service = service

    def Predict(self, request, context):
        return _call(context, self._service.predict, request, timeout=_timeout(context))

    def Classify(self, request, context):
        return _call(context, self._service.classify, request, timeout=_timeout(context))

    def Regress(self, request, context):
        return _call(context, self._service.regress, request, timeout=_timeout(context))

    def GetModelMetadata(self, request, context):
        return _call(context, self._service.metadata, request)


class _ModelService(model_service_pb2_grpc.ModelServiceServicer):
    def __init__(self, service):
        self._service = service

    def GetModelStatus(self, request, context):
        return _call(context, self._service.status, request)


class GrpcServer:
    """Serves a `Service` over gRPC, without encryption.

    Args:
        service: a `Service`.
        host: the address to listen on.
        port: 0 chooses a free one.
        threads: how many requests run at once.

    Raises:
        OSError: the port cannot be had.
    """

    def __init__(self, service, host, port, threads=16):
        self._server = grpc.server(futures.ThreadPoolExecutor(threads, "grpc"), options=_OPTIONS)
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(_PredictionService(service), self._server)
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(_ModelService(service), self._server)
        try:
            self.port = self._server.add_insecure_port(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
        except RuntimeError as error:
            raise OSError(str(error)) from error

    def start(self):
        self._server.start()

    def stop(self, grace=30.0):
        """Takes no more requests, and gives those under way `grace` seconds."""
        self._server.stop(grace).wait()
