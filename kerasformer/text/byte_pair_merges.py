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
"""

import numpy as np
import tensorflow as tf

NEVER = np.int64(2**62)  # no merge joins these two
_LATER = np.int64(2**61)  # only a merge of what they become part of
_ID_BITS = 31
_ONE_BY_ONE = np.int64(1)  # the lowest bit of a value, below its id


class BytePairMerges:
    """A list of merges.

    Args:
        pairs: int `[merges, 2]`, ids of the left and right symbol, the merge that is learned first at the front. A pair
            that is listed twice has its last rank, as in the reference.
        merged: int `[merges]`, ids of the symbols that the pairs become.
        num_symbols: int, number of ids.
    """

    def __init__(self, pairs, merged, num_symbols):
        pairs = np.asarray(pairs, np.int64).reshape(-1, 2)
        merged = np.asarray(merged, np.int64)
        keys = pairs[:, 0] * num_symbols + pairs[:, 1]
        ranks = np.arange(len(keys))
        order = np.lexsort((-ranks, keys))
        order = order[np.diff(keys[order], prepend=-1) != 0]
        pairs, merged, keys, ranks = (value[order] for value in (pairs, merged, keys, ranks))
        one_by_one = _is_one_by_one(pairs, merged, ranks, num_symbols)
        self._has_one_by_one = bool(one_by_one.any())
        values = (ranks << _ID_BITS | merged) << 1 | one_by_one
        joinable = _joinable(pairs, merged, num_symbols)
        self._num_symbols = num_symbols
        self._keys = np.append(joinable, np.iinfo(np.int64).max)  # the end is never equal to a pair
        self._values = np.full(len(self._keys), _LATER)
        self._values[-1] = NEVER
        self._values[np.searchsorted(joinable, keys)] = values

    def __call__(self, ids, words, values=None):
        """Merges symbols.

        Args:
            ids: int32 `[symbols]`.
            words: int32 `[symbols]`, the word of each symbol, from 0 on without gaps, in order.
            values: int64 `[symbols]`, what `values` gives, if that is known.

        Returns:
            ids, words, firsts: int32 `[merged symbols]`; `firsts` is the place of a symbol's first part in the
            arguments.
        """
        firsts, table = tf.range(tf.size(ids)), self._table()
        values = self._look_up(ids, words, table) if values is None else values
        return tf.while_loop(
            lambda _ids, _words, _firsts, values: tf.reduce_any(values < _LATER),
            lambda *symbols: self._step(*symbols, table),
            (ids, words, firsts, values),
            shape_invariants=(tf.TensorShape([None]),) * 4,
        )[:3]

    def values(self, ids, words):
        """int64 `[symbols]`: rank and id of what each symbol and the next one become, NEVER where no merge joins them
        or what they become part of."""
        return self._look_up(ids, words, self._table())

    def _table(self):
        """Keys and values, once in a graph: an operation would hold a copy of each array that it is given."""
        return tf.constant(self._keys), tf.constant(self._values)

    def _look_up(self, ids, words, table, chosen=None):
        """The values of all symbols, or of those that are `chosen`, int64."""
        known, values = table
        following, next_words = tf.concat([ids[1:], [0]], 0), tf.concat([words[1:], [-1]], 0)
        if chosen is not None:
            ids, words, following, next_words = (
                tf.gather(value, chosen) for value in (ids, words, following, next_words)
            )
        keys = tf.cast(ids, tf.int64) * self._num_symbols + tf.cast(following, tf.int64)
        places = tf.searchsorted(known, keys)
        is_pair = tf.equal(words, next_words) & tf.equal(tf.gather(known, places), keys)
        return tf.where(is_pair, tf.gather(values, places), NEVER)

    def _step(self, ids, words, firsts, values, table):
        parts = tf.cumsum(tf.cast(tf.equal(values, NEVER), tf.int32), exclusive=True)
        best = tf.gather(tf.math.segment_min(values, parts), parts)
        merges = tf.equal(values, best) & (values < _LATER)
        before = tf.concat([[False], merges[:-1]], 0)
        # Of `a a a` the first two are merged.
        merges = tf.cond(tf.reduce_any(merges & before), lambda: _every_other(merges), lambda: merges)
        if self._has_one_by_one:
            is_lone = merges & tf.equal(tf.bitwise.bitwise_and(values, _ONE_BY_ONE), 1)
            merges = tf.cond(
                tf.reduce_any(is_lone), lambda: merges & (~is_lone | _first(is_lone, parts)), lambda: merges
            )
        new = tf.cast(tf.bitwise.bitwise_and(tf.bitwise.right_shift(values, 1), 2**_ID_BITS - 1), tf.int32)
        ids = tf.where(merges, new, ids)
        kept = tf.where(tf.concat([[True], ~merges[:-1]], 0))[:, 0]
        ids, words, firsts, values, merges = (tf.gather(value, kept) for value in (ids, words, firsts, values, merges))
        # Only new symbols have other values, and those before them.
        changed = tf.where(merges | tf.concat([merges[1:], [False]], 0))
        new = self._look_up(ids, words, table, changed[:, 0])
        return ids, words, firsts, tf.tensor_scatter_nd_update(values, changed, new)


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
