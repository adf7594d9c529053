"""Decoders of a `tokenizer.json`: token ids back to texts.

`DECODERS` is the registry, `{type: class}`, and a class takes the fields of its component. It has one or both of

- `form(token, first, last)`: what a token becomes, str or bytes, where it is the `first` or the `last` of its text.
  This is a table over the vocabulary. `by_first` and `by_last` say whether it makes a difference.
- `join(rows)`: what rows of tokens become, string `[batch, (tokens)]` ragged, in the graph.

Tables come first: a decoder after one with `join` must have `again(strings)`, its form in the graph.
"""

import numpy as np
import tensorflow as tf

from kerasformer.errors import InputError
from kerasformer.text import registry
from kerasformer.text.byte_level import to_bytes
from kerasformer.text.detokenizing import CLEAN_UP, cleaned
from kerasformer.text.inputs import as_ragged_ids


class Decoder:
    by_first = by_last = False
    join = again = None

    def form(self, token, first, last):
        return token


class ByteLevel(Decoder):
    """Tokens of bytes, written as letters. Its fields make no difference."""

    def __init__(self, add_prefix_space=True, trim_offsets=True, use_regex=True):
        pass

    def form(self, token, first, last):
        value = to_bytes(token)
        return token if value is None else value

    def join(self, rows):
        return (
            Fuse()
            .join(rows)
            .with_values(
                tf.strings.unicode_transcode(tf.strings.reduce_join(rows, axis=1), "UTF-8", "UTF-8", errors="replace")
            )
        )


class Replace(Decoder):
    """A string in place of another.

    Args:
        pattern: `{"String": str}`.
        content: str.
    """

    def __init__(self, pattern, content):
        if not pattern.get("String"):
            raise InputError(f"`pattern` must be a String. Received: {pattern!r}.")
        self._old, self._new = pattern["String"], content

    def form(self, token, first, last):
        return token.replace(self._old, self._new)

    def again(self, strings):
        return tf.strings.regex_replace(strings, literal(self._old), self._new.replace("\\", "\\\\"))


class Strip(Decoder):
    """Without `start` times `content`, a character, at the beginning of a token, and `stop` times at its end."""

    def __init__(self, content, start, stop):
        self._content, self._start, self._stop = content, start, stop

    def form(self, token, first, last):
        start = min(len(token) - len(token.lstrip(self._content)), self._start)
        stop = min(len(token) - len(token.rstrip(self._content)), self._stop)
        return token[start : len(token) - stop] if start + stop < len(token) else ""

    def again(self, strings):
        content = literal(self._content)
        if self._start:
            strings = tf.strings.regex_replace(strings, f"^(?:{content}){{1,{self._start}}}", "")
        if self._stop:
            strings = tf.strings.regex_replace(strings, f"(?:{content}){{1,{self._stop}}}$", "")
        return strings


class WordPiece(Decoder):
    """A space before each token that does not continue a word; `cleanup` closes up punctuation and contractions."""

    by_first = True

    def __init__(self, prefix="##", cleanup=True):
        self._prefix, self._cleanup = prefix, cleanup

    def form(self, token, first, last):
        if not first:
            token = token[len(self._prefix) :] if token.startswith(self._prefix) else f" {token}"
        return cleaned(token) if self._cleanup else token


class Metaspace(Decoder):
    """Spaces in place of `replacement`, but for those of the first token where the tokenizer put them there."""

    by_first = True

    def __init__(self, replacement="▁", str_rep=None, add_prefix_space=True, prepend_scheme=None, split=True):
        self._replacement = replacement
        self._drops = (prepend_scheme or ("always" if add_prefix_space else "never")) != "never"

    def form(self, token, first, last):
        return token.replace(self._replacement, "" if first and self._drops else " ")


class BytePair(Decoder):
    """A space in place of the `suffix` that ends words, but at the end of a text."""

    by_last = True

    def __init__(self, suffix="</w>"):
        self._suffix = suffix

    def form(self, token, first, last):
        return token.replace(self._suffix, "" if last else " ")


class Fuse(Decoder):
    """All tokens of a text as one."""

    def join(self, rows):
        return tf.RaggedTensor.from_uniform_row_length(tf.strings.reduce_join(rows, axis=1), 1)


