"""Byte-pair encoding of characters as TensorFlow ops: words to token ids.

    symbols    characters become ids; those that no token has become their bytes, or the unknown token
    whole      words are divided where no merge can join two symbols, and what is a token is found in a table
    merges     the rest is merged

Llama's whole text is one word, `▁` in place of spaces. As no merge joins a letter and a `▁` behind it, it is divided
into what other tokenizers call words, and most of these are tokens.
"""

import numpy as np
import tensorflow as tf

from kerasformer.errors import InputError
from kerasformer.text.byte_pair_merges import NEVER, BytePairMerges
from kerasformer.text.code_point_table import CODE_POINTS, CodePointTable
from kerasformer.text.span_table import SpanTable
from kerasformer.text.words import utf8_lengths


class CharacterModel:
    """Splits words into tokens of characters.

    Args:
        vocab: dict from str to int.
        merges: list of pairs of str, the one that was learned first at the front.
        unk_token: str, what a character becomes that is no token; None leaves it out.
        prefix: str, before every character but the first of a word, in the vocabulary.
        suffix: str, behind the last character of a word, in the vocabulary.
        fuse_unk: bool, unknown characters that are neighbours are one token.
        byte_fallback: bool, a character that is no token becomes the tokens `<0x00>` to `<0xFF>` of its bytes, if all
            of these are in the vocabulary.
        ignore_merges: bool, a word in the vocabulary is that token, even if no merges lead to it.

    Raises:
        InputError: the vocabulary lacks the unknown token, or a part or the whole of a merge.
    """

    def __init__(
        self,
        vocab,
        merges,
        unk_token=None,
        prefix="",
        suffix="",
        fuse_unk=False,
        byte_fallback=False,
        ignore_merges=False,
    ):
        self.ids = ids = vocab
        if unk_token is not None and unk_token not in ids:
            raise InputError(f"`unk_token` must be in the vocabulary. Received: {unk_token!r}.")
        self._unknown, self._fuses = ids.get(unk_token), fuse_unk
        self._prefix, self._suffix = prefix, suffix
        # Characters that are the first of a word or not, and its last or not.
        self._tables = {
            (first, last): CodePointTable(_characters(ids, "" if first else prefix, suffix if last else ""))
            for first in ((True, False) if prefix else (True,))
            for last in ((True, False) if suffix else (False,))
        }
        self._bytes = None
        if byte_fallback:
            self._bytes = np.array([ids.get(f"<0x{byte:02X}>", -1) for byte in range(256)], np.int32)
            if (self._bytes < 0).all():
                self._bytes = None
        self._size = max(ids.values(), default=0) + 1
        whole = {token: place for token, place in ids.items() if token}
        self._words = SpanTable(whole, self._size) if ignore_merges else None

        cut = len(prefix.encode())
        wholes = [left + right.encode()[cut:].decode("utf-8", "replace") for left, right in merges]
        for merge in zip(merges, wholes, strict=True):
            unknown = next((token for token in (*merge[0], merge[1]) if token not in ids), None)
            if unknown is not None:
                raise InputError(
                    f"The parts of a merge, and what it gives, must be in the vocabulary. Received: the merge "
                    f"{merge[0][0]!r} {merge[0][1]!r} without {unknown!r}."
                )
        pairs = [(ids[left], ids[right]) for left, right in merges]
        merged = [ids[whole] for whole in wholes]
        self._merges = BytePairMerges(pairs, merged, self._size)
        self._set_table(dict(zip(merged, pairs, strict=True)))

    def _set_table(self, made_of):
        """Tokens that their characters are merged to, by the ids of these."""
        sequences = {}

        def sequence(token, depth=0):
            if token not in sequences:
                parts = made_of.get(token)
                if parts is None or depth > 500:
                    return (token,)
                sequences[token] = sequence(parts[0], depth + 1) + sequence(parts[1], depth + 1)
            return sequences[token]

        for token in made_of:
            sequence(token)
        lengths = np.array([len(symbols) for symbols in sequences.values()], np.int64)
        symbols = np.array([symbol for symbols in sequences.values() for symbol in symbols], np.int32)
        words = np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)
        with tf.device("CPU"):
            ids, words, _ = tf.function(self._merges, autograph=False)(tf.constant(symbols), tf.constant(words))
        counts = np.bincount(words.numpy(), minlength=len(lengths))
        found = ids.numpy()[np.cumsum(counts) - counts] if len(lengths) else []
        self._table = SpanTable(
            {
                "".join(map(chr, symbols)): token
                for (token, symbols), count, one in zip(sequences.items(), counts, found, strict=True)
                if count == 1 and one == token
            },
            self._size,
        )

    def __call__(self, words):
        """ids, splits and starts of the tokens of Words, see `models`."""
        known, num_words = words.known, tf.size(words.known)
        if self._words is not None:
            found = self._words.reader(words.codes)(words.splits[:-1], words.splits[1:] - 1)
            known = tf.where((known < 0) & (found < self._size), found, known)
        ids, word_of, starts = self._symbols(words, known)
        # Parts that no merge joins.
        values = self._merges.values(ids, word_of)
        begins = tf.concat([[True], tf.equal(values, NEVER)], 0)[: tf.size(ids)]
        first = tf.cast(tf.where(begins)[:, 0], tf.int32)
        last = tf.concat([first[1:] - 1, [tf.size(ids) - 1]], 0)[: tf.size(first)]
        part_of = tf.cumsum(tf.cast(begins, tf.int32)) - 1
        whole = tf.where(tf.equal(first, last), tf.gather(ids, first), self._table.reader(ids)(first, last))
        whole = tf.gather(whole, part_of)
        is_whole = whole < self._size
        kept = tf.where(~is_whole | begins)[:, 0]
        ids, values = tf.where(is_whole, whole, ids), tf.where(is_whole, NEVER, values)
        ids, _, firsts = self._merges(*(tf.gather(value, kept) for value in (ids, part_of, values)))
        kept = tf.gather(kept, firsts)
        counts = tf.math.bincount(tf.gather(word_of, kept), minlength=num_words, dtype=tf.int32)
        return ids, tf.concat([[0], tf.cumsum(counts)], 0), tf.gather(starts, kept)

    def _symbols(self, words, known):
        """ids, words and starts of symbols, int32 `[symbols]`. A word that is `known` is one symbol."""
        size = tf.size(words.codes)
        begins = tf.math.unsorted_segment_sum(tf.ones_like(words.known), words.splits[:-1], size)
        word_of, is_first = tf.cumsum(begins) - 1, begins > 0
        is_last = tf.concat([is_first[1:], [True]], 0)[:size]
        rows = {key: table(words.codes) - 1 for key, table in self._tables.items()}
        ids = rows[True, bool(self._suffix)]
        if self._suffix:
            ids = tf.where(is_last, ids, rows[True, False])
        if self._prefix:
            inner = rows[False, bool(self._suffix)]
            inner = tf.where(is_last, inner, rows[False, False]) if self._suffix else inner
            ids = tf.where(is_first, ids, inner)
        known = tf.gather(known, word_of)
        ids = tf.where(known >= 0, known, ids)
        sizes = utf8_lengths(words.codes)
        kept = tf.where((known < 0) | is_first)[:, 0]
        kept_values = [tf.gather(value, kept) for value in (ids, word_of, sizes, words.codes, is_first, is_last)]

        def plain():
            ids, word_of, sizes = kept_values[:3]
            return ids, word_of, _starts(sizes, word_of)

        return tf.cond(tf.reduce_any(kept_values[0] < 0), lambda: self._with_unknown(*kept_values), plain)

    def _with_unknown(self, ids, word_of, sizes, codes, is_first, is_last):
        """ids, words and starts with bytes and unknown tokens, where `ids` are below 0."""
        if self._bytes is not None:
            ids, word_of, sizes = self._with_bytes(ids, word_of, sizes, codes, is_first, is_last)
        is_unknown = ids < 0
        starts = _starts(sizes, word_of)
        if self._unknown is None:
            kept = tf.where(~is_unknown)[:, 0]
            return tuple(tf.gather(value, kept) for value in (ids, word_of, starts))
        ids = tf.where(is_unknown, self._unknown, ids)
        if not self._fuses:
            return ids, word_of, starts
        follows = is_unknown[1:] & is_unknown[:-1] & tf.equal(word_of[1:], word_of[:-1])
        kept = tf.where(tf.concat([[True], ~follows], 0))[:, 0]
        return tuple(tf.gather(value, kept) for value in (ids, word_of, starts))

    def _with_bytes(self, ids, word_of, sizes, codes, is_first, is_last):
        """ids, words and sizes in bytes, the tokens of bytes in place of characters that have them."""
        missing = tf.cast(tf.where(ids < 0)[:, 0], tf.int32)
        letters = tf.strings.unicode_encode(tf.gather(codes, missing)[:, None], "UTF-8")
        before = tf.where(tf.gather(is_first, missing), "", self._prefix)
        after = tf.where(tf.gather(is_last, missing), self._suffix, "")
        letters = tf.strings.join([before, letters, after])
        lengths = tf.strings.length(letters)
        letter_of = tf.repeat(tf.range(tf.size(missing)), lengths)
        values = tf.cast(tf.io.decode_raw(tf.strings.reduce_join(letters)[None], tf.uint8)[0], tf.int32)
        values = tf.gather(self._bytes, values)
        falls_back = tf.math.segment_min(values, letter_of) >= 0
        is_byte = tf.tensor_scatter_nd_update(tf.zeros_like(ids, tf.bool), missing[:, None], falls_back)
        counts = tf.tensor_scatter_nd_update(tf.ones_like(ids), missing[:, None], tf.where(falls_back, lengths, 1))
        char_of = tf.repeat(tf.range(tf.size(ids)), counts)
        new = tf.where(tf.gather(is_byte, char_of))
        values = tf.boolean_mask(values, tf.gather(falls_back, letter_of))
        turns = tf.range(tf.size(char_of)) - tf.gather(tf.cumsum(counts, exclusive=True), char_of)
        turns -= tf.where(tf.gather(is_first, char_of), 0, len(self._prefix.encode()))
        # The bytes of a prefix or a suffix are none of the text.
        inside = (turns >= 0) & (turns < tf.gather(sizes, char_of))
        sizes = tf.where(tf.gather(is_byte, char_of), tf.cast(inside, tf.int32), tf.gather(sizes, char_of))
        ids = tf.tensor_scatter_nd_update(tf.gather(ids, char_of), new, values)
        word_of = tf.gather(word_of, char_of)
        if self._unknown is None:
            return ids, word_of, sizes
        return self._behind_bytes(ids, word_of, sizes, tf.gather(is_byte, char_of))

    def _behind_bytes(self, ids, word_of, sizes, is_byte):
        """The reference keeps an unknown character back until the next one that is no bytes."""
        is_unknown = ids < 0

        def reorder():
            flushes = ~is_byte & ~(is_unknown & self._fuses)
            flushes |= tf.concat([[True], tf.not_equal(word_of[1:], word_of[:-1])], 0)
            keys = 2 * tf.cumsum(tf.cast(flushes, tf.int32)) + tf.cast(is_unknown, tf.int32)
            order = tf.argsort(keys, stable=True)
            return tuple(tf.gather(value, order) for value in (ids, word_of, sizes))

        return tf.cond(tf.reduce_any(is_unknown) & tf.reduce_any(is_byte), reorder, lambda: (ids, word_of, sizes))


def _characters(ids, prefix, suffix):
    """int32 `[0x110000]`: 1 more than the id of each character with a prefix and a suffix; 0 for the others."""
    table = np.zeros(CODE_POINTS, np.int32)
    for token, place in ids.items():
        if len(token) == len(prefix) + 1 + len(suffix) and token.startswith(prefix) and token.endswith(suffix):
            table[ord(token[len(prefix)])] = place + 1
    return table


def _starts(sizes, word_of):
    """Where symbols of `sizes` in bytes begin in their words; the last of a word begins inside of it."""
    ends = tf.cumsum(sizes)
    starts, sums = ends - sizes, tf.math.segment_max(ends, word_of)
    begins = tf.math.segment_min(starts, word_of)
    return tf.minimum(starts, tf.gather(sums, word_of) - 1) - tf.gather(begins, word_of)
