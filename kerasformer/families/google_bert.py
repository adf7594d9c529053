"""Folders of google-research/bert: `bert_config.json`, a TensorFlow 1 checkpoint and `vocab.txt`.

They hold BERT under older names, so that they are read as files of the family "bert": names and orientation are those
of `modeling.py`, `run_pretraining.py` in google-research/bert.
"""

import functools
import os
import re

import tensorflow as tf

from kerasformer.errors import InputError
from kerasformer.families.family import Settings, read_settings
from kerasformer.families.torch_files import Tensor
from kerasformer.text.older_files import wordpiece

# `tokenization.py` of google-research/bert; Hugging Face's tokenizers have 100.
_MAX_WORD_LENGTH = 200
_NAMES = {
    "cls/predictions/output_bias": "cls.predictions.bias",
    "cls/seq_relationship/output_weights": "cls.seq_relationship.weight",
    "cls/seq_relationship/output_bias": "cls.seq_relationship.bias",
}


def is_google_folder(folder):
    """Whether `folder` holds a model as google-research/bert writes it, and not one of Hugging Face."""
    return (folder / "bert_config.json").is_file() and not (folder / "config.json").is_file()


def read_google_settings(folder):
    """The fields of `bert_config.json`, which are those of a `config.json` without `model_type`.

    "gelu" is computed exactly, as when Google trained the models of the paper, and as Hugging Face does; since then
    `modeling.py` approximates it, by up to 0.0005.
    """
    settings = read_settings(folder / "bert_config.json")
    return Settings(settings | {"model_type": "bert"}, settings.path)


def open_google_tensors(folder):
    """The tensors of the checkpoint by their names in the family "bert", `{name: Tensor}`; without an optimizer's.

    Raises:
        InputError: there is no checkpoint, or more than one, or it cannot be read.
    """
    prefix = _checkpoint_prefix(folder).as_posix()
    if "[" in prefix or "\\" in prefix:
        # It takes the path for a pattern, which has no way to quote these characters.
        raise InputError(
            f"TensorFlow reads no checkpoint whose path holds '[' or '\\': rename the folder. Path: {prefix}"
        )
    reader = _reading(prefix, tf.train.load_checkpoint, prefix)
    types = reader.get_variable_to_dtype_map()
    tensors = {}
    for name, shape in _reading(prefix, reader.get_variable_to_shape_map).items():
        if name.startswith(("bert/", "cls/", "output_")) and not name.endswith(("/adam_m", "/adam_v")):
            is_kernel = name.endswith("/kernel")
            read = functools.partial(_read, prefix, reader, name, is_kernel)
            shape = tuple(shape[::-1] if is_kernel else shape)
            tensors[_theirs(name)] = Tensor(shape, types[name].name, read)
    return tensors


def _theirs(name):
    """Hugging Face's name, but for normalizations, whose older names every family reads."""
    if name in _NAMES:
        return _NAMES[name]
    name = re.sub(r"/kernel$", "/weight", re.sub(r"_embeddings$", "_embeddings/weight", name))
    return name.replace("layer_", "layer.").replace("/", ".")


def _read(prefix, reader, name, is_kernel):
    value = _reading(prefix, reader.get_tensor, name)
    return value.T if is_kernel else value


def _reading(prefix, function, *arguments):
    try:
        return function(*arguments)
    # What TensorFlow's reader raises for a file that is missing, truncated or overwritten.
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


def google_tokenizer(folder, lowercase=None):
    """The tokenizer of a folder, as the object of a `tokenizer.json`.

    Nothing in such a folder says whether texts are lower-cased. Without `lowercase` it is what `do_lower_case` in a
    `tokenizer_config.json` beside the checkpoint says; without that, texts are lower-cased unless the folder's name
    holds "cased" but not "uncased", as in "cased_L-12_H-768_A-12" and "multi_cased_L-12_H-768_A-12".
    """
    name = os.path.basename(os.path.abspath(folder)).lower()
    guess = "uncased" in name or "cased" not in name
    found = wordpiece(folder, lowercase=guess, max_word_length=_MAX_WORD_LENGTH)
    if lowercase is not None:
        found["normalizer"]["lowercase"] = lowercase
    return found
