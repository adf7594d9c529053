"""Tokenizer settings in the files of Hugging Face Transformers."""

import json
import pathlib

from kerasformer.errors import InputError
from kerasformer.text.components import read_json

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
# Classes that cut words as BERT's does; other ones cut their own way in front of the vocabulary.
_CLASSES = (
    "Bert",
    "ConvBert",
    "DistilBert",
    "DPRContextEncoder",
    "DPRQuestionEncoder",
    "DPRReader",
    "Electra",
    "Funnel",
    "LayoutLM",
    "LayoutLMv2",
    "Lxmert",
    "MobileBert",
    "MPNet",
    "PreTrained",
    "Retribert",
    "Splinter",
    "SqueezeBert",
    "Tokenizers",
)
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
    words = []
    config, added = _from_tokenizer_json(folder / "tokenizer.json", words)
    if has_list:
        config["vocabulary"] = read_vocabulary(folder / "vocab.txt")
    added |= {place: token for token, place in read_json(folder / "added_tokens.json").items()}
    extra = []
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        settings = read_json(folder / name)
        _check_class(settings, folder / name)
        if "truncation_side" in settings:
            config["truncation_side"] = settings["truncation_side"]
        config |= {ours: _content(settings[theirs]) for theirs, ours in _TOKEN_NAMES.items() if settings.get(theirs)}
        if settings.get("mask_token", "") is None:
            config["mask_token"] = None
        config |= {ours: settings[theirs] for theirs, ours in _SETTING_NAMES.items() if theirs in settings}
        more = settings.get("additional_special_tokens") or settings.get("extra_special_tokens") or []
        extra += map(_content, more.values() if isinstance(more, dict) else more)
        for place, token in settings.get("added_tokens_decoder", {}).items():
            added[int(place)] = _checked_added(token, folder / name, words)
    for place, token in sorted(added.items()):
        _add(config["vocabulary"], place, token, folder)
    if config.get("max_length") is None or config["max_length"] > _NO_LIMIT:
        config.pop("max_length", None)
    named = [config.get(name, default) for name, default in _DEFAULT_TOKENS.items()]
    config["additional_special_tokens"] = [
        token for token in dict.fromkeys([*added.values(), *extra]) if token not in (*named, *words)
    ]
    config["added_words"] = [token for token in dict.fromkeys(words) if token not in named]
    return config


def _check_class(settings, path):
    name = settings.get("tokenizer_class") or "BertTokenizer"
    if name.removesuffix("Fast").removesuffix("Tokenizer") not in _CLASSES:
        raise InputError(
            f"{path} must name a tokenizer that cuts words as BERT's does. Received: tokenizer_class={name!r}."
        )
    for setting, usual in (("word_tokenizer_type", "basic"), ("subword_tokenizer_type", "wordpiece")):
        if settings.get(setting, usual) != usual:
            raise InputError(f"{path} must have {setting} {usual!r}. Received: {settings[setting]!r}.")
    if settings.get("do_basic_tokenize") is False:
        raise InputError(f"{path} must not have do_basic_tokenize false: words are split before they are cut.")
    if settings.get("never_split"):
        raise InputError(f"{path} must not have never_split. Received: {settings['never_split']!r}.")


def _from_tokenizer_json(path, words):
    """Arguments that `tokenizer.json` tells, and its added tokens, id to content; nothing where there is no file.

    Added tokens that are found in the normalized text go into `words`.
    """
    whole = read_json(path)
    if not whole:
        return {}, {}
    model, normalizer = whole.get("model") or {}, whole.get("normalizer") or {}
    for name, received, expected in unlike_bert(whole):
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
    added = {token["id"]: _checked_added(token, path, words) for token in whole.get("added_tokens", [])}
    return config, added


def unlike_bert(specification):
    """What of a `tokenizer.json` is not as BERT has it: list of a name, what it is and what it should be."""
    model, normalizer = specification.get("model") or {}, specification.get("normalizer") or {}
    kinds = {
        "model": (model.get("type", "WordPiece"), "WordPiece"),
        "normalizer": (normalizer.get("type"), "BertNormalizer"),
        "pre_tokenizer": ((specification.get("pre_tokenizer") or {}).get("type"), "BertPreTokenizer"),
        "continuing_subword_prefix": (model.get("continuing_subword_prefix"), "##"),
        "clean_text": (normalizer.get("clean_text"), True),
    }
    return [(name, *values) for name, values in kinds.items() if values[0] != values[1]]


