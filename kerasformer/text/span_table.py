"""Which spans of a text are in a vocabulary: one look-up for all spans of a batch."""

import numpy as np
import tensorflow as tf

_BASE = 0x5851F42D4C957F2D  # odd, and so it has an inverse modulo 2 ** 64
_INVERSE = pow(_BASE, -1, 2**64) - 2**64  # as a signed number
_MIXERS = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F], np.uint64).view(np.int64)


class SpanTable:
    """The ids of spans of code points.

    A span's key is a polynomial of its code points, modulo 2 ** 64, so that prefix sums give the keys of all spans.
    Each key is in one of two places (cuckoo hashing, Pagh and Rodler 2001). A span that is not in the vocabulary has
    the key of one that is once in 2 ** 64 / (size of the vocabulary) spans: never.

    Args:
        ids: dict from str, not empty, to int.
        missing: int, the id of other spans, and of all with a code point of -1.

    Attributes:
        max_length: int, code points of the longest span.
    """

    def __init__(self, ids, missing):
        self.missing = missing
        lengths = np.array([len(text) for text in ids], np.int64)
        self.max_length = int(lengths.max(initial=1))
        codes = np.frombuffer("".join(ids).encode("utf-32-le", "surrogatepass"), np.int32).astype(np.int64)
        ends = np.cumsum(lengths)
        turns = np.arange(len(codes)) - np.repeat(ends - lengths, lengths)
        powers = np.cumprod(np.append(1, np.full(self.max_length, _BASE)))
        sums = np.append(0, np.cumsum((codes + 1) * powers[turns]))
        keys = sums[ends] - sums[ends - lengths]
        self._size, places = int(2.5 * len(keys)), None
        while places is None:
            self._size += 8
            places = _settle(*(_places(keys, mixer, self._size).numpy() for mixer in _MIXERS))
        self._keys = np.zeros(self._size, np.int64)
        self._ids = np.full(self._size, missing, np.int32)
        self._keys[places], self._ids[places] = keys, list(ids.values())

    def __call__(self, codes, begins, last):
        """int32 `[spans]`, ids of the spans of `codes` from `begins` to `last`, both inside, all int32."""
        ones = tf.ones_like(codes, tf.int64)
        sums = tf.cumsum((tf.cast(codes, tf.int64) + 1) * tf.math.cumprod(ones * _BASE, exclusive=True))
        inverse = tf.math.cumprod(ones * _INVERSE, exclusive=True)
        before = tf.concat([[0], sums], 0)
        keys = (tf.gather(sums, last) - tf.gather(before, begins)) * tf.gather(inverse, begins)
        one, other = (_places(keys, mixer, self._size) for mixer in _MIXERS)
        place = tf.where(tf.equal(tf.gather(self._keys, one), keys), one, other)
        return tf.where(tf.equal(tf.gather(self._keys, place), keys), tf.gather(self._ids, place), self.missing)


def _places(keys, mixer, size):
    """int64 `[keys]` from 0 to `size`."""
    high = tf.bitwise.bitwise_and(tf.bitwise.right_shift(keys * mixer, 33), 2**31 - 1)
    return tf.bitwise.right_shift(high * size, 31)


def _settle(one, other):
    """Which of its two places each key gets, so that no two have the same; None where that goes on too long."""
    chosen = one.copy()
    owner = np.full(max(one.max(initial=0), other.max(initial=0)) + 1, -1)
    moved = np.arange(len(one))
    for _ in range(200):
        if not len(moved):
            return chosen
        places = chosen[moved]
        before = owner[places]
        owner[places] = moved
        # Who comes last has the place. Who had it, and who came before, try their other one.
        won = owner[places] == moved
        moved = np.concatenate([moved[~won], before[won & (before >= 0)]])
        chosen[moved] = one[moved] + other[moved] - chosen[moved]
    return None
