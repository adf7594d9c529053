"""The Unigram model as TensorFlow ops: the most likely pieces of words.

Each piece has a score, and the best pieces of a word are those of the greatest sum (Kudo 2018, arXiv:1804.10959,
section 3.2). All words of a batch are looked at together:

    parts     A word ends where no piece goes on: no piece holds `y.`, so `▁day.` has two parts. A word whose parts are
              all pieces that are never taken otherwise is ready. That is known since the tokenizer was made.
    spans     Of the other words, all spans of at most the longest piece's length; a hash table says which are pieces.
    path      The best pieces, by `lattice`.

Sums are in float64, and of equal sums that whose last piece is longest is taken, as the `tokenizers` library does it:
words such as "!!!!!" have many ways of equal sums. SentencePiece adds in float32, which decides some ties otherwise.
"""

import numpy as np
import tensorflow as tf

from kerasformer.errors import InputError
from kerasformer.text.lattice import Edges, best_path
from kerasformer.text.span_table import PairTable, SpanTable
from kerasformer.text.words import utf8_lengths

_UNKNOWN_PENALTY = 10.0  # an unknown character's score below the lowest of a piece
_MARGIN = 1e-4  # above what rounding makes of sums


class UnigramModel:
    """Splits words into pieces.

    Args:
        vocab: list of pairs, a piece and its score; the index is the id.
        unk_id: int, what characters become that no piece has; neighbours become one token.
        byte_fallback: bool, they become the tokens `<0x00>` to `<0xFF>` of their bytes.

    Raises:
        InputError: there is no unknown piece, or some tokens of bytes but not all.
    """

    def __init__(self, vocab, unk_id=None, byte_fallback=False):
        pieces = [piece for piece, _ in vocab]
        if isinstance(unk_id, bool) or not isinstance(unk_id, int) or not 0 <= unk_id < len(pieces):
            raise InputError(f"`unk_id` must be the index of a piece. Received: {unk_id!r}.")
        self.ids = {piece: place for place, piece in enumerate(pieces)}
        scores = np.array([_as_reference_reads(score) for _, score in vocab])
        self._unknown = unk_id
        # The last row is that of a single character that is no piece.
        self._scores = np.append(scores, scores.min() - _UNKNOWN_PENALTY)
        self._table = SpanTable({piece: place for piece, place in self.ids.items() if piece}, missing=len(pieces))
        self._joins = PairTable(self._table.codes)
        self._is_sure = _sure_pieces(self._table, self._scores)
        self._bytes = None
        if byte_fallback:
            names = [f"<0x{byte:02X}>" for byte in range(256)]
            missing = [name for name in names if name not in self.ids]
            if 0 < len(missing) < 256:
                raise InputError(
                    "The vocabulary of a tokenizer with `byte_fallback` must hold all 256 bytes. Missing: "
                    f"{len(missing)} of them, first {missing[0]!r}."
                )
            if not missing:
                self._bytes = np.array([self.ids[name] for name in names], np.int32)

    def __call__(self, words):
        """ids, splits and starts of the tokens of Words, see `models`."""
        # An added token is of characters that no piece has, which become one token.
        codes = tf.cond(
            tf.reduce_any(words.known >= 0),
            lambda: tf.where(
                tf.gather(words.known, _rows(words.splits, tf.range(tf.size(words.codes)))) >= 0, -1, words.codes
            ),
            lambda: words.codes,
        )
        begins, ids = self._pieces(codes, words.splits)
        word_of = _rows(words.splits, begins)
        known = tf.gather(words.known, word_of)
        # Unknown characters that are neighbours in a word are one token.
        fuses = tf.equal(ids, self._table.missing) | tf.equal(ids, self._unknown)
        if self._bytes is not None:
            fuses &= known >= 0
        follows = fuses[1:] & fuses[:-1] & tf.equal(word_of[1:], word_of[:-1])
        kept = tf.where(tf.concat([[True], ~follows], 0)[: tf.size(ids)])[:, 0]
        ids, begins, known, word_of = (tf.gather(value, kept) for value in (ids, begins, known, word_of))
        ids = tf.where(known >= 0, known, ids)
        places = tf.cumsum(utf8_lengths(words.codes), exclusive=True)
        starts = tf.gather(places, begins) - tf.gather(places, tf.gather(words.splits, word_of))
        is_missing = tf.equal(ids, self._table.missing) & (known < 0)
        if self._bytes is None:
            ids = tf.where(is_missing, self._unknown, ids)
        else:
            missing = tf.where(is_missing, tf.gather(words.codes, begins), -1)
            ids, word_of, starts = tf.cond(
                tf.reduce_any(is_missing),
                lambda: self._with_bytes(ids, word_of, starts, missing),
                lambda: (ids, word_of, starts),
            )
        counts = tf.math.bincount(word_of, minlength=tf.size(words.known), dtype=tf.int32)
        return ids, tf.concat([[0], tf.cumsum(counts)], 0), starts

    def _with_bytes(self, ids, word_of, starts, missing):
        """ids, words and starts, with the bytes of code points, `missing`, int32 `[tokens]`, -1 for none."""
        chars = tf.boolean_mask(missing, missing >= 0)
        text = tf.strings.reduce_join(tf.strings.unicode_encode(chars[:, None], "UTF-8"))
        values = tf.gather(self._bytes, tf.cast(tf.io.decode_raw(text, tf.uint8), tf.int32))
        counts = tf.where(missing >= 0, utf8_lengths(missing), 1)
        token_of = tf.repeat(tf.range(tf.size(ids)), counts)
        turns = tf.range(tf.size(token_of)) - tf.gather(tf.cumsum(counts, exclusive=True), token_of)
        ids = tf.tensor_scatter_nd_update(tf.gather(ids, token_of), tf.where(tf.gather(missing, token_of) >= 0), values)
        return ids, tf.gather(word_of, token_of), tf.gather(starts, token_of) + turns

    def _pieces(self, codes, splits):
        """The best pieces of words: where they begin, int `[pieces]`, and their ids, int32 `[pieces]`."""
        size, num_words = tf.size(codes), tf.size(splits) - 1
        # Segment sums take less time than scattering.
        is_first = tf.math.unsorted_segment_sum(tf.ones([num_words], tf.int32), splits[:-1], size) > 0
        # Parts end where no piece goes on. One that is a sure piece, or a character, is never taken otherwise.
        begins = is_first | ~self._joins(tf.concat([[-1], codes[:-1]], 0)[:size], codes)
        firsts = tf.where(begins)[:, 0]
        lasts = tf.concat([firsts[1:] - 1, [tf.cast(size, tf.int64) - 1]], 0)[: tf.size(firsts)]
        read = self._table.reader(codes)
        ids = read(firsts, lasts)
        is_open = (lasts > firsts) & ~tf.gather(self._is_sure, ids)
        word_of = _rows(splits, firsts)
        open_words = tf.math.unsorted_segment_max(tf.cast(is_open, tf.int32), word_of, num_words) > 0

        def with_paths():
            rest = tf.gather(open_words, word_of)
            part_of = tf.cumsum(tf.cast(begins, tf.int32)) - 1
            chars = tf.where(tf.gather(rest, part_of))[:, 0]
            left = tf.gather(lasts, tf.gather(part_of, chars)) - chars + 1
            longest = tf.reduce_max(tf.where(open_words, splits[1:] - splits[:-1], 0))
            firsts_of_rest, ids_of_rest = self._path(read, chars, left, tf.gather(is_first, chars), longest)
            kept = tf.where(~rest)[:, 0]
            places = tf.concat([tf.gather(firsts, kept), firsts_of_rest], 0)
            values = tf.concat([tf.gather(ids, kept), ids_of_rest], 0)
            marks = tf.math.unsorted_segment_sum(values + 1, places, size)
            places = tf.where(marks)[:, 0]
            return places, tf.gather(marks, places) - 1

        return tf.cond(tf.reduce_any(is_open), with_paths, lambda: (firsts, ids))

    def _path(self, read, chars, left, is_first, longest):
        """Where the best pieces begin, int64 `[pieces]`, and their ids.

        Args:
            read: reader of the table.
            chars: int64 `[chars]`, the characters of words, all words whole.
            left: int64 `[chars]`, how many characters, itself included, a piece may have that begins there.
            is_first: bool `[chars]`, where words begin.
            longest: int, characters of the longest word.
        """
        size = tf.cast(tf.size(chars), tf.int64)
        spans = tf.where(tf.range(self._table.max_length, dtype=tf.int64) < left[:, None])
        nodes, more = spans[:, 0], spans[:, 1]
        begins = tf.gather(chars, nodes)
        ids = read(begins, begins + more)
        is_edge = tf.where((ids < self._table.missing) | tf.equal(more, 0))[:, 0]
        nodes, more, ids = (tf.gather(value, is_edge) for value in (nodes, more, ids))
        before = tf.gather(tf.where(is_first, size, tf.range(size) - 1), nodes)
        taken = best_path(Edges(before, nodes + more, tf.gather(self._scores, ids)), is_first, longest)
        return tf.gather(chars, tf.gather(nodes, taken)), tf.gather(ids, taken)


