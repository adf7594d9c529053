"""Models of KerasHub: a `BertBackbone`, a `RobertaBackbone` or a text classifier of either, in memory or in a preset
folder (read in keras-hub 0.32, which `keras_nlp` is another name of).

They are read under the names of Hugging Face's families: their position tables begin without padding, RoBERTa's have no
segments, and kernels of attention are `[inputs, heads, head_dim]`.
"""

import functools
import json
import pathlib
import tempfile

import keras
import numpy as np

from kerasformer._compat import flatten_layers
from kerasformer.errors import InputError
from kerasformer.families import bert, roberta
from kerasformer.families.family import Settings
from kerasformer.families.torch_files import Tensor

_FAMILIES = {"BertBackbone": bert.FAMILY, "RobertaBackbone": roberta.FAMILY}
_CLASSIFIERS = ("BertTextClassifier", "RobertaTextClassifier")
_ACTIVATIONS = {"gelu_approximate": "gelu_new"}
# What the scores of a classifier are, by the activation that makes them probabilities.
_PROBLEM_TYPES = {"linear": None, "softmax": "single_label_classification", "sigmoid": "multi_label_classification"}
# Their names of the layers in a `TransformerEncoder`, and Hugging Face's.
_BLOCK = {
    "query": "attention.self.query",
    "key": "attention.self.key",
    "value": "attention.self.value",
    "attention_output": "attention.output.dense",
    "self_attention_layer_norm": "attention.output.LayerNorm",
    "feedforward_intermediate_dense": "intermediate.dense",
    "feedforward_output_dense": "output.dense",
    "feedforward_layer_norm": "output.LayerNorm",
}


def is_keras_hub_folder(folder):
    """Whether `folder` holds a preset, as `save_to_preset` of KerasHub writes it."""
    return _registered(pathlib.Path(folder) / "config.json").startswith(("keras_hub>", "keras_nlp>"))


def read_keras_hub(source):
    """What a model of KerasHub holds, as the fields of a `Checkpoint`.

    Args:
        source: a preset folder, or a `BertBackbone`, `RobertaBackbone`, `BertTextClassifier` or `RobertaTextClassifier`
            of `keras_hub.models`.

    Returns:
        A dictionary: `folder`, `family`, `settings`, `tensors`, `kind` and `read_tokenizer`. `kind` is
        "sequence_classification" for a classifier, else None. An activation of the classifier is its `problem_type`:
        softmax for one label, sigmoid for several; its scores are read without. The tokenizer has the vocabulary and
        the settings of theirs, but the rules of the `tokenizers` library.

    Raises:
        InputError: KerasHub is not installed, the model is another one, or the folder is damaged.
    """
    is_folder = isinstance(source, (str, pathlib.PurePath))
    model, tokenizer = _load(pathlib.Path(source)) if is_folder else (source, None)
    name = str(source) if is_folder else f"keras_hub.models.{type(source).__name__}"
    hub = _keras_hub()
    is_classifier = type(model) in [getattr(hub.models, known) for known in _CLASSIFIERS]
    backbone = model.backbone if is_classifier else model
    family = {getattr(hub.models, known): family for known, family in _FAMILIES.items()}.get(type(backbone))
    if family is None:
        raise _unknown(name, type(backbone).__name__)
    max_length = None
    if is_classifier and model.preprocessor is not None:
        tokenizer, max_length = model.preprocessor.tokenizer, model.preprocessor.sequence_length
    padding = 1 if tokenizer is None else tokenizer.pad_token_id
    settings = _settings(backbone, family, padding) | {"architectures": [type(model).__name__]}
    tensors = _tensors(backbone, settings)
    if is_classifier:
        settings |= _problem_type(model, name)
        tensors |= _head(model, family, name)
    return {
        "folder": pathlib.Path(source) if is_folder else name,
        "family": family,
        "settings": Settings(settings, pathlib.Path(name)),
        "tensors": tensors,
        "kind": "sequence_classification" if is_classifier else None,
        "read_tokenizer": functools.partial(_read_tokenizer, tokenizer, max_length, family, name),
    }


def _keras_hub():
    try:
        import keras_hub
    except ImportError as error:
        raise InputError(f"Reading a model of KerasHub needs it: pip install keras-hub ({error}).") from None
    return keras_hub


