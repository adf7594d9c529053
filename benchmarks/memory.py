"""Memory and first calls of a served MiniLM, loaded as TensorFlow Serving loads it.

    python -m benchmarks.memory

A `TextClassifier` of MiniLM is exported in float32, bfloat16 and int8.
Each export is loaded in a process of its own that imports nothing but TensorFlow and tensorflow-text. Memory is the
process's resident set over that after these imports.
"""

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.head import default_checkpoint, random_head
from benchmarks.measure import markdown_table, surroundings, usable_cores, warn_if_busy
from benchmarks.worker import ENVIRONMENT, run_alone

DISTRIBUTIONS = ("kerasformer", "tensorflow", "tensorflow-text", "keras")
PRECISIONS = ("float32", "bfloat16", "int8")


def prepare(folder: str, precision: str, constants: bool) -> None:
    """Exports MiniLM with a random head; `constants`: with all weights in the graph."""
    import kerasformer as kf
    from benchmarks.ours import load_task, sample_batches
    from kerasformer.serving import shared_weights

    if constants:
        shared_weights._SMALLEST_VARIABLE = sys.maxsize
    checkpoint = default_checkpoint()
    task = load_task(checkpoint, random_head(checkpoint))
    kf.serving.export(task, folder, precision=precision, data=sample_batches())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", metavar="FOLDER", help="write the exports there and leave them")
    parser.add_argument("--constants", action="store_true", help="also with all weights in the graph; takes minutes")
    arguments = parser.parse_args()
    folder = arguments.keep
    warn_if_busy()
    with tempfile.TemporaryDirectory() as scratch:
        rows = []
        forms = (False, True) if arguments.constants else (False,)
        for precision, constants in itertools.product(PRECISIONS, forms):
            name = f"{precision}, {'constants' if constants else 'variables'}"
            export = Path(folder or scratch) / name.replace(", ", "-")
            run_alone("benchmarks.memory", "prepare", str(export), precision, constants)
            rows.append(_row(name, export))
    headers = ["export", "MB on disk", "load", "+ warmup", "+ all signatures", "an unseen filter", "peak"]
    headers += ["load, s", "warmup, s", "largest first call / usual", "unseen filter, s"]
    print(f"MB over the same process after its imports:\n\n{markdown_table(headers, rows)}")
    print(f"\n{surroundings(DISTRIBUTIONS, usable_cores())}.")


def _row(name: str, export: Path) -> list[str]:
    from kerasformer.serving.warmup import asked, read_warmup

    requests = []
    for _, signature, inputs, outputs in map(asked, read_warmup(export)):
        values = {key: _as_json(value) for key, value in inputs.items()}
        requests.append([signature, values, outputs])
    process = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("memory_process.py")), str(export)],
        input=json.dumps(requests),
        capture_output=True,
        text=True,
        env={**os.environ, **ENVIRONMENT},
    )
    if process.returncode:
        raise SystemExit(process.stderr)
    found = json.loads(process.stdout.splitlines()[-1])
    size = sum(path.stat().st_size for path in export.rglob("*") if path.is_file())
    ratios = [first / usual for first, usual in found["calls"].values()]
    return [
        name,
        f"{size / 1e6:.0f}",
        *(f"{found[key]:.0f}" for key in ("load", "warmup", "signatures")),
        f"{statistics.median(found['filters']):.0f}",
        f"{found['peak']:.0f}",
        f"{found['load_seconds']:.1f}",
        f"{found['warmup_seconds']:.1f}",
        f"{max(ratios):.1f}",
        f"{statistics.median(found['filter_seconds']):.2f}",
    ]


def _as_json(array):
    if array.dtype.kind == "O":
        return ["bytes", [value.decode("latin-1") for value in array]]
    return [array.dtype.name, array.tolist()]


if __name__ == "__main__":
    main()
