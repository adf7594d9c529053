"""Byte-pair encoding as TensorFlow ops: the merges of many words at once.

Sennrich et al. 2016, "Neural Machine Translation of Rare Words with Subword Units", section 3.2: while a word holds
two neighbours that the list of merges knows, the pair that was learned first becomes one symbol. All words of a batch
are one array of symbols. Every pair of neighbours is looked up: what it becomes, and whether any merge can ever join
the two. Then a step of the loop

    divides      words where none can: what is on the left changes nothing on the right, so both go on at once
    merges       the pair of lowest rank in each part, and closes the gaps
    looks up     the pairs of new symbols

A pair can be joined if a merge is of a symbol that ends in the left one and a symbol that begins with the right one.
Few can: after the first steps parts are a few symbols long, so that a text of thousands of characters without a space
takes about ten steps, and not as many as it has merges.

The value of a symbol is twice the rank of the merge with the next one, 1 more where its pairs are merged one by one;
LATER where only what the two become part of is merged, and NEVER where that cannot be, or a word ends.
"""

import numpy as np
import tensorflow as tf

from kerasformer.errors import InputError
from kerasformer.text.key_table import KeyTable

_VALUE_BITS, _ID_BITS = 22, 20  # a pair and its value are one number
_LATER, NEVER = np.int32(2**_VALUE_BITS - 2), np.int32(2**_VALUE_BITS - 1)


class BytePairMerges:
    """A list of merges.

    Args:
        pairs: int `[merges, 2]`, ids of the left and right symbol, the merge that is learned first at the front. A pair
            that is listed twice has its last rank, as in the reference.
        merged: int `[merges]`, ids of the symbols that the pairs become.
        num_symbols: int, number of ids.

    Raises:
        InputError: more than 1,048,576 ids or 2,097,151 merges.
    """

    def __init__(self, pairs, merged, num_symbols):
        if num_symbols > 1 << _ID_BITS or len(pairs) > _LATER // 2:
            raise InputError(
                f"Byte-pair encoding must have at most {1 << _ID_BITS:,} ids and {_LATER // 2:,} merges. Received: "
                f"{num_symbols:,} and {len(pairs):,}."
            )
        pairs = np.asarray(pairs, np.int64).reshape(-1, 2)
        merged = np.asarray(merged, np.int64)
        keys = pairs[:, 0] * num_symbols + pairs[:, 1]
        ranks = np.arange(len(keys))
        order = np.lexsort((-ranks, keys))
        order = order[np.diff(keys[order], prepend=-1) != 0]
        pairs, merged, keys, ranks = (value[order] for value in (pairs, merged, keys, ranks))
        one_by_one = _is_one_by_one(pairs, merged, ranks, num_symbols)
        self._has_one_by_one = bool(one_by_one.any())
        self._merged = np.zeros(ranks.max(initial=0) + 1, np.int32)
        self._merged[ranks] = merged
        joinable = _joinable(pairs, merged, num_symbols)
        values = np.full(len(joinable), _LATER)
        values[np.searchsorted(joinable, keys)] = ranks << 1 | one_by_one
        self._num_symbols = num_symbols
        # What is kept at a pair's place is the pair and its value.
        self._places = KeyTable(joinable)
        self._entries = np.full(self._places.size, -1)
        self._entries[self._places.places] = joinable << _VALUE_BITS | values

    def __call__(self, ids, words, values=None):
        """Merges symbols.

        Args:
            ids: int32 `[symbols]`.
            words: int32 `[symbols]`, the word of each symbol, from 0 on without gaps, in order.
            values: int32 `[symbols]`, what `values` gives, if that is known.

        Returns:
            ids, words, firsts: int32 `[merged symbols]`; `firsts` is the place of a symbol's first part in the
            arguments.
        """
        look_up, merged = self._reader(), tf.constant(self._merged)
        values = self.values(ids, words, look_up) if values is None else values
        ids, firsts, _ = tf.while_loop(
            lambda _ids, _firsts, values: tf.reduce_any(values < _LATER),
            lambda *symbols: self._step(*symbols, look_up, merged),
            (ids, tf.range(tf.size(ids)), values),
            shape_invariants=(tf.TensorShape([None]),) * 3,
        )
        return ids, tf.gather(words, firsts), firsts

    def values(self, ids, words, look_up=None):
        """int32 `[symbols]`: the value of each symbol, NEVER where no merge joins it and the next one."""
        found = (look_up or self._reader())(ids[:-1], ids[1:])
        found = tf.where(tf.equal(words[:-1], words[1:]), found, NEVER)
        return tf.concat([found, [NEVER]], 0)[: tf.size(ids)]

    def _reader(self):
        """A function from the ids of left and right symbols to values."""
        find, entries = self._places.reader(), tf.constant(self._entries)  # once in a graph

        def look_up(left, right):
            keys = tf.cast(left, tf.int64) * self._num_symbols + tf.cast(right, tf.int64)
            found = tf.gather(entries, find(keys))
            values = tf.cast(tf.bitwise.bitwise_and(found, 2**_VALUE_BITS - 1), tf.int32)
            return tf.where(tf.equal(tf.bitwise.right_shift(found, _VALUE_BITS), keys), values, NEVER)

        return look_up

    def _step(self, ids, firsts, values, look_up, merged):
        parts = tf.cumsum(tf.cast(tf.equal(values, NEVER), tf.int32), exclusive=True)
        best = tf.gather(tf.math.segment_min(values, parts), parts)
        merges = tf.equal(values, best) & (values < _LATER)
        before = tf.concat([[False], merges[:-1]], 0)
        # Of `a a a` the first two are merged.
        merges = tf.cond(tf.reduce_any(merges & before), lambda: _every_other(merges), lambda: merges)
        if self._has_one_by_one:
            is_lone = merges & tf.equal(tf.bitwise.bitwise_and(values, 1), 1)
            merges = tf.cond(
                tf.reduce_any(is_lone), lambda: merges & (~is_lone | _first(is_lone, parts)), lambda: merges
            )
        ranks = tf.bitwise.right_shift(tf.where(merges, values, 0), 1)
        ids = tf.where(merges, tf.gather(merged, ranks), ids)
        # What is merged ends where its right part did.
        values = tf.where(merges, tf.concat([values[1:], [NEVER]], 0), values)
        kept = tf.where(tf.concat([[True], ~merges[:-1]], 0))[:, 0]
        ids, firsts, values, merges = (tf.gather(value, kept) for value in (ids, firsts, values, merges))
        # Only new symbols have other values, and those before them.
        changed = tf.where((merges | tf.concat([merges[1:], [False]], 0)) & (values < NEVER))
        places = changed[:, 0]
        new = look_up(tf.gather(ids, places), tf.gather(ids, places + 1))
        return ids, firsts, tf.tensor_scatter_nd_update(values, changed, new)


