"""The older tokenizer files of a folder as one `tokenizer.json`, for folders that have none.

Each function gives the object that `tokenizer.json` would hold, as `transformers` converts these files.
"""

import pathlib
import warnings

from kerasformer.errors import InputError
from kerasformer.text.components import byte_level_specification, read_json, read_merges
from kerasformer.text.tweet_normalizer import emoji_names

BERT = {
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "mask_token": "[MASK]",
}
FAIRSEQ = {
    "cls_token": "<s>",
    "pad_token": "<pad>",
    "sep_token": "</s>",
    "unk_token": "<unk>",
    "mask_token": {"content": "<mask>", "lstrip": True},
}
ROBERTA = {
    "classes": ("RobertaTokenizer", "RobertaTokenizerFast"),
    "special_tokens": FAIRSEQ,
    "post_processor": "RobertaProcessing",
}
GPT2 = {
    "classes": ("GPT2Tokenizer", "GPT2TokenizerFast"),
    "special_tokens": dict.fromkeys(("bos_token", "eos_token", "unk_token"), "<|endoftext|>"),
    "post_processor": "ByteLevel",
}
MPNET = {
    "special_tokens": FAIRSEQ | {"unk_token": "[UNK]"},
    "post_processor": "RobertaProcessing",
}
FAST_BPE = ("PhobertTokenizer", "BertweetTokenizer")
_FAIRSEQ_FIRST = ("<s>", "<pad>", "</s>", "<unk>")
_WORDPIECE = ("Bert", "DistilBert", "Electra", "MPNet")
_FLAGS = ("single_word", "lstrip", "rstrip", "normalized")
_MAPS = ("special_tokens_map.json", "tokenizer_config.json")


def wordpiece(folder, lowercase=True, max_word_length=100, special_tokens=None, post_processor="BertProcessing"):
    """BERT's tokenizer, from `vocab.txt` with a token a line.

    Args:
        folder: with `vocab.txt`, and where there are any `tokenizer_config.json`, `special_tokens_map.json` and
            `added_tokens.json`.
        lowercase: where `do_lower_case` in `tokenizer_config.json` does not say.
        max_word_length: longer words, in characters, are unknown.
        special_tokens: `{name: token}` where the files do not say; None for BERT's.
        post_processor: "BertProcessing", or "RobertaProcessing" which puts `sep_token` twice between two texts.

    Raises:
        InputError: a file is missing or damaged, a special token is not in the vocabulary, or the words are those of a
            tokenizer that splits them otherwise (MeCab, Juman++).
    """
    folder = pathlib.Path(folder)
    settings = _checked_settings(folder, [f"{name}Tokenizer{end}" for name in _WORDPIECE for end in ("", "Fast")])
    lines = _text(folder / "vocab.txt").split("\n")
    # Where a token is twice, the last one counts.
    vocabulary = {line.rstrip(): place for place, line in enumerate(lines[:-1] if lines[-1] == "" else lines)}
    special, places, added = read_special_tokens(folder, settings, vocabulary, special_tokens or BERT)
    ends = {name: [special[f"{name}_token"], places[special[f"{name}_token"]]] for name in ("cls", "sep")}
    offsets = {"trim_offsets": True, "add_prefix_space": False} if post_processor == "RobertaProcessing" else {}
    return {
        "version": "1.0",
        "added_tokens": added,
        "normalizer": {
            "type": "BertNormalizer",
            "clean_text": True,
            "handle_chinese_chars": settings.get("tokenize_chinese_chars", True),
            "strip_accents": settings.get("strip_accents"),
            "lowercase": settings.get("do_lower_case", lowercase),
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {"type": post_processor, **ends, **offsets},
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {
            "type": "WordPiece",
            "unk_token": special["unk_token"],
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": settings.get("max_word_length", max_word_length),
            "vocab": vocabulary,
        },
    }


def byte_level_bpe(folder, classes, special_tokens, post_processor):
    """GPT-2's tokenizer, byte-level byte-pair encoding, from `vocab.json` and `merges.txt`.

    Args:
        folder: with both, and where there are any the smaller files that `wordpiece` reads too.
        classes: names that `tokenizer_class` may have.
        special_tokens: `{name: token}`, such as `{"eos_token": "<|endoftext|>"}`, where the files do not say.
        post_processor: "ByteLevel", or "RobertaProcessing" which puts `cls_token` before and `sep_token` after a text.

    Raises:
        InputError: a file is missing or damaged, or a special token is not in the vocabulary.
    """
    folder = pathlib.Path(folder)
    if missing := [name for name in ("vocab.json", "merges.txt") if not (folder / name).is_file()]:
        raise InputError(
            f"{folder} must hold tokenizer.json, or vocab.json and merges.txt. Missing: {' and '.join(missing)}."
        )
    settings = _checked_settings(folder, classes)
    vocabulary = dict(read_json(folder / "vocab.json", required=True))
    merges = read_merges(folder / "merges.txt")
    special, places, added = read_special_tokens(folder, settings, vocabulary, special_tokens)
    prefix = bool(settings.get("add_prefix_space", False))
    processor = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False, "use_regex": True}
    if post_processor == "RobertaProcessing":
        ends = {name: [special[f"{name}_token"], places[special[f"{name}_token"]]] for name in ("cls", "sep")}
        processor = ends | {"type": "RobertaProcessing", "trim_offsets": True, "add_prefix_space": prefix}
    return byte_level_specification(vocabulary, merges, added, processor, add_prefix_space=prefix)


