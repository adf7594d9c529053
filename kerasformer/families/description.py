"""What a folder holds, in words and numbers, without its weights."""

import dataclasses
import math
import pathlib
import types

from kerasformer.errors import InputError, other_forms
from kerasformer.families.encoders import checkpoint_tokenizer
from kerasformer.families.family import missing_config, read_settings
from kerasformer.families.folder import open_checkpoint
from kerasformer.families.google_bert import is_google_folder
from kerasformer.families.keras_hub import is_keras_hub_folder
from kerasformer.families.sentence_transformers import (
    is_sentence_transformers,
    read_embedder_settings,
    score_activation,
)
from kerasformer.families.tensors import weight_files
from kerasformer.families.weights import FLOATING, names_in
from kerasformer.files import local_path
from kerasformer.layers.configs import DisentangledConfig, RelativeBiasConfig, RotaryConfig
from kerasformer.layers.vector_layers import vector_layer

_POSITIONS = {RotaryConfig: "rotary", RelativeBiasConfig: "relative bias", DisentangledConfig: "disentangled"}
_LABELLED = ("sequence_classification", "token_classification")
# Heads that are read, or left out, but that are no task.
_NO_TASK = ("next_sentence", "replaced_tokens", "causal_lm")


def describe(folder):
    """Describes a folder with a checkpoint, or with a saved task. Weights are not read, except the tied ones that a
    file stores twice, and that KerasHub loads its presets.

    Args:
        folder: path, as for `open_checkpoint`, or of sentence-transformers.

    Returns:
        A dictionary, without the fields that the folder does not have:

        - `task`: name of a saved task's class.
        - `family`, `architecture`: `model_type` of the family, and the class name in `config.json`.
        - `head`: what the head is for, a key of `Family.heads`, or "embedding"; None for a backbone alone.
        - `labels`, `problem_type`: of a classification head, see `Checkpoint`.
        - `layers`, `hidden_dim`, `heads`, `vocabulary_size`: int. `max_sequence_length`: int, or None for no limit.
        - `modules`: of sentence-transformers, list of their names. `pooling`: str or tuple, as in `TextEmbedder`.
          `prompts`: `{name: text before each text}`. `prompt_name`: of the default one, or None. `width`: int, of the
          vectors.
        - `positions`: "learned", "sinusoidal", "rotary", "relative bias", "disentangled" or None.
        - `parameters`: int, numbers in the weight files, tied ones counted once, those of `modules` included.
        - `dtypes`: `{dtype: parameters}`, without those of `modules`. `weight_files`: list of file names.
        - `tokenizer`: such as "WordPiece" or "byte-level BPE". `tokenizer_vocabulary_size`: int.
        - `in_transformers`: the class of Hugging Face Transformers that loads the folder.
        - `obstacles`: list of sentences, what keeps `kf.load` and `kf.publish` from taking the folder; empty if nothing
          does.

    Raises:
        InputError: there is no such folder, or no model in it.
    """
    folder = local_path(folder, "folder")
    if not folder.is_dir():
        raise InputError(f"A folder with a model is needed. No folder: {folder}")
    task = read_settings(folder / "kerasformer.json") if (folder / "kerasformer.json").is_file() else None
    found = {} if task is None else {"task": task.get("task")}
    if (folder / "encoder.keras").is_file():
        return found | {"weight_files": ["encoder.keras"], "obstacles": []}
    is_embedder, embedder = is_sentence_transformers(folder), None
    obstacles = []
    if is_embedder:
        try:
            embedder = read_embedder_settings(folder)
            folder = embedder.transformer
        except InputError as error:
            return found | {"head": "embedding", "obstacles": [str(error)]}
    if not any(known(folder) for known in (is_google_folder, is_keras_hub_folder, _has_config)):
        raise missing_config(folder)
    try:
        checkpoint = open_checkpoint(folder)
    except InputError as error:
        return found | _from_config(folder) | {"obstacles": [str(error)]}
    if is_embedder:  # whatever head its config names
        checkpoint = dataclasses.replace(checkpoint, kind=None)
    found |= {
        "family": checkpoint.family.model_type,
        "architecture": checkpoint.architecture,
        "head": "embedding" if is_embedder else checkpoint.kind,
    }
    steps = [_labels, _sizes, _weights, _tokenizer]
    for step in steps[checkpoint.kind not in _LABELLED :]:
        try:
            with other_forms(checkpoint.folder):
                found |= step(checkpoint, found, obstacles)
        except InputError as error:
            obstacles.append(str(error))
    if embedder is not None:
        found |= _embedder(embedder, found, obstacles)
    if checkpoint.kind in (None, *_NO_TASK) and not is_embedder and task is None:
        obstacles.append(_no_head(checkpoint))
    if _is_of_hugging_face(folder):
        found["in_transformers"] = checkpoint.family.architecture(checkpoint.kind)
    # An error of the config is met in several steps.
    return found | {"obstacles": list(dict.fromkeys(obstacles))}