def _registered(path):
    """The name under which Keras registers the class in a JSON file; "" where the file has none."""
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["registered_name"])
    except (OSError, ValueError, LookupError, TypeError):
        return ""


def _unknown(name, found):
    return InputError(
        f"A model of KerasHub must be one of {', '.join([*_FAMILIES, *_CLASSIFIERS])}, or a preset folder of one. "
        f"{name} holds: {found}."
    )


def _load(folder):
    """The model in a preset folder, and its tokenizer or None. Other models are refused before anything is loaded."""
    found = _registered(folder / "config.json").partition(">")[2]
    if found not in _FAMILIES:
        raise _unknown(folder, found or "no preset")
    hub = _keras_hub()
    task = _registered(folder / "task.json").partition(">")[2]
    path, tokenizer = str(folder.resolve()), None
    try:
        if task in _CLASSIFIERS:
            return getattr(hub.models, task).from_preset(path), None
        if (folder / "tokenizer.json").is_file():
            tokenizer = hub.tokenizers.Tokenizer.from_preset(path)
        return getattr(hub.models, found).from_preset(path), tokenizer
    except Exception as error:  # JSON, HDF5 and Keras's errors of many classes, all meaning the same to the caller
        first_line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(f"The preset in {folder} cannot be loaded, is it complete? {first_line}") from None


def _settings(backbone, family, padding):
    """The fields of the family's `config.json`."""
    activation = keras.activations.serialize(backbone.transformer_layers[0].activation)
    activation = activation if isinstance(activation, str) else backbone.transformer_layers[0].activation.__name__
    settings = {
        "model_type": family.model_type,
        "vocab_size": backbone.vocabulary_size,
        "hidden_size": backbone.hidden_dim,
        "num_hidden_layers": backbone.num_layers,
        "num_attention_heads": backbone.num_heads,
        "intermediate_size": backbone.intermediate_dim,
        "max_position_embeddings": backbone.max_sequence_length,
        "type_vocab_size": getattr(backbone, "num_segments", 1),
        "hidden_act": _ACTIVATIONS.get(activation, activation),
        "hidden_dropout_prob": backbone.dropout,
        "attention_probs_dropout_prob": backbone.dropout,
        "layer_norm_eps": backbone.embeddings_layer_norm.epsilon,
    }
    if family is roberta.FAMILY:
        settings["max_position_embeddings"] += padding + 1
        settings["pad_token_id"] = padding
    return settings


def _tensors(backbone, settings):
    """The tensors of a backbone by Hugging Face's names, `{name: Tensor}`."""
    embeddings = "embeddings.{}_embeddings.weight".format
    positions = getattr(backbone, "position_embedding", None) or backbone.embeddings.position_embedding
    # Rows that no token has: Hugging Face's RoBERTa begins its positions behind that of padding.
    missing = settings["max_position_embeddings"] - backbone.max_sequence_length
    tensors = {
        embeddings("word"): _tensor(backbone.token_embedding.embeddings),
        embeddings("position"): _tensor(
            positions.position_embeddings, lambda rows: np.pad(rows, ((missing, 0), (0, 0)))
        ),
        embeddings("token_type"): _tensor(np.zeros((1, backbone.hidden_dim), np.float32)),
    }
    if hasattr(backbone, "segment_embedding"):
        tensors[embeddings("token_type")] = _tensor(backbone.segment_embedding.embeddings)
    tensors |= _norm("embeddings.LayerNorm", backbone.embeddings_layer_norm)
    for index, block in enumerate(backbone.transformer_layers):
        for layer in flatten_layers(block):
            if layer.name in _BLOCK:
                read = _norm if isinstance(layer, keras.layers.LayerNormalization) else _dense
                tensors |= read(f"encoder.layer.{index}.{_BLOCK[layer.name]}", layer)
    if hasattr(backbone, "pooled_dense"):
        tensors |= _dense("pooler.dense", backbone.pooled_dense)
    return tensors


