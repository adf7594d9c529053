"""Run by `benchmarks.memory` as a program of its own: warmup requests as JSON on its input, figures on its output."""

import json
import pathlib
import re
import statistics
import sys
import time

import numpy as np
import tensorflow as tf
import tensorflow_text  # noqa: F401  its ops


def resident(field="VmRSS"):
    """MB of memory that this process holds."""
    return int(re.search(rf"{field}:\s+(\d+)", pathlib.Path("/proc/self/status").read_text())[1]) / 1000


def main(folder, requests):
    before = resident()
    session, start = tf.compat.v1.Session(graph=tf.Graph()), time.perf_counter()
    with session.graph.as_default():
        loaded = tf.compat.v1.saved_model.load(session, ["serve"], folder).signature_def
    signatures = {name: value for name, value in loaded.items() if not name.startswith("__")}
    found = {"load": resident() - before, "load_seconds": time.perf_counter() - start}

    def call(name, values, outputs):
        signature = signatures[name]
        feeds = {signature.inputs[key].name: decode(*value) for key, value in values.items()}
        start = time.perf_counter()
        session.run([signature.outputs[key].name for key in outputs or signature.outputs], feeds)
        return time.perf_counter() - start

    found["warmup_seconds"] = sum(call(*request) for request in requests)
    found["warmup"] = resident() - before
    whole = {name: values for name, values, outputs in requests if not outputs}
    found["calls"] = {}
    for name, values in whole.items():
        first = call(name, values, [])
        found["calls"][name] = first, statistics.median(call(name, values, []) for _ in range(10))
    found["signatures"] = resident() - before
    # Pairs of outputs: only single ones are warmed up.
    outputs = sorted(signatures["serving_default"].outputs)
    found["filters"], found["filter_seconds"] = [], []
    for pair in [outputs[:2], outputs[1:], [outputs[0], outputs[-1]]]:
        last = resident()
        found["filter_seconds"].append(call("serving_default", whole["serving_default"], pair))
        found["filters"].append(resident() - last)
    return found | {"peak": resident("VmHWM") - before}


def decode(dtype, values):
    return np.array([v.encode("latin-1") for v in values], object) if dtype == "bytes" else np.array(values, dtype)


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], json.load(sys.stdin))))
