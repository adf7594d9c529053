"""A classifier in a Hugging Face folder, of any family, behind the `tokenizers` library: by ONNX Runtime or PyTorch."""

import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.peers.onnx_export import OPSET

PACKAGES = ("onnxruntime", "onnx", "tokenizers", "torch", "transformers")
MAX_LENGTH = 512


def make(model_type: str, fields: dict, tokenizer: Path, folder: Path) -> None:
    """Writes a randomly initialized classifier of three labels, with weights large enough to tell texts apart.

    Args:
        model_type: of transformers.
        fields: of its config.
        tokenizer: folder with `tokenizer.json`, or that file compressed.
        folder: where it is written.
    """
    import gzip
    import json

    import torch
    import transformers

    torch.manual_seed(0)
    path = tokenizer / "tokenizer.json"
    content = path.read_bytes() if path.is_file() else gzip.decompress((tokenizer / "tokenizer.json.gz").read_bytes())
    specification = json.loads(content)
    names = {token["content"]: token["id"] for token in specification["added_tokens"]}
    padding = next(names[name] for name in ("[PAD]", "<pad>") if name in names)
    config = transformers.AutoConfig.for_model(model_type, pad_token_id=padding, num_labels=3, **fields)
    model = transformers.AutoModelForSequenceClassification.from_config(config, attn_implementation="eager").eval()
    last = [module for module in model.modules() if isinstance(module, torch.nn.Linear)][-1]
    torch.nn.init.normal_(last.weight, std=1.0)
    model.save_pretrained(folder)
    (folder / "tokenizer.json").write_bytes(content)
    shutil.copy(tokenizer / "tokenizer_config.json", folder)


def prepare(checkpoint: Path, folder: Path) -> None:
    """Writes `folder`/model.onnx: `input_ids` and `attention_mask`, int64 `[batch, length]`, to `logits`."""
    import torch

    model = _model(checkpoint)
    ids = torch.randint(5, 100, (2, 7))
    axes = {name: {0: "batch", 1: "length"} for name in ("input_ids", "attention_mask")} | {"logits": {0: "batch"}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the TorchScript exporter calls itself deprecated
        torch.onnx.export(
            _Logits(model),
            (ids, torch.ones_like(ids)),
            str(folder / "model.onnx"),
            input_names=["input_ids", "attention_mask"],
            output_names=["logits"],
            dynamic_axes=axes,
            opset_version=OPSET,
            dynamo=False,
        )
    shutil.copy(checkpoint / "tokenizer.json", folder)


def load(folder: Path, threads: int) -> Callable[[list[str]], np.ndarray]:
    """Opens what `prepare` wrote: N texts to logits float32 `[N, C]`."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"])
    tokenize = _tokenizer(folder)
    return lambda texts: session.run(
        ["logits"], dict(zip(("input_ids", "attention_mask"), tokenize(texts), strict=True))
    )[0]


def load_torch(checkpoint: Path, threads: int) -> Callable[[list[str]], np.ndarray]:
    """The same by PyTorch, with the attention that transformers chooses."""
    import torch

    torch.set_num_threads(threads)
    model, tokenize = _model(checkpoint, attention=None), _tokenizer(checkpoint)

    def logits(texts):
        with torch.inference_mode():
            return model(*(torch.from_numpy(value) for value in tokenize(texts))).logits.numpy()

    return logits


def _model(checkpoint, attention="eager"):
    import transformers

    options = {} if attention is None else {"attn_implementation": attention}
    return transformers.AutoModelForSequenceClassification.from_pretrained(checkpoint, **options).eval()


def _Logits(model):
    import torch

    class Logits(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, input_ids, attention_mask):
            return self.model(input_ids=input_ids, attention_mask=attention_mask).logits

    return Logits()


def _tokenizer(folder):
    """A callable from N texts to ids and mask, int64 `[N, length]`, padded to the longest."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    names = tokenizer.get_vocab()
    padding = next(name for name in ("[PAD]", "<pad>") if name in names)
    tokenizer.enable_padding(pad_id=names[padding], pad_token=padding)
    tokenizer.enable_truncation(MAX_LENGTH)

    def tokenize(texts):
        encodings = tokenizer.encode_batch_fast(texts)
        ids, masks = ([getattr(e, name) for e in encodings] for name in ("ids", "attention_mask"))
        return np.array(ids, np.int64), np.array(masks, np.int64)

    return tokenize
