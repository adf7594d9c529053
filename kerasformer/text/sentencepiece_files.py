"""The SentencePiece file of a folder as one `tokenizer.json`, for folders that have none.

A file such as `sentencepiece.bpe.model` holds pieces with scores and a map of characters. What families add to them is
in `sentencepiece_layouts.py`.
"""

import base64
import pathlib

from kerasformer.errors import InputError
from kerasformer.text.components import read_json
from kerasformer.text.older_files import added_tokens, read_settings, read_special_tokens
from kerasformer.text.sentencepiece_layouts import LAYOUTS, MODEL_TYPES

FILES = ("sentencepiece.bpe.model", "spiece.model", "spm.model", "tokenizer.model")
# Classes that do not tell the family.
_ANY = ("PreTrainedTokenizer", "PreTrainedTokenizerFast", "TokenizersBackend")
# Numbers in sentencepiece_model.proto.
_UNIGRAM, _BPE = 1, 2
_NORMAL, _CONTROL, _DEFINED, _UNUSED = 1, 3, 4, 5


def sentencepiece_path(folder):
    """The SentencePiece file of a folder; None where it has none."""
    return next((folder / name for name in FILES if (folder / name).is_file()), None)


def from_sentencepiece(folder, default_class=None):
    """The content of a `tokenizer.json`, and the special tokens, `{name: token}`.

    Args:
        folder: with one of `FILES`, and where there are any `tokenizer_config.json`, `special_tokens_map.json`,
            `added_tokens.json` and `config.json`.
        default_class: the class of the tokenizer where the files do not say.

    Raises:
        InputError: the SentencePiece file is damaged or of a kind that is not read, its family is not known, or a
            setting cannot be honoured.
    """
    folder = pathlib.Path(folder)
    settings = read_settings(folder)
    layout = _layout(folder, settings, default_class)
    model = _read(sentencepiece_path(folder), layout)
    pieces = [(token, 0.0) for token in layout.first]
    pieces += [(piece.piece, piece.score) for piece in model.pieces[layout.dropped :]]
    pieces += [(token, 0.0) for token in layout.last]
    ids = {piece: place for place, (piece, _) in enumerate(pieces)}
    ids |= {token["content"]: place for place, token in added_tokens(folder, settings).items()}
    for name, default in layout.special_tokens.items():
        token = settings.get(name) or default
        ids.setdefault(token["content"] if isinstance(token, dict) else token, max(ids.values()) + 1)
    control = [piece.piece for piece in model.pieces if piece.type == _CONTROL and piece.piece in ids]
    special, places, added = read_special_tokens(folder, settings, ids, layout.special_tokens, [*layout.more, *control])
    is_unigram = model.trainer_spec.model_type == _UNIGRAM
    if not is_unigram:  # Merges do not lead to these.
        defined = [piece.piece for piece in model.pieces if piece.type == _DEFINED and piece.piece in ids]
        added += [{"id": ids[token], "content": token, "special": False} for token in defined]
    charsmap = base64.b64encode(model.normalizer_spec.precompiled_charsmap).decode("ascii")
    charsmap = [{"type": "Precompiled", "precompiled_charsmap": charsmap}] if charsmap else []
    spaces = []
    if layout.prepend_scheme is not None:
        scheme = "never" if settings.get("add_prefix_space") is False else layout.prepend_scheme
        spaces = [{"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": layout.splits}]
    normalizers = [*layout.normalizers, *charsmap, *layout.spaces]
    pre_tokenizers = [*layout.pre_tokenizers, *spaces]
    specification = {
        "version": "1.0",
        "added_tokens": added,
        "normalizer": {"type": "Sequence", "normalizers": normalizers} if normalizers else None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": pre_tokenizers} if pre_tokenizers else None,
        "post_processor": _template_processing(layout, special, places),
        "decoder": layout.decoder or spaces[0],
        "model": (_unigram if is_unigram else _byte_pair)(pieces, special["unk_token"], layout),
    }
    return specification, special


def _unigram(pieces, unknown, layout):
    return {
        "type": "Unigram",
        "unk_id": [piece for piece, _ in pieces].index(unknown),
        "byte_fallback": layout.byte_fallback,
        "vocab": [[piece, score - 100.0 * layout.penalized(piece)] for piece, score in pieces],
    }


