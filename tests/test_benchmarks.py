"""What the benchmarks share, and a dry run of those that need a GPU."""

import importlib
import re

import pytest

from benchmarks import gpu, measure, worker
from kerasformer.models import BertConfig, TransformerConfig


@pytest.mark.parametrize(
    ("info", "told"),
    [
        ("model name\t: A CPU\nflags\t\t: fpu avx2 avx512f amx_int8\n", "A CPU (avx2 avx512f amx_int8), "),
        ("model name\t: A CPU\nflags\t\t: fpu sse2\n", "A CPU, "),
        (None, ", "),
    ],
)
def test_surroundings_name_the_features_of_the_processor(info, told, monkeypatch):
    def read_text(path):
        if info is None:
            raise FileNotFoundError(path)
        return info

    monkeypatch.setattr(measure.Path, "read_text", read_text)
    line = measure.surroundings(["no-such-distribution"], 2)
    assert told in line
    assert info or "(" not in line


def test_systems_are_chosen_by_precision():
    systems = ("ours-float32", "ours-bfloat16", "peer", "peer-64", "peer-int8")
    assert measure.chosen(systems, systems, ["float32"]) == ["ours-float32", "peer", "peer-64"]
    assert measure.chosen(systems, systems, ["int8", "bfloat16"]) == ["ours-bfloat16", "peer-int8"]
    with pytest.raises(SystemExit, match=r"must be of: ours-float32 .* Received: theirs"):
        measure.chosen(systems, ["theirs"], ["float32"])
    with pytest.raises(SystemExit, match=r"\(peer\) computes in int8"):
        measure.chosen(systems, ["peer"], ["int8"])


class Here:
    """A worker's calls in this process, since each process would import TensorFlow anew."""

    def __init__(self, module, function, *args, **options):
        self.run = getattr(importlib.import_module(module), function)(*args, **options)

    def __call__(self, argument):
        return self.run(argument)

    def time_each(self, arguments, seconds_limit):
        return worker._time_each(self.run, arguments, seconds_limit)

    def close(self):
        pass


@pytest.mark.parametrize(
    ("part", "rows", "changes"),
    [
        ("training", ["6 tokens, tf32, XLA | 2"], {"precision": ("tf32",), "xla": ("on",)}),
        (
            "replicas",
            ["6 tokens, bfloat16, replicas: 1 | 2"],
            {"precision": ("bfloat16",), "peak": {"bfloat16": 1e-9}},
        ),
        ("fit", ["6 tokens, float16 | 2"], {"precision": ("float16",)}),
        ("serving", ["6 tokens, tf32"], {"precision": ("tf32", "float16")}),
        ("decoding", ["beam 1, bfloat16"], {"precision": ("bfloat16",), "beams": (1,)}),
    ],
)
def test_a_dry_run_of_each_part_for_gpus_on_the_cpu(part, rows, changes, monkeypatch, capsys):
    monkeypatch.setattr(gpu, "GpuWorker", Here)
    sizes = {"hidden_dim": 8, "num_heads": 2, "intermediate_dim": 8}
    bert = BertConfig(vocabulary_size=50, num_layers=1, **sizes)
    monkeypatch.setattr(BertConfig, "named", lambda size: bert)
    monkeypatch.setitem(gpu.VOCABULARIES, "tiny", 500)
    layers = {"num_encoder_layers": 1, "num_decoder_layers": 1}
    monkeypatch.setattr(
        TransformerConfig, "named", lambda size, **changes: TransformerConfig(**sizes, **layers, **changes)
    )
    shape = {"size": "tiny", "lengths": (6,), "xla": ("off",), "tokens": 12, "steps": 2, "batches": (2,)}
    gpu.main(gpu.Arguments(part, **{**shape, "repetitions": 1, **changes}))
    table = capsys.readouterr().out.splitlines()
    print("\n".join(table))
    found = [line for line in table if re.match(r"\| (\d+ tokens|beam)", line)]
    assert len(found) == len(rows)
    for line, row in zip(found, rows, strict=True):
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        assert " | ".join(cells).startswith(row)
        numbers = cells[1:] if "peak" in changes or part in ("serving", "decoding") else cells[1:-1]
        assert len(cells) == (4 if part in ("serving", "decoding") else 6)
        assert all(float(number.strip("%").replace(",", "")) > 0 for number in numbers)
    assert "no GPU; " in table[-1]


def test_workers_on_a_gpu_may_use_it():
    assert "CUDA_VISIBLE_DEVICES" not in gpu.GpuWorker.environment


@pytest.mark.parametrize(
    ("device", "peak"),
    [
        ("NVIDIA H100 80GB HBM3", 989.5),
        ("NVIDIA H100 NVL", 835.5),
        ("NVIDIA A100-SXM4-40GB", 312),
        ("NVIDIA A10G", 70),
        ("NVIDIA A10", 125),
        ("NVIDIA L40S", 362),
        ("Tesla T4", 0),
        ("another", None),
    ],
)
def test_peaks_by_the_name_of_a_card(device, peak):
    assert gpu.peaks_of([device]).get("bfloat16") == peak


def test_flops_of_an_update():
    # BERT-base has 85 million weights in its blocks: six for each, and 4 % more in attention at 128 tokens.
    assert gpu.flops_a_token("base", 128) == pytest.approx(6 * 84.9e6 + 12 * 12 * 128 * 768, rel=1e-3)


def test_a_row_that_is_too_large_says_so(monkeypatch):
    def no_memory(*args, **options):
        raise RuntimeError("... ResourceExhaustedError: OOM when allocating tensor")

    monkeypatch.setattr(gpu, "GpuWorker", no_memory)
    assert gpu.measure([None], 1, "load_training") is None


def test_exports_have_no_float16(tmp_path):
    with pytest.raises(SystemExit, match=r"Received: --precision float16"):
        next(gpu.serving(gpu.Arguments("serving", precision=("float16",)), tmp_path))
