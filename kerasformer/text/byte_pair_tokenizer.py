"""Byte-level byte-pair encoding with a vocabulary and merges of one's own."""

import copy

import keras

from kerasformer.errors import InputError
from kerasformer.text import components
from kerasformer.text.tokenizer import Tokenizer


@keras.saving.register_keras_serializable(package="kerasformer")
class BytePairTokenizer(Tokenizer):
    """Byte-level byte-pair encoding as GPT-2 and RoBERTa have it.

    Args:
        vocabulary: list of str, the index is the id, in the letters of bytes; or the path of a `vocab.json`.
        merges: list of pairs of str, the one that was learned first at the front; or the path of a `merges.txt`.
        start_token, end_token: str, added around texts as in RoBERTa; None for both adds nothing, as in GPT-2.
        padding_token, unknown_token, mask_token: str or None.
        additional_special_tokens: list of str in the vocabulary, found literally in texts.
        add_prefix_space: bool, a text that begins without a space gets one.
        max_length: int, truncate model inputs to this many tokens, special tokens included.
        truncation_side: "right" or "left".

    Raises:
        InputError: the vocabulary lacks a byte, a merge or a special token, or a file cannot be read.
    """

    def __init__(
        self,
        vocabulary,
        merges,
        *,
        start_token=None,
        end_token=None,
        padding_token=None,
        unknown_token=None,
        mask_token=None,
        additional_special_tokens=(),
        add_prefix_space=False,
        max_length=512,
        truncation_side="right",
    ):
        vocabulary = components.read_vocabulary_list(vocabulary)
        merges = components.read_merges(merges)
        tokens = {
            "cls_token": start_token,
            "bos_token": start_token,
            "sep_token": end_token,
            "eos_token": end_token,
            "pad_token": padding_token,
            "unk_token": unknown_token,
            "mask_token": mask_token,
        }
        self._arguments = {
            "vocabulary": vocabulary,
            "merges": merges,
            "start_token": start_token,
            "end_token": end_token,
            "padding_token": padding_token,
            "unknown_token": unknown_token,
            "mask_token": mask_token,
            "additional_special_tokens": list(additional_special_tokens),
            "add_prefix_space": bool(add_prefix_space),
            "max_length": max_length,
            "truncation_side": truncation_side,
        }
        ids = {token: place for place, token in enumerate(vocabulary) if token}
        if (start_token is None) != (end_token is None):
            raise InputError(
                f"`start_token` and `end_token` must be given both or neither. Received: {start_token!r} and "
                f"{end_token!r}."
            )
        special = [token for token in dict.fromkeys([*tokens.values(), *additional_special_tokens]) if token]
        for token in special:
            if token not in ids:
                raise InputError(f"A special token must be in the vocabulary. Received: {token!r}.")
        added = [
            {
                "id": ids[token],
                "content": token,
                "single_word": False,
                "lstrip": token == mask_token,
                "rstrip": False,
                "normalized": False,
                "special": True,
            }
            for token in sorted(special, key=ids.get)
        ]
        processor = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False, "use_regex": True}
        if start_token is not None:
            processor = {
                "type": "RobertaProcessing",
                "sep": [end_token, ids[end_token]],
                "cls": [start_token, ids[start_token]],
                "trim_offsets": True,
                "add_prefix_space": bool(add_prefix_space),
            }
        specification = components.byte_level_specification(
            ids, merges, added, processor, add_prefix_space=bool(add_prefix_space)
        )
        settings = {name: token for name, token in tokens.items() if token is not None}
        settings |= {"model_max_length": max_length, "truncation_side": truncation_side}
        settings["add_prefix_space"] = bool(add_prefix_space)
        settings["tokenizer_class"] = "GPT2Tokenizer" if start_token is None else "RobertaTokenizer"
        super().__init__(specification, settings)

    def get_config(self):
        return copy.deepcopy(self._arguments)