def fast_bpe(folder):
    """PhoBERT's and BERTweet's tokenizer, fastBPE, from `vocab.txt` with a token and its count a line and `bpe.codes`.

    Words are what is between white space, after BERTweet's normalizer where `normalization` is true. A token that a
    word goes on after ends with `@@` in the vocabulary. It is one of byte-pair encoding with `</w>` at the end of
    words; what the codes merge to and the vocabulary lacks is unknown.

    Args:
        folder: with both, and where there are any the smaller files that `wordpiece` reads too.

    Returns:
        The content of a `tokenizer.json`; and `tokenizer_class` and the special tokens, as in `tokenizer_config.json`.

    Raises:
        InputError: a file is missing or damaged, or the two do not belong together.
    """
    folder = pathlib.Path(folder)
    settings = _checked_settings(folder, FAST_BPE)
    kind = settings.get("tokenizer_class")
    if kind not in FAST_BPE:
        kind = FAST_BPE[bool(settings.get("normalization"))]
    first = {token: place for place, token in enumerate(_FAIRSEQ_FIRST)}
    ids = dict(first)
    for line in _text(folder / "vocab.txt").removesuffix("\n").split("\n"):
        token, space, _ = line.strip().rpartition(" ")
        if not space:
            raise InputError(f"{folder / 'vocab.txt'} must hold a token and its count a line. Received: {line!r}.")
        ids[token] = len(ids)
    special, places, added = read_special_tokens(
        folder, settings, {"<mask>": len(ids)} | ids, FAIRSEQ | {"mask_token": "<mask>"}
    )
    merges = [tuple(line.split()[:-1]) for line in _text(folder / "bpe.codes").split("\n")[:-1]]
    # Of codes that are there twice the last one counts.
    merges = [*dict.fromkeys(merge for merge in reversed(merges) if len(merge) == 2)][::-1]
    symbols = {}
    for token, place in ids.items():
        if token not in first:
            symbols[token.removesuffix("@@") if token.endswith("@@") else f"{token}</w>"] = place
    symbols.pop("", None)
    # A word may end with "@@" itself.
    shared = {f"{token}</w>": place for token, place in ids.items() if token.endswith("@@")}
    merged = {symbol for left, right in merges for symbol in (left, right, left + right)}
    missing = sorted(merged - symbols.keys() - shared.keys())
    if 2 * len(missing) > len(merged):
        raise InputError(
            f"{folder}: bpe.codes must belong to vocab.txt. Received: codes of {len(merged)} pieces, of which "
            f"{len(missing)} are not in the vocabulary, such as {missing[0]!r}."
        )
    ends = {name: [special[f"{name}_token"], places[special[f"{name}_token"]]] for name in ("cls", "sep")}
    words = {
        # Python's white space, which others do not count.
        "normalizer": {"type": "Replace", "pattern": {"Regex": "[\x1c-\x1f]"}, "content": " "},
        "pre_tokenizer": {"type": "Split", "pattern": {"Regex": r"\S+\n?"}, "behavior": "Removed", "invert": True},
    }
    if kind == "BertweetTokenizer" and settings.get("normalization"):
        names = emoji_names()
        if not names:
            warnings.warn(
                f"{folder} is read without names of emoji, which stay as they are: `pip install emoji==0.6.0` first.",
                stacklevel=2,
            )
        words = {
            "normalizer": {"type": "TweetNormalizer", "emoji": names},
            "pre_tokenizer": {"type": "WhitespaceSplit"},
        }
    specification = {
        "version": "1.0",
        "added_tokens": added,
        **words,
        "post_processor": {"type": "RobertaProcessing", **ends, "trim_offsets": False, "add_prefix_space": False},
        "decoder": {"type": "BPEDecoder", "suffix": "</w>"},
        "model": {
            "type": "BPE",
            "unk_token": special["unk_token"],
            "end_of_word_suffix": "</w>",
            # Several have one id, whose name is that of the last.
            "vocab": dict.fromkeys(missing, first["<unk>"]) | shared | symbols | first,
            "merges": [list(merge) for merge in merges],
        },
    }
    return specification, special | {"tokenizer_class": kind}


