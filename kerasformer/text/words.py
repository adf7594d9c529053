"""Texts to words inside the graph, by the rules of `unicode_rules`.

All texts of a batch are one stream of code points, `[chars]`, with a line feed before each text and one at the end:
the line feed is white space, so no word runs over the end of its text, and no tensor is ever empty. Op for op this is
the least that was found: at a batch of one text the number of ops is what counts.
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from kerasformer.text import unicode_rules as rules
from kerasformer.text.special_tokens import find_special_tokens, mark_special_tokens
from kerasformer.text.stream import code_points

_NUL = 0  # cleaning drops it, so that no word but an overlong one has it


class Words(NamedTuple):
    """The words of a batch of texts.

    strings: string `[words]`, normalized; some are empty and hold no piece.
    text_splits: int64 `[texts + 1]`, where the words of each text begin and end.
    char_codes: int32 `[chars]`, the code points of all strings in order.
    char_starts, char_ends: int32 `[chars]`, where the code points came from, in bytes of their text.
    """

    strings: tf.Tensor
    text_splits: tf.Tensor
    char_codes: tf.Tensor
    char_starts: tf.Tensor | None
    char_ends: tf.Tensor | None


class WordSplitter:
    """Splits texts into normalized words.

    Args:
        lowercase, strip_accents, split_cjk: bool, as in `WordPieceTokenizer`.
        special_tokens: list of str, found literally in the text before any rule is applied.
        max_word_length: a longer word, in code points, is made one that no vocabulary knows.
        added_words: list of str, found in the normalized text.
    """

    def __init__(self, lowercase, strip_accents, split_cjk, special_tokens, max_word_length, added_words=()):
        entries, self._several, self._expansions = rules.character_entries(lowercase, strip_accents, split_cjk)
        self._reorders = strip_accents
        self._special_tokens = sorted(special_tokens)
        self._added_words = sorted({rules.normalize(word, lowercase, strip_accents) for word in added_words})
        self._max_word_length = max_word_length
        entries = entries.copy()
        entries[[ord(token[0]) for token in special_tokens]] |= rules.RARE
        self._offsets, self._blocks = rules.two_stage(entries)

    def __call__(self, texts, with_offsets=False):
        """Words of `texts`, a string tensor `[texts]`; `with_offsets` fills `char_starts` and `char_ends`."""
        decoded = code_points(texts, with_offsets)
        codes, text_starts = decoded.char_values, decoded.row_splits[:-1]
        entries = self._look_up(codes)
        entries, sources, text_starts = tf.cond(
            tf.reduce_max(entries) >= rules.RARE if not self._added_words else tf.constant(True),
            lambda: self._rewrite(codes, entries, text_starts),
            lambda: (entries, tf.range(tf.size(codes)) if with_offsets else codes, text_starts),
        )

        # Each character's word is told by the boundaries before it: there is one at white space, and one at each end
        # of a character that is a word of its own.
        boundaries = tf.bitwise.bitwise_and(tf.bitwise.right_shift(entries, rules.CODE_BITS), 3)
        word_of_char = tf.cumsum(boundaries, exclusive=True) + tf.sign(boundaries)
        kept_flags = tf.bitwise.bitwise_and(entries, rules.KEPT)
        is_kept = tf.sign(kept_flags)
        lengths = tf.raw_ops.SegmentSum(data=is_kept, segment_ids=word_of_char)
        splits = tf.cumsum(lengths, exclusive=True)
        kept = tf.where(kept_flags)
        char_codes = tf.bitwise.bitwise_and(tf.gather_nd(entries, kept), rules.CODE_MASK)
        char_codes = tf.cond(
            tf.reduce_max(lengths) > self._max_word_length,
            lambda: self._spoil_long_words(char_codes, lengths, splits),
            lambda: char_codes,
        )
        strings = tf.raw_ops.UnicodeEncode(
            input_values=char_codes,
            input_splits=splits,
            output_encoding="UTF-8",
            errors="replace",
            replacement_char=0xFFFD,
        )
        starts = ends = None
        if with_offsets:
            sources = tf.gather_nd(sources, kept)
            starts = tf.cast(tf.gather(decoded.char_to_byte_starts, sources), tf.int32) - 1  # the line feed
            ends = starts + utf8_lengths(tf.gather(codes, sources))
        return Words(strings, tf.gather(word_of_char, text_starts), char_codes, starts, ends)

    def _look_up(self, codes):
        blocks = tf.gather(self._offsets, tf.bitwise.right_shift(codes, rules.BLOCK_BITS)) + codes
        return tf.bitwise.bitwise_xor(tf.gather(self._blocks, blocks), codes)

    def _rewrite(self, codes, entries, text_starts):
        """The stream with special tokens taken out of the rules' reach, with expansions, and in canonical order.

        Returns:
            entries, sources: int32 `[new chars]`, and the place in `codes` that each came from.
            text_starts: int64 `[texts + 1]`
        """
        grid = tf.pad(entries[:, None], [[0, 0], [0, 2]])
        if len(self._several):
            row = tf.searchsorted(self._several, codes)
            row = tf.minimum(row, len(self._several) - 1)
            is_several = tf.equal(tf.gather(self._several, row), codes)
            grid = tf.where(is_several[:, None], tf.gather(self._expansions, row), grid)
        inside = None
        if self._special_tokens:
            # White space around it, nothing changed inside.
            inside, first, last = mark_special_tokens(codes, text_starts, self._special_tokens)
            space = rules.WHITE_SPACE | rules.STARTER
            itself = codes | (rules.KEPT | rules.STARTER)
            literal = tf.stack([tf.where(first, space, 0), itself, tf.where(last, space, 0)], 1)
            grid = tf.where(inside[:, None], literal, grid)
        places = tf.where(tf.bitwise.bitwise_and(grid, rules.RANK_MASK << rules.RANK_SHIFT))
        entries = tf.gather_nd(grid, places)
        sources = tf.cast(places[:, 0], tf.int32)
        if self._reorders:
            entries, sources = _canonical_order(entries, sources)
        if self._added_words:
            entries, sources = self._set_apart(entries, sources, inside)
        return entries, sources, tf.searchsorted(sources, tf.cast(text_starts, tf.int32), out_type=tf.int64)

    def _set_apart(self, entries, sources, is_special):
        """The stream with white space around added words.

        Args:
            entries, sources: int32 `[chars]`, after normalizing.
            is_special: bool `[code points of the texts]`, inside of special tokens, or None.
        """
        kind = tf.bitwise.bitwise_and(entries, rules.KEPT | rules.OWN_WORD | rules.WHITE_SPACE)
        codes = tf.where(kind >= rules.KEPT, tf.bitwise.bitwise_and(entries, rules.CODE_MASK), -1)
        if is_special is not None:
            codes = tf.where(tf.gather(is_special, sources), -1, codes)
        starts, ends, _ = find_special_tokens(codes, self._added_words)
        size = tf.shape(codes)
        first = tf.scatter_nd(starts[:, None], tf.ones_like(starts), size)
        last = tf.scatter_nd((ends - 1)[:, None], tf.ones_like(starts), size)
        inside = (tf.cumsum(first) - tf.cumsum(last, exclusive=True)) > 0
        space = rules.WHITE_SPACE | rules.STARTER
        plain = tf.bitwise.bitwise_and(entries, ~(3 << rules.CODE_BITS))
        entries = tf.where(inside, plain, entries)
        grid = tf.stack([tf.where(first > 0, space, 0), entries, tf.where(last > 0, space, 0)], 1)
        places = tf.where(grid)
        return tf.gather_nd(grid, places), tf.gather(sources, places[:, 0])

    def _spoil_long_words(self, char_codes, lengths, splits):
        first = tf.boolean_mask(splits, lengths > self._max_word_length)
        return tf.tensor_scatter_nd_update(char_codes, first[:, None], tf.fill(tf.shape(first), _NUL))


def _canonical_order(entries, sources):
    """Sorts marks between two starters by their class (The Unicode Standard, section 3.11), keeping equal ones."""
    ranks = tf.bitwise.bitwise_and(tf.bitwise.right_shift(entries, rules.RANK_SHIFT), rules.RANK_MASK)
    group = tf.cumsum(tf.cast(tf.equal(ranks, 1), tf.int64))
    keys = group * (rules.RANK_MASK + 1) + tf.cast(ranks, tf.int64)

    def sort():
        order = tf.argsort(keys, stable=True)
        # The reference gives the i-th code point that began an expansion the i-th place in the text, even if marks
        # have changed their places.
        begins = tf.concat([[True], sources[1:] != sources[:-1]], 0)
        turn = tf.cumsum(tf.cast(tf.gather(begins, order), tf.int32)) - 1
        return tf.gather(entries, order), tf.gather(tf.boolean_mask(sources, begins), turn)

    return tf.cond(tf.reduce_any(keys[1:] < keys[:-1]), sort, lambda: (entries, sources))


def utf8_lengths(codes):
    """Bytes that each code point takes in UTF-8."""
    bounds = np.array([0x80, 0x800, 0x10000], np.int32)
    return tf.searchsorted(bounds, codes, side="right") + 1
