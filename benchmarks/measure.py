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
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.box import MARKDOWN
from rich.console import Console
from rich.table import Table

from benchmarks.worker import Worker

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
    """One line: date, CPU, threads, Python, and the version of each installed one of `distributions`."""
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
    # What decides whether bfloat16 and int8 are computed or only emulated.
    flags = [flag for flag in ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16") if f" {flag} " in info]
    return f"{model[1] if model else platform.machine()} ({' '.join(flags)}), {os.cpu_count()} cores"


def warn_if_busy() -> None:
    """Says on standard error that other work is running: thread pools that wait in a barrier suffer most from it."""
    cores, load = usable_cores(), os.getloadavg()[0]
    if load > 0.3 * cores:
        print(f"This machine is busy (load {load:.1f} on {cores} cores): timings will mislead.", file=sys.stderr)


def usable_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