def _every_other(flags):
    """The first, third, … of each run of true values."""
    begins = flags & tf.concat([[True], ~flags[:-1]], 0)
    run = tf.cumsum(tf.cast(begins, tf.int32))
    first = tf.gather(tf.concat([[0], tf.cast(tf.where(begins)[:, 0], tf.int32)], 0), run)
    return flags & tf.equal((tf.range(tf.size(flags)) - first) % 2, 0)


def _first(flags, parts):
    """The first of the true values in each part."""
    places = tf.range(tf.size(flags))
    first = tf.math.segment_min(tf.where(flags, places, tf.size(flags)), parts)
    return tf.equal(places, tf.gather(first, parts))


def _is_one_by_one(pairs, merged, ranks, num_symbols):
    """Merges whose result has a merge of a lower rank: that one comes before the pair's next occurrence."""
    lowest = np.full(num_symbols, len(ranks) and ranks.max() + 1)
    np.minimum.at(lowest, pairs, ranks[:, None])
    return lowest[merged] < ranks


def _joinable(pairs, merged, num_symbols):
    """Pairs that a merge may join once they have grown: `left * num_symbols + right`, sorted, int64."""
    left, right = pairs.T
    tails, tailed = _parts(right, merged, left)
    heads, headed = _parts(left, merged, right)
    # Left symbols with all their tails, then right symbols with all their heads.
    order = np.argsort(tailed, kind="stable")
    tails, merges = _join(left, tailed[order], tails[order])
    order = np.argsort(headed, kind="stable")
    heads, rows = _join(right[merges], headed[order], heads[order])
    return _unique(tails[rows] * num_symbols + heads)


def _parts(parts, wholes, symbols):
    """What symbols end in, or begin with, and what these end in: arrays of parts and of their wholes.

    Args:
        parts, wholes: int `[merges]`, the last (or first) part of what each merge gives, and that.
        symbols: int, the symbols that count.
    """
    order = np.argsort(parts, kind="stable")
    parts, wholes = parts[order], wholes[order]
    base = int(max(parts.max(initial=0), wholes.max(initial=0), symbols.max(initial=0))) + 1
    found = new = _unique(np.concatenate([symbols, parts, wholes])) * (base + 1)  # each is a part of itself
    while len(new):
        grown, rows = _join(new % base, parts, wholes)
        new = _unique(new[rows] // base * base + grown)
        new = new[np.append(found, -1)[np.searchsorted(found, new)] != new]
        found = np.sort(np.concatenate([found, new]))
    return found // base, found % base


def _join(values, keys, others):
    """`others` of all sorted `keys` that are equal to each of `values`, and the row in `values` of each."""
    begins, ends = np.searchsorted(keys, values), np.searchsorted(keys, values, side="right")
    counts = ends - begins
    rows = np.repeat(np.arange(len(values)), counts)
    turns = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    return others[begins[rows] + turns], rows


def _unique(values):
    """The sorted unique values; that of NumPy takes minutes for numbers that its hash function spreads badly."""
    values = np.sort(values)
    return values[np.diff(values, prepend=-1) != 0]
