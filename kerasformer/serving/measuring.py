"""How fast exports answer, in a process that knows only TensorFlow."""

import os
import pathlib

import numpy as np

from kerasformer.errors import InputError
from kerasformer.files import read_locally
from kerasformer.serving.checking import run_alone
from kerasformer.serving.warmup import asked, read_warmup
from kerasformer.tasks.arrays import as_strings

# Texts of the batch that is timed.
BATCH = 32

_PROCESS = pathlib.Path(__file__).with_name("measure_process.py")


def measure(folders, batches, **environment):
    """Times exports in turn.

    Args:
        folders: `{name: folder of an export}`.
        batches: list of what `serving_default` is asked, `{name of an input: list of texts}`.
        environment: further variables of the process.

    Returns:
        `{name: [milliseconds of each batch]}`, the fastest of 7 calls.

    Raises:
        InputError: the exports cannot be measured; why, in one line.
    """
    payload = {"folders": {name: str(folder) for name, folder in folders.items()}, "batches": batches}
    try:
        seconds = run_alone(_PROCESS, payload, 600, **environment)
    except InputError as error:
        raise InputError(f"The exports could not be measured: {error}") from None
    return {name: [1e3 * value for value in values] for name, values in seconds.items()}


def speed(folder: str | os.PathLike) -> tuple[float, float] | None:
    """Milliseconds of an export for one text and for 32, `(one, batch)`, on this machine.

    The texts are those that it is warmed up with: of the batch, the largest request's, over and over.

    Returns:
        None where no warmup request asks `serving_default` for texts.

    Raises:
        InputError: it cannot be measured; why, in one line.
    """
    with read_locally(folder) as local:
        requests = [asked(log) for log in read_warmup(local)]
        columns = [
            inputs
            for kind, signature, inputs, outputs in requests
            if (kind, signature, outputs) == ("predict", "serving_default", [])
            and all(values.dtype == object and len(values) for values in inputs.values())
        ]
        if not columns:
            return None
        sizes = [len(next(iter(each.values()))) for each in columns]
        batches = [
            {name: as_strings(np.resize(values, (size, *values.shape[1:]))).tolist() for name, values in each.items()}
            for each, size in ((columns[np.argmin(sizes)], 1), (columns[np.argmax(sizes)], BATCH))
        ]
        (found,) = measure({"export": local.absolute()}, batches).values()
    return tuple(found)