def _has_config(folder):
    return (folder / "config.json").is_file()


def _is_of_hugging_face(folder):
    return not is_google_folder(folder) and not is_keras_hub_folder(folder)


def _from_config(folder):
    """What the config of a model that cannot be read says of it."""
    if not _is_of_hugging_face(folder):
        return {}
    try:
        settings = read_settings(folder / "config.json")
        named = {"family": settings.get("model_type"), "architecture": settings.architecture}
    except InputError:
        return {}
    return {name: value for name, value in named.items() if value is not None}


def _no_head(checkpoint):
    known = [checkpoint.family.architecture(kind) for kind in checkpoint.family.heads if kind not in _NO_TASK]
    if checkpoint.architecture in (None, checkpoint.family.architecture(None)) or checkpoint.read_tokenizer:
        return "It has no head for a task: take the encoder with `kf.load_encoder` and train a task of `kf.tasks`."
    known = f"Those of {', '.join(known)} are. " if known else ""
    return f"The head of {checkpoint.architecture} is no task here. {known}`kf.load_encoder` reads the rest."


def _labels(checkpoint, found, obstacles):
    labels, _ = {"labels": checkpoint.labels}, checkpoint.head_dropout
    if checkpoint.kind == "sequence_classification":
        labels["problem_type"] = checkpoint.problem_type
        if checkpoint.problem_type == "regression":
            score_activation(checkpoint.settings)
        if checkpoint.problem_type == "regression" and len(checkpoint.labels) > 1:
            obstacles.append(f"It is a regression with {len(checkpoint.labels)} outputs. One output can be read.")
    return labels


def _sizes(checkpoint, found, obstacles):
    config = checkpoint.config
    attention = config.blocks[0].attention
    scheme = attention.positions or config.position_bias
    return {
        "layers": config.num_layers,
        "hidden_dim": config.hidden_dim,
        "heads": attention.num_heads,
        "vocabulary_size": config.vocabulary_size,
        "positions": config.embedding.positions if scheme is None else _POSITIONS[type(scheme)],
        "max_sequence_length": config.max_sequence_length,
    }


def _weights(checkpoint, found, obstacles):
    dtypes = {}
    for tensor in checkpoint.tensors.values():
        dtypes[tensor.dtype] = dtypes.get(tensor.dtype, 0) + math.prod(tensor.shape)
    if others := sorted(dtypes.keys() - set(FLOATING)):
        obstacles.append(f"Its tensors must be of type {', '.join(FLOATING)}. Received: {', '.join(others)}.")
    if missing := _missing(checkpoint):
        obstacles.append(f"Its weight files lack {len(missing)} tensors, such as {missing[0]!r}.")
    name, embedding = names_in(checkpoint.family.names[:1])[0], checkpoint.config.embedding
    expected, shape = (embedding.vocabulary_size, embedding.table_dim), checkpoint.tensors[name].shape
    if shape != expected:
        obstacles.append(f"The tensor {name!r} must be of shape {expected}, as the config says. Received: {shape}.")
    tied = checkpoint.family.tied
    if untied := sorted(tied.keys() & checkpoint.tensors.keys()):
        obstacles.append(f"It must make its scores with {tied[untied[0]]!r}. It has {untied[0]!r}, which differs.")
    return {
        "parameters": sum(dtypes.values()),
        "dtypes": dtypes,
        "weight_files": [path.name for path in weight_files(pathlib.Path(checkpoint.folder))],
    }


