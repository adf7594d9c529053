"""What the families of tokenizers add to a SentencePiece model: their special tokens and the order of ids.

As in the `tokenizer.json` files that were published for them (`convert_slow_tokenizer.py` of `transformers` 4).
"""

import dataclasses

from kerasformer.errors import InputError
from kerasformer.text.older_files import BERT, FAIRSEQ

_MBART_LANGUAGES = (
    *("ar_AR", "cs_CZ", "de_DE", "en_XX", "es_XX", "et_EE", "fi_FI", "fr_XX", "gu_IN"),
    *("hi_IN", "it_IT", "ja_XX", "kk_KZ", "ko_KR", "lt_LT", "lv_LV", "my_MM", "ne_NP"),
    *("nl_XX", "ro_RO", "ru_RU", "si_LK", "tr_TR", "vi_VN", "zh_CN"),
)


@dataclasses.dataclass(frozen=True)
class Layout:
    """What a family adds to a SentencePiece model.

    Attributes:
        single, pair: templates: "$A", "$B" and names of special tokens, with the segment behind a colon if it is not 0.
        special_tokens: `{name: token}`, where the files do not say.
        first, last: tokens before and after the pieces.
        dropped: how many pieces of the model `first` replaces.
        penalized: function of a piece, whether it gets a score so low that others are preferred.
        normalizers: before the model's map of characters. spaces: behind it.
        pre_tokenizers: before Metaspace.
        prepend_scheme: of Metaspace; None for no Metaspace.
        splits: whether Metaspace divides words.
        decoder: None for that of Metaspace.
        keeps_spaces: whether several spaces stay several, which the model has to say too.
        byte_fallback: whether characters without a piece become bytes.
        more: further special tokens.
    """

    single: str
    pair: str
    special_tokens: dict
    first: tuple = ()
    last: tuple = ()
    dropped: int = 0
    penalized: object = staticmethod(lambda piece: False)
    normalizers: tuple = ()
    spaces: tuple = ()
    pre_tokenizers: tuple = ({"type": "WhitespaceSplit"},)
    prepend_scheme: str | None = "always"
    splits: bool = True
    decoder: dict | None = None
    keeps_spaces: bool = False
    byte_fallback: bool = False
    more: tuple = ()


_FAIRSEQ = Layout(
    "cls_token $A sep_token",
    "cls_token $A sep_token sep_token $B sep_token",
    FAIRSEQ,
    first=("<s>", "<pad>", "</s>", "<unk>"),
    last=("<mask>",),
    dropped=3,
)
_BERT = Layout("cls_token $A sep_token", "cls_token $A sep_token $B:1 sep_token:1", BERT)


def _replaced(pattern, content):
    return {"type": "Replace", "pattern": pattern, "content": content}


def _xlm_roberta(settings):
    return _FAIRSEQ


def _barthez(settings):
    """The model has the special tokens."""
    return dataclasses.replace(
        _FAIRSEQ, special_tokens=FAIRSEQ | {"mask_token": "<mask>"}, first=(), last=(), dropped=0
    )


def _camembert(settings):
    unused = ("<s>NOTUSED", "</s>NOTUSED", "<unk>NOTUSED")
    return dataclasses.replace(
        _FAIRSEQ,
        first=(unused[0], "<pad>", unused[1], "<unk>", unused[2]),
        dropped=1,
        penalized=lambda piece: piece == unused[2],
        more=unused[:2],
    )


def _mbart(settings):
    """A language behind each text, `src_lang` of the settings."""
    language = settings.get("src_lang") or "en_XX"
    if language not in _MBART_LANGUAGES:
        raise InputError(f"`src_lang` must be one of {', '.join(_MBART_LANGUAGES)}. Received: {language!r}.")
    return dataclasses.replace(
        _FAIRSEQ,
        single="$A sep_token src_lang",
        pair="$A $B sep_token src_lang",
        special_tokens=_FAIRSEQ.special_tokens | {"src_lang": "en_XX"},
        last=(*_MBART_LANGUAGES, "<mask>"),
        more=_MBART_LANGUAGES,
    )


