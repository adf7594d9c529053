"""Tables over all code points, looked up in the graph."""

import numpy as np
import tensorflow as tf

from kerasformer.text.stream import copies

CODE_POINTS = 0x110000
_BLOCK_BITS = 7


class CodePointTable:
    """A value for each code point, in blocks of which equal ones are kept once.

    Args:
        values: integers `[0x110000]`.
    """

    def __init__(self, values):
        rows = {}
        grid = np.ascontiguousarray(values, np.int32).reshape(-1, 1 << _BLOCK_BITS)
        numbers = [rows.setdefault(block.tobytes(), len(rows)) for block in grid]
        self._offsets = (np.array(numbers, np.int32) - np.arange(len(grid), dtype=np.int32)) << _BLOCK_BITS
        self._blocks = np.frombuffer(b"".join(rows), np.int32)

    def __call__(self, codes):
        """int32 values of `codes`, int32 of any shape; that of 0 for codes below 0."""
        codes = tf.maximum(codes, 0)
        return tf.gather(self._blocks, tf.gather(self._offsets, tf.bitwise.right_shift(codes, _BLOCK_BITS)) + codes)


class Replacements:
    """What code points become, a row of code points each. Row 0 is that of code points that stay as they are.

    Args:
        rows: list of str, the replacements; the first one is row 1.
    """

    def __init__(self, rows):
        self._lengths = np.array([1, *map(len, rows)], np.int32)
        self._starts = np.cumsum(self._lengths, dtype=np.int32) - self._lengths
        self._codes = np.array([0, *(ord(char) for new in rows for char in new)], np.int32)

    def counts(self, rows):
        """How many code points are in rows, int32 of the same shape."""
        return tf.gather(self._lengths, rows)

    def apply(self, stream, rows, counts=None):
        """The Stream with the replacement of each code point.

        Args:
            rows: int32 `[chars]`.
            counts: int32 `[chars]`, 0 to leave out a code point, else `self.counts(rows)`.
        """
        counts = self.counts(rows) if counts is None else counts
        chars, turns = copies(counts)
        rows = tf.gather(rows, chars)
        codes = tf.gather(self._codes, tf.gather(self._starts, rows) + turns)
        return stream.take(chars, tf.where(rows > 0, codes, tf.gather(stream.codes, chars)))
