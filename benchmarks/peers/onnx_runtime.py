"""ONNX Runtime behind the `tokenizers` library, padded to the longest text of the batch."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.head import Head
from benchmarks.peers.onnx_export import export_classifier
from benchmarks.peers.reference_tokenizer import load_tokenizer

PACKAGES = ("onnxruntime", "onnx", "tokenizers", "torch", "transformers")


def prepare(checkpoint: Path, head: Head, folder: Path, fused: bool, int8: bool = False) -> None:
    """Writes `folder`/served.onnx.

    Args:
        fused: apply `onnxruntime.transformers.optimizer`, which makes one operator each of attention, of the embedding
            with its normalization, and of residual with normalization, beside what every session optimizes by itself.
            On the CPU this helps short single texts and costs large batches some percent: measure both.
        int8: multiply in 8-bit integers, weights by column, inputs by the range of each tensor, as ONNX Runtime's
            documentation advises for Transformers.
    """
    path = export_classifier(checkpoint, head, folder)
    served = folder / "served.onnx"
    if int8:
        from onnxruntime.quantization import quantize_dynamic

        quantize_dynamic(path, served, per_channel=True)
        return
    if not fused:
        path.rename(served)
        return

    from onnxruntime.transformers.optimizer import optimize_model

    config = json.loads((checkpoint / "config.json").read_text())
    model = optimize_model(
        str(path),
        model_type="bert",
        num_heads=config["num_attention_heads"],
        hidden_size=config["hidden_size"],
        opt_level=0,  # all else is left to the session
    )
    counts = model.get_fused_operator_statistics()
    if counts["Attention"] != config["num_hidden_layers"]:
        raise RuntimeError(f"Expected every attention to be fused. Received: {counts}.")
    model.save_model_to_file(str(served))


def load(folder: Path, threads: int) -> Callable[[list[str]], np.ndarray]:
    """Opens what `prepare` wrote: N texts to logits float32 `[N, C]`."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(folder / "served.onnx"), options, providers=["CPUExecutionProvider"])
    tokenize = load_tokenizer(folder)
    return lambda texts: session.run(["logits"], tokenize(texts))[0]
