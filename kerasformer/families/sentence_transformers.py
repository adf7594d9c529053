"""Folders of sentence-transformers: a Hugging Face encoder, its pooling and, or not, normalization."""

import json
import pathlib

from kerasformer.errors import InputError
from kerasformer.interop.encoders import load_encoder, load_encoder_task
from kerasformer.interop.huggingface import load_huggingface
from kerasformer.models import with_precision
from kerasformer.tasks import TextEmbedder
from kerasformer.tasks.task import is_saved_task
from kerasformer.text import WordPieceTokenizer

_POOLINGS = {"mean_tokens": "mean", "max_tokens": "max", "cls_token": "cls"}
_POOLINGS |= {name: name for name in _POOLINGS.values()}


def load_sentence_transformers(folder, *, dtype=None):
    """Reads a folder that sentence-transformers wrote, as an embedder; needs neither torch nor transformers.

    `modules.json` names the parts: a Transformer of BERT type, Pooling (mean, max or `[CLS]`) and Normalize. Texts are
    cut at `max_seq_length` of `sentence_bert_config.json`. Scores of its vectors are those of the original.

    Args:
        folder: with `modules.json`.
        dtype: Keras dtype or policy of the encoder, by default Keras's global policy.

    Returns:
        A `TextEmbedder`.

    Raises:
        InputError: a file is missing or damaged, or names a part that is not read here.
    """
    encoder, tokenizer, settings = read_sentence_transformers(folder, dtype)
    return TextEmbedder(encoder, tokenizer, **settings)


def load_embedder(folder, *, dtype=None):
    """What an embedder is made of, from whatever holds an encoder.

    Args:
        folder: of sentence-transformers, a saved kerasformer task, or another that `load_encoder` reads.
        dtype: Keras dtype or policy of the encoder, by default Keras's global policy.

    Returns:
        `(encoder, tokenizer, settings)`: `TextEmbedder(encoder, tokenizer, **settings)` is the embedder that the folder
        holds; without one, `settings` is empty.

    Raises:
        InputError: the folder is none of these, or a file in it cannot be used.
    """
    if is_saved_task(folder):
        task = load_encoder_task(folder)
        encoder = with_precision(task.encoder, dtype) if dtype else task.encoder
        return encoder, task.tokenizer, task.settings() if isinstance(task, TextEmbedder) else {}
    if (pathlib.Path(folder) / "modules.json").is_file():
        return read_sentence_transformers(folder, dtype)
    return *load_encoder(folder, dtype=dtype), {}


def read_sentence_transformers(folder, dtype):
    """Encoder, tokenizer and the settings of `TextEmbedder`."""
    folder = pathlib.Path(folder)
    places = _modules(folder)
    transformer = folder / places["Transformer"]
    pooling = read_pooling(folder / places["Pooling"] / "config.json")
    encoder, tokenizer = load_huggingface(transformer, dtype=dtype)
    path = transformer / "sentence_bert_config.json"
    length = _read_json(path).get("max_seq_length") if path.is_file() else None
    if length is not None and length < tokenizer.max_length:
        tokenizer = WordPieceTokenizer.from_config({**tokenizer.get_config(), "max_length": length})
    return encoder, tokenizer, {"pooling": pooling, "normalize": "Normalize" in places}


def pooling_of(folder):
    """How the encoder in `folder` was trained to make one vector of a text: "mean" for folders of sentence-transformers
    and of `save_huggingface` that say so and for saved tasks that did so, else "first".

    Raises:
        InputError: what tells of it cannot be read.
    """
    folder = pathlib.Path(folder)
    if is_saved_task(folder):
        settings = json.loads((folder / "task.json").read_text(encoding="utf-8"))["settings"]
        return "mean" if settings.get("pooling") == "mean" else "first"
    places = _places(folder / "modules.json") if (folder / "modules.json").is_file() else {}
    path = folder / places.get("Pooling", "1_Pooling") / "config.json"
    return "mean" if path.is_file() and _poolings(path) in (["mean"], ["mean_tokens"]) else "first"


def read_pooling(path):
    """The pooling, "mean", "max" or "cls", that a `config.json` of sentence-transformers' Pooling asks for.

    Raises:
        InputError: no such file, or it asks for another one, or for several.
    """
    modes = _poolings(path)
    if len(modes) != 1 or modes[0] not in _POOLINGS:
        raise InputError(f"{path}: the pooling must be one of {sorted(set(_POOLINGS.values()))}. Received: {modes}.")
    return _POOLINGS[modes[0]]


def _poolings(path):
    """All that a `config.json` of Pooling asks for, as it is called there."""
    settings = _read_json(path)
    if not isinstance(settings, dict):
        raise InputError(f"{path} should hold a JSON object. It holds a {type(settings).__name__}.")
    # One name in later versions, a flag each in earlier ones.
    modes = settings.get("pooling_mode") or [
        name.removeprefix("pooling_mode_") for name in settings if settings[name] is True
    ]
    return [modes] if isinstance(modes, str) else [mode for mode in modes if mode != "include_prompt"]


def _modules(folder):
    """`{kind: path in the folder}` of the parts, which make an embedder."""
    path = folder / "modules.json"
    places = _places(path)
    if list(places) not in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]):
        raise InputError(
            f"{path}: the parts must be Transformer, Pooling and, or not, Normalize. Received: {', '.join(places)}."
        )
    return places


def _places(path):
    """`{kind: path in the folder}` of a `modules.json`."""
    parts = _read_json(path)
    try:
        return {part["type"].split(".")[-1]: part["path"] for part in parts}
    except (TypeError, KeyError, AttributeError):
        raise InputError(
            f"{path}: expected a list of parts with `type` and `path`. Received: {str(parts)[:60]}"
        ) from None


def _read_json(path):
    if not path.is_file():
        raise InputError(f"A folder of sentence-transformers holds {path.name}. Not found: {path}")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path} is not JSON: {error}") from None
