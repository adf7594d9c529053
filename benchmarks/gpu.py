"""kerasformer on GPUs: one command a part, which prints its table.

    python -m benchmarks.gpu training   # the trainer: training, replicas (a MirroredStrategy), or fit (Keras's own)
    python -m benchmarks.gpu serving    # an export's batches, from text: serving (BERT), or decoding (a translator)

Weights are random, and nothing is downloaded. "tf32" is float32 as TensorFlow multiplies it by default on tensor cores,
"float32" has that turned off. Each row has a process of its own; one for which the memory is too small says so. Without
a GPU everything runs on the CPU: try `--size tiny`.
"""

import dataclasses
import itertools
import re
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Literal

import numpy as np
import tyro

from benchmarks.decoding import VOCABULARIES
from benchmarks.measure import interleave, markdown_table, surroundings, usable_cores, warn_if_busy
from benchmarks.worker import ENVIRONMENT, Worker

DISTRIBUTIONS = ("kerasformer", "tensorflow", "keras")
SAMPLES = Path(__file__).parents[1] / "recipes" / "samples" / "translation" / "train.jsonl"
Precision = Literal["float32", "tf32", "bfloat16", "float16"]
PRECISIONS: tuple[Precision, ...] = ("float32", "tf32", "bfloat16", "float16")

# TFLOP/s in the order of PRECISIONS, of products of dense matrices with sums in float32, from NVIDIA's data sheets; by
# a part of the name that the driver tells, the first that fits. 0 where the card has no units for it.
PEAKS = {
    "H200 NVL|H100 NVL": (60, 417.5, 835.5, 835.5),
    "H100 PCIe": (51, 378, 756, 756),
    "H200|H100": (67, 494.5, 989.5, 989.5),
    "A100": (19.5, 156, 312, 312),
    "L40S": (91.6, 183, 362, 362),
    "L4": (30.3, 60, 121, 121),
    "A10G": (31.5, 35, 70, 70),
    "A10": (31.2, 62.5, 125, 125),
    "T4": (8.1, 0, 0, 65),
    "V100-SXM2": (15.7, 0, 0, 125),
}


class GpuWorker(Worker):
    """A worker that may use the GPUs, and takes no more of their memory than it needs."""

    environment = {name: value for name, value in ENVIRONMENT.items() if name != "CUDA_VISIBLE_DEVICES"} | {
        "TF_FORCE_GPU_ALLOW_GROWTH": "true"
    }


@dataclasses.dataclass(frozen=True)
class Arguments:
    """What is measured.

    Attributes:
        part: which table to print.
        size: of the model.
        lengths: tokens of each sequence or text; decoding has 20.
        precision: of the computation; exports have no float16.
        xla: training, replicas, fit: off, on, or both.
        tokens: training, replicas, fit: of a batch of one replica.
        steps: training, replicas, fit: updates a pass, in one call of the graph.
        replicas: replicas: how many GPUs; by default 1, 2, 4 and 8, as far as there are so many.
        peak: training, replicas, fit: TFLOP/s by precision, `--peak tf32 156 bfloat16 312`, for GPUs not known here.
        batches: serving, decoding: texts a call.
        beams: decoding: beam sizes.
        repetitions: passes that are counted; one more comes first.
    """

    part: tyro.conf.Positional[Literal["training", "replicas", "fit", "serving", "decoding"]]
    size: Literal["tiny", "base"] = "base"
    lengths: tuple[int, ...] = (128, 512)
    precision: tuple[Precision, ...] = PRECISIONS
    xla: tuple[Literal["off", "on"], ...] = ("off", "on")
    tokens: int = 8192
    steps: int = 20
    replicas: tuple[int, ...] = ()
    peak: dict[str, float] = dataclasses.field(default_factory=dict)
    batches: tuple[int, ...] = (1, 32, 128)
    beams: tuple[int, ...] = (1, 4)
    repetitions: int = 5


def main(arguments: Arguments) -> None:
    warn_if_busy()
    asked = GpuWorker("benchmarks.gpu_worker", "device_names")
    devices = asked(None)
    asked.close()
    if not devices:
        print("TensorFlow finds no GPU here: everything runs on the CPU.", file=sys.stderr)
    with tempfile.TemporaryDirectory() as scratch:
        if arguments.part == "serving":
            print_calls(arguments, serving(arguments, Path(scratch)))
        elif arguments.part == "decoding":
            print_calls(arguments, decoding(arguments, Path(scratch)))
        else:
            print_training(arguments, devices)
    told = f"{len(devices)} x {devices[0]}" if devices else "no GPU"
    print(f"\n{told}; {surroundings(DISTRIBUTIONS, usable_cores())}; {arguments.repetitions} repetitions.")


