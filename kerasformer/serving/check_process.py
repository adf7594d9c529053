"""Run by `check` as a program of its own: warmup requests as JSON on its input, findings as JSON on its output.

Imports `tensorflow` and `tensorflow_text` and nothing of kerasformer, as a server has nothing of it.
"""

import base64
import json
import pathlib
import sys

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.framework import op_def_registry

sys.path.append(str(pathlib.Path(__file__).parent))  # an isolated process looks for modules elsewhere only

from session import describe, open_session

# Python inside a graph, and graphs compiled by XLA, which TensorFlow Serving switches off.
_REFUSED = {"PyFunc", "PyFuncStateless", "EagerPyFunc", "XlaLaunch", "XlaLaunchV2", "_XlaCompile", "_XlaRun"}

# TensorFlow Serving 2.18 and 2.19 link tensorflow-text 2.12, which lacks these.
_NEED_2_20 = {"TFText>RoundRobinTrim", "TFText>RoundRobinGenerateMasks", "TFText>Utf8Binarize"}


class CheckFailed(Exception):
    """The export cannot be served as it should; the message says why."""


def main(folder, requests):
    ops, compiled, is_bfloat16 = read_ops(folder)
    # Only TensorFlow's and tensorflow-text's ops are registered in this process.
    refused = sorted(op for op in ops if op in _REFUSED or op_def_registry.get(op) is None)
    if refused:
        raise CheckFailed(f"TensorFlow Serving does not know the ops {refused}.")
    if compiled:
        raise CheckFailed(f"The functions {compiled} are to be compiled by XLA, which TensorFlow Serving switches off.")
    session, signatures = open_session(folder)
    signatures = {name: signature for name, signature in signatures.items() if not name.startswith("__")}
    with session:
        check_batched(signatures)
        for name, signature in signatures.items():
            check_examples(name, signature)
        # In 8-bit integers a rounding error may become the next unit.
        tolerance = 5e-2 if is_bfloat16 or "_QuantizedMatMul" in ops else 1e-4
        largest = max((replay(session, signatures, *request, tolerance) for request in requests), default=0.0)
    return {
        "signatures": {name: describe(signature) for name, signature in signatures.items()},
        "requests": len(requests),
        "largest_difference": largest,
        "oldest_server": "2.20" if ops & _NEED_2_20 else "2.18",
        "needs_onednn": "_QuantizedMatMul" in ops,
    }


def read_ops(folder):
    """The ops of all graphs and functions, the names of functions that ask for XLA, and whether bfloat16 occurs."""
    saved_model = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    ops, compiled, bfloat16 = set(), [], False
    for meta_graph in saved_model.meta_graphs:
        functions = meta_graph.graph_def.library.function
        names = {function.signature.name for function in functions}
        compiled += [f.signature.name for f in functions if "_XlaMustCompile" in f.attr and f.attr["_XlaMustCompile"].b]
        for nodes in [meta_graph.graph_def.node, *[function.node_def for function in functions]]:
            ops |= {node.op for node in nodes} - names
            types = {node.attr["dtype"].type for node in nodes if node.op in ("Const", "VarHandleOp")}
            bfloat16 |= tf.bfloat16.as_datatype_enum in types
    return ops, compiled, bfloat16


def check_batched(signatures):
    """Every input and output must have the batch as its first dimension: TensorFlow Serving joins requests there."""
    for name, signature in signatures.items():
        for kind, infos in (("input", signature.inputs), ("output", signature.outputs)):
            for key, info in infos.items():
                shape = info.tensor_shape
                if not shape.unknown_rank and (not shape.dim or shape.dim[0].size != -1):
                    raise CheckFailed(f"The {kind} {key!r} of {name!r} has no free first dimension for the batch.")


def check_examples(name, signature):
    """A signature that takes serialized examples must have the outputs that Classify or Regress take."""
    outputs = signature.outputs
    if set(signature.inputs) != {"inputs"} or not outputs:
        return
    expected = {"classes": (tf.string, (2,)), "scores": (tf.float32, (2,))}
    if set(outputs) == {"outputs"}:
        expected = {"outputs": (tf.float32, (1, 2))}
    elif not set(outputs) <= set(expected):
        return
    for key, info in outputs.items():
        dtype, ranks = expected[key]
        shape = info.tensor_shape
        if info.dtype != dtype.as_datatype_enum or (not shape.unknown_rank and len(shape.dim) not in ranks):
            raise CheckFailed(
                f"The output {key!r} of {name!r} must be {dtype.name} of rank {' or '.join(map(str, ranks))}, or "
                f"TensorFlow Serving refuses each request. It is {tf.as_dtype(info.dtype).name}, rank {len(shape.dim)}."
            )


def replay(session, signatures, kind, name, inputs, wanted, tolerance):
    """Answers a request as a batch, one by one and empty; returns the largest difference of a float.

    Args:
        kind: "predict", "classify" or "regress".
        name: of the signature.
        inputs: `{name: array}`.
        wanted: names of outputs; empty means all.
    """
    if name not in signatures:
        raise CheckFailed(f"A warmup request asks for the signature {name!r}, which there is not.")
    signature = signatures[name]

    def run(values):
        feeds = {signature.inputs[key].name: value for key, value in values.items()}
        return session.run({key: signature.outputs[key].name for key in wanted or signature.outputs}, feeds)

    batch = run(inputs)
    if kind == "classify" and len({value.shape for value in batch.values()}) > 1:
        raise CheckFailed(f"Classify needs outputs of one shape from {name!r}.")
    size = len(next(iter(inputs.values())))
    singles = [run({key: value[i : i + 1] for key, value in inputs.items()}) for i in range(size)]
    empty = run({key: value[:0] for key, value in inputs.items()})
    largest = 0.0
    for key, together in batch.items():
        if len(together) != size or len(empty[key]) != 0:
            raise CheckFailed(f"The output {key!r} of {name!r} does not keep the batch's size.")
        if together.dtype.kind != "f":
            continue
        for i, single in enumerate(singles):
            alone, joined = single[key][0], together[i]
            if not (np.isfinite(alone).all() and np.isfinite(joined).all()):
                raise CheckFailed(f"The output {key!r} of {name!r} is not finite.")
            # In a batch an output may be padded to the longest.
            cut = joined[tuple(slice(0, n) for n in alone.shape)] if alone.shape else joined
            difference = float(np.abs(alone - cut).max(initial=0.0)) if alone.shape else float(abs(alone - cut))
            largest = max(largest, difference)
            if difference > tolerance:
                raise CheckFailed(f"{key!r} of {name!r} differs by {difference:.2g} between a batch and one text.")
    return largest


def decode(request):
    """A request as `check` wrote it: `(kind, signature name, {input: array}, output names)`."""
    inputs = {}
    for name, (dtype, shape, values) in request["inputs"].items():
        if dtype == "bytes":
            dtype, values = object, [base64.b64decode(value) for value in values]
        inputs[name] = np.array(values, dtype).reshape(shape)
    return request["kind"], request["signature"], inputs, request["outputs"]


if __name__ == "__main__":
    try:
        findings = main(pathlib.Path(sys.argv[1]), [decode(request) for request in json.load(sys.stdin)])
    except (CheckFailed, tf.errors.OpError, ValueError) as error:
        findings = {"error": " ".join(str(error).split())[:2000]}
    print(json.dumps(findings))
