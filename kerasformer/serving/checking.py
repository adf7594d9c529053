"""Checking an export as a server would meet it: in a fresh process that knows only TensorFlow."""

import base64
import dataclasses
import json
import os
import pathlib
import subprocess
import sys

from kerasformer.errors import InputError
from kerasformer.files import read_locally
from kerasformer.serving.warmup import asked, read_warmup

_PROCESS = pathlib.Path(__file__).with_name("check_process.py")


@dataclasses.dataclass(frozen=True)
class Report:
    """What a passed check found.

    Attributes:
        signatures: `{name: {"inputs": {name: "dtype [shape]"}, "outputs": …}}`.
        requests: number of warmup requests replayed.
        largest_difference: between any text answered in a batch and alone, of all floats.
        oldest_server: the oldest TensorFlow Serving whose text ops suffice, "2.18" or "2.20".
        needs_onednn: whether it computes in 8-bit integers, with the operation `_QuantizedMatMul`: that needs an x86
            processor and a TensorFlow built with oneDNN, as the usual ones are.
    """

    signatures: dict
    requests: int
    largest_difference: float
    oldest_server: str
    needs_onednn: bool = False


def check(folder: str | os.PathLike, *, timeout: float = 600) -> Report:
    """Checks a SavedModel in a fresh process that imports only `tensorflow` and `tensorflow_text`.

    It is loaded through the version-1 session loader, the C++ path of TensorFlow Serving, with XLA refused as there;
    every op must be one that TensorFlow Serving links, and each signature for Classify or Regress must have the outputs
    that these calls take. The warmup requests are replayed, each answered in its batch, one by one and as an empty
    batch, and the answers must be finite and alike.

    Args:
        folder: a version's folder, with `saved_model.pb`.
        timeout: seconds.

    Returns:
        A Report.

    Raises:
        InputError: what failed, in one line.
    """
    with read_locally(folder) as local:
        return _check(local, timeout)


def _check(folder, timeout):
    if not (folder / "saved_model.pb").is_file():
        versions = [str(found.parent) for found in sorted(folder.glob("*/saved_model.pb"))]
        hint = f" It has the versions {', '.join(versions)}." if versions else ""
        raise InputError(f"A SavedModel's folder holds saved_model.pb. Not found in: {folder}.{hint}")
    requests = [_encode(*asked(log)) for log in read_warmup(folder)]
    try:
        result = run_alone(_PROCESS, requests, timeout, folder.absolute())
    except InputError as error:
        raise InputError(f"{folder} did not pass its check: {error}") from None
    if "error" in result:
        raise InputError(f"{folder} did not pass its check: {result['error']}")
    return Report(**result)


def run_alone(program, payload, timeout, *arguments, **environment):
    """Runs a program in a fresh process that knows only TensorFlow, and returns what its last line says, in JSON.

    Args:
        program: path of a Python file.
        payload: what it reads on its input, in JSON.
        timeout: seconds.
        arguments: of its command line.
        environment: further variables.

    Raises:
        InputError: it does not end in time, or not well; why, in one line.
    """
    own = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    try:
        # -I: isolated, so that neither this package nor the user's files can be imported by accident.
        process = subprocess.run(
            [sys.executable, "-I", str(program), *map(str, arguments)],
            input=json.dumps(payload),
            capture_output=True,
            text=True,
            timeout=timeout,
            env={**os.environ, **own, **environment},
        )
    except subprocess.TimeoutExpired:
        raise InputError(f"no end within {timeout} seconds.") from None
    lines = process.stdout.strip().splitlines()
    try:
        return json.loads(lines[-1])
    except (IndexError, ValueError):
        reason = (process.stderr.strip().splitlines() or ["no output"])[-1]
        raise InputError(f"the process ended with {process.returncode}: {reason}") from None


def _encode(kind, signature, inputs, outputs):
    """A warmup request in JSON; the process cannot read it itself, having only TensorFlow."""
    values = {}
    for name, array in inputs.items():
        if array.dtype.kind == "O":
            values[name] = ["bytes", array.shape, [base64.b64encode(text).decode() for text in array.ravel()]]
        else:
            values[name] = [array.dtype.name, array.shape, array.ravel().tolist()]
    return {"kind": kind, "signature": signature, "inputs": values, "outputs": outputs}
