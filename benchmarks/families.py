"""Each family's classifier, text to logits on a CPU: our export beside ONNX Runtime on the same folder, in turn.

    KF_DATA=FOLDER python -m benchmarks.families

Weights are random, of base size; tokenizers are the real ones of `$KF_DATA/tokenizers`. ONNX Runtime pads a batch to
the length of its longest text and we do not: the arithmetic ratio is the number of padded tokens over that of real
ones. Where a family cannot be exported to ONNX, PyTorch is the peer.
"""

import dataclasses
import os
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np
import tyro

from benchmarks.measure import interleave, markdown_table, surroundings, usable_cores, warn_if_busy
from benchmarks.serving import batches_of, read_texts
from benchmarks.worker import Worker, missing_for, run_alone

PEER = "benchmarks.peers.any_classifier"
_BASE = {"hidden_size": 768, "num_attention_heads": 12, "intermediate_size": 3072}
# `{model_type: (fields of the config that are not its defaults, folder of the tokenizer)}`
FAMILIES = {
    "bert": ({}, "bert-base-uncased"),
    "roberta": ({"vocab_size": 50265, "max_position_embeddings": 514, "type_vocab_size": 1}, "roberta-base"),
    "distilbert": ({}, "bert-base-uncased"),
    "mpnet": ({"max_position_embeddings": 514}, "all-mpnet-base-v2"),
    "electra": (_BASE | {"embedding_size": 768}, "bert-base-uncased"),
    "albert": (_BASE, "albert-base-v2"),
    "deberta-v2": (
        _BASE
        | {
            "num_hidden_layers": 12,
            "relative_attention": True,
            "position_buckets": 256,
            "norm_rel_ebd": "layer_norm",
            "share_att_key": True,
            "pos_att_type": ["p2c", "c2p"],
            "position_biased_input": False,
            "type_vocab_size": 0,
            "max_relative_positions": -1,
        },
        "deberta-v3",
    ),
    "modernbert": ({}, "ModernBERT-base"),
}


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Throughput of each family's classifier.

    Attributes:
        families: which ones.
        batch: texts of a call.
        texts: number of tweets of a pass.
        repetitions: passes that are counted; one more comes first.
        threads: of every system.
    """

    families: tuple[str, ...] = tuple(FAMILIES)
    batch: int = 32
    texts: int = 256
    repetitions: int = 5
    threads: int = dataclasses.field(default_factory=usable_cores)


def main(arguments: Arguments) -> None:
    if unknown := sorted(set(arguments.families) - set(FAMILIES)):
        raise SystemExit(f"`--families` must be of: {', '.join(FAMILIES)}. Received: {', '.join(unknown)}.")
    if missing := missing_for(PEER):
        raise SystemExit(f"Not installed: {', '.join(missing)}.")
    if "KF_DATA" not in os.environ:
        raise SystemExit("Name the data folder in KF_DATA: it holds tokenizers/ and tweeteval/.")
    data = Path(os.environ["KF_DATA"])
    texts = read_texts(data / "tweeteval" / "sentiment" / "test.jsonl.gz")
    calls = batches_of(texts, arguments.batch, arguments.texts)
    warn_if_busy()
    rows = []
    for name in arguments.families:
        with tempfile.TemporaryDirectory() as scratch:
            rows.append(measure(name, calls, data, Path(scratch), arguments))
        print("  ".join(rows[-1]), file=sys.stderr)
    headers = ["family", "logits differ", "peer", "peer's texts/s", "ours", "ratio", "arithmetic", "share reached"]
    print(markdown_table(headers, rows))
    packages = ("kerasformer", "tensorflow", "onnxruntime", "torch", "transformers", "tokenizers")
    print(f"\n{surroundings(packages, arguments.threads)}; medians of {arguments.repetitions} repetitions in turn.")


def measure(name: str, calls: list, data: Path, scratch: Path, arguments: Arguments) -> list[str]:
    """A row of the table."""
    fields, tokenizer = FAMILIES[name]
    checkpoint, exported, ours = (scratch / part for part in ("checkpoint", "onnx", "ours"))
    for folder in (checkpoint, exported, ours):
        folder.mkdir()
    run_alone(PEER, "make", name, fields, data / "tokenizers" / tokenizer, checkpoint)
    run_alone("benchmarks.ours", "prepare_folder", checkpoint, ours)
    peer = "ONNX Runtime"
    try:
        run_alone(PEER, "prepare", checkpoint, exported)
        theirs = Worker(PEER, "load", exported, arguments.threads)
    except RuntimeError as error:
        print(f"{name} cannot be exported to ONNX: {str(error).strip().splitlines()[-1]}", file=sys.stderr)
        peer, theirs = "PyTorch", Worker(PEER, "load_torch", checkpoint, arguments.threads)
    workers = {"ours": Worker("benchmarks.ours", "load", ours, arguments.threads), "theirs": theirs}
    found = [np.concatenate([worker(call) for call in calls[:4]]) for worker in workers.values()]
    # Ours are logits but for a number of each text's own.
    difference = np.abs(np.subtract(*(value - value.mean(-1, keepdims=True) for value in found))).max()
    passes = interleave(workers, calls, arguments.repetitions)
    for worker in workers.values():
        worker.close()
    count = len(calls) * arguments.batch
    speeds = [count / statistics.median(passes[side].totals(len(calls))) for side in ("theirs", "ours")]
    ratio, arithmetic = passes["theirs"].times_of(passes["ours"]), padded_over_real(checkpoint, calls)
    return [
        name,
        f"{difference:.0e}",
        peer,
        *[f"{speed:.1f}" for speed in speeds],
        f"{ratio:.2f}",
        f"{arithmetic:.2f}",
        f"{ratio / arithmetic:.2f}",
    ]


def padded_over_real(checkpoint: Path, calls: list) -> float:
    """Tokens that padding makes of batches, over those that are there."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(checkpoint / "tokenizer.json"))
    tokenizer.no_padding()
    lengths = [[len(encoding.ids) for encoding in tokenizer.encode_batch_fast(call)] for call in calls]
    return sum(max(row) * len(row) for row in lengths) / sum(map(sum, lengths))


if __name__ == "__main__":
    main(tyro.cli(Arguments))
