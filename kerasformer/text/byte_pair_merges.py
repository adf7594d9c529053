"""Byte-pair encoding as TensorFlow ops: the merges of many words at once.

Sennrich et al. 2016, "Neural Machine Translation of Rare Words with Subword Units", section 3.2: while a word holds
two neighbours that the list of merges knows, the pair that was learned first becomes one symbol. All words of a batch
are one array of symbols. A step of the loop looks up every pair of neighbours, takes in each word the pair of lowest
rank, merges it wherever it is in that word, and closes the gaps. There are as many steps as the word with the most
merges needs.
"""

import numpy as np
import tensorflow as tf

_NO_MERGE = np.int64(2**62)
_ID_BITS = 31


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
        ranks = np.arange(len(pairs), dtype=np.int64)
        keys = pairs[:, 0] * num_symbols + pairs[:, 1]
        order = np.lexsort((-ranks, keys))
        order = order[np.diff(keys[order], prepend=-1) != 0]
        self._num_symbols = num_symbols
        self._keys = np.append(keys[order], np.iinfo(np.int64).max)  # the end is never equal to a pair
        self._values = np.append(ranks[order] << _ID_BITS | merged[order], _NO_MERGE)
        self.is_ordered = _is_ordered(pairs[np.sort(order)], merged[np.sort(order)], num_symbols)

    def __call__(self, ids, words):
        """Merges symbols.

        Args:
            ids: int32 `[symbols]`.
            words: int32 `[symbols]`, the word of each symbol, from 0 on without gaps, in order.

        Returns:
            ids, words, firsts: int32 `[merged symbols]`; `firsts` is the place of a symbol's first part in the
            arguments.
        """
        firsts = tf.range(tf.size(ids))
        return tf.while_loop(
            lambda _ids, _words, _firsts, values: tf.reduce_any(values < _NO_MERGE),
            self._step,
            (ids, words, firsts, self._look_up(ids, words)),
            shape_invariants=(tf.TensorShape([None]),) * 4,
        )[:3]

    def _look_up(self, ids, words):
        """int64 `[symbols]`: rank and id of what each symbol and the next one become."""
        left = tf.cast(ids, tf.int64) * self._num_symbols
        keys = left + tf.cast(tf.concat([ids[1:], [0]], 0), tf.int64)
        places = tf.searchsorted(self._keys, keys)
        is_pair = tf.equal(words, tf.concat([words[1:], [-1]], 0)) & tf.equal(tf.gather(self._keys, places), keys)
        return tf.where(is_pair, tf.gather(self._values, places), _NO_MERGE)

    def _step(self, ids, words, firsts, values):
        best = tf.gather(tf.math.segment_min(values, words), words)
        merges = tf.equal(values, best) & (values < _NO_MERGE)
        follows = merges & tf.concat([[False], merges[:-1]], 0)
        if self.is_ordered:
            # Of `a a a` the first two are merged.
            merges = tf.cond(tf.reduce_any(follows), lambda: _every_other(merges), lambda: merges)
        else:
            # A new pair may have a lower rank than its parts had, so merges are made one by one.
            places = tf.range(tf.size(ids))
            first = tf.math.segment_min(tf.where(merges, places, tf.size(ids)), words)
            merges = tf.equal(places, tf.gather(first, words))
        ids = tf.where(merges, tf.cast(tf.bitwise.bitwise_and(values, 2**_ID_BITS - 1), tf.int32), ids)
        kept = tf.where(tf.concat([[True], ~merges[:-1]], 0))[:, 0]
        ids, words, firsts = (tf.gather(value, kept) for value in (ids, words, firsts))
        return ids, words, firsts, self._look_up(ids, words)


def _every_other(flags):
    """The first, third, … of each run of true values."""
    begins = flags & tf.concat([[True], ~flags[:-1]], 0)
    run = tf.cumsum(tf.cast(begins, tf.int32))
    first = tf.gather(tf.concat([[0], tf.cast(tf.where(begins)[:, 0], tf.int32)], 0), run)
    return flags & tf.equal((tf.range(tf.size(flags)) - first) % 2, 0)


def _is_ordered(pairs, merged, num_symbols):
    """Whether every merge comes after the merges that make its parts."""
    made = np.full(num_symbols, -1, np.int64)
    made[merged[::-1]] = np.arange(len(merged))[::-1]  # the first merge that makes a symbol
    return bool(np.all(made[pairs].max(axis=1, initial=-1) < np.arange(len(pairs))))