def print_training(arguments: Arguments, devices: list[str]) -> None:
    """Tokens a second, and how much of the peak of matrix products that is."""
    peaks, counts, rows = arguments.peak or peaks_of(devices), [0], []
    if arguments.part == "replicas":
        counts = list(arguments.replicas or [count for count in (1, 2, 4, 8) if count <= max(1, len(devices))])
    settings = itertools.product(arguments.lengths, arguments.precision, arguments.xla, counts)
    for length, precision, xla, replicas in settings:
        batch = max(1, arguments.tokens // length) * max(1, replicas)
        name = f"{length} tokens, {precision}{', XLA' * (xla == 'on')}{f', replicas: {replicas}' * (replicas > 0)}"
        options = {"replicas": replicas, "fit": arguments.part == "fit"}
        model = (arguments.size, length, batch, arguments.steps, precision, xla == "on")
        seconds = measure([None], arguments.repetitions, "load_training", *model, **options)
        if seconds is None:
            rows.append([name, str(batch), "out of memory"])
            continue
        tokens = batch * length * arguments.steps
        best, median = tokens / min(seconds[0]), tokens / statistics.median(seconds[0])
        teraflops = median * flops_a_token(arguments.size, length) / 1e12
        peak = peaks.get(precision, 0) * max(1, replicas)
        share = f"{teraflops / peak:.1%}" if peak else "unknown"
        rows.append([name, str(batch), f"{best:,.0f}", f"{median:,.0f}", f"{teraflops:.3g}", share])
    headers = [f"BERT-{arguments.size}, {arguments.part}", "batch", "tokens a second, max", "median"]
    print(f"\n{markdown_table([*headers, 'TFLOP/s, median', 'of the peak'], rows)}")


def serving(arguments: Arguments, folder: Path):
    """`(name of a row, its calls, function, arguments)` of a text classifier's export."""
    prepared = (folder, arguments.size, max(arguments.lengths), exports(arguments))
    GpuWorker("benchmarks.gpu_worker", "prepare_serving", *prepared).close()
    draw = np.random.default_rng(0)
    for length, precision in itertools.product(arguments.lengths, served(arguments)):
        words = [[f"w{word}" for word in draw.integers(0, 30000, length - 2)] for _ in range(max(arguments.batches))]
        calls = [list(map(" ".join, words[:batch])) for batch in arguments.batches]
        yield f"{length} tokens, {precision}", calls, "load_serving", (folder, precision, usable_cores())


def decoding(arguments: Arguments, folder: Path):
    """As `serving`, of a translator's export: 20 tokens in, 20 tokens out."""
    from benchmarks.translator import read_sources

    sentences = re.findall(r'"en": "(.+?)"', SAMPLES.read_text(encoding="utf-8"))
    texts = [" ".join(pair) for pair in itertools.pairwise(sentences)]
    prepared = (folder, texts, arguments.size, VOCABULARIES[arguments.size], arguments.beams, exports(arguments))
    GpuWorker("benchmarks.translator", "prepare", *prepared).close()
    count = len(read_sources(folder)[0])
    calls = [np.arange(batch) % count for batch in arguments.batches]
    for beam, precision in itertools.product(arguments.beams, served(arguments)):
        yield f"beam {beam}, {precision}", calls, "load_decoding", (folder, precision, usable_cores(), beam)


def print_calls(arguments: Arguments, plan) -> None:
    """Milliseconds a call and texts a second: batches across, rows down."""
    rows = []
    for name, calls, function, options in plan:
        taken = measure(calls, arguments.repetitions, function, *options)
        rows.append([name] if taken else [name, "out of memory"])
        for batch, seconds in zip(arguments.batches, taken or [], strict=False):
            best, median = min(seconds), statistics.median(seconds)
            rows[-1] += [f"{1e3 * median:.1f}", f"{batch / best:.1f}", f"{batch / median:.1f}"]
    titles = ("ms, median", "texts/s, max", "median")
    headers = [f"batch {batch}: {title}" for batch in arguments.batches for title in titles]
    print(f"\n{markdown_table([f'{arguments.part}, {arguments.size}', *headers], rows)}")


def measure(calls: list, repetitions: int, function: str, *args, **options) -> list[tuple[float, ...]] | None:
    """The seconds of each call, one a repetition; None where the memory is too small."""
    worker = None
    try:
        worker = GpuWorker("benchmarks.gpu_worker", function, *args, **options)
        return list(zip(*interleave({"": worker}, calls, repetitions)[""].seconds, strict=True))
    except RuntimeError as error:
        if not re.search("ResourceExhausted|RESOURCE_EXHAUSTED", str(error)):
            raise
        return None
    finally:
        if worker is not None:
            worker.close()


def served(arguments):
    found = [precision for precision in arguments.precision if precision != "float16"]
    if not found:
        raise SystemExit("Exports are float32 (or tf32) and bfloat16. Received: --precision float16.")
    return found


def exports(arguments):
    """What `served` needs: TF32 is a setting of the process that opens a float32 export."""
    return tuple({"float32" if precision == "tf32" else precision for precision in served(arguments)})


def peaks_of(devices: list[str]) -> dict[str, float]:
    """TFLOP/s by precision of the first device, by its name; empty for one that is not known."""
    found = [peaks for names, peaks in PEAKS.items() if devices and re.search(rf"\b({names})\b", devices[0])]
    return dict(zip(PRECISIONS, found[0], strict=True)) if found else {}


def flops_a_token(size: str, length: int) -> int:
    """Of one update. Forwards a multiplication and an addition for each weight of the blocks, and twice the width of
    them for each token that is attended to; backwards twice as many. Embeddings and labels are left out."""
    from kerasformer.models import BertConfig

    config = BertConfig.named(size)
    weights = 4 * config.hidden_dim**2 + 2 * config.hidden_dim * config.intermediate_dim
    return 3 * config.num_layers * 2 * (weights + 2 * length * config.hidden_dim)


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
