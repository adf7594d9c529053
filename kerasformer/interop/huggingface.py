"""Hugging Face folders of BERT type: `config.json`, `model.safetensors`, vocabulary and tokenizer settings."""

import warnings

import numpy as np
import safetensors

from kerasformer.errors import InputError
from kerasformer.files import local_path
from kerasformer.interop.bert_settings import config_from, fitted, read_settings
from kerasformer.interop.weight_names import HUGGINGFACE, POOLER_WEIGHTS, encoder_weights, fill, names_in
from kerasformer.models import bert
from kerasformer.text import WordPieceTokenizer


def load_huggingface(folder, *, dtype=None):
    """Reads a BERT-type folder of Hugging Face Transformers; needs neither torch nor transformers.

    The tokenizer cuts at the smaller of `model_max_length` and the position table; truncation and padding stored in
    `tokenizer.json` are ignored. A pooler that the checkpoint lacks starts fresh, with a warning. What stands on the
    encoder is left out; see `load_pretraining_heads`.

    Args:
        folder: with `config.json`, `model.safetensors`, and `vocab.txt` or `tokenizer.json`.
        dtype: Keras dtype or policy of the encoder, by default Keras's global policy.

    Returns:
        `(encoder, tokenizer)`: `bert(config, pooled=True)` with the weights, and a WordPieceTokenizer.

    Raises:
        InputError: a file is missing or damaged, the model is of another kind, a tensor is missing or misshapen.
    """
    folder = local_path(folder, "folder")
    config = read_config(folder)
    tokenizer = fitted(WordPieceTokenizer.load(folder), config, folder / "config.json")
    tensors = read_tensors(folder, names_in(encoder_weights(config.num_layers) + POOLER_WEIGHTS, HUGGINGFACE))
    encoder = bert(config, pooled=True, dtype=dtype)
    if not fill(encoder, config, tensors, HUGGINGFACE, folder):
        warnings.warn(f"The checkpoint in {folder} has no pooler; it starts fresh.", stacklevel=2)
    return encoder, tokenizer


def read_config(folder):
    """The BertConfig in `config.json`.

    Raises:
        InputError: there is none, or it tells of another kind of model.
    """
    path = folder / "config.json"
    if not folder.is_dir():
        raise InputError(f"A Hugging Face folder with config.json and model.safetensors is needed. No folder: {folder}")
    if not path.is_file():
        raise InputError(f"A Hugging Face folder holds config.json. Not found in {folder}")
    settings = read_settings(path)
    if settings.get("model_type", "bert") != "bert":
        raise InputError(f"Only folders of model_type 'bert' can be read. {path} has {settings['model_type']!r}.")
    if settings.get("position_embedding_type", "absolute") != "absolute":
        raise InputError(
            f"Only absolute positions can be read. {path} has position_embedding_type="
            f"{settings['position_embedding_type']!r}."
        )
    return config_from(settings, path)


def read_tensors(folder, names):
    """Those of the named tensors that `model.safetensors` holds, `{name: float32 array}`.

    Args:
        folder: path.
        names: as in a bare encoder, without the prefix "bert." that they have in a model with heads.

    Raises:
        InputError: there is no such file, or it cannot be read.
    """
    path, names = folder / "model.safetensors", set(names)
    if not path.is_file():
        raise InputError(f"A Hugging Face folder holds model.safetensors. Not found: {path}")
    tensors = {}
    try:
        # TensorFlow's reader, since NumPy's has no bfloat16.
        with safetensors.safe_open(path, framework="tf") as file:
            for stored in file.keys():  # noqa: SIM118, not a dictionary
                name = _current_name(stored)
                if name in names and (tensor := file.get_tensor(stored)).dtype.is_floating:
                    tensors[name] = tensor.numpy().astype(np.float32)
    except (safetensors.SafetensorError, ValueError, OSError) as error:
        raise InputError(f"{path} cannot be read as safetensors, is it complete? {error}") from None
    return tensors


def _current_name(name):
    """Checkpoints converted from TensorFlow 1 name the normalizations as TensorFlow 1 did."""
    name = name.removeprefix("bert.")
    return name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")
