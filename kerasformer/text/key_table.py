"""Where numbers are in a table: a perfect hash function, looked up in the graph."""

import numpy as np
import tensorflow as tf

_FACTOR = np.array([0x9E3779B97F4A7C15], np.uint64).view(np.int64)[0]
_STEP = np.array([0xC2B2AE3D27D4EB4F], np.uint64).view(np.int64)[0]
_BUCKET_BITS = 2  # a quarter as many buckets as places
_TRIES = np.iinfo(np.uint16).max


class KeyTable:
    """A place for each of a set of int64 keys, no two of them in one.

    Keys fall into buckets, and each bucket has a small factor, found by trying, that spreads its keys over places that
    no other key has (Belazzougui et al. 2009, "Hash, displace, and compress"). Any other key has a place as well: what
    is kept there must tell. In a large table most of a look-up's time is that of memory, so factors take 16 bits.

    Args:
        keys: int64 `[keys]`, no two are equal.

    Attributes:
        size: int, number of places; a power of two, less than 2.1 times the keys unless these are few.
        places: int64 `[keys]`.
    """

    def __init__(self, keys):
        bits, factors = max(len(keys) + len(keys) // 32, 1).bit_length(), None
        while factors is None:
            self._bits, self._bucket_bits = bits, max(bits - _BUCKET_BITS, 1)
            factors = _factors(keys, _high_bits(keys * _FACTOR, self._bucket_bits, np), bits)
            bits += 1
        self.size = 1 << self._bits
        self._factors = np.ones(1 << self._bucket_bits, np.uint16)
        self._factors[: len(factors)] = factors
        self.places = self.numpy_places(keys)

    def numpy_places(self, keys):
        """int64 places of int64 keys, by NumPy."""
        factors = self._factors[_high_bits(keys * _FACTOR, self._bucket_bits, np)].astype(np.int64)
        return _high_bits(keys * _STEP * factors, self._bits, np)

    def reader(self):
        """A function in the graph from int64 keys to their places, int64."""
        factors = tf.constant(self._factors)  # once in a graph

        def find(keys):
            found = tf.gather(factors, _high_bits(keys * _FACTOR, self._bucket_bits, tf))
            return _high_bits(keys * _STEP * tf.cast(found, tf.int64), self._bits, tf)

        return find


def _high_bits(numbers, count, library):
    """The `count` highest bits of int64 numbers."""
    if library is np:
        return (numbers.view(np.uint64) >> np.uint64(64 - count)).view(np.int64)
    numbers = tf.bitwise.right_shift(tf.bitcast(numbers, tf.uint64), np.uint64(64 - count))
    return tf.bitcast(numbers, tf.int64)


def _factors(keys, buckets, bits):
    """int64 factors of the buckets up to the last that has keys; None if no factor is found for one of them."""
    order, counts = np.argsort(buckets, kind="stable"), np.bincount(buckets)
    begins = np.cumsum(counts) - counts
    factors, owners = np.ones(len(counts), np.uint16), np.full(1 << bits, -1)
    is_free = np.ones(1 << bits, bool)
    for count in range(counts.max(initial=0), 0, -1):  # the full ones while most places are free
        rest = np.flatnonzero(counts == count)
        for factor in range(1, _TRIES + 1):
            if not len(rest):
                break
            members = order[begins[rest][:, None] + np.arange(count)]
            places = _high_bits(keys[members] * _STEP * factor, bits, np)
            owners[places] = members  # of several, the last one has the place
            fits = (is_free[places] & (owners[places] == members)).all(1)
            is_free[places[fits]] = False
            factors[rest[fits]] = factor
            rest = rest[~fits]
        if len(rest):
            return None
    return factors
