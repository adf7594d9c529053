"""`PredictionService` and `ModelService` over gRPC."""

import logging
import queue
import threading
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


class _DaemonThreads(futures.Executor):
    """A pool whose threads do not keep the process alive: a request that its client gave up may run for minutes."""

    def __init__(self, threads):
        self._tasks = queue.SimpleQueue()
        self.running = 0
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._work, name=f"grpc-{i}", daemon=True) for i in range(threads)]
        for thread in self._threads:
            thread.start()

    def submit(self, function, /, *arguments, **options):
        future = futures.Future()
        self._tasks.put((future, function, arguments, options))
        return future

    def shutdown(self, wait=True, *, cancel_futures=False):
        for _ in self._threads:
            self._tasks.put(None)

    def _work(self):
        while (task := self._tasks.get()) is not None:
            future, function, arguments, options = task
            if not future.set_running_or_notify_cancel():
                continue
            self._count(1)
            try:
                future.set_result(function(*arguments, **options))
            except BaseException as error:
                future.set_exception(error)
            finally:
                self._count(-1)

    def _count(self, change):
        with self._lock:
            self.running += change


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
        self._threads = _DaemonThreads(threads)
        self._server = grpc.server(self._threads, options=_OPTIONS)
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(_PredictionService(service), self._server)
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(_ModelService(service), self._server)
        try:
            self.port = self._server.add_insecure_port(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
        except RuntimeError as error:
            raise OSError(str(error)) from error

    def start(self):
        self._server.start()

    def stop(self, grace):
        """Accepts no more requests, and waits `grace` seconds for pending ones.

        Returns:
            A `threading.Event`, set when all of them have ended.
        """
        ended = self._server.stop(grace)
        self._threads.shutdown()
        return ended

    def is_idle(self):
        """Whether no thread works on a request, be it one that its client gave up."""
        return self._threads.running == 0