def fast_bpe_files(specification):
    """`vocab.txt` and `bpe.codes` that `fast_bpe` reads as a `tokenizer.json`, `{name: text}`.

    None are given, {}, where ids have several tokens or none: of a vocabulary that holds a token twice.
    """
    model = specification["model"]
    tokens = {
        symbol.removesuffix("</w>") if symbol.endswith("</w>") else f"{symbol}@@": place
        for symbol, place in model["vocab"].items()
        if place >= len(_FAIRSEQ_FIRST)
    }
    names = sorted(tokens, key=tokens.get)
    if [tokens[name] for name in names] != [*range(len(_FAIRSEQ_FIRST), len(_FAIRSEQ_FIRST) + len(names))]:
        return {}
    # Counts are not read.
    lines = {"vocab.txt": names, "bpe.codes": [" ".join(merge) for merge in model["merges"]]}
    return {name: "".join(f"{line} 1\n" for line in some) for name, some in lines.items()}


def read_settings(folder):
    """The fields of the smaller files together; `tokenizer_config.json` decides."""
    settings = {}
    for name in _MAPS:
        settings |= read_json(folder / name)
    return settings


def _checked_settings(folder, classes):
    settings = read_settings(folder)
    kind = settings.get("tokenizer_class") or classes[0]
    if kind not in (*classes, "PreTrainedTokenizerFast"):
        raise InputError(
            f"{folder} has no tokenizer.json, and its files are read for {', '.join(classes)}. Received: "
            f"tokenizer_class {kind!r}. If `transformers` gives it a fast tokenizer, save that: it is a tokenizer.json."
        )
    return settings


def added_tokens(folder, settings):
    """`{id: token}` of `added_tokens.json` and of `added_tokens_decoder` in the settings."""
    added = {place: {"content": token} for token, place in read_json(folder / "added_tokens.json").items()}
    return added | {int(place): token for place, token in settings.get("added_tokens_decoder", {}).items()}


def read_special_tokens(folder, settings, vocabulary, defaults, further=()):
    """The special tokens of a folder.

    Args:
        folder: path. settings: its `read_settings`.
        vocabulary: dict from token to id.
        defaults: `{name: token}`, where the settings do not say.
        further: special tokens without a name.

    Returns:
        `{name: token}`, `{token: id}` of the vocabulary and what is added to it, and the list `added_tokens`.
    """
    added = added_tokens(folder, settings)
    places = vocabulary | {token["content"]: place for place, token in added.items()}
    special = {}
    for name, default in defaults.items():
        token = settings.get(name) or default
        if not isinstance(token, dict):
            # Its flags are those that the family gives the token.
            token = (default if isinstance(default, dict) else {}) | {"content": token}
        if token["content"] in places:
            place = places[token["content"]]
            special[name] = token["content"]
            added[place] = {"special": True} | token | added.get(place, {})
        elif name != "mask_token":
            raise InputError(f"{folder}: the vocabulary must hold {name} {token['content']!r}.")
    more = settings.get("additional_special_tokens") or settings.get("extra_special_tokens") or []
    for token in [*(more.values() if isinstance(more, dict) else more), *further]:
        content = token["content"] if isinstance(token, dict) else token
        if content in places:
            place = places[content]
            added[place] = {"content": content, "special": True} | added.get(place, {})
    listed = [
        {"id": place, "special": token.get("special", False), "content": token["content"]}
        | {flag: token.get(flag, False) for flag in _FLAGS}
        for place, token in sorted(added.items())
    ]
    return special, places, listed


def _text(path):
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path.parent} must hold tokenizer.json or {path.name} ({error.strerror}).") from None
    except UnicodeDecodeError:
        raise InputError(f"{path} must be a text file in UTF-8.") from None
