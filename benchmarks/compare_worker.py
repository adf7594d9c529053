"""A process that answers requests over pipes, one JSON object a line, and both ends of those pipes.

Run as a program, it opens SavedModels as TensorFlow Serving does and imports nothing but TensorFlow and
tensorflow-text. The programs of the two trees, `compare_old.py` and `compare_new.py`, import
`serve_tree`.
"""

import json
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent


class Worker:
    """A long-lived process that runs `program`, a file beside this one, with `tree` as its PYTHONPATH.

    Raises:
        RuntimeError: a request failed; the message is its traceback.
    """

    def __init__(self, program: str, *arguments, tree: Path | None = None):
        environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"}
        environment["PYTHONPATH"] = str(tree or "")
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / program), *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            cwd=tree,
        )

    def ask(self, action: str, **arguments) -> Any:
        """The result of `action(**arguments)` in the process; all values are JSON."""
        try:
            self._process.stdin.write(json.dumps({"action": action, **arguments}) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise RuntimeError(f"The process of {action!r} ended with exit code {self._process.wait()}.")
        reply = json.loads(line)
        if "error" in reply:
            raise RuntimeError(reply["error"])
        return reply["result"]

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait(timeout=60)


def answer_requests(actions: dict[str, Callable]) -> None:
    """Answers requests from standard input until it is closed. Whatever else is printed goes to standard error."""
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        request = json.loads(line)
        try:
            reply = {"result": actions[request.pop("action")](**request)}
        except Exception:
            reply = {"error": traceback.format_exc()}
        replies.write(json.dumps(reply) + "\n")
        replies.flush()


class Export:
    """A SavedModel in a session of its own, with every output of a signature fetched, as a server does by default."""

    def __init__(self, folder: str, threads: int):
        import tensorflow as tf
        import tensorflow_text  # noqa: F401, registers its ops

        tf.get_logger().setLevel("ERROR")  # of the loader's deprecation: servers load in this way
        config = tf.compat.v1.ConfigProto(intra_op_parallelism_threads=threads, inter_op_parallelism_threads=threads)
        self._session = tf.compat.v1.Session(graph=tf.Graph(), config=config)
        with self._session.graph.as_default():
            self._signatures = tf.compat.v1.saved_model.load(self._session, ["serve"], folder).signature_def
        self._calls = {}

    def call(self, signature: str, columns: dict[str, list]) -> dict[str, np.ndarray]:
        """Outputs of a batch, by name."""
        served = self._signatures[signature]
        names, inputs = sorted(served.outputs), sorted(columns)
        key = (signature, *inputs)
        if key not in self._calls:
            self._calls[key] = self._session.make_callable(
                [served.outputs[name].name for name in names], [served.inputs[name].name for name in inputs]
            )
        arrays = [
            np.array([value.encode() for value in columns[name]], object)
            if isinstance(columns[name][0], str)
            else np.array(columns[name], np.int32)
            for name in inputs
        ]
        return dict(zip(names, self._calls[key](*arrays), strict=True))


def serve_exports(threads: int) -> None:
    """Actions: `open` a folder under a name, `answer` a batch, `time` batches in seconds."""
    exports = {}

    def open_export(name, folder):
        exports[name] = Export(folder, threads)

    def answer(name, signature, columns):
        outputs = exports[name].call(signature, columns)
        return {key: to_json(value) for key, value in outputs.items()}

    def timed(name, signature, batches):
        start = time.perf_counter()
        for columns in batches:
            exports[name].call(signature, columns)
        return time.perf_counter() - start

    answer_requests({"open": open_export, "answer": answer, "time": timed})


def serve_tree(adapter, folder: str, actions: dict[str, Callable]) -> None:
    """What the programs of both trees do: `export` a task of `folder`, and time `tokenize` and `train` in seconds.

    Args:
        adapter: a module with `build(folder, name)`, `export(task, target)` and `trainer_of(task)`.
        actions: further ones.
    """
    import tensorflow as tf

    import kerasformer

    made = {}

    def once(kind, name, make):
        if (kind, name) not in made:
            made[kind, name] = make()
        return made[kind, name]

    def task_of(name):
        return once("task", name, lambda: adapter.build(folder, name))

    def export(name, target):
        adapter.export(adapter.build(folder, name), target)

    def tokenize(name, texts, calls):
        texts = tf.constant(texts)
        function = once("tokenizer", name, lambda: tf.function(task_of(name).tokenizer))
        start = time.perf_counter()
        for _ in range(calls):
            function(texts)
        return time.perf_counter() - start

    def train(name, features, targets, batch):
        trainer = once("trainer", name, lambda: adapter.trainer_of(task_of(name)))
        dataset = tf.data.Dataset.from_tensor_slices((features, targets)).batch(batch)
        start = time.perf_counter()
        trainer.fit(dataset)
        return time.perf_counter() - start

    own = {"where": lambda: kerasformer.__file__, "export": export, "tokenize": tokenize, "train": train}
    answer_requests(own | actions)


def to_json(array: np.ndarray) -> dict:
    """An array as JSON; strings keep bytes that are no UTF-8."""
    if array.dtype == object:
        values = [value.decode("utf-8", "surrogateescape") for value in array.ravel().tolist()]
    else:
        values = array.ravel().tolist()
    return {"dtype": str(array.dtype), "shape": list(array.shape), "values": values}


def from_json(value: dict) -> np.ndarray:
    """The array that `to_json` was given, with strings as str."""
    return np.array(value["values"], value["dtype"]).reshape(value["shape"])


if __name__ == "__main__":
    serve_exports(int(sys.argv[1]))
