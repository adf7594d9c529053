"""Models of KerasHub, in memory or in a preset folder: backbones and text classifiers of BERT, RoBERTa, XLM-RoBERTa,
DistilBERT, ALBERT and DeBERTa-v3 (read in keras-hub 0.32, which `keras_nlp` is another name of).

They are read under the names of Hugging Face's families, see `keras_hub_models.py`.
"""

import functools
import json
import pathlib
import tempfile

import keras

from kerasformer.errors import InputError
from kerasformer.families import bert, roberta
from kerasformer.families.family import Settings
from kerasformer.families.keras_hub_models import HUBS, backbone_tensors, head_tensors, settings_of
from kerasformer.text.sentencepiece_files import from_sentencepiece

_BACKBONES = {f"{hub.name}Backbone": hub for hub in HUBS}
_CLASSIFIERS = {f"{hub.name}TextClassifier": hub for hub in HUBS}
# What the scores of a classifier are, by the activation that makes them probabilities.
_PROBLEM_TYPES = {"linear": None, "softmax": "single_label_classification", "sigmoid": "multi_label_classification"}


def is_keras_hub_folder(folder):
    """Whether `folder` holds a preset, as `save_to_preset` of KerasHub writes it."""
    return _registered(pathlib.Path(folder) / "config.json").startswith(("keras_hub>", "keras_nlp>"))


def read_keras_hub(source):
    """What a model of KerasHub holds, as the fields of a `Checkpoint`.

    Args:
        source: a preset folder, or a backbone or text classifier of `keras_hub.models`, such as `BertBackbone` and
            `DistilBertTextClassifier`.

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
    known = {getattr(hub.models, found): of for found, of in _BACKBONES.items()}.get(type(backbone))
    if known is None:
        raise _unknown(name, type(backbone).__name__)
    max_length = None
    if is_classifier and model.preprocessor is not None:
        tokenizer, max_length = model.preprocessor.tokenizer, model.preprocessor.sequence_length
    padding = 1 if tokenizer is None else tokenizer.pad_token_id
    settings = settings_of(known, backbone, padding) | {"architectures": [type(model).__name__]}
    tensors = backbone_tensors(known, backbone, settings)
    if is_classifier:
        settings |= _problem_type(model, name)
        tensors |= head_tensors(known, model, name)
    return {
        "folder": pathlib.Path(source) if is_folder else name,
        "family": known.family,
        "settings": Settings(settings, pathlib.Path(name)),
        "tensors": tensors,
        "kind": "sequence_classification" if is_classifier else None,
        "read_tokenizer": functools.partial(_read_tokenizer, tokenizer, max_length, known.family, name),
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
        f"A model of KerasHub must be one of {', '.join([*_BACKBONES, *_CLASSIFIERS])}, or a preset folder of one. "
        f"{name} holds: {found}."
    )


def _load(folder):
    """The model in a preset folder, and its tokenizer or None. Other models are refused before anything is loaded."""
    found = _registered(folder / "config.json").partition(">")[2]
    if found not in _BACKBONES:
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


def _problem_type(model, name):
    activation = keras.activations.serialize(model.activation)
    if not isinstance(activation, str) or activation not in _PROBLEM_TYPES:
        raise InputError(
            f"The `activation` of a classifier must be one of {list(_PROBLEM_TYPES)}. {name} has {activation!r}."
        )
    problem_type = _PROBLEM_TYPES[activation]
    return {} if problem_type is None else {"problem_type": problem_type}


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
        "mask_token": getattr(tokenizer, "mask_token", "<mask>"),  # that of XLM-RoBERTa has no name for it
    }
    settings |= {} if max_length is None else {"model_max_length": max_length}
    if family is roberta.FAMILY:
        return _byte_pairs(tokenizer), settings
    if hasattr(tokenizer, "proto"):
        return _sentencepiece(tokenizer, family, settings)
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


def _sentencepiece(tokenizer, family, settings):
    # Theirs changes no letter but by the map in the model.
    plain = json.dumps(settings | {"do_lower_case": False, "keep_accents": True})
    with tempfile.TemporaryDirectory() as scratch:
        (pathlib.Path(scratch) / "spiece.model").write_bytes(tokenizer.proto)
        (pathlib.Path(scratch) / "tokenizer_config.json").write_text(plain, encoding="utf-8")
        specification, special_tokens = from_sentencepiece(scratch, f"{family.class_name}Tokenizer")
    return specification, settings | special_tokens


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
