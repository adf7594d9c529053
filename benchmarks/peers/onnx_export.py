"""The classifier as an ONNX file, exported from transformers: what ONNX Runtime and OpenVINO are given."""

import shutil
import warnings
from pathlib import Path

from benchmarks.head import Head

OPSET = 18


def export_classifier(checkpoint: Path, head: Head, folder: Path) -> Path:
    """Writes `model.onnx` (int64 `[batch, length]` in, `logits` float32 `[batch, C]` out) and `tokenizer.json`.

    Exported by TorchScript and with attention spelled out ("eager"): of the four ways that PyTorch and transformers
    offer, the only one whose attention ONNX Runtime's optimizer finds and fuses.

    Returns:
        The path of `model.onnx`.
    """
    import torch

    from benchmarks.peers.pytorch import load_model

    model = load_model(checkpoint, head, attention="eager").eval()
    names = ["input_ids", "attention_mask", "token_type_ids"]
    ids = torch.randint(1000, 2000, (2, 7))
    axes = {name: {0: "batch", 1: "length"} for name in names} | {"logits": {0: "batch"}}
    path = folder / "model.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the TorchScript exporter calls itself deprecated, and traces many constants
        torch.onnx.export(
            model,
            (ids, torch.ones_like(ids), torch.zeros_like(ids)),
            str(path),
            input_names=names,
            output_names=["logits"],
            dynamic_axes=axes,
            opset_version=OPSET,
            dynamo=False,
        )
    shutil.copy(checkpoint / "tokenizer.json", folder)
    return path
