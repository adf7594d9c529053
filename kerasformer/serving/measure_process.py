"""Run by `measure` as a program of its own: times exports in turn. JSON on its input, seconds on its output.

Imports `tensorflow` and `tensorflow_text` and nothing of kerasformer, as a server has nothing of it.
"""

import json
import pathlib
import sys
import time

import numpy as np

sys.path.append(str(pathlib.Path(__file__).parent))  # an isolated process looks for modules elsewhere only

from session import open_session

_REPETITIONS = 7


def main(folders, batches):
    """`{name of an export: [seconds of each batch]}`, the minimum of several repetitions."""
    calls = {name: opened(folder) for name, folder in folders.items()}
    seconds = {name: [[] for _ in batches] for name in folders}
    for repetition in range(_REPETITIONS + 1):
        for name, call in calls.items():
            for times, columns in zip(seconds[name], batches, strict=True):
                begin = time.perf_counter()
                call(columns)
                # The first time shapes are new.
                if repetition:
                    times.append(time.perf_counter() - begin)
    return {name: [min(times) for times in each] for name, each in seconds.items()}


def opened(folder):
    session, signatures = open_session(folder)
    signature = signatures["serving_default"]
    fetches = [info.name for info in signature.outputs.values()]

    def call(columns):
        feeds = {signature.inputs[name].name: np.array(column, object) for name, column in columns.items()}
        session.run(fetches, feeds)

    return call


if __name__ == "__main__":
    print(json.dumps(main(**json.load(sys.stdin))))
