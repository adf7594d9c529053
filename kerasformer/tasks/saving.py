"""Tasks as folders, ours and other people's.

    config.json, model.safetensors   the encoder, and the head where its family has one, by Hugging Face's names
    tokenizer files                  of the tokenizer
    kerasformer.json                 what those files have no word for: the task, its settings, the version
    modules.json, 1_Pooling, ...     of an embedder, as sentence-transformers has them
    head.safetensors                 weights of the task that the family has no names for
    encoder.keras                    in place of the first two, an encoder that no family describes
    vocabulary_map.txt               of a translator that has one

A folder of Hugging Face Transformers or sentence-transformers has no `kerasformer.json`; its architecture says which
task it is.
"""

import contextlib
import dataclasses
import json
import os
import pathlib

import keras
import numpy as np
import safetensors
import safetensors.numpy

from kerasformer import __version__
from kerasformer.errors import InputError
from kerasformer.families import (
    checkpoint_tokenizer,
    family_of,
    load_embedder,
    load_keras_encoder,
    open_checkpoint,
    read_embedder_settings,
    write_checkpoint,
    write_embedder_settings,
)
from kerasformer.families.family import read_settings
from kerasformer.families.sentence_transformers import is_sentence_transformers
from kerasformer.files import read_locally, written_beside
from kerasformer.models import Backbone, decoder, encoder
from kerasformer.models.transforms import merged_weights
from kerasformer.tasks.foreign import task_of
from kerasformer.tasks.task import Task, registered_tasks
from kerasformer.text import SentencePieceTokenizer, Tokenizer, WordPieceTokenizer

DESCRIPTION, HEAD, ENCODER = "kerasformer.json", "head.safetensors", "encoder.keras"
_FORMAT = 1
_TOKENIZERS = {kind.__name__: kind for kind in (SentencePieceTokenizer, Tokenizer, WordPieceTokenizer)}


def save_task(task, folder):
    """Writes a task into `folder`, atomically; see `Task.save`."""
    with written_beside(folder, replaces=DESCRIPTION) as scratch:
        kind, model = _write_model(task, scratch)
        others = task.further_tokenizers()
        task.tokenizer.save(scratch)
        for name, tokenizer in others.items():
            tokenizer.save(scratch / name)
        description = {
            "format": _FORMAT,
            "kerasformer": __version__,
            "task": type(task).__name__,
            "settings": dataclasses.asdict(task.settings),
            "tokenizer": type(task.tokenizer).__name__,
            "further_tokenizers": {name: type(tokenizer).__name__ for name, tokenizer in others.items()},
            "model": model | {"head": kind},
        }
        text = json.dumps(description, indent=2, ensure_ascii=False) + "\n"
        (scratch / DESCRIPTION).write_text(text, encoding="utf-8")
        task.write_files(scratch)


def _write_model(task, scratch):
    """Writes encoder and head; returns the kind of head in `model.safetensors`, or None, and how the encoder is made
    again."""
    backbone, kind, written, model = task.encoder, None, set(), {}
    family = _family(backbone)
    if family is None:
        backbone.save(scratch / ENCODER)
    else:
        kind = task.checkpoint_kind if task.checkpoint_kind in family.heads else None
        further = task.checkpoint_settings() if kind else {}
        if hasattr(task.tokenizer, "padding_id"):
            further["pad_token_id"] = task.tokenizer.padding_id
        head = task.checkpoint_head() if kind else None
        write_checkpoint(scratch, backbone, kind, head, model_type=family.model_type, **further)
        model = {name: backbone.get_config()[name] for name in ("options", "dtype")}
        if kind:
            written = {id(weight) for weight in task.head.variables()}
    if family is not None and task.vector_settings():
        write_embedder_settings(scratch, hidden_dim=backbone.config.hidden_dim, **task.vector_settings())
        if is_sentence_transformers(scratch):
            written = {id(weight) for weight in task.head.variables()}
    rest = _head_weights(task, written)
    if rest:
        values = merged_weights(task.model)
        arrays = {weight.path: np.ascontiguousarray(_array(values[id(weight)])) for weight in rest}
        safetensors.numpy.save_file(arrays, scratch / HEAD)
        (scratch / HEAD).chmod(0o644)
    return kind, model


def _family(model):
    """The family that can describe an encoder, or None."""
    if not isinstance(model, Backbone):
        return None
    with contextlib.suppress(InputError):
        return family_of(model.config)
    return None


def _head_weights(task, written=()):
    """The weights of a task that are neither the encoder's nor `written` (by id), low-rank updates left out."""
    values = merged_weights(task.model)
    known = {id(weight) for weight in task.encoder.weights} | set(written)
    return [weight for weight in task.model.weights if id(weight) not in known and id(weight) in values]


def _array(value):
    value = keras.ops.convert_to_numpy(value)
    return value.astype(np.float32) if value.dtype.kind == "V" or value.dtype.name == "bfloat16" else value


def is_saved_task(folder: str | os.PathLike) -> bool:
    """Whether the local `folder` was written by `Task.save`."""
    return (pathlib.Path(folder) / DESCRIPTION).is_file()