def _albert(settings, lowercase=True):
    """Plain quotation marks and letters; a number and the comma behind it are two pieces, as in Google's own code."""
    normalizers = [_replaced({"String": quotes}, '"') for quotes in ("``", "''")]
    if not settings.get("keep_accents", False):
        normalizers += [{"type": "NFKD"}, {"type": "StripAccents"}]
    if settings.get("do_lower_case", lowercase):
        normalizers.append({"type": "Lowercase"})
    return dataclasses.replace(
        _BERT,
        special_tokens=BERT | {"pad_token": "<pad>", "unk_token": "<unk>"},
        penalized=lambda piece: piece[-1:] == "," and piece[-2:-1].isdigit(),
        normalizers=tuple(normalizers),
    )


def _xlnet(settings):
    return dataclasses.replace(
        _albert(settings, lowercase=False),
        single="$A sep_token cls_token:2",
        pair="$A sep_token $B:1 sep_token:1 cls_token:2",
        special_tokens={name: f"<{name.removesuffix('_token')}>" for name in BERT},
        more=("<s>", "</s>", "<eop>", "<eod>"),
    )


def _deberta(settings):
    return dataclasses.replace(
        _BERT,
        special_tokens=BERT | {"unk_token": {"content": "[UNK]", "normalized": True}},
        normalizers=(
            *([{"type": "Lowercase"}] if settings.get("do_lower_case", False) else []),
            {"type": "Strip", "strip_left": True, "strip_right": True},
        ),
        spaces=(_replaced({"Regex": " {2,}"}, " "),),
        pre_tokenizers=(
            ({"type": "Punctuation", "behavior": "Isolated"},) if settings.get("split_by_punct", False) else ()
        ),
    )


def _t5(settings):
    sentinels = tuple(f"<extra_id_{number}>" for number in reversed(range(settings.get("extra_ids", 100))))
    layout = Layout(
        "$A eos_token",
        "$A eos_token $B eos_token",
        {"eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"},
        last=sentinels,
        more=sentinels,
    )
    if settings.get("legacy") is not False:
        return layout
    # What follows a sentinel without a space continues a word.
    spaces = {"type": "Strip", "strip_left": False, "strip_right": True}, _replaced({"Regex": " {2,}"}, "▁")
    return dataclasses.replace(layout, spaces=spaces, pre_tokenizers=(), prepend_scheme="first")


def _llama(settings):
    """White space stays as it is, and a text begins with a space."""
    ends = [settings.get(name, usual) for name, usual in (("add_bos_token", True), ("add_eos_token", False))]
    around = ["bos_token"] * bool(ends[0]), ["eos_token"] * bool(ends[1])
    single, second = ([*around[0], text, *around[1]] for text in ("$A", "$B"))
    prefix, is_old = settings.get("add_prefix_space") is not False, settings.get("legacy") is not False
    decoders = [_replaced({"String": "▁"}, " "), {"type": "ByteFallback"}, {"type": "Fuse"}]
    return Layout(
        " ".join(single),
        " ".join([*single, *(f"{name}:1" for name in second)]),
        {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"},
        normalizers=(
            *([{"type": "Prepend", "prepend": "▁"}] * (prefix and is_old)),
            *([_replaced({"String": " "}, "▁")] * is_old),
        ),
        pre_tokenizers=(),
        prepend_scheme=None if is_old else "first" if prefix else "never",
        splits=False,
        decoder={
            "type": "Sequence",
            "decoders": [*decoders, *([{"type": "Strip", "content": " ", "start": 1, "stop": 0}] * prefix)],
        },
        keeps_spaces=True,
        byte_fallback=True,
    )


# By the class of the tokenizer in `transformers`: functions of the settings.
LAYOUTS = {
    "Albert": _albert,
    "Barthez": _barthez,
    "Camembert": _camembert,
    "DebertaV2": _deberta,
    "Llama": _llama,
    "MBart": _mbart,
    "T5": _t5,
    "XLMRoberta": _xlm_roberta,
    "XLNet": _xlnet,
}
MODEL_TYPES = {
    "albert": "Albert",
    "camembert": "Camembert",
    "deberta-v2": "DebertaV2",
    "llama": "Llama",
    "mbart": "MBart",
    "mistral": "Llama",
    "mt5": "T5",
    "t5": "T5",
    "xlm-roberta": "XLMRoberta",
    "xlnet": "XLNet",
}
