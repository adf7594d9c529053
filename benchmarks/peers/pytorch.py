"""transformers and PyTorch: a classifier trained with each batch padded to its longest text."""

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.head import Head
from benchmarks.optimizer import CLIP_NORM, EPSILON, LEARNING_RATE, WEIGHT_DECAY
from benchmarks.peers.reference_tokenizer import load_tokenizer

PACKAGES = ("torch", "transformers", "tokenizers")


def load_model(checkpoint: Path, head: Head, attention: str = "sdpa"):
    """A `BertForSequenceClassification` with `head`; `attention` as transformers names it."""
    import torch
    from transformers import BertForSequenceClassification

    model = BertForSequenceClassification.from_pretrained(
        checkpoint, num_labels=len(head.bias), dtype=torch.float32, attn_implementation=attention
    )
    with torch.no_grad():
        model.classifier.weight.copy_(torch.from_numpy(head.kernel.T))
        model.classifier.bias.copy_(torch.from_numpy(head.bias))
    return model


def load_training(
    checkpoint: Path, head: Head, threads: int, precision: str
) -> Callable[[Sequence[tuple[list[str], list[int]]]], float]:
    """A plain training loop.

    Args:
        precision: "float32", or "bfloat16" for autocast with float32 weights.

    Returns:
        A callable that trains once on each batch and returns the mean loss.
    """
    import torch

    torch.set_num_threads(threads)
    model = load_model(checkpoint, head).train()
    tokenize = load_tokenizer(checkpoint)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=LEARNING_RATE, eps=EPSILON, weight_decay=WEIGHT_DECAY, fused=True
    )
    autocast = precision == "bfloat16"

    def train(batches):
        losses = []
        for texts, labels in batches:
            inputs = {name: torch.from_numpy(value) for name, value in tokenize(texts).items()}
            with torch.autocast("cpu", torch.bfloat16) if autocast else contextlib.nullcontext():
                loss = model(**inputs, labels=torch.tensor(labels)).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM)
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.detach())
        return torch.stack(losses).mean().item()

    return train