def _rows(splits, places):
    """The word of each place, int32."""
    return tf.searchsorted(splits, tf.cast(places, splits.dtype), side="right") - 1


def _sure_pieces(table, scores):
    """Pieces that are never taken otherwise, whatever is before them, bool `[pieces + 1]`.

    What is before them changes how sums are rounded, so the margin is greater than that.
    """
    order = np.argsort(-table.lengths, kind="stable")
    sums, lengths = table.prefix_sums()[order], table.lengths[order]
    best = np.zeros(sums.shape)
    is_sure = np.zeros(len(scores), bool)
    for end in range(1, table.max_length + 1):
        count = np.count_nonzero(lengths >= end)
        whole = np.count_nonzero(lengths > end)  # pieces that end there come after these
        best[:count, end] = -np.inf
        for begin in range(1, end):
            ids = table.numpy_ids(sums[:count], begin, end)
            values = np.where((ids < table.missing) | (end - begin == 1), scores[ids], -np.inf)
            np.maximum(best[:count, end], best[:count, begin] + values, out=best[:count, end])
        ids = table.numpy_ids(sums[:count], 0, end)
        own = ids[whole:]
        is_sure[own] = scores[own] > best[whole:count, end] + _MARGIN
        values = np.where((ids < table.missing) | (end == 1), scores[ids], -np.inf)
        np.maximum(best[:count, end], values, out=best[:count, end])
    return is_sure


def _as_reference_reads(score):
    """A number as the reference reads it, which rounds twice: its digits, then their quotient by a power of ten."""
    digits, _, exponent = repr(float(score)).partition("e")
    whole, _, fraction = digits.partition(".")
    number, exponent = float(int(whole + fraction)), int(exponent or 0) - len(fraction)
    return number * float(10**exponent) if exponent >= 0 else number / float(10**-exponent)
