"""OpenVINO behind the `tokenizers` library, padded to the longest text of the batch."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.head import Head
from benchmarks.peers.onnx_export import export_classifier
from benchmarks.peers.reference_tokenizer import load_tokenizer

PACKAGES = ("openvino", "onnx", "tokenizers", "torch", "transformers")


def prepare(checkpoint: Path, head: Head, folder: Path) -> None:
    """Exports the classifier to `folder`/model.onnx, which OpenVINO reads and fuses itself.

    Converting the PyTorch model instead was as fast.
    """
    export_classifier(checkpoint, head, folder)


def load(folder: Path, threads: int, precision: str) -> Callable[[list[str]], np.ndarray]:
    """Opens what `prepare` wrote, for `precision` "f32" or "bf16": N texts to logits float32 `[N, C]`."""
    import openvino

    settings = {
        "INFERENCE_PRECISION_HINT": precision,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
    }
    compiled = openvino.Core().compile_model(folder / "model.onnx", "CPU", settings)
    request = compiled.create_infer_request()
    tokenize = load_tokenizer(folder)
    return lambda texts: request.infer(tokenize(texts), share_inputs=True)["logits"]
