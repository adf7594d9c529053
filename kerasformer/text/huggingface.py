"""Tokenizer settings in the files of Hugging Face Transformers."""

import json
import pathlib

from kerasformer.errors import InputError

# Their names of the special tokens, and ours.
_TOKEN_NAMES = {
    "cls_token": "start_token",
    "sep_token": "end_token",
    "pad_token": "padding_token",
    "unk_token": "unknown_token",
    "mask_token": "mask_token",
}
_DEFAULT_TOKENS = {
    "start_token": "[CLS]",
    "end_token": "[SEP]",
    "padding_token": "[PAD]",
    "unknown_token": "[UNK]",
    "mask_token": "[MASK]",
}
_SETTING_NAMES = {
    "do_lower_case": "lowercase",
    "strip_accents": "strip_accents",
    "tokenize_chinese_chars": "split_cjk",
    "model_max_length": "max_length",
    "max_word_length": "max_word_length",  # Transformers passes over it: it knows this one only in tokenizer.json
}
_NO_LIMIT = 10**9  # Transformers writes 1e30 for "none known"


def read_vocabulary(path):
    """Tokens of a `vocab.txt`, one a line, trailing white space left out; an empty line holds its place.

    Raises:
        InputError: no such file, or it is not UTF-8.
    """
    try:
        text = pathlib.Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"`vocabulary` must be a file with a token a line. Received: {path} ({error.strerror})."
        ) from None
    except UnicodeDecodeError:
        raise InputError(f"`vocabulary` must be a text file in UTF-8. Received: {path}.") from None
    lines = text.split("\n")
    if lines[-1] == "":
        del lines[-1]
    return [line.rstrip() for line in lines]


def read_tokenizer(folder):
    """Arguments of `WordPieceTokenizer` from a folder's files; see its `load`.

    `tokenizer.json` comes first; what the smaller files say replaces it, as it does in Transformers.
    """
    folder = pathlib.Path(folder)
    has_list = (folder / "vocab.txt").is_file()
    if not has_list and not (folder / "tokenizer.json").is_file():
        raise InputError(f"`folder` must hold vocab.txt or tokenizer.json. Received: {folder}, which has neither.")
    config, added = _from_tokenizer_json(folder / "tokenizer.json")
    if has_list:
        config["vocabulary"] = read_vocabulary(folder / "vocab.txt")
    added |= {place: token for token, place in _read_json(folder / "added_tokens.json").items()}
    extra = []
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        settings = _read_json(folder / name)
        config |= {ours: _content(settings[theirs]) for theirs, ours in _TOKEN_NAMES.items() if settings.get(theirs)}
        if settings.get("mask_token", "") is None:
            config["mask_token"] = None
        config |= {ours: settings[theirs] for theirs, ours in _SETTING_NAMES.items() if theirs in settings}
        more = settings.get("additional_special_tokens") or settings.get("extra_special_tokens") or []
        extra += map(_content, more.values() if isinstance(more, dict) else more)
        for place, token in settings.get("added_tokens_decoder", {}).items():
            added[int(place)] = _checked_added(token, folder / name)
    for place, token in sorted(added.items()):
        _add(config["vocabulary"], place, token, folder)
    if config.get("max_length") is None or config["max_length"] > _NO_LIMIT:
        config.pop("max_length", None)
    named = [config.get(name, default) for name, default in _DEFAULT_TOKENS.items()]
    config["additional_special_tokens"] = [
        token for token in dict.fromkeys([*added.values(), *extra]) if token not in named
    ]
    return config


def _from_tokenizer_json(path):
    """Arguments that `tokenizer.json` tells, and its added tokens, id to content; nothing where there is no file."""
    whole = _read_json(path)
    if not whole:
        return {}, {}
    model, normalizer = whole.get("model") or {}, whole.get("normalizer") or {}
    kinds = {
        "model": (model.get("type", "WordPiece"), "WordPiece"),
        "normalizer": (normalizer.get("type"), "BertNormalizer"),
        "pre_tokenizer": ((whole.get("pre_tokenizer") or {}).get("type"), "BertPreTokenizer"),
        "continuing_subword_prefix": (model.get("continuing_subword_prefix"), "##"),
        "clean_text": (normalizer.get("clean_text"), True),
    }
    for name, (received, expected) in kinds.items():
        if received != expected:
            raise InputError(f"{path} must be a BERT tokenizer, with {name} {expected!r}. Received: {received!r}.")
    ids = model["vocab"]
    if sorted(ids.values()) != list(range(len(ids))):
        raise InputError(f"{path} must number its vocabulary from 0 without gaps. Received: {len(ids)} other ids.")
    config = {
        "vocabulary": sorted(ids, key=ids.get),
        "unknown_token": model["unk_token"],
        "max_word_length": model["max_input_chars_per_word"],
        "lowercase": normalizer["lowercase"],
        "strip_accents": normalizer["strip_accents"],
        "split_cjk": normalizer["handle_chinese_chars"],
    }
    config |= _start_and_end(whole.get("post_processor") or {}, path)
    added = {token["id"]: _checked_added(token, path) for token in whole.get("added_tokens", [])}
    return config, added


def _start_and_end(processor, path):
    """The tokens that a post-processor puts around a text."""
    if not processor:
        return {}
    if processor["type"] == "BertProcessing":
        return {"start_token": processor["cls"][0], "end_token": processor["sep"][0]}
    if processor["type"] == "TemplateProcessing":
        tokens = [part["SpecialToken"]["id"] if "SpecialToken" in part else None for part in processor["single"]]
        if len(tokens) == 3 and tokens[1] is None and None not in (tokens[0], tokens[2]):
            return {"start_token": tokens[0], "end_token": tokens[2]}
    raise InputError(f"{path} must add one token before a text and one after it. Received: {processor['type']}.")


def _checked_added(token, path):
    """The content of an added token, if it is one that is found literally in a text."""
    for name in ("single_word", "lstrip", "rstrip", "normalized"):
        if token.get(name):
            raise InputError(
                f"{path} must add only tokens that are matched literally. Received: {token['content']!r} with {name}."
            )
    return token["content"]


def _add(vocabulary, place, token, folder):
    if place == len(vocabulary):
        vocabulary.append(token)
    elif place > len(vocabulary) or vocabulary[place] != token:
        there = "nothing" if place > len(vocabulary) else repr(vocabulary[place])
        raise InputError(f"{folder} must add {token!r} as {place} of its vocabulary. Received: {there} at that place.")


def _content(token):
    return token["content"] if isinstance(token, dict) else token


def _read_json(path):
    """The object in a JSON file, or {} where there is no file."""
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path} must be JSON in UTF-8. Received: {error}.") from None
    if not isinstance(content, dict):
        raise InputError(f"{path} must hold a JSON object. Received: {type(content).__name__}.")
    return content


def write_tokenizer(config, folder):
    """Writes `vocab.txt` and `tokenizer_config.json`."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("".join(f"{token}\n" for token in config["vocabulary"]), encoding="utf-8")
    settings = {theirs: config[ours] for theirs, ours in (_SETTING_NAMES | _TOKEN_NAMES).items()}
    settings["additional_special_tokens"] = config["additional_special_tokens"]
    settings["max_word_length"] = config["max_word_length"]
    settings["tokenizer_class"] = "BertTokenizer"
    text = json.dumps(settings, ensure_ascii=False, indent=2)
    (folder / "tokenizer_config.json").write_text(text + "\n", encoding="utf-8")