def load(folder: str | os.PathLike, task: str | None = None, **settings) -> Task:
    """Loads a task, from a folder of ours or of anybody's.

    - what `task.save` wrote
    - Hugging Face Transformers' sequence classification (one label, several, or a number), token classification,
      question answering and masked language models, of the families in `kf.families`
    - sentence-transformers

    Args:
        folder: path.
        task: class name of another task that the model can do: "ZeroShotClassifier" for a classifier of natural
            language inference, "TextEmbedder" for any encoder.
        settings: of the task, in place of those that the folder says; such as `pairs=True` for a classifier of pairs,
            or `prompt_name="query"` for an embedder.

    Returns:
        A `Task`.

    Raises:
        InputError: the folder holds none of these, none that `task` can be, or a file in it is missing or damaged.
    """
    if task is not None and task not in registered_tasks():
        raise InputError(f"`task` must be one of {', '.join(registered_tasks())}. Received: task={task!r}.")
    with read_locally(folder) as local:
        return _load(local, task, settings)


def _load(folder, task, settings):
    if is_saved_task(folder) and task in (None, _description(folder / DESCRIPTION)["task"]):
        return _load_ours(folder, settings)
    if task == "TextEmbedder" or (task is None and is_sentence_transformers(folder)):
        encoder, tokenizer, found = load_embedder(folder)
        own = {} if found is None else found.arguments()
        made = registered_tasks()["TextEmbedder"](encoder, tokenizer, **own | settings)
        if found is not None:
            found.assign(made)
        return made
    checkpoint = open_checkpoint(folder)
    return task_of(checkpoint, checkpoint_tokenizer(checkpoint), settings, task)


def _load_ours(folder, changes):
    path = folder / DESCRIPTION
    description = _description(path)
    name, model = description["task"], description["model"]
    tokenizer = _tokenizer(folder, description["tokenizer"], path)
    further = {part: _tokenizer(folder / part, kind, path) for part, kind in description["further_tokenizers"].items()}
    checkpoint = kind = None
    if (folder / ENCODER).is_file():
        made = load_keras_encoder(folder / ENCODER)
    else:
        checkpoint, kind = open_checkpoint(folder), model.get("head")
        if kind is not None and (not isinstance(kind, str) or kind not in checkpoint.family.heads):
            raise InputError(f"The head in {path} must be one of {list(checkpoint.family.heads)}. Received: {kind!r}.")
        made = _made(checkpoint, model, path)
    task = registered_tasks()[name](made, tokenizer, **{**further, **description["settings"], **changes})
    if checkpoint is not None:
        checkpoint.assign(task.encoder, task.head if kind else None, kind)
        if kind:
            task.checkpoint_was_read()
    written = {id(weight) for weight in task.head.variables()} if kind else set()
    if is_sentence_transformers(folder):
        read_embedder_settings(folder).assign(task)
        written = {id(weight) for weight in task.head.variables()}
    _assign_head(folder / HEAD, _head_weights(task, written))
    return task.with_files(folder)


def _description(path):
    """The fields of `kerasformer.json`, checked."""
    description = read_settings(path)
    version = description["format"]
    if not isinstance(version, int) or version > _FORMAT:
        raise InputError(
            f"{path} was written by kerasformer {description.get('kerasformer')}, in format {version!r}; this version, "
            f"{__version__}, reads formats up to {_FORMAT}: install a newer one."
        )
    for field, kind in {
        "task": str,
        "tokenizer": str,
        "further_tokenizers": dict,
        "settings": dict,
        "model": dict,
    }.items():
        if not isinstance(description[field], kind):
            raise InputError(
                f"The field {field!r} in {path} must be a {kind.__name__}. Received: {description[field]!r}."
            )
    if description["task"] not in registered_tasks():
        raise InputError(
            f"{path} describes a task {description['task']!r}, which is not registered: import the module that defines "
            f"it. Registered: {', '.join(registered_tasks())}."
        )
    return description


def _tokenizer(folder, kind, path):
    if not isinstance(kind, str) or kind not in _TOKENIZERS:
        raise InputError(f"A tokenizer in {path} must be one of {list(_TOKENIZERS)}. Received: {kind!r}.")
    return _TOKENIZERS[kind].load(folder)


def _made(checkpoint, model, path):
    """A randomly initialized encoder with the options that it was saved with."""
    assemble = decoder if checkpoint.config.blocks[0].causal else encoder
    try:
        return assemble(checkpoint.config, **model["options"], dtype=model["dtype"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"The field 'model' in {path} does not describe an encoder: {error}") from None


def _assign_head(path, weights):
    if not weights:
        return
    try:
        arrays = safetensors.numpy.load_file(path)
    except (OSError, ValueError, safetensors.SafetensorError) as error:
        raise InputError(f"{path} cannot be read as safetensors, is it complete? {error}") from None
    missing = [weight.path for weight in weights if weight.path not in arrays]
    if missing or len(arrays) != len(weights):
        raise InputError(f"{path} must hold the weights {[weight.path for weight in weights]}. Found: {list(arrays)}.")
    for weight in weights:
        if tuple(weight.shape) != arrays[weight.path].shape:
            raise InputError(
                f"The weight {weight.path!r} in {path} must be of shape {tuple(weight.shape)}. "
                f"Received: {arrays[weight.path].shape}."
            )
    for weight in weights:
        weight.assign(arrays[weight.path])