def _head(model, family, name):
    if family is bert.FAMILY:
        return _dense("classifier", model.output_dense)
    if model.hidden_dim != model.backbone.hidden_dim:
        raise InputError(
            "`hidden_dim` of a RobertaTextClassifier must be that of its backbone, "
            f"{model.backbone.hidden_dim}. {name} has {model.hidden_dim}."
        )
    return _dense("classifier.dense", model.pooled_dense) | _dense("classifier.out_proj", model.output_dense)


def _problem_type(model, name):
    activation = keras.activations.serialize(model.activation)
    if not isinstance(activation, str) or activation not in _PROBLEM_TYPES:
        raise InputError(
            f"The `activation` of a classifier must be one of {list(_PROBLEM_TYPES)}. {name} has {activation!r}."
        )
    problem_type = _PROBLEM_TYPES[activation]
    return {} if problem_type is None else {"problem_type": problem_type}


def _tensor(value, change=lambda array: array):
    """A Keras variable as a `Tensor` that is read, and changed, when it is asked for."""

    def read():
        return change(np.asarray(keras.ops.convert_to_numpy(value)))

    shape = change(np.broadcast_to(np.zeros((), np.int8), value.shape)).shape
    return Tensor(shape, keras.backend.standardize_dtype(value.dtype), read)


def _dense(name, layer):
    """A dense layer, also one of attention, whose heads are an axis of their own; low-rank updates are merged."""
    kernel, bias = layer.kernel, layer.bias
    outputs = int(np.prod(bias.shape))
    return {
        f"{name}.weight": _tensor(kernel, lambda array: array.reshape(-1, outputs).T),
        f"{name}.bias": _tensor(bias, lambda array: array.reshape(-1)),
    }


def _norm(name, layer):
    return {f"{name}.weight": _tensor(layer.gamma), f"{name}.bias": _tensor(layer.beta)}


def _read_tokenizer(tokenizer, max_length, family, name):
    """A tokenizer of theirs as the objects of a `tokenizer.json` and a `tokenizer_config.json`.

    Raises:
        InputError: there is none, or it has a setting that a `tokenizer.json` of the family cannot hold.
    """
    if tokenizer is None:
        raise InputError(f"{name} holds no tokenizer. Save a task with its preprocessor, or give a tokenizer.")
    settings = {
        "cls_token": tokenizer.start_token,
        "sep_token": tokenizer.end_token,
        "pad_token": tokenizer.pad_token,
        "mask_token": tokenizer.mask_token,
    }
    settings |= {} if max_length is None else {"model_max_length": max_length}
    if family is roberta.FAMILY:
        return _byte_pairs(tokenizer), settings
    if not tokenizer.split:
        raise InputError(f"The tokenizer must split texts (`split=True`). {name} has split=False.")
    return _wordpiece(tokenizer, settings), settings


def _byte_pairs(tokenizer):
    vocabulary = dict(tokenizer.vocabulary)
    # Theirs needs no unknown token, and neither do bytes.
    unknown = "<unk>" if "<unk>" in vocabulary else tokenizer.pad_token
    files = {
        "vocab.json": json.dumps(vocabulary),
        "merges.txt": "".join(f"{merge}\n" for merge in tokenizer.merges),
        "tokenizer_config.json": json.dumps({"add_prefix_space": tokenizer.add_prefix_space, "unk_token": unknown}),
    }
    return _converted(files, roberta.FAMILY)


def _wordpiece(tokenizer, settings):
    options = {
        "do_lower_case": tokenizer.lowercase,
        "strip_accents": tokenizer.strip_accents,
        "tokenize_chinese_chars": tokenizer.split_on_cjk,
        "unk_token": tokenizer.oov_token,
    }
    files = {
        "vocab.txt": "".join(f"{token}\n" for token in tokenizer.vocabulary),
        "tokenizer_config.json": json.dumps(settings | options),
    }
    found = _converted(files, bert.FAMILY)
    found["model"]["continuing_subword_prefix"] = found["decoder"]["prefix"] = tokenizer.suffix_indicator
    return found


def _converted(files, family):
    """The object of a `tokenizer.json` from the contents of a family's older files."""
    with tempfile.TemporaryDirectory() as scratch:
        for name, text in files.items():
            (pathlib.Path(scratch) / name).write_text(text, encoding="utf-8")
        return family.tokenizer(scratch)