class ByteFallback(Decoder):
    """Runs of tokens like `<0xE2>` as the characters whose bytes they are, or U+FFFD a byte where they are none."""

    def join(self, rows):
        tokens, row_of = rows.values, rows.value_rowids()
        is_byte = tf.strings.regex_full_match(tokens, "<0x[0-9A-Fa-f]{2}>")
        digits = np.array([f"{byte:02X}" for byte in range(256)], object)
        upper = tf.strings.upper(tf.strings.substr(tf.where(is_byte, tokens, "<0x00>"), 3, 2))
        values = np.array([bytes([byte]) for byte in range(256)], object)
        values = tf.gather(values, tf.argmax(tf.equal(upper[:, None], digits), 1))
        # A run of bytes is one token, any other token is a run of its own.
        follows = is_byte[1:] & is_byte[:-1] & tf.equal(row_of[1:], row_of[:-1])
        begins = tf.concat([[True], ~follows], 0)[: tf.size(tokens)]
        firsts = tf.where(begins)[:, 0]
        runs = tf.RaggedTensor.from_row_starts(tf.where(is_byte, values, tokens), firsts, validate=False)
        strings = tf.strings.reduce_join(runs, axis=1)
        valid = tf.equal(tf.strings.unicode_transcode(strings, "UTF-8", "UTF-8", errors="replace"), strings)
        marks = tf.strings.reduce_join(runs.with_values(tf.fill(tf.shape(tokens), "\ufffd")), axis=1)
        strings = tf.where(valid | ~tf.gather(is_byte, firsts), strings, marks)
        return tf.RaggedTensor.from_value_rowids(strings, tf.gather(row_of, firsts), rows.nrows(), validate=False)


def literal(text):
    """A regular expression of RE2 that matches a text."""
    return "".join(
        char if char.isalnum() or ord(char) > 127 or char in " _" else f"\\x{{{ord(char):x}}}" for char in text
    )


DECODERS = {
    "ByteLevel": ByteLevel,
    "BPEDecoder": BytePair,
    "WordPiece": WordPiece,
    "Metaspace": Metaspace,
    "Replace": Replace,
    "ByteFallback": ByteFallback,
    "Fuse": Fuse,
    "Strip": Strip,
}


class TextDecoder:
    """Joins tokens to texts.

    Args:
        component: dict, the decoder of a `tokenizer.json`; None puts a space between tokens.
        vocabulary: list of str.
        special_ids: set of int, ids that leave nothing in the text.
        clean_up: bool, close up punctuation and contractions in the end, as the settings may ask for.
        where: str, what a message calls the file.

    Raises:
        InputError: a decoder that is not known, or one at a position where it cannot be.
    """

    def __init__(self, component, vocabulary, special_ids, clean_up, where):
        chain = [registry.make(DECODERS, "decoder", part, where) for part in registry.flatten(component, "decoders")]
        joins = next((place for place, one in enumerate(chain) if one.join), len(chain))
        tables, self._chain = chain[: joins + 1], chain[joins:]
        for one in self._chain[1:]:
            if not (one.again or one.join) or isinstance(one, ByteLevel):
                raise InputError(
                    f"{where} must have the decoder {type(one).__name__} before one that joins tokens. "
                    f"Received: it is after {type(self._chain[0]).__name__}."
                )
        self._between = "" if component else " "
        self._by_first, self._by_last = any(one.by_first for one in tables), any(one.by_last for one in tables)
        self._is_text = np.array([place not in special_ids for place in range(len(vocabulary))])
        forms = []
        for last in (False, True)[: 1 + self._by_last]:
            for first in (False, True)[: 1 + self._by_first]:
                forms += [_form(tables, token, first, last) for token in vocabulary]
        self._forms, self._clean_up = np.array(forms, object), clean_up
        self._texts = tf.function(
            self._join,
            input_signature=[tf.TensorSpec([None], tf.int32), tf.TensorSpec([None], tf.int64)],
            autograph=False,
        )

    def __call__(self, ids):
        ids = as_ragged_ids(ids)
        return self._texts(ids.values, ids.row_splits)

    def _join(self, ids, splits):
        with tf.device("CPU"):
            size = len(self._is_text)
            known = (ids >= 0) & (ids < size)
            is_text = known & tf.gather(self._is_text, tf.where(known, ids, 0))
            rows = tf.RaggedTensor.from_row_splits(ids, splits, validate=False)
            rows = tf.ragged.boolean_mask(rows, rows.with_values(is_text))
            places, row_of = rows.values, rows.value_rowids()
            numbers = tf.range(tf.size(places, tf.int64))
            if self._by_first:
                places += size * tf.cast(tf.equal(numbers, tf.gather(rows.row_splits, row_of)), tf.int32)
            if self._by_last:
                is_last = tf.equal(numbers + 1, tf.gather(rows.row_splits, row_of + 1))
                places += size * (1 + self._by_first) * tf.cast(is_last, tf.int32)
            rows = rows.with_values(tf.gather(self._forms, places))
            for place, one in enumerate(self._chain):
                rows = rows.with_values(one.again(rows.values)) if place and one.again else one.join(rows)
            texts = tf.strings.reduce_join(rows, axis=1, separator=self._between)
            if self._clean_up:
                for old, new in CLEAN_UP:
                    texts = tf.strings.regex_replace(texts, literal(old), new)
            return texts


def _form(tables, token, first, last):
    for one in tables:
        token = one.form(token, first, last)
    return token if isinstance(token, bytes) else token.encode("utf-8", "replace")
