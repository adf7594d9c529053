"""transformers and PyTorch: `BertForPreTraining`, its tokens hidden by transformers' own collator."""

import contextlib
from pathlib import Path

from benchmarks.optimizer import CLIP_NORM, EPSILON, LEARNING_RATE, WEIGHT_DECAY

PACKAGES = ("torch", "transformers", "tokenizers")
# Layers and width, as published.
_SIZES = {"tiny": (2, 128), "mini": (4, 256), "small": (4, 512), "medium": (8, 512), "base": (12, 768)}


def load_training(folder: Path, size: str, threads: int, precision: str):
    """A callable that trains once on each of a list of batches and returns their mean loss.

    Args:
        folder: with `vocab.txt`.
        precision: "float32", or "bfloat16" for autocast with float32 weights.
    """
    import torch
    from transformers import BertConfig, BertForPreTraining, BertTokenizerFast, DataCollatorForLanguageModeling

    torch.set_num_threads(threads)
    tokenizer = BertTokenizerFast(str(folder / "vocab.txt"))
    layers, width = _SIZES[size]
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=width // 64,
        intermediate_size=4 * width,
        attn_implementation="sdpa",
    )
    model = BertForPreTraining(config).train()
    collate = DataCollatorForLanguageModeling(tokenizer, mlm_probability=0.15)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=LEARNING_RATE, eps=EPSILON, weight_decay=WEIGHT_DECAY, fused=True
    )
    autocast = precision == "bfloat16"

    def train(batches):
        losses = []
        for batch in batches:
            lengths = batch["padding_mask"].sum(1)
            rows = [
                {"input_ids": ids[:length].tolist(), "token_type_ids": segments[:length].tolist()}
                for ids, segments, length in zip(batch["token_ids"], batch["segment_ids"], lengths, strict=True)
            ]
            inputs = collate(rows)
            with torch.autocast("cpu", torch.bfloat16) if autocast else contextlib.nullcontext():
                loss = model(**inputs, next_sentence_label=torch.from_numpy(batch["is_random"]).long()).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM)
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.detach())
        return torch.stack(losses).mean().item()

    return train
