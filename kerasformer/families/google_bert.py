"""Folders of google-research/bert: `bert_config.json`, a TensorFlow 1 checkpoint and `vocab.txt`."""

import os
import pathlib
import warnings

import numpy as np
import tensorflow as tf

from kerasformer.errors import InputError
from kerasformer.interop.bert_settings import config_from, fitted, read_settings
from kerasformer.interop.weight_names import GOOGLE, POOLER_WEIGHTS, encoder_weights, fill, names_in
from kerasformer.models import bert
from kerasformer.text import WordPieceTokenizer
from kerasformer.text.huggingface import read_tokenizer

# `tokenization.py` of google-research/bert; Hugging Face's tokenizers have 100.
_MAX_WORD_LENGTH = 200


def load_google_bert(folder, *, lowercase=None, dtype=None):
    """Reads a folder as google-research/bert published them and as its `run_pretraining.py` writes them.

    Nothing in such a folder tells whether texts are lower-cased. Without `lowercase` it is what `do_lower_case` in a
    `tokenizer_config.json` beside the checkpoint says; without that, everything is lower-cased unless the folder's
    name holds "cased" but not "uncased", as in "cased_L-12_H-768_A-12" and "multi_cased_L-12_H-768_A-12".

    "gelu" is computed exactly, as when Google trained the models of the paper, and as Hugging Face does; since then
    `modeling.py` approximates it, by up to 0.0005. What an optimizer keeps is not read. A pooler that the checkpoint
    lacks starts fresh, with a warning. What stands on the encoder is left out; see `load_pretraining_heads`.

    Args:
        folder: with `bert_config.json`, `vocab.txt`, and the files of a checkpoint, `bert_model.ckpt.index` and
            `bert_model.ckpt.data-?????-of-?????`; or one of another name, if it is the only one.
        lowercase: whether the tokenizer lower-cases texts; None finds out as told above.
        dtype: Keras dtype or policy of the encoder, by default Keras's global policy.

    Returns:
        `(encoder, tokenizer)`: `bert(config, pooled=True)` with the weights, and a WordPieceTokenizer that cuts at the
        length of the position table.

    Raises:
        InputError: a file is missing or damaged, a tensor is missing or misshapen.
    """
    folder = pathlib.Path(folder)
    config = read_config(folder)
    tokenizer = fitted(_read_tokenizer(folder, config, lowercase), config, folder / "bert_config.json")
    tensors = read_tensors(folder, names_in(encoder_weights(config.num_layers) + POOLER_WEIGHTS, GOOGLE))
    encoder = bert(config, pooled=True, dtype=dtype)
    if not fill(encoder, config, tensors, GOOGLE, folder):
        warnings.warn(f"The checkpoint in {folder} has no pooler; it starts fresh.", stacklevel=2)
    return encoder, tokenizer


def is_google_folder(folder):
    """Whether `folder` holds a model as google-research/bert writes it, and not one of Hugging Face."""
    folder = pathlib.Path(folder)
    return (folder / "bert_config.json").is_file() and not (folder / "config.json").is_file()


def read_config(folder):
    """The BertConfig in `bert_config.json`.

    Raises:
        InputError: there is none, or it cannot be used.
    """
    path = folder / "bert_config.json"
    if not folder.is_dir():
        raise InputError(f"A folder with bert_config.json and a checkpoint is needed. No folder: {folder}")
    if not path.is_file():
        raise InputError(f"A folder of google-research/bert holds bert_config.json. Not found in {folder}")
    return config_from(read_settings(path), path)


def read_tensors(folder, names):
    """Those of the named tensors that the checkpoint holds, `{name: float32 array}`.

    Raises:
        InputError: there is no checkpoint, or more than one, or it cannot be read.
    """
    prefix = _checkpoint_prefix(folder).as_posix()
    if "[" in prefix or "\\" in prefix:
        # It takes the path for a pattern, and knows no way to write such a character in one.
        raise InputError(
            f"TensorFlow reads no checkpoint whose path holds '[' or '\\': rename the folder. Path: {prefix}"
        )
    try:
        reader = tf.train.load_checkpoint(prefix)
        present = reader.get_variable_to_shape_map()
        return {name: reader.get_tensor(name).astype(np.float32) for name in names if name in present}
    # What TensorFlow's reader raises for a file that is missing, cut off or overwritten.
    except (tf.errors.OpError, LookupError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"The checkpoint {prefix} cannot be read: are its .index and all its .data files there, and complete? "
            f"{reason}"
        ) from None


def _checkpoint_prefix(folder):
    """The checkpoint's path without its endings."""
    found = sorted(path.name.removesuffix(".index") for path in folder.glob("*.ckpt*.index"))
    if "bert_model.ckpt" in found:
        return folder / "bert_model.ckpt"
    if len(found) != 1:
        raise InputError(
            f"{folder} must hold bert_model.ckpt.index, or a single checkpoint of another name. "
            f"Received: {', '.join(found) or 'none'}."
        )
    return folder / found[0]


def _read_tokenizer(folder, config, lowercase):
    if not (folder / "vocab.txt").is_file():
        raise InputError(f"A folder of google-research/bert holds vocab.txt. Not found in {folder}")
    arguments = {
        "lowercase": _is_lowercase(folder),
        "max_word_length": _MAX_WORD_LENGTH,
        "max_length": config.max_sequence_length,
    }
    arguments |= read_tokenizer(folder)
    return WordPieceTokenizer(**arguments | ({} if lowercase is None else {"lowercase": lowercase}))


def _is_lowercase(folder):
    name = os.path.basename(os.path.abspath(folder)).lower()
    return "uncased" in name or "cased" not in name
