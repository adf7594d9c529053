"""What a `tokenizer.json` holds beside its components, and the files around it.

The components are in `normalizers.py`, `pre_tokenizers.py`, `models.py`, `templates.py` (post-processors) and
`decoders.py`; `stream.py` says what goes from one to the next.
"""

import dataclasses
import json
import os
import pathlib

import numpy as np

from kerasformer.errors import InputError, other_forms
from kerasformer.text.added_tokens import AddedToken
from kerasformer.text.byte_level import byte_letters
from kerasformer.text.registry import flatten

_SPECIAL_NAMES = ["bos_token", "eos_token", "cls_token", "sep_token", "pad_token", "unk_token", "mask_token"]
_ADDED_FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")


def read_json(path, required=False):
    """The object in a JSON file; {} where there is no file and none is required.

    Raises:
        InputError: no such file, or none of JSON.
    """
    path = pathlib.Path(path)
    if not required and not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path} must be a file of JSON. Received: {error.strerror}.") from None
    except ValueError as error:
        raise InputError(f"{path} must be JSON in UTF-8. Received: {error}.") from None
    if not isinstance(content, dict):
        raise InputError(f"{path} must hold a JSON object. Received: {type(content).__name__}.")
    return content


def checked_settings(settings, where):
    """The settings of a `tokenizer_config.json` that count, special tokens as str.

    Raises:
        InputError: a setting that cannot be honoured.
    """
    checked = dict(settings)
    for name in _SPECIAL_NAMES:
        token = checked.get(name)
        checked[name] = token["content"] if isinstance(token, dict) else token
    if checked.get("truncation_side", "right") not in ("left", "right"):
        raise InputError(f"`truncation_side` must be 'left' or 'right'. Received: {checked['truncation_side']!r}.")
    return checked


def read_added_tokens(specification, settings, vocabulary, where):
    """List of AddedToken: those of the `tokenizer.json`; the settings' own replace what these say.

    As the reference reads them, a token that is in the vocabulary, `{token: id}`, has its id from there, and the ids
    of others follow those of a vocabulary without gaps, whatever the files say.
    """
    added = {token["id"]: token for token in specification.get("added_tokens") or []}
    for place, token in (settings.get("added_tokens_decoder") or {}).items():
        added[int(place)] = {**token, "id": int(place)}
    tokens = [
        AddedToken(token["content"], token["id"], **{name: bool(token.get(name)) for name in _ADDED_FLAGS})
        for token in added.values()
    ]
    if any(not token.content or token.id < 0 for token in tokens):
        raise InputError(f"{where} must add tokens that are not empty, with ids of 0 or more.")
    ids = {token.content: token.id for token in tokens if token.content not in vocabulary}
    if sorted(vocabulary.values()) == [*range(len(vocabulary))]:
        ids = {content: len(vocabulary) + place for place, content in enumerate(ids)}
    ids |= vocabulary
    return [dataclasses.replace(token, id=ids[token.content]) for token in tokens]


def read_trimming(component):
    """Whether offsets leave out white space at the ends of tokens, and whether the first token's space was added."""
    for part in flatten(component, "processors"):
        if part["type"] in ("RobertaProcessing", "ByteLevel") and part.get("trim_offsets", True):
            return True, part.get("add_prefix_space", True)
    return False, False


def outer_spaces(vocabulary):
    """Spaces at the beginning and at the end of each token, two int32 `[vocabulary]`."""
    space = byte_letters()[ord(" ")]

    def count(token):
        token = token.replace(space, " ")
        return len(token) - len(token.lstrip()), len(token) - len(token.rstrip())

    return tuple(np.array([count(token) for token in vocabulary], np.int32).reshape(-1, 2).T)


def word_beginnings(vocabulary, prefix):
    """Which tokens begin a word, bool `[vocabulary]`: those with the mark of a space, or without the prefix of a piece
    inside of a word; all of them where the vocabulary has neither."""
    if prefix:
        return np.array([not token.startswith(prefix) for token in vocabulary])
    for mark in (byte_letters()[ord(" ")], "\u2581"):
        begins = np.array([token.startswith(mark) for token in vocabulary])
        if begins.any():
            return begins
    return np.ones(len(vocabulary), bool)


def make_tokenizer(specification, settings, path):
    """The tokenizer of a `tokenizer.json`'s content: a WordPieceTokenizer where it is BERT's, else a Tokenizer."""
    from kerasformer.text.huggingface import unlike_bert
    from kerasformer.text.tokenizer import Tokenizer
    from kerasformer.text.wordpiece import WordPieceTokenizer

    if (specification.get("model") or {}).get("type") == "WordPiece" and not unlike_bert(specification):
        return WordPieceTokenizer.load(path.parent)
    try:
        return Tokenizer(specification, settings)
    except InputError as error:
        raise InputError(str(error).replace("`specification`", str(path))) from None


def load_folder(folder, default_class=None):
    """The tokenizer of a folder.

    Args:
        folder: path.
        default_class: what older files are of where `tokenizer_class` does not say.
    """
    with other_forms(f"The tokenizer in {folder}"):
        return _load_folder(folder, default_class)


