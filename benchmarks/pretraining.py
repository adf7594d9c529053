"""Pretraining throughput on a CPU beside PyTorch's `BertForPreTraining`, and of the input pipeline alone.

    python -m benchmarks.pretraining --text books.txt.gz --documents tweets.jsonl.gz

A BERT of random weights learns from the same sequences in each system, which hides tokens by itself: ours in
`BertPretraining`, PyTorch in transformers' own collator. Once every position is full, once lengths are those of real
short documents. Systems whose packages are not installed are passed over.
"""

import dataclasses
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Literal

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
from benchmarks.worker import Worker, missing_for

DISTRIBUTIONS = ("kerasformer", "tensorflow", "keras", "torch", "transformers")
_OURS, _PYTORCH = "benchmarks.pretraining_ours", "benchmarks.peers.pytorch_pretraining"
# Title, module and precision.
SYSTEMS = {
    "ours-float32": ("kerasformer float32", _OURS, "float32"),
    "ours-bfloat16": ("kerasformer mixed_bfloat16", _OURS, "mixed_bfloat16"),
    "pytorch-float32": ("PyTorch float32", _PYTORCH, "float32"),
    "pytorch-bfloat16": ("PyTorch bfloat16 autocast", _PYTORCH, "bfloat16"),
}


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Pretraining throughput, token ids to updated weights, and text to token ids.

    Attributes:
        text: long documents, as `kf.data.Corpus` reads them.
        documents: short ones.
        size: of the BERT.
        vocabulary: word pieces, learned from the text.
        length: tokens of a full sequence.
        systems: which to measure.
        precision: leaves out the systems that compute in another one.
        batch: sequences a batch.
        batches_a_pass: full batches of one pass, the same in every pass; of short documents four times as many, as a
            pass begins with making its pipeline anew.
        repetitions: passes that are counted; one more comes first.
        threads: of every system; by default the cores that this process may use.
        parts: which tables to print.
    """

    text: Annotated[str, tyro.conf.arg(metavar="SOURCE")]
    documents: Annotated[str, tyro.conf.arg(metavar="SOURCE")]
    size: Literal["tiny", "mini", "small", "medium", "base", "large"] = "mini"
    vocabulary: int = 8000
    length: int = 128
    systems: tuple[str, ...] = tuple(SYSTEMS)
    precision: tuple[Precision, ...] = PRECISIONS
    batch: int = 32
    batches_a_pass: int = 6
    repetitions: int = 5
    threads: int = dataclasses.field(default_factory=usable_cores)
    parts: tuple[Literal["training", "pipeline"], ...] = ("training", "pipeline")


def main(arguments: Arguments) -> None:
    names = chosen(SYSTEMS, arguments.systems, arguments.precision)
    warn_if_busy()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        if "training" in arguments.parts:
            maker = Worker(__name__, "load_batches", dataclasses.asdict(arguments), folder)
            batches = {shape: maker(shape) for shape in ("full", "documents")}
            maker.close()
            training(arguments, names, folder, batches)
        if "pipeline" in arguments.parts:
            pipeline(arguments, folder)
    print(f"\n{surroundings(DISTRIBUTIONS, arguments.threads)}; {arguments.repetitions} repetitions in turn.")


def training(arguments: Arguments, names: list[str], folder: Path, batches: dict) -> None:
    workers = {}
    for name in names:
        title, module, precision = SYSTEMS[name]
        if missing := missing_for(module):
            print(f"Passed over: {title} ({', '.join(missing)} not installed).", file=sys.stderr)
            continue
        workers[name] = Worker(module, "load_training", folder, arguments.size, arguments.threads, precision)
    for shape, of_shape in batches.items():
        tokens = sum(int(batch["padding_mask"].sum()) for batch in of_shape)
        rows = len(of_shape) * arguments.batch
        slots = sum(batch["padding_mask"].size for batch in of_shape)
        passes = interleave(workers, [of_shape], arguments.repetitions)
        ours = [name for name in ("ours-float32", "ours-bfloat16") if name in passes]
        headers = ["system", "sequences a second, max", "median", "tokens a second, max", "median"]
        headers += [f"time / {SYSTEMS[name][0]}" for name in ours]
        table = []
        for name, measured in passes.items():
            seconds = measured.totals(1)
            best, median = min(seconds), statistics.median(seconds)
            row = [SYSTEMS[name][0], f"{rows / best:.1f}", f"{rows / median:.1f}"]
            row += [f"{tokens / best:.0f}", f"{tokens / median:.0f}"]
            table.append(row + [f"{measured.times_of(passes[reference]):.2f}" for reference in ours])
        print(f"\nBERT-{arguments.size}, {shape}: batches of {arguments.batch}, {tokens / rows:.0f} tokens a sequence, "
              f"{tokens / slots:.0%} of the slots full:\n")  # fmt: skip
        print(markdown_table(headers, table))
    for worker in workers.values():
        worker.close()


def pipeline(arguments: Arguments, folder: Path) -> None:
    """Text to masked batches on one core, beside what training a BERT-base eats on all of them."""
    reader = Worker(__name__, "load_pipeline", dataclasses.asdict(arguments), folder)
    rate = reader(30)
    reader.close()
    print(f"\ninput pipeline alone, one core: {rate:,.0f} tokens a second")
    if "training" in arguments.parts:
        base = Worker(_OURS, "load_training", folder, "base", arguments.threads, "mixed_bfloat16")
        batch = Worker(__name__, "load_batches", dataclasses.asdict(arguments) | {"batch": 8}, folder)
        of_shape = batch("full")[:2]
        batch.close()
        base(of_shape)
        start = time.perf_counter()
        base(of_shape)
        eaten = sum(int(b["padding_mask"].sum()) for b in of_shape) / (time.perf_counter() - start)
        base.close()
        print(f"BERT-base training, bfloat16, {arguments.threads} threads: {eaten:,.0f} tokens a second")
        print(f"ratio: {rate / eaten:,.0f}")


def load_batches(arguments: dict, folder: Path):
    """A callable from "full" or "documents" to batches of NumPy arrays; writes the vocabulary."""
    import tensorflow as tf

    data = {
        "full": _data(arguments, arguments["text"], folder, next_sentence=True),
        "documents": _data(arguments, arguments["documents"], folder, next_sentence=False),
    }

    def batches(shape):
        more = 4 if shape == "documents" else 1
        sequences, wanted = [], arguments["batch"] * arguments["batches_a_pass"] * more
        for features, targets in data[shape].batches(64, arguments["length"]):
            features = tf.nest.map_structure(lambda tensor: tensor.numpy(), features)
            labels = targets["is_random"].numpy() if targets else np.zeros(len(features["seed"]), np.int32)
            for row, label in enumerate(labels):
                mask = features["padding_mask"][row]
                if shape == "documents" or mask.sum() == arguments["length"]:
                    columns = {name: features[name][row][: mask.sum()] for name in ("token_ids", "segment_ids")}
                    sequences.append({**columns, "is_random": label})
            if len(sequences) >= wanted:
                break
        groups = [sequences[i : i + arguments["batch"]] for i in range(0, wanted, arguments["batch"])]
        return [_padded(group) for group in groups]

    return batches


def _padded(group):
    length = max(len(row["token_ids"]) for row in group)
    columns = {
        name: np.stack([np.pad(row[name], (0, length - len(row[name]))) for row in group])
        for name in ("token_ids", "segment_ids")
    }
    lengths = np.array([[len(row["token_ids"])] for row in group])
    mask = (np.arange(length) < lengths).astype(np.int32)
    return {**columns, "padding_mask": mask, "is_random": np.array([row["is_random"] for row in group], np.int32)}


def load_pipeline(arguments: dict, folder: Path):
    """A callable that reads masked batches for so many seconds on one core, and tells the tokens a second."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    import tensorflow as tf

    from kerasformer.data import TokenMasking

    data = _data(arguments, arguments["text"], folder, next_sentence=True)
    masking = TokenMasking(data.tokenizer)
    batches = data.batches(arguments["batch"], arguments["length"], steps=10**9).map(
        lambda features, _: (*masking(features["token_ids"], features["padding_mask"], features["seed"]),
                             tf.reduce_sum(features["padding_mask"]))
    )  # fmt: skip

    def rate(seconds):
        # From the first text on: the first batch comes when thousands of sequences wait to be shuffled.
        tokens, start = 0, time.perf_counter()
        for *_, number in batches:
            tokens += int(number)
            if time.perf_counter() - start > seconds:
                break
        return tokens / (time.perf_counter() - start)

    return rate


def _data(arguments, source, folder, next_sentence):
    import kerasformer as kf

    path = folder / "vocab.txt"
    if not path.exists():
        pieces = kf.text.learn_wordpiece(kf.data.Corpus(arguments["text"]).lines(), arguments["vocabulary"])
        path.write_text("\n".join(pieces) + "\n", encoding="utf-8")
    tokenizer = kf.text.WordPieceTokenizer(path, max_length=arguments["length"])
    return kf.data.PretrainingData(kf.data.Corpus(source), tokenizer, next_sentence)


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
