"""A system under measurement in a process of its own.

One process a system, because TensorFlow, PyTorch, ONNX Runtime and OpenVINO each bring thread pools and allocators,
and because a served model is measured in a process that holds nothing else.
"""

import importlib
import importlib.util
import multiprocessing
import os
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any

# Fresh interpreters: TensorFlow does not survive a fork.
_CONTEXT = multiprocessing.get_context("spawn")

# Set for every worker before it starts. The peers run on the CPU, so nothing may run elsewhere.
ENVIRONMENT = {"CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3", "TRANSFORMERS_VERBOSITY": "error"}


def missing_for(module: str) -> list[str]:
    """Those of the packages in `PACKAGES` of a system's module that are not installed.

    Such a module imports nothing heavy by itself: its functions import their libraries when called.
    """
    packages = importlib.import_module(module).PACKAGES
    return [name for name in packages if importlib.util.find_spec(name) is None]


def run_alone(module: str, function: str, *args, **kwargs) -> None:
    """Calls `module.function(*args, **kwargs)` in a process that ends with it; its result is dropped.

    Raises:
        RuntimeError: the call raised; the message is its traceback.
    """
    Worker(module, function, *args, **kwargs).close()


class Worker:
    """Holds what `module.function(*args, **kwargs)` returns, a callable, in a process of its own.

    Raises:
        RuntimeError: a call raised in the process; the message is its traceback.
    """

    environment = ENVIRONMENT

    def __init__(self, module: str, function: str, *args, **kwargs):
        os.environ.update(self.environment)
        self._connection, theirs = _CONTEXT.Pipe()
        target = (theirs, module, function, args, kwargs)
        self._process = _CONTEXT.Process(target=_serve, args=target, daemon=True)
        self._process.start()
        theirs.close()
        self._receive()

    def __call__(self, *args) -> Any:
        """What the callable returns for `args`."""
        return self._ask("call", args)

    def time_each(self, arguments: Sequence, seconds_limit: float = float("inf")) -> list[float]:
        """Calls the callable with each of `arguments` in turn.

        Returns:
            Seconds of each call. The list is shorter than `arguments` where `seconds_limit` ran out; never empty.
        """
        return self._ask("time_each", (list(arguments), seconds_limit))

    def close(self) -> None:
        self._connection.close()
        self._process.join(timeout=30)
        if self._process.is_alive():
            self._process.terminate()

    def _ask(self, command, arguments):
        self._connection.send((command, arguments))
        return self._receive()

    def _receive(self):
        try:
            failed, value = self._connection.recv()
        except EOFError:
            self._process.join()
            raise RuntimeError(f"The process ended with exit code {self._process.exitcode}.") from None
        if failed:
            raise RuntimeError(value)
        return value


def _serve(connection, module: str, function: str, args: tuple, kwargs: dict) -> None:
    try:
        run = getattr(importlib.import_module(module), function)(*args, **kwargs)
        connection.send((False, None))
    except Exception:
        connection.send((True, traceback.format_exc()))
        return
    while True:
        try:
            command, arguments = connection.recv()
        except EOFError:
            return
        try:
            value = run(*arguments) if command == "call" else _time_each(run, *arguments)
            connection.send((False, value))
        except Exception:
            connection.send((True, traceback.format_exc()))


def _time_each(run: Callable, arguments: list, seconds_limit: float) -> list[float]:
    seconds: list[float] = []
    for argument in arguments:
        start = time.perf_counter()
        run(argument)
        seconds.append(time.perf_counter() - start)
        if sum(seconds) > seconds_limit:
            break
    return seconds
