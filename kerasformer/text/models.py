"""Models of a `tokenizer.json`: words to token ids.

A model is called with `Words` and gives three int32 tensors:

    ids `[tokens]`
    splits `[words + 1]`, where the tokens of each word begin and end
    starts `[tokens]`, where a token begins, in bytes of its word; a token ends where the next one begins

A word with `known >= 0` is that one token. `MODELS` is the registry, `{type: class}`; a class takes the fields of its
component, and has `ids`, dict from token to id.
"""

import functools
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from kerasformer.errors import InputError
from kerasformer.text import registry
from kerasformer.text.byte_level_model import ByteLevelModel
from kerasformer.text.character_model import CharacterModel
from kerasformer.text.components import read_merges
from kerasformer.text.unigram_model import UnigramModel
from kerasformer.text.word_models import WordLevelModel, WordPieceModel


class Words(NamedTuple):
    """The words of a batch.

    codes: int32 `[chars]`, their code points; 0 inside of added tokens.
    splits: int32 `[words + 1]`, where the code points of each begin and end; none is empty.
    known: int32 `[words]`, the id of a word that is an added token, -1 for the others.
    """

    codes: tf.Tensor
    splits: tf.Tensor
    known: tf.Tensor

    @property
    def strings(self):
        """string `[words]`."""
        return encode(self.codes, self.splits)


def encode(codes, splits):
    """Strings `[words]` of code points, int32 `[chars]`, that begin and end at `splits`, int `[words + 1]`."""
    return tf.raw_ops.UnicodeEncode(
        input_values=codes,
        input_splits=tf.cast(splits, tf.int64),
        output_encoding="UTF-8",
        errors="replace",
        replacement_char=0xFFFD,
    )


class SharedIds:
    """A model of a vocabulary in which several tokens have one id.

    Args:
        vocab: dict from str to int.
        make: function that gives the model of such a dict, in which no two tokens have one id.
    """

    def __init__(self, vocab, make):
        self.ids = vocab
        self._ids = np.array([*vocab.values()], np.int32)
        self._model = make({token: number for number, token in enumerate(vocab)})

    def __call__(self, words):
        ids, splits, starts = self._model(words._replace(known=tf.minimum(words.known, 0)))
        known = tf.repeat(words.known, splits[1:] - splits[:-1])
        return tf.where(known >= 0, known, tf.gather(self._ids, ids)), splits, starts


def byte_pair(
    vocab,
    merges,
    dropout=None,
    unk_token=None,
    continuing_subword_prefix=None,
    end_of_word_suffix=None,
    fuse_unk=False,
    byte_fallback=False,
    ignore_merges=False,
    byte_level=False,
):
    """Byte-pair encoding, of bytes if `byte_level`, else of characters."""
    if dropout:
        raise InputError(f"`dropout` must be none: it makes tokens random. Received: {dropout!r}.")
    if not byte_level:
        make = functools.partial(
            CharacterModel,
            merges=read_merges(merges),
            unk_token=unk_token,
            prefix=continuing_subword_prefix or "",
            suffix=end_of_word_suffix or "",
            fuse_unk=bool(fuse_unk),
            byte_fallback=bool(byte_fallback),
            ignore_merges=bool(ignore_merges),
        )
        return make(vocab) if len({*vocab.values()}) == len(vocab) else SharedIds(vocab, make)
    if continuing_subword_prefix or end_of_word_suffix:
        raise InputError(
            "`continuing_subword_prefix` and `end_of_word_suffix` must be none where words are bytes. Received: "
            f"{continuing_subword_prefix!r} and {end_of_word_suffix!r}."
        )
    return ByteLevelModel(vocab, read_merges(merges), ignore_merges)


MODELS = {"BPE": byte_pair, "Unigram": UnigramModel, "WordLevel": WordLevelModel, "WordPiece": WordPieceModel}
# Fields that tell the type in older files, which do not name it.
_FIELDS = {"merges": "BPE", "unk_id": "Unigram", "max_input_chars_per_word": "WordPiece", "unk_token": "WordLevel"}


def read_model(component, byte_level, where):
    """The model of a component.

    Args:
        component: dict.
        byte_level: bool, words are read as bytes: the pre-tokenizer is ByteLevel.
        where: str, what a message calls the file.
    """
    if "type" not in component:  # older files
        component = {"type": next((kind for name, kind in _FIELDS.items() if name in component), None), **component}
    if byte_level and component["type"] == "BPE":
        return registry.make(MODELS, "model", component, where, byte_level=True)
    if byte_level:
        raise InputError(f"{where} must have a BPE model behind ByteLevel. Received: {component['type']!r}.")
    return registry.make(MODELS, "model", component, where)
