"""Folders of sentence-transformers, read: a Hugging Face encoder, and the modules that make a vector of its output."""

import dataclasses
import json
import pathlib
import types

from kerasformer.errors import InputError, other_forms
from kerasformer.families.family import Settings, read_settings
from kerasformer.families.tensors import open_tensors
from kerasformer.families.weights import assign, dense, norm
from kerasformer.layers import VectorLayerConfig

# Their poolings and ours, in the order in which the vectors of several flags are concatenated.
POOLINGS = {
    "cls": "first",
    "max": "max",
    "mean": "mean",
    "mean_sqrt_len_tokens": "mean_sqrt_length",
    "weightedmean": "weighted_mean",
    "lasttoken": "last",
}
# The same as flags, in earlier versions.
POOLING_FLAGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
# Our names of activations and their classes.
VECTOR_ACTIVATIONS = {
    "linear": "torch.nn.modules.linear.Identity",
    "tanh": "torch.nn.modules.activation.Tanh",
    "relu": "torch.nn.modules.activation.ReLU",
    "gelu": "torch.nn.modules.activation.GELU",
    "silu": "torch.nn.modules.activation.SiLU",
    "sigmoid": "torch.nn.modules.activation.Sigmoid",
}
# The same of a cross-encoder's score.
SCORE_ACTIVATIONS = {name: VECTOR_ACTIVATIONS[name] for name in ("linear", "sigmoid")}
_OLD_ACTIVATION = "sbert_ce_default_activation_function"
# Names of the weights of a layer, which is the attribute `layer`.
VECTOR_ROWS = {"dense": [dense("layer", "linear")], "norm": [norm("layer", "norm")]}
_TRANSFORMER_FILES = [
    f"sentence_{name}_config.json"
    for name in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
]
_ARGUMENTS = (
    *("processing_kwargs", "processor_kwargs", "model_kwargs", "config_kwargs"),
    *("tokenizer_args", "model_args", "config_args"),
)
_LAYERS = ("Dense", "LayerNorm", "Dropout", "Normalize")
_READ = "a Transformer, a Pooling, then any of " + ", ".join(_LAYERS)


@dataclasses.dataclass(frozen=True)
class EmbedderSettings:
    """How a folder makes one vector of a text.

    Attributes:
        transformer: path of the encoder's folder.
        modules: names of all modules, in order.
        pooling: as in `TextEmbedder`.
        layers: what the pooled vector goes through, `VectorLayerConfig`s.
        layer_folders: the path of each one's folder.
        normalize: whether vectors have length 1, after all.
        prompts: `{name: text before each text}`.
        prompt_name: the default prompt, None for none.
        pool_prompt: whether the tokens of prompts are pooled.
        max_sequence_length: texts are cut at this number of tokens, None where the folder does not say.
        lowercase: whether texts are lower-cased, whatever the tokenizer does.
    """

    transformer: pathlib.Path
    modules: tuple[str, ...]
    pooling: str | tuple[str, ...]
    layers: tuple[VectorLayerConfig, ...] = ()
    layer_folders: tuple[pathlib.Path, ...] = ()
    normalize: bool = False
    prompts: dict[str, str] = dataclasses.field(default_factory=dict)
    prompt_name: str | None = None
    pool_prompt: bool = True
    max_sequence_length: int | None = None
    lowercase: bool = False

    def arguments(self):
        """The settings of a `TextEmbedder` that makes the same vectors."""
        names = ("pooling", "layers", "normalize", "prompts", "prompt_name", "pool_prompt")
        return {name: getattr(self, name) for name in names}

    def assign(self, task):
        """Puts the weights of `layers` into a `TextEmbedder`.

        Raises:
            InputError: the task has other layers, or a file is missing, damaged or of other shapes.
        """
        if task.layers != self.layers:
            raise InputError(
                f"`layers` must be as in the folder, whose weights they take: {list(self.layers)}. "
                f"Received: layers={list(task.layers)}."
            )
        for place, (layer, folder) in enumerate(zip(self.layers, self.layer_folders, strict=True)):
            if rows := VECTOR_ROWS.get(layer.kind):
                part = types.SimpleNamespace(layer=getattr(task.head, f"layer_{place}"))
                assign(rows, part, open_tensors(folder), folder)


def is_sentence_transformers(folder):
    """Whether sentence-transformers wrote the folder."""
    return (pathlib.Path(folder) / "modules.json").is_file()