def _load_folder(folder, default_class):
    from kerasformer.text.wordpiece import WordPieceTokenizer

    path = folder / "tokenizer.json"
    settings = {**_special_tokens_map(folder), **read_json(folder / "tokenizer_config.json")}
    if path.is_file():
        return make_tokenizer(read_json(path), settings, path)
    if (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
        return make_tokenizer(
            _from_vocabulary_and_merges(folder, settings, default_class or "RobertaTokenizer"),
            settings,
            folder / "vocab.json",
        )
    if (folder / "sentencepiece.model").is_file():
        from kerasformer.text.sentencepiece import SentencePieceTokenizer

        return SentencePieceTokenizer.load(folder)
    found = from_older_files(folder, default_class)
    if found is not None:
        path, specification, special_tokens = found
        return make_tokenizer(specification, settings | special_tokens, path)
    if not (folder / "vocab.txt").is_file():
        parts = [name for name in ("vocab.json", "merges.txt") if (folder / name).is_file()]
        raise InputError(
            f"{folder} must hold tokenizer.json, or vocab.txt, or vocab.json with merges.txt, or a SentencePiece "
            f"model. Found: {' and '.join(parts) or 'none of them'}."
        )
    return WordPieceTokenizer.load(folder)


def from_older_files(folder, default_class=None):
    """The file, the content of a `tokenizer.json` and `{name: special token}`, of a folder that has other files.

    None where it has none, or those that a family reads itself.

    Args:
        folder: path.
        default_class: the class of the tokenizer where the files do not say.

    Raises:
        InputError: a file is missing, damaged, or of a kind that is not read.
    """
    from kerasformer.text.older_files import fast_bpe
    from kerasformer.text.sentencepiece_files import from_sentencepiece, sentencepiece_path

    if (folder / "bpe.codes").is_file():
        return folder / "bpe.codes", *fast_bpe(folder)
    if (folder / "vocab.txt").is_file():
        return None
    if (path := sentencepiece_path(folder)) is not None:
        return path, *from_sentencepiece(folder, default_class)
    if (folder / "source.spm").is_file():
        raise InputError(
            f"{folder} must have one tokenizer, such as tokenizer.json. Received: Marian's, one for each language "
            "(source.spm and target.spm)."
        )
    return None


def _special_tokens_map(folder):
    content = read_json(folder / "special_tokens_map.json")
    return {name: value for name, value in content.items() if name in _SPECIAL_NAMES}


def byte_level_specification(ids, merges, added, processor, *, add_prefix_space=False, trim_offsets=True):
    """The content of a `tokenizer.json` for byte-level BPE.

    Args:
        ids: dict from str to int. merges: list of pairs of str. added: list of dict. processor: dict.
    """
    level = {
        "type": "ByteLevel",
        "add_prefix_space": add_prefix_space,
        "trim_offsets": trim_offsets,
        "use_regex": True,
    }
    model = {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": "",
        "end_of_word_suffix": "",
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": False,
        "vocab": ids,
        "merges": [list(merge) for merge in merges],
    }
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": level,
        "post_processor": processor,
        "decoder": {**level, "add_prefix_space": True},
        "model": model,
    }


def read_vocabulary_list(vocabulary):
    """A list of tokens by id, from that list or from the path of a `vocab.json`."""
    if not isinstance(vocabulary, (str, os.PathLike)):
        return list(vocabulary)
    ids = read_json(vocabulary, required=True)
    tokens = [""] * (max(ids.values(), default=-1) + 1)
    for token, place in ids.items():
        tokens[place] = token
    return tokens


def read_merges(merges):
    """A list of pairs of str, from that list, from lines with two tokens, or from the path of a `merges.txt`."""
    where = "`merges`"
    if isinstance(merges, (str, os.PathLike)):
        where = str(merges)
        try:
            lines = pathlib.Path(merges).read_text(encoding="utf-8").split("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"`merges` must be a text file in UTF-8. Received: {merges} ({error}).") from None
        merges = [line.rstrip("\r").split(" ") for line in lines if line.strip() and not line.startswith("#version")]
    merges = [merge.split(" ") if isinstance(merge, str) else list(merge) for merge in merges]
    wrong = next((merge for merge in merges if len(merge) != 2), None)
    if wrong is not None:
        raise InputError(f"{where} must hold two tokens a line. Received: {' '.join(map(str, wrong))!r}.")
    return merges


_ROBERTA_LIKE = ("Roberta", "Bart", "Longformer", "LED", "BlenderbotTokenizer", "MVP")
_GPT2_LIKE = ("GPT2", "GPTNeo", "OPT")


def _from_vocabulary_and_merges(folder, settings, default_class):
    """The content of a `tokenizer.json` for a folder that has `vocab.json` and `merges.txt` instead."""
    from kerasformer.text.older_files import GPT2, ROBERTA, byte_level_bpe

    kind = settings.get("tokenizer_class") or default_class
    for likes, tokenizer in ((_ROBERTA_LIKE, ROBERTA), (_GPT2_LIKE, GPT2)):
        if kind.startswith(likes):
            settings |= tokenizer["special_tokens"] | {
                name: settings[name] for name in _SPECIAL_NAMES if settings.get(name)
            }
            return byte_level_bpe(folder, **tokenizer | {"classes": (kind,)})
    raise InputError(f"{folder} must have a tokenizer.json for the tokenizer class {kind!r}.")
