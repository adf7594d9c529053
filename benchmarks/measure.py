"""Measure several systems in turn, so that whatever slows the machine slows them all alike."""

import dataclasses
import datetime
import importlib.metadata
import os
import platform
import re
import statistics
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Literal

from rich.box import MARKDOWN
from rich.console import Console
from rich.table import Table

from benchmarks.worker import Worker

Precision = Literal["float32", "bfloat16", "int8"]
PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16", "int8")
# What decides whether bfloat16 and int8 are computed or only emulated.
_CPU_FEATURES = ("avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16")

# Thread pools spin for a moment after their last work; the next system must not pay for that.
_SETTLE_SECONDS = 0.1


@dataclasses.dataclass(frozen=True)
class Passes:
    """What one system took for the same list of calls, again and again.

    Attributes:
        seconds: one list a repetition, the seconds of each call; cut short where the time limit ran out.
    """

    seconds: list[list[float]]

    @property
    def calls(self) -> int:
        """Calls that every repetition reached."""
        return min(map(len, self.seconds))

    def totals(self, calls: int) -> list[float]:
        """Seconds of the first `calls` calls, one number a repetition."""
        return [sum(repetition[:calls]) for repetition in self.seconds]

    def times_of(self, other: "Passes") -> float:
        """How many times the time of `other` this takes: the median over repetitions, of the calls both made."""
        calls = min(self.calls, other.calls)
        pairs = zip(self.totals(calls), other.totals(calls), strict=True)
        return statistics.median(mine / others for mine, others in pairs)


def chosen(systems: Collection[str], names: Sequence[str], precisions: Sequence[Precision]) -> list[str]:
    """Those of `names` that compute in one of `precisions`: what a name ends with, float32 where it ends otherwise.

    Raises:
        SystemExit: a name is not one of `systems`, or none is left.
    """
    unknown = [name for name in names if name not in systems]
    if unknown:
        raise SystemExit(f"`--systems` must be of: {' '.join(systems)}. Received: {' '.join(unknown)}.")
    found = [name for name in names if _ending(name) in precisions]
    if not found:
        raise SystemExit(f"No system of `--systems` ({' '.join(names)}) computes in {' or '.join(precisions)}.")
    return found


def _ending(name):
    last = name.rpartition("-")[2]
    return last if last in PRECISIONS else "float32"


def interleave(
    workers: Mapping[str, Worker], arguments: Sequence, repetitions: int, seconds_limit: float = float("inf")
) -> dict[str, Passes]:
    """Times every worker on all `arguments`, one worker after the other, `repetitions` times.

    Each repetition begins with another worker. One pass before the first is not counted: new shapes are compiled,
    packed and cached in it.

    Returns:
        Passes by the names of `workers`.
    """
    seconds: dict[str, list[list[float]]] = {name: [] for name in workers}
    names = list(workers)
    for repetition in range(repetitions + 1):
        first = repetition % len(names)
        for name in names[first:] + names[:first]:
            time.sleep(_SETTLE_SECONDS)
            taken = workers[name].time_each(arguments, seconds_limit)
            if repetition:
                seconds[name].append(taken)
    return {name: Passes(taken) for name, taken in seconds.items()}


def markdown_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; the first column is aligned left, the others right."""
    table = Table(box=MARKDOWN)
    for index, header in enumerate(headers):
        table.add_column(header, justify="right" if index else "left", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    console = Console(width=1000)
    with console.capture() as capture:
        console.print(table, markup=False)
    return "\n".join(line.rstrip() for line in capture.get().strip("\n").split("\n") if line.strip())


def surroundings(distributions: Sequence[str], threads: int) -> str:
    """One line: date, CPU, its vector features, threads, Python, versions of the installed ones of `distributions`."""
    versions = [f"Python {platform.python_version()}"]
    for name in distributions:
        try:
            versions.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return f"{datetime.date.today()}, {_cpu()}, {threads} threads; {', '.join(versions)}"


def _cpu() -> str:
    try:
        info = Path("/proc/cpuinfo").read_text()
    except OSError:
        return f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores"
    model = re.search(r"model name\s*:\s*(.+)", info)
    words = set(info.split())
    features = " ".join(feature for feature in _CPU_FEATURES if feature in words)
    name = model[1] if model else platform.machine()
    return f"{name}{f' ({features})' if features else ''}, {os.cpu_count()} cores"


def warn_if_busy() -> None:
    """Says on standard error that other work is running: thread pools that wait in a barrier suffer most from it."""
    cores, load = usable_cores(), os.getloadavg()[0]
    if load > 0.3 * cores:
        print(f"This machine is busy (load {load:.1f} on {cores} cores): timings will mislead.", file=sys.stderr)


def usable_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
