"""What the trainer itself costs: over a bare step, with microbatches, with replicas and workers.

    python -m benchmarks.trainer --texts tweets.jsonl.gz

Each row is measured in processes of its own, in turn; MiniLM with a head of three classes, batch 32 unless told.
"""

import dataclasses
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import tyro

from benchmarks.measure import markdown_table, surroundings, usable_cores, warn_if_busy
from benchmarks.training import DISTRIBUTIONS

PROGRAM = [sys.executable, "-m", "benchmarks.trainer_program"]


@dataclasses.dataclass(frozen=True)
class Arguments:
    """What the trainer itself costs.

    Attributes:
        texts: a labelled file (.jsonl, .csv, .tsv, each also .gz) of at most three classes.
        repetitions: how often each is measured.
        parts: which tables to print.
    """

    texts: Annotated[Path, tyro.conf.arg(metavar="FILE")]
    repetitions: int = 5
    parts: tuple[str, ...] = ("overhead", "memory", "devices")


def main(arguments: Arguments) -> None:
    warn_if_busy()
    for part in arguments.parts:
        {"overhead": overhead, "memory": memory, "devices": devices}[part](arguments)
    print(f"\n{surroundings(DISTRIBUTIONS, usable_cores())}; {arguments.repetitions} repetitions in turn.")


def ask(*command, environment=None, workers=0) -> dict:
    """What the program prints on its last line of output."""
    launch = ["-m", "kerasformer.training.launch", "--workers", str(workers), "benchmarks/trainer_program.py"]
    start = [sys.executable, *launch] if workers else PROGRAM
    process = subprocess.run(
        [*start, *map(str, command)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": os.getcwd(), **(environment or {})},
    )
    if process.returncode:
        raise SystemExit(f"{' '.join(map(str, command))} ended with exit code {process.returncode}.")
    return json.loads(process.stdout.strip().splitlines()[-1])


def overhead(arguments: Arguments) -> None:
    """`fit` beside a bare `tf.function` step on the same prepared batches, interleaved in one process."""
    found = ask("overhead", arguments.texts, arguments.repetitions)
    ratios = [fit / bare for fit, bare in zip(found["fit"], found["bare"], strict=True)]
    rows = [[name, f"{min(found[name]):.3f}", f"{statistics.median(found[name]):.3f}"] for name in ("bare", "fit")]
    print(markdown_table(["24 steps", "seconds, min", "median"], rows))
    print(f"fit over bare: median of ratios {statistics.median(ratios):.4f}, of minima "
          f"{min(found['fit']) / min(found['bare']):.4f}\n")  # fmt: skip


def memory(arguments: Arguments) -> None:
    """Peak resident memory of 512 texts in batches of 16, of 128 in 8 microbatches, and of 128 at once."""
    rows, first = [], None
    for batch, parts in ((16, 1), (128, 8), (128, 1)):
        found = ask("memory", arguments.texts, batch, parts)
        first = first or found
        growth = found["peak"] - found["start"]
        rows.append([f"{batch} in {parts}", f"{found['peak']:.0f}", f"{found['peak'] / first['peak']:.2f}"])
        rows[-1] += [f"{growth:.0f}", f"{growth / (first['peak'] - first['start']):.2f}"]
    print(markdown_table(["batch", "peak MB", "ratio", "of it training", "ratio"], rows) + "\n")


def devices(arguments: Arguments) -> None:
    """One device beside two replicas and two workers that share its cores."""
    kinds = {"one device": ("one", 0), "2 replicas": ("mirrored", 0), "1 worker": ("one", 1), "2 workers": ("one", 2)}
    seconds = {name: [] for name in kinds}
    for _ in range(max(arguments.repetitions // 2, 2)):
        for name, (kind, workers) in kinds.items():
            seconds[name].append(ask("devices", arguments.texts, kind, workers=workers)["seconds"])
    one = seconds["one device"]
    rows = []
    for name, taken in seconds.items():
        ratio = statistics.median(mine / others for mine, others in zip(taken, one, strict=True))
        rows.append([name, f"{min(taken):.2f}", f"{statistics.median(taken):.2f}", f"{ratio:.2f}"])
    print(markdown_table(["24 steps", "seconds, min", "median", "over one device"], rows))


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
