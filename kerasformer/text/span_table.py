"""Which spans of a text are in a vocabulary: one look-up for all spans of a batch."""

import numpy as np
import tensorflow as tf

from kerasformer.text.key_table import KeyTable

_BASE = 0x5851F42D4C957F2D  # odd, and so it has an inverse modulo 2 ** 64
_INVERSE = pow(_BASE, -1, 2**64) - 2**64  # as a signed number
_FACTOR = np.array([0x9E3779B97F4A7C15], np.uint64).view(np.int64)[0]
_POSITIVE = np.int64(2**63 - 1)
_ROW = 256
_LEFT, _RIGHT = np.array([0x9E3779B1, 0x85EBCA6B], np.uint32).view(np.int32)


class SpanTable:
    """The ids of spans of code points.

    A span's key is a polynomial of its code points, modulo 2 ** 64, so that prefix sums give the keys of all spans.
    The place of a key holds the key and the id in one number: their exclusive or. A span that is not in the vocabulary
    is found for one that is once in 2 ** 63 / (size of the vocabulary) spans: never.

    Args:
        ids: dict from str, not empty, to int, 0 or more and below `missing`.
        missing: int, the id of other spans, and of all with a code point of -1.

    Attributes:
        max_length: int, code points of the longest span.
    """

    def __init__(self, ids, missing):
        self.missing = missing
        self.codes, self.lengths = code_grid(ids)
        self.max_length = self.codes.shape[1]
        self._powers = np.cumprod(np.append(1, np.full(self.max_length, _BASE)))
        self._inverses = np.cumprod(np.append(1, np.full(self.max_length, _INVERSE)))
        sums = self.prefix_sums()
        keys = sums[np.arange(len(sums)), self.lengths]
        self._places = KeyTable(keys)
        self._values = np.full(self._places.size, -1, np.int64)
        self._values[self._places.places] = keys ^ np.fromiter(ids.values(), np.int64)

    def prefix_sums(self):
        """int64 `[spans, max_length + 1]`: what `numpy_ids` looks spans of the vocabulary up by."""
        terms = np.where(self.codes < 0, 0, _numbers(self.codes.astype(np.int64))) * self._powers[:-1]
        return np.pad(np.cumsum(terms, 1), [[0, 0], [1, 0]])

    def numpy_ids(self, sums, begin, end):
        """int64 `[rows]`, ids of the spans from `begin` to `end` of rows of `prefix_sums()`, by NumPy."""
        keys = (sums[:, end] - sums[:, begin]) * self._inverses[begin]
        return np.minimum((self._values[self._places.numpy_places(keys)] ^ keys) & _POSITIVE, self.missing)

    def reader(self, codes):
        """A function for the spans of `codes`, int32 `[chars]`, in the graph.

        It takes int32 or int64 `[spans]`, where spans begin and their last code points, and returns their ids, int32.
        """
        sums = tf.cumsum(_numbers(tf.cast(codes, tf.int64)) * _powers(_BASE, tf.size(codes)))
        inverse = _powers(_INVERSE, tf.size(codes))
        before = tf.concat([[0], sums], 0)
        find, values = self._places.reader(), tf.constant(self._values)  # once in a graph

        def read(begins, last):
            keys = (tf.gather(sums, last) - tf.gather(before, begins)) * tf.gather(inverse, begins)
            found = tf.bitwise.bitwise_and(tf.bitwise.bitwise_xor(tf.gather(values, find(keys)), keys), _POSITIVE)
            return tf.cast(tf.minimum(found, self.missing), tf.int32)

        return read


def _powers(base, size):
    """The first powers of a number modulo 2 ** 64, int64 `[size]`; rows of them are made at once."""
    row = np.cumprod(np.append(1, np.full(_ROW, base)))
    heads = tf.math.cumprod(tf.fill([size // _ROW + 1], row[-1]), exclusive=True)
    return tf.reshape(heads[:, None] * row[:-1], [-1])[:size]


def _numbers(codes):
    """What stands for code points, int64, in keys: the keys of single ones are far from each other, too."""
    return (codes + 1) * _FACTOR


class PairTable:
    """Which pairs of neighbours are inside of spans.

    Args:
        codes: int32 `[spans, max_length]`, -1 behind the end of a span.
    """

    def __init__(self, codes):
        left, right = codes[:, :-1], codes[:, 1:]
        pairs = np.unique((left.astype(np.int64) << 32 | right)[right >= 0])
        self._bits = max(int(8 * len(pairs)).bit_length(), 1)
        self._flags = np.zeros(1 << self._bits, bool)
        left, right = (half.astype(np.int32) for half in (pairs >> 32, pairs & 0xFFFFFFFF))
        self._flags[(left * _LEFT + right * _RIGHT) >> (32 - self._bits) & ((1 << self._bits) - 1)] = True

    def __call__(self, left, right):
        """Whether pairs of code points, int32 `[pairs]`, may be inside of a span, bool `[pairs]`; a few are not."""
        number = tf.bitwise.right_shift(left * _LEFT + right * _RIGHT, 32 - self._bits)
        return tf.gather(self._flags, tf.bitwise.bitwise_and(number, (1 << self._bits) - 1))


def code_grid(texts):
    """Code points of texts, int32 `[texts, longest]`, -1 behind the end, and their lengths, int64 `[texts]`."""
    lengths = np.array([len(text) for text in texts], np.int64)
    grid = np.full((len(lengths), int(lengths.max(initial=1))), -1, np.int32)
    flat = np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), np.int32)
    grid[np.arange(grid.shape[1]) < lengths[:, None]] = flat
    return grid, lengths