def transformer_folder(folder):
    """The path of the encoder in a folder of sentence-transformers, whatever its other modules are.

    Raises:
        InputError: `modules.json` is damaged, or names no Transformer.
    """
    path = pathlib.Path(folder) / "modules.json"
    modules = _modules(path)
    for kind, place in modules:
        if _last(kind) == "Transformer":
            return path.parent / place
    raise InputError(f"{path}: the modules must include a Transformer. Received: {_names(modules)}.")


def read_embedder_settings(folder):
    """How a folder of sentence-transformers makes vectors, `EmbedderSettings`.

    Args:
        folder: with `modules.json`, which names the modules: a Transformer, a Pooling, and any of Dense, LayerNorm,
            Dropout and Normalize.

    Raises:
        InputError: a file is missing or damaged, or asks for something that is not read here.
    """
    with other_forms(folder):
        return _read_embedder_settings(pathlib.Path(folder))


def _read_embedder_settings(folder):
    path = folder / "modules.json"
    modules = _modules(path)
    known = ("Transformer", "Pooling", *_LAYERS)
    for kind, _ in modules:
        if not kind.startswith("sentence_transformers.") or _last(kind) not in known:
            raise InputError(f"{path} has the module {kind!r}, which is not read. Read: {_READ}.")
    names = [_last(kind) for kind, _ in modules]
    if names[:2] != ["Transformer", "Pooling"] or set(names[2:]) - set(_LAYERS):
        raise InputError(f"{path}: the modules must be {_READ}. Received: {', '.join(names)}.")
    folders = [folder / place for _, place in modules]
    layers = [_layer(name, place) for name, place in zip(names[2:], folders[2:], strict=True)]
    normalize = names[-1] == "Normalize"
    count = len(layers) - normalize
    pooling = folders[1] / "config.json"
    transformer = _transformer_settings(folders[0])
    prompts, prompt_name = _prompts(folder / "config_sentence_transformers.json")
    return EmbedderSettings(
        transformer=folders[0],
        modules=tuple(names),
        pooling=read_pooling(pooling),
        layers=tuple(layers[:count]),
        layer_folders=tuple(folders[2 : 2 + count]),
        normalize=normalize,
        prompts=prompts,
        prompt_name=prompt_name,
        pool_prompt=_flag(read_settings(pooling), "include_prompt", True),
        max_sequence_length=transformer.get("max_seq_length"),
        lowercase=_flag(transformer, "do_lower_case", False),
    )


def pooling_of(folder):
    """How the encoder in `folder` was trained to make one vector of a text: "mean" where the folder says so in
    sentence-transformers' files, else "first".

    Raises:
        InputError: these files cannot be read.
    """
    folder = pathlib.Path(folder)
    modules = _modules(folder / "modules.json") if is_sentence_transformers(folder) else []
    place = next((place for kind, place in modules if _last(kind) == "Pooling"), "1_Pooling")
    path = folder / place / "config.json"
    return "mean" if path.is_file() and _pooling_modes(read_settings(path)) == ["mean"] else "first"


def read_pooling(path):
    """The pooling that a `config.json` of sentence-transformers' Pooling asks for, as in `TextEmbedder`.

    Raises:
        InputError: no such file, or it asks for none, or for one that is not known.
    """
    modes = _pooling_modes(read_settings(path))
    if not isinstance(modes, list) or not modes or any(mode not in list(POOLINGS) for mode in modes):
        raise InputError(f"{path}: the pooling must be one or several of {list(POOLINGS)}. Received: {modes}.")
    ours = tuple(POOLINGS[mode] for mode in modes)
    return ours[0] if len(ours) == 1 else ours


def _pooling_modes(settings):
    """All poolings that the settings name, as they are called there, in the order of their concatenation."""
    modes = settings.get("pooling_mode")
    if modes is not None:
        return [modes] if isinstance(modes, str) else modes
    flags = [name for name in settings if name.startswith("pooling_mode_") and settings[name] is True]
    return [mode for flag, mode in POOLING_FLAGS.items() if flag in flags] + [
        flag for flag in flags if flag not in POOLING_FLAGS
    ]


def is_cross_encoder(settings):
    """Whether a `config.json`, `Settings`, is that of a sentence-transformers' CrossEncoder."""
    return isinstance(settings.get("sentence_transformers"), dict) or _OLD_ACTIVATION in settings


