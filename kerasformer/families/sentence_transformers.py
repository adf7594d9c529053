"""Folders of sentence-transformers: a Hugging Face encoder, its pooling and, or not, normalization."""

import dataclasses
import json
import pathlib

from kerasformer.errors import InputError
from kerasformer.families.family import read_settings

# Their pooling and ours. "cls" is the first token of any encoder.
_POOLINGS = {"mean_tokens": "mean", "max_tokens": "max", "cls_token": "first"}
_POOLINGS |= {"mean": "mean", "max": "max", "cls": "first"}
_READ = (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"])


@dataclasses.dataclass(frozen=True)
class EmbedderSettings:
    """How a folder makes one vector of a text.

    Attributes:
        transformer: path of the encoder's folder.
        pooling: "mean", "max" or "first".
        normalize: whether vectors have length 1.
        prompt: text before each text, its default prompt; "" for none.
        max_sequence_length: texts are cut at this number of tokens, None where the folder does not say.
    """

    transformer: pathlib.Path
    pooling: str
    normalize: bool
    prompt: str = ""
    max_sequence_length: int | None = None


def is_sentence_transformers(folder):
    """Whether sentence-transformers wrote the folder."""
    return (pathlib.Path(folder) / "modules.json").is_file()


def transformer_folder(folder):
    """The path of the encoder in a folder of sentence-transformers, whatever its other parts are.

    Raises:
        InputError: `modules.json` is damaged, or names no Transformer.
    """
    path = pathlib.Path(folder) / "modules.json"
    places = _places(path)
    if "Transformer" not in places:
        raise InputError(f"{path}: the parts must include a Transformer. Received: {', '.join(places)}.")
    return path.parent / places["Transformer"]


def read_embedder_settings(folder):
    """How a folder of sentence-transformers makes vectors, `EmbedderSettings`.

    Args:
        folder: with `modules.json`, which names the parts: a Transformer, Pooling and, or not, Normalize.

    Raises:
        InputError: a file is missing or damaged, or names a part that is not read here.
    """
    folder = pathlib.Path(folder)
    places = _modules(folder)
    transformer = transformer_folder(folder)
    path, pooling = transformer / "sentence_bert_config.json", folder / places["Pooling"] / "config.json"
    prompt = _default_prompt(folder / "config_sentence_transformers.json")
    if prompt:
        read_settings(pooling).must_be("include_prompt", True)
    return EmbedderSettings(
        transformer=transformer,
        pooling=read_pooling(pooling),
        normalize="Normalize" in places,
        prompt=prompt,
        max_sequence_length=read_settings(path).get("max_seq_length") if path.is_file() else None,
    )


def pooling_of(folder):
    """How the encoder in `folder` was trained to make one vector of a text: "mean" where the folder says so in
    sentence-transformers' files, else "first".

    Raises:
        InputError: these files cannot be read.
    """
    folder = pathlib.Path(folder)
    places = _places(folder / "modules.json") if is_sentence_transformers(folder) else {}
    path = folder / places.get("Pooling", "1_Pooling") / "config.json"
    return "mean" if path.is_file() and _poolings(path) in (["mean"], ["mean_tokens"]) else "first"


def pooling_settings(pooling, hidden_dim):
    """What `1_Pooling/config.json` holds for a pooling; `read_pooling` reads it."""
    modes = {"mean": "pooling_mode_mean_tokens", "max": "pooling_mode_max_tokens", "first": "pooling_mode_cls_token"}
    return {"word_embedding_dimension": hidden_dim} | {mode: name == pooling for name, mode in modes.items()}


def write_embedder_settings(folder, pooling, hidden_dim, *, normalize=None, prompt="", max_sequence_length=None):
    """Writes how vectors are made, as sentence-transformers reads it, into a folder with an encoder.

    Args:
        folder: path of a folder that exists.
        pooling: "mean", "max" or "first".
        hidden_dim: width of the encoder.
        normalize: whether vectors have length 1. None writes the pooling alone, for an encoder that is not an embedder.
        prompt: text before each text, "" for none.
        max_sequence_length: texts are cut at this number of tokens.
    """
    folder = pathlib.Path(folder)

    def write(name, value):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")

    write("1_Pooling/config.json", pooling_settings(pooling, hidden_dim))
    if normalize is None:
        return
    parts = [("", "Transformer"), ("1_Pooling", "Pooling")] + [("2_Normalize", "Normalize")] * normalize
    if normalize:
        (folder / "2_Normalize").mkdir()
    write(
        "modules.json",
        [
            {"idx": place, "name": str(place), "path": path, "type": f"sentence_transformers.models.{kind}"}
            for place, (path, kind) in enumerate(parts)
        ],
    )
    write("sentence_bert_config.json", {"max_seq_length": max_sequence_length, "do_lower_case": False})
    if prompt:
        prompts = {"prompts": {"default": prompt}, "default_prompt_name": "default"}
        write("config_sentence_transformers.json", prompts)


def read_pooling(path):
    """The pooling, "mean", "max" or "first", that a `config.json` of sentence-transformers' Pooling asks for.

    Raises:
        InputError: no such file, or it asks for another one, or for several.
    """
    modes = _poolings(path)
    if len(modes) != 1 or modes[0] not in _POOLINGS:
        raise InputError(f"{path}: the pooling must be one of {list(_POOLINGS)}. Received: {modes}.")
    return _POOLINGS[modes[0]]


def _poolings(path):
    """All that a `config.json` of Pooling asks for, as it is called there."""
    settings = read_settings(path)
    # One name in later versions, a flag each in earlier ones.
    modes = settings.get("pooling_mode") or [
        name.removeprefix("pooling_mode_") for name in settings if settings[name] is True
    ]
    return [modes] if isinstance(modes, str) else [mode for mode in modes if mode != "include_prompt"]


def _default_prompt(path):
    """The text of the prompt that `default_prompt_name` names."""
    settings = read_settings(path) if path.is_file() else {}
    name, prompts = settings.get("default_prompt_name"), settings.get("prompts") or {}
    if name is None:
        return ""
    if not isinstance(prompts, dict) or not isinstance(prompts.get(name), str):
        raise InputError(f"{path}: `default_prompt_name` must be one of {list(prompts)}. Received: {name!r}.")
    return prompts[name]


def _modules(folder):
    """`{kind: path in the folder}` of the parts, which make an embedder."""
    path = folder / "modules.json"
    places = _places(path)
    if list(places) not in _READ:
        raise InputError(
            f"{path}: the parts must be Transformer, Pooling and, or not, Normalize. Received: {', '.join(places)}."
        )
    return places


def _places(path):
    """`{kind: path in the folder}` of a `modules.json`."""
    if not path.is_file():
        raise InputError(f"A folder of sentence-transformers holds {path.name}. Not found: {path}")
    try:
        parts = json.loads(path.read_text(encoding="utf-8"))
        return {part["type"].split(".")[-1]: part["path"] for part in parts}
    except ValueError as error:
        raise InputError(f"{path} is not JSON: {error}") from None
    except (TypeError, KeyError, AttributeError):
        raise InputError(f"{path} must hold a list of parts with `type` and `path`.") from None