def _embedder(embedder, found, obstacles):
    """What sentence-transformers' modules are, and the parameters with theirs."""
    fields = {name: getattr(embedder, name) for name in ("modules", "pooling", "prompts", "prompt_name")}
    fields["modules"] = list(fields["modules"])
    if "hidden_dim" not in found:
        return fields
    fields["width"] = found["hidden_dim"] * (1 if isinstance(embedder.pooling, str) else len(embedder.pooling))
    made = {}
    for place, config in enumerate(embedder.layers):
        made[f"layer_{place}"] = layer = vector_layer(config)
        layer.build((None, fields["width"]))
        fields["width"] = config.dim or fields["width"]
    try:
        embedder.assign(types.SimpleNamespace(layers=embedder.layers, head=types.SimpleNamespace(**made)))
    except InputError as error:
        obstacles.append(str(error))
    if "parameters" in found:
        fields["parameters"] = found["parameters"] + sum(
            math.prod(w.shape) for layer in made.values() for w in layer.weights
        )
    return fields


def _missing(checkpoint):
    """The first tensor of each row of the tables, where there is none."""
    config, family = checkpoint.config, checkpoint.family
    scheme, relative = config.blocks[0].attention.positions, config.relative_embedding
    own = isinstance(scheme, DisentangledConfig) and not scheme.share_projections
    absent = {
        "embeddings.segment": not config.embedding.num_segments,
        "embeddings.position": config.embedding.positions != "learned",
        "embeddings.projection": config.embedding.embedding_dim is None,
        # Of all blocks, or below of one.
        "blocks.{i}.attention.positions.query": not (own and scheme.position_to_content),
        "blocks.{i}.attention.positions.key": not (own and scheme.content_to_position),
        "relative_embedding": relative is None,
        "relative_embedding.norm": relative is None or relative.norm is None,
        "convolution": config.convolution is None,
        "convolution.norm": config.convolution is None,
    }
    absent |= {f"blocks.{i}.attention_norm": not block.norm_attention for i, block in enumerate(config.blocks)}
    names = []
    for row in family.names + family.heads.get(checkpoint.kind, []):
        for i in range(config.num_layers) if "{i}" in row.ours[0] else [0]:
            if not (absent.get(row.ours[0]) or absent.get(row.ours[0].format(i=i))):
                names += [name.format(i=i) + row.weights[0][1] for name in row.theirs]
    return [name for name in names if name not in checkpoint.tensors]


def _tokenizer(checkpoint, found, obstacles):
    specification = checkpoint.tokenizer_json()
    model = specification.get("model") or {}
    # Older files do not name the model of SentencePiece.
    kind = model.get("type", "Unigram")
    if kind == "BPE" and "ByteLevel" in str(specification.get("pre_tokenizer")):
        kind = "byte-level BPE"
    vocabulary = model.get("vocab") or {}
    ids = set(vocabulary.values()) if isinstance(vocabulary, dict) else set(range(len(vocabulary)))
    size = len(ids | {token["id"] for token in specification.get("added_tokens") or []})
    known = found.get("vocabulary_size")
    if known is not None and size > known:
        obstacles.append(f"Its tokenizer has {size} tokens, more than `vocab_size`, {known}: the files do not fit.")
    elif "task" not in found:
        try:
            checkpoint_tokenizer(checkpoint)
        except InputError as error:
            obstacles.append(str(error))
    return {"tokenizer": kind, "tokenizer_vocabulary_size": size}