def score_activation(settings):
    """Our name of the activation of a cross-encoder's score in its `config.json`; "linear" where there is none.

    Raises:
        InputError: an activation that is not known.
    """
    new = settings.get("sentence_transformers")
    found = new.get("activation_fn") if isinstance(new, dict) else settings.get(_OLD_ACTIVATION)
    for ours, theirs in SCORE_ACTIVATIONS.items():
        if found in (theirs, None):
            return ours
    raise InputError(
        f"The activation of a cross-encoder must be one of {list(SCORE_ACTIVATIONS.values())}. "
        f"{settings.path} has {found!r}."
    )


def _layer(name, folder):
    """The `VectorLayerConfig` of a module."""
    path = folder / "config.json"
    # Normalize had no file in earlier versions.
    settings = read_settings(path) if name != "Normalize" or path.is_file() else Settings({}, path)
    settings.must_be("module_input_name", "sentence_embedding")
    settings.must_be("module_output_name", None, "sentence_embedding")
    if name == "Normalize":
        return VectorLayerConfig("unit")
    if name == "LayerNorm":
        return VectorLayerConfig("norm")
    if name == "Dropout":
        return VectorLayerConfig("dropout", rate=settings.get("dropout", 0.2))
    settings.must_be("use_residual", False)
    theirs = settings.get("activation_function", VECTOR_ACTIVATIONS["tanh"])
    classes = {_last(known): ours for ours, known in VECTOR_ACTIVATIONS.items()}
    if not isinstance(theirs, str) or not theirs.startswith("torch.nn.") or _last(theirs) not in classes:
        raise InputError(
            f"`activation_function` must be one of {list(VECTOR_ACTIVATIONS.values())}. {path} has {theirs!r}."
        )
    width = settings.integer("out_features")
    return VectorLayerConfig("dense", width, classes[_last(theirs)], _flag(settings, "bias", True))


def _transformer_settings(folder):
    """What the first file of the Transformer's settings holds, checked."""
    path = next((folder / name for name in _TRANSFORMER_FILES if (folder / name).is_file()), None)
    if path is None:
        return Settings({}, folder)
    settings = read_settings(path)
    settings.must_be("transformer_task", "feature-extraction")
    settings.must_be("module_output_name", "token_embeddings")
    settings.must_be(
        "modality_config", None, {"text": {"method": "forward", "method_output_name": "last_hidden_state"}}
    )
    for name in (*_ARGUMENTS, "query_length", "document_length", "query_expansion", "tokenizer_name_or_path"):
        settings.must_be(name, None, {})
    length = settings.get("max_seq_length")
    if length is not None and (type(length) is not int or length < 1):
        raise InputError(f"`max_seq_length` must be a positive integer or null. {path} has {length!r}.")
    return settings


def _prompts(path):
    """`(prompts, name of the default one)`."""
    settings = read_settings(path) if path.is_file() else {}
    name, prompts = settings.get("default_prompt_name"), settings.get("prompts") or {}
    if not isinstance(prompts, dict) or not all(isinstance(text, (str, type(None))) for text in prompts.values()):
        raise InputError(f"{path}: `prompts` must be an object of texts by their names. Received: {prompts!r}.")
    if name is not None and name not in prompts:
        raise InputError(f"{path}: `default_prompt_name` must be one of {list(prompts)}. Received: {name!r}.")
    return {key: text or "" for key, text in prompts.items()}, name


def _flag(settings, name, default):
    settings.must_be(name, default, not default)
    return settings.get(name, default)


def _last(dotted):
    return dotted.split(".")[-1]


def _names(modules):
    return ", ".join(_last(kind) for kind, _ in modules)


def _modules(path):
    """`[(type, path in the folder)]` of a `modules.json`."""
    if not path.is_file():
        raise InputError(f"A folder of sentence-transformers holds {path.name}. Not found: {path}")
    try:
        modules = [(module["type"], module["path"]) for module in json.loads(path.read_text(encoding="utf-8"))]
    except ValueError as error:
        raise InputError(f"{path} is not JSON: {error}") from None
    except (TypeError, KeyError, AttributeError):
        modules = [None]
    if not all(isinstance(text, str) for module in modules for text in module or [None]):
        raise InputError(f"{path} must hold a list of modules with `type` and `path`.")
    return modules
