"""Decoding speed on a CPU: our export beside transformers' Marian in PyTorch and CTranslate2, measured in turn.

    python -m benchmarks.decoding --texts train.jsonl.gz --sizes tiny base

All have the same random weights, read sentences of 20 tokens and say exactly 20. Ours goes from text to text, through
the export's signature; the peers get token ids and give token ids. Systems whose packages are not installed are passed
over; `pip install -e ".[bench]" ctranslate2` installs them all.
"""

import dataclasses
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from benchmarks.measure import (
    PRECISIONS,
    Precision,
    chosen,
    interleave,
    markdown_table,
    surroundings,
    usable_cores,
    warn_if_busy,
)
from benchmarks.translator import LENGTH
from benchmarks.worker import Worker, missing_for, run_alone

DISTRIBUTIONS = ("kerasformer", "tensorflow", "keras", "torch", "transformers", "ctranslate2")
VOCABULARIES = {"tiny": 8000, "base": 16000}

_OURS, _CTRANSLATE2 = "benchmarks.translator", "benchmarks.peers.ctranslate2"
SYSTEMS = {
    "ours-float32": ("kerasformer float32", _OURS, {"precision": "float32"}),
    "ours-bfloat16": ("kerasformer bfloat16", _OURS, {"precision": "bfloat16"}),
    "ours-int8": ("kerasformer int8", _OURS, {"precision": "int8"}),
    "transformers": ("transformers, PyTorch float32", "benchmarks.peers.marian", {}),
    "ctranslate2": ("CTranslate2 float32", _CTRANSLATE2, {"compute_type": "float32"}),
    "ctranslate2-int8": ("CTranslate2 int8", _CTRANSLATE2, {"compute_type": "int8"}),
}


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Sentences a second.

    Attributes:
        texts: pairs of sentences, or texts, from which the sources are chosen: a file with a field of that name.
        field: of the file.
        systems: which to measure.
        precision: leaves out the systems that compute in another one.
        sizes: of the model: tiny (4 layers, 128 wide, 8,000 pieces), base (6, 512, 16,000).
        beams: beam sizes.
        batches: batch sizes.
        repetitions: passes that are counted; one more comes first.
        seconds_limit: a pass of a batch size that takes longer is cut there.
        threads: of every system; by default the cores that this process may use.
        folder: where the exports are kept, and taken from where they are there.
        prepare_only: stop when they are.
    """

    texts: Annotated[Path, tyro.conf.arg(metavar="FILE")]
    field: str = "en"
    systems: tuple[str, ...] = tuple(SYSTEMS)
    precision: tuple[Precision, ...] = PRECISIONS
    sizes: tuple[str, ...] = ("tiny", "base")
    beams: tuple[int, ...] = (1, 4)
    batches: tuple[int, ...] = (1, 8, 32)
    repetitions: int = 3
    seconds_limit: float = 5.0
    threads: int = dataclasses.field(default_factory=usable_cores)
    folder: Path | None = None
    prepare_only: bool = False


def main(arguments: Arguments) -> None:
    names = chosen(SYSTEMS, arguments.systems, arguments.precision)
    if set(arguments.sizes) - set(VOCABULARIES):
        raise SystemExit(f"`--sizes` must be of: {' '.join(VOCABULARIES)}. Received: {' '.join(arguments.sizes)}.")
    warn_if_busy()
    for size in arguments.sizes:
        with tempfile.TemporaryDirectory() as scratch:
            folder = (arguments.folder or Path(scratch)) / size
            # The weights are written last, so that what was stopped half-way is made again.
            is_whole = (folder / "weights.npz").is_file()
            beams = tuple(beam for beam in arguments.beams if not (is_whole and (folder / f"int8-{beam}").is_dir()))
            if beams:
                folder.mkdir(parents=True, exist_ok=True)
                run_alone(_OURS, "prepare", folder, read_texts(arguments), size, VOCABULARIES[size], beams)
            for beam in () if arguments.prepare_only else arguments.beams:
                measure(arguments, names, folder, size, beam)
    print(f"\n{surroundings(DISTRIBUTIONS, arguments.threads)}; {arguments.repetitions} repetitions in turn.")


def measure(arguments: Arguments, names: list[str], folder: Path, size: str, beam: int) -> None:
    """Prints one table: batches across, systems down."""
    workers = {}
    for name in names:
        title, module, options = SYSTEMS[name]
        if missing := missing_for(module):
            print(f"Passed over: {title} ({', '.join(missing)} not installed).", file=sys.stderr)
            continue
        workers[name] = Worker(module, "load", folder, arguments.threads, beam=beam, **options)
    print_agreement(workers, folder)
    rows = {name: [SYSTEMS[name][0]] for name in workers}
    for batch in arguments.batches:
        calls = [np.arange(start, start + batch) for start in range(0, max(32, batch), batch)][: 8 if batch == 1 else 4]
        for name, passes in interleave(workers, calls, arguments.repetitions, arguments.seconds_limit).items():
            rates = [batch * passes.calls / total for total in passes.totals(passes.calls)]
            rows[name] += [f"{max(rates):.1f} / {statistics.median(rates):.1f}", f"{LENGTH * max(rates):.0f}"]
    headers = [f"{size}, beam {beam}"]
    headers += [title for batch in arguments.batches for title in (f"batch {batch}: sentences/s", "tokens/s")]
    print(f"\nBest / median:\n\n{markdown_table(headers, list(rows.values()))}")
    for worker in workers.values():
        worker.close()


def print_agreement(workers: dict[str, Worker], folder: Path) -> None:
    """How many of 32 translations are those of the first system that gives token ids."""
    from benchmarks.translator import read_pieces

    spelled = {}
    for name, worker in workers.items():
        found = worker(np.arange(32))
        spelled[name] = found.tolist() if found.dtype == object else read_pieces(folder, found)
    first, *others = spelled
    for name in others:
        same = sum(one == other for one, other in zip(spelled[first], spelled[name], strict=True))
        print(f"{SYSTEMS[name][0]}: {same} of 32 translations are those of {SYSTEMS[first][0]}.")


def read_texts(arguments: Arguments) -> list[str]:
    import kerasformer as kf

    try:
        return [record[arguments.field] for record, _ in kf.data.read_records(arguments.texts)]
    except (kf.errors.InputError, KeyError) as error:
        raise SystemExit(str(error)) from None


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
