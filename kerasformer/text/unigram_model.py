"""The Unigram model as TensorFlow ops: the most likely pieces of words.

Each piece has a score, and the best pieces of a word are those of the greatest sum (Kudo 2018, arXiv:1804.10959,
section 3.2; Viterbi's algorithm). In words of a graph: every place between two characters is a node, every piece that
is found in the word an edge between two nodes, and the longest path is looked for. All words of a batch are one graph.

    spans     all spans of at most the longest piece's length; a perfect hash table says which are pieces
    best      a node's best sum is the greatest sum of an edge and of the node where it begins; that is computed for all
              nodes at once, again and again until nothing changes: as often as the best path has edges, five or ten
              times, and not as often as a word has characters
    path      back from the ends of words, in steps of 1, 2, 4, ... edges

Sums are in float64, and of equal sums that whose last piece is longest is taken, as the `tokenizers` library does it:
words such as "!!!!!" have many ways of equal sums. SentencePiece adds in float32, which decides some ties otherwise.
"""

import numpy as np
import tensorflow as tf

from kerasformer.errors import InputError
from kerasformer.text.span_table import SpanTable
from kerasformer.text.words import utf8_lengths

_UNKNOWN_PENALTY = 10.0  # an unknown character's score below the lowest of a piece
_BLOCK = 32  # characters of a word that are looked at together


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
        lengths = words.splits[1:] - words.splits[:-1]
        word_of = tf.repeat(tf.range(tf.size(lengths)), lengths)
        first = tf.gather(words.splits, word_of)
        # An added token is of characters that no piece has, which become one token.
        known = tf.gather(words.known, word_of)
        begins, ids = self._best_edges(tf.where(known >= 0, -1, words.codes), first)
        ends = tf.where(_path(begins, first, words.splits))[:, 0]
        ids, begins, known, word_of = (tf.gather(value, ends) for value in (ids, begins, known, word_of))
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
        counts = tf.math.bincount(word_of, minlength=tf.size(lengths), dtype=tf.int32)
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

    def _best_edges(self, codes, first):
        """The last piece of the best pieces up to each character.

        Args:
            codes: int32 `[chars]`. first: int32 `[chars]`, the first character of the word that each is in.

        Returns:
            begins, ids: int32 `[chars]`.
        """
        size = tf.size(codes)
        chars = tf.range(size)
        # Characters of the first block of all words, then those of the second, and so on.
        block = (chars - first) // _BLOCK
        num_blocks = tf.reduce_max(tf.concat([block, [0]], 0)) + 1
        order, rank = tf.cond(num_blocks > 1, lambda: _sorted(block), lambda: (chars, chars))

        # Spans by their ends, longest first.
        counts = tf.minimum(order - tf.gather(first, order) + 1, self._table.max_length)
        ends = tf.repeat(chars, counts)
        turns = tf.range(tf.size(ends)) - tf.gather(tf.cumsum(counts, exclusive=True), ends)
        begins = tf.gather(order - counts + 1, ends) + turns
        last = tf.gather(order, ends)
        ids = self._table(codes, begins, last)
        is_edge = tf.where((ids < self._table.missing) | tf.equal(begins, last))[:, 0]
        ids, begins, ends, last = (tf.gather(value, is_edge) for value in (ids, begins, ends, last))
        scores = tf.gather(self._scores, ids)
        # The rank of the character before an edge; `size` where a word begins.
        before = tf.where(tf.equal(begins, tf.gather(first, last)), size, tf.gather(rank, tf.maximum(begins - 1, 0)))

        node_splits = tf.searchsorted(tf.gather(block, order), tf.range(num_blocks + 1))
        edge_splits = tf.searchsorted(ends, node_splits)

        def relax(number, best):
            node, edge = (splits[number] for splits in (node_splits, edge_splits))
            some = slice(edge, edge_splits[number + 1])
            return number + 1, _relax(best, before[some], scores[some], ends[some], node, node_splits[number + 1])

        best = tf.concat([tf.fill([size], np.float64(-np.inf)), [0.0]], 0)
        _, best = tf.while_loop(lambda number, _: number < num_blocks, relax, (0, best))
        is_best = tf.equal(tf.gather(best, before) + scores, tf.gather(best, ends))
        edges = tf.where(is_best)[:, 0]
        taken = tf.gather(edges, tf.searchsorted(tf.gather(ends, edges), rank))
        return tf.gather(begins, taken), tf.gather(ids, taken)


def _sorted(block):
    order = tf.argsort(block, stable=True)
    return order, tf.math.invert_permutation(order)


def _relax(best, before, scores, ends, node, stop):
    """`best`, float64 `[chars + 1]`, with the values from `node` to `stop`, whose edges are the others."""
    inside = (before >= node) & (before < stop)
    outer = tf.gather(best, before) + scores
    local = tf.where(inside, before - node, 0)
    segments = ends - node

    def step(values, _):
        sums = tf.where(inside, tf.gather(values, local) + scores, outer)
        return tf.math.segment_max(sums, segments), values

    values = best[node:stop]
    values, _ = tf.while_loop(
        lambda new, old: tf.reduce_any(tf.not_equal(new, old)),
        step,
        step(values, None),
        shape_invariants=(tf.TensorShape([None]),) * 2,
    )
    return tf.tensor_scatter_nd_update(best, tf.range(node, stop)[:, None], values)


def _path(begins, first, splits):
    """Where the best pieces of words end, bool `[chars]`."""
    size = tf.size(begins)
    before = tf.concat([tf.where(tf.equal(begins, first), size, begins - 1), [size]], 0)
    is_end = tf.scatter_nd(splits[1:, None] - 1, tf.ones_like(splits[1:], tf.bool), [size + 1])

    def step(is_end, before):
        reached = tf.gather(before, tf.where(is_end)[:, 0])
        is_end = tf.tensor_scatter_nd_update(is_end, reached[:, None], tf.ones_like(reached, tf.bool))
        return is_end, tf.gather(before, before)

    is_end, _ = tf.while_loop(lambda _, before: tf.reduce_any(before < size), step, (is_end, before))
    return is_end[:-1]


def _as_reference_reads(score):
    """A number as the reference reads it, which rounds twice: its digits, then their quotient by a power of ten."""
    digits, _, exponent = repr(float(score)).partition("e")
    whole, _, fraction = digits.partition(".")
    number, exponent = float(int(whole + fraction)), int(exponent or 0) - len(fraction)
    return number * float(10**exponent) if exponent >= 0 else number / float(10**-exponent)