def _byte_pair(pieces, unknown, layout):
    """A piece is merged of any two pieces, those of the greatest score first."""
    ids = {piece: place for place, (piece, _) in enumerate(pieces)}
    merges = []
    for whole, score in pieces:
        halves = [(whole[:place], whole[place:]) for place in range(1, len(whole))]
        halves = [pair for pair in halves if pair[0] in ids and pair[1] in ids]
        merges += [(-score, *pair) for pair in sorted(halves, key=lambda pair: (ids[pair[0]], ids[pair[1]]))]
    merges.sort(key=lambda merge: merge[0])
    return {
        "type": "BPE",
        "unk_token": unknown,
        "fuse_unk": True,
        "byte_fallback": layout.byte_fallback,
        "vocab": ids,
        "merges": [[left, right] for _, left, right in merges],
    }


def _layout(folder, settings, default_class):
    config = read_json(folder / "config.json")
    named = [settings.get("tokenizer_class"), config.get("tokenizer_class")]
    named.append(MODEL_TYPES.get(config.get("model_type")) or default_class)
    found = next((name for name in named if name and name not in _ANY), None)
    make = LAYOUTS.get((found or "").removesuffix("Fast").removesuffix("Tokenizer"))
    if make is None:
        known = ", ".join(f"{name}Tokenizer" for name in LAYOUTS)
        raise InputError(
            f"{folder / 'tokenizer_config.json'} must say the family of {sentencepiece_path(folder).name} in "
            f"`tokenizer_class`: one of {known}. Received: {found!r}. For other families, save the fast tokenizer of "
            "`transformers`: it is a tokenizer.json."
        )
    for name, usual in (("sp_model_kwargs", {}), ("remove_space", True)):
        if settings.get(name) not in (None, usual):
            raise InputError(f"{folder} must have {name} {usual!r} to be read. Received: {settings[name]!r}.")
    return make(settings)


def _read(path, layout):
    """The ModelProto in a file."""
    from google.protobuf.message import DecodeError
    from sentencepiece import sentencepiece_model_pb2  # only to read the model

    model = sentencepiece_model_pb2.ModelProto()
    try:
        model.ParseFromString(path.read_bytes())
    except DecodeError:
        raise InputError(f"{path} must be a SentencePiece model. Received: another file, or a damaged one.") from None
    except OSError as error:
        raise InputError(f"{path} must be a file that can be read ({error.strerror}).") from None
    if not model.pieces or not model.HasField("trainer_spec") or not model.HasField("normalizer_spec"):
        raise InputError(f"{path} must be a whole SentencePiece model. Received: one without all of its parts.")
    trainer, normalizer = model.trainer_spec, model.normalizer_spec
    if trainer.model_type not in (_UNIGRAM, _BPE):
        kind = trainer.ModelType.Name(trainer.model_type).lower()
        raise InputError(f"{path} must be a unigram or BPE model of SentencePiece. Received: one of the kind {kind!r}.")
    settings = (
        (trainer, "treat_whitespace_as_suffix", False),
        (normalizer, "add_dummy_prefix", True),
        (normalizer, "remove_extra_whitespaces", not layout.keeps_spaces),
        (normalizer, "escape_whitespaces", True),
    )
    for part, name, usual in settings:
        if getattr(part, name) != usual:
            raise InputError(f"{path} must have {name} {usual} to be read. Received: {not usual}.")
    if layout.keeps_spaces and normalizer.precompiled_charsmap:
        raise InputError(f"{path} must have no map of characters. Received: that of {normalizer.name!r}.")
    kinds = [piece.type for piece in model.pieces]
    if _UNUSED in kinds:
        raise InputError(f"{path} must not hold pieces that are not used. Received: {kinds.count(_UNUSED)} of them.")
    if _NORMAL in kinds[: layout.dropped]:
        names = ", ".join(repr(piece.piece) for piece in model.pieces[: layout.dropped])
        raise InputError(f"{path} must begin with {layout.dropped} special pieces. Received: {names}.")
    return model


def _template_processing(layout, special, places):
    def parts(template):
        for word in template.split():
            name, _, segment = word.partition(":")
            kind, token = ("Sequence", name[1:]) if name.startswith("$") else ("SpecialToken", special[name])
            yield {kind: {"id": token, "type_id": int(segment or 0)}}

    single, pair = list(parts(layout.single)), list(parts(layout.pair))
    tokens = sorted({part["SpecialToken"]["id"] for part in pair if "SpecialToken" in part})
    return {
        "type": "TemplateProcessing",
        "single": single,
        "pair": pair,
        "special_tokens": {token: {"id": token, "ids": [places[token]], "tokens": [token]} for token in tokens},
    }
