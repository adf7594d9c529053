"""BERT's tokenizer as the `tokenizers` library reads it from a Hugging Face folder."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

MAX_LENGTH = 512


def load_tokenizer(folder: Path) -> Callable[[list[str]], dict[str, np.ndarray]]:
    """Opens `tokenizer.json` of `folder`.

    Returns:
        A callable from N texts to `input_ids`, `attention_mask` and `token_type_ids`, each int64 `[N, length]`, padded
        to the longest of the N and cut at 512. Texts are tokenized in parallel.
    """
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(Path(folder) / "tokenizer.json"))
    padding_id = tokenizer.token_to_id("[PAD]")
    tokenizer.enable_padding(pad_id=padding_id, pad_token="[PAD]")
    tokenizer.enable_truncation(MAX_LENGTH)

    def tokenize(texts):
        encodings = tokenizer.encode_batch_fast(texts)  # "fast": without offsets, which nobody asked for
        return {
            "input_ids": np.array([e.ids for e in encodings], np.int64),
            "attention_mask": np.array([e.attention_mask for e in encodings], np.int64),
            "token_type_ids": np.array([e.type_ids for e in encodings], np.int64),
        }

    return tokenize