def _start_and_end(processor, path):
    """The tokens that a post-processor puts around a text."""
    if not processor:
        return {}
    if processor["type"] in ("BertProcessing", "RobertaProcessing"):
        tokens = {"start_token": processor["cls"][0], "end_token": processor["sep"][0]}
        return {**tokens, "double_separator": processor["type"] == "RobertaProcessing"}
    if processor["type"] == "TemplateProcessing":
        tokens = [part["SpecialToken"]["id"] if "SpecialToken" in part else None for part in processor["single"]]
        if len(tokens) == 3 and tokens[1] is None and None not in (tokens[0], tokens[2]):
            return {"start_token": tokens[0], "end_token": tokens[2]}
    raise InputError(f"{path} must add one token before a text and one after it. Received: {processor['type']}.")


def _checked_added(token, path, words):
    """The content of an added token, also put into `words` if it is found in the normalized text.

    Whether white space beside it belongs to it makes no difference: it is never part of a word.
    """
    if token.get("single_word"):
        raise InputError(
            f"{path} must add only tokens that are found beside letters too. Received: {token['content']!r} with "
            "single_word."
        )
    if token.get("normalized") and not token.get("special"):
        words.append(token["content"])
    return token["content"]


def _add(vocabulary, place, token, folder):
    if place == len(vocabulary):
        vocabulary.append(token)
    elif place > len(vocabulary) or vocabulary[place] != token:
        there = "nothing" if place > len(vocabulary) else repr(vocabulary[place])
        raise InputError(f"{folder} must add {token!r} as {place} of its vocabulary. Received: {there} at that place.")


def _content(token):
    return token["content"] if isinstance(token, dict) else token


def write_tokenizer(config, folder):
    """Writes `vocab.txt`, `tokenizer_config.json` and, where it can say the same, `tokenizer.json`."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("".join(f"{token}\n" for token in config["vocabulary"]), encoding="utf-8")
    settings = {theirs: config[ours] for theirs, ours in (_SETTING_NAMES | _TOKEN_NAMES).items()}
    settings["additional_special_tokens"] = config["additional_special_tokens"]
    settings["max_word_length"] = config["max_word_length"]
    settings["truncation_side"] = config["truncation_side"]
    settings["tokenizer_class"] = "MPNetTokenizer" if config["double_separator"] else "BertTokenizer"
    _write_json(folder / "tokenizer_config.json", settings)
    # An object of JSON cannot hold a token twice.
    if len(set(config["vocabulary"])) == len(config["vocabulary"]):
        _write_json(folder / "tokenizer.json", _specification(config))
    else:
        (folder / "tokenizer.json").unlink(missing_ok=True)


def _write_json(path, content):
    path.write_text(json.dumps(content, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def _specification(config):
    """The content of a `tokenizer.json`."""
    ids = {token: place for place, token in enumerate(config["vocabulary"])}
    start, end = (([config[name], ids[config[name]]]) for name in ("start_token", "end_token"))
    special = [config[name] for name in _DEFAULT_TOKENS if config[name] in ids]
    special = dict.fromkeys([*special, *config["additional_special_tokens"]], True)
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip"), False)
    added = {**dict.fromkeys(config["added_words"], False), **special}
    processor = {"type": "BertProcessing", "sep": end, "cls": start}
    if config["double_separator"]:
        processor |= {"type": "RobertaProcessing", "trim_offsets": True, "add_prefix_space": False}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": ids[token], "content": token, **flags, "normalized": not is_special, "special": is_special}
            for token, is_special in sorted(added.items(), key=lambda item: ids[item[0]])
        ],
        "normalizer": {
            "type": "BertNormalizer",
            "clean_text": True,
            "handle_chinese_chars": config["split_cjk"],
            "strip_accents": config["strip_accents"],
            "lowercase": config["lowercase"],
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": processor,
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {
            "type": "WordPiece",
            "unk_token": config["unknown_token"],
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": config["max_word_length"],
            "vocab": ids,
        },
    }
