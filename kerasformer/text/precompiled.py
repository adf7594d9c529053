"""The normalizer `Precompiled`: a map of characters that SentencePiece compiled, as TensorFlow ops.

The reference goes from grapheme to grapheme. One of less than 6 bytes is replaced as a whole by the shortest key of the
map that it begins with; in all others, each code point is replaced. So nearly all of it is a table from code points to
replacements, and only short graphemes of two or three code points are looked at one by one. With NFKC, `e` and an acute
accent become `é`; but `①` and an accent become `1`, and the accent is gone.
"""

import base64
import binascii

import numpy as np
import tensorflow as tf

from kerasformer.errors import InputError
from kerasformer.text.code_point_table import CODE_POINTS, CodePointTable, Replacements
from kerasformer.text.graphemes import JOINS, PREPENDS, grapheme_begins, grapheme_flags
from kerasformer.text.words import utf8_lengths

_CODE_BITS, _FLAG_BITS = 21, 8
_RARE = 128  # beside the flags of graphemes: may be part of a grapheme of several code points
_RETURN = 0x0D
_THREE_BYTES = 0x800  # the first code point that takes three bytes
MAX_BYTES = 5  # of a grapheme that is replaced as a whole


class Precompiled:
    """Replaces characters.

    Args:
        precompiled_charsmap: the map, base64 text.

    Raises:
        InputError: it is damaged.
    """

    def __init__(self, precompiled_charsmap):
        replacements = read_charsmap(precompiled_charsmap)
        self._replacements = Replacements(list(replacements.values()))
        rows = np.zeros(CODE_POINTS, np.int32)
        pairs = {2: {}, 3: {}}
        for row, key in enumerate(replacements, 1):
            if len(key) == 1:
                rows[ord(key)] = row
            elif len(key) <= 3:
                pairs[len(key)][_packed(*map(ord, key))] = row
        self._several = {length: _sorted_table(rows) for length, rows in pairs.items()}
        flags = grapheme_flags().astype(np.int32)
        flags[(flags & (JOINS | PREPENDS)) > 0] |= _RARE
        flags[_RETURN] |= _RARE
        self._entries = CodePointTable(rows << _FLAG_BITS | flags)

    def __call__(self, stream):
        entries = self._entries(stream.codes)
        rows = tf.bitwise.right_shift(entries, _FLAG_BITS)
        return tf.cond(
            tf.reduce_any(entries >= _RARE),
            lambda: self._replaced(stream, rows, entries),
            lambda: stream,
        )

    def _replaced(self, stream, rows, entries):
        # What goes with the code point before it makes a short grapheme only if one of the two has at most two bytes:
        # after emoji, most of tweets' joiners, none is short.
        is_small = stream.codes < _THREE_BYTES
        may_be_short = is_small | tf.concat([[True], is_small[:-1]], 0)
        may_be_short |= tf.equal(tf.bitwise.bitwise_and(entries, JOINS), 0)
        rows, counts = tf.cond(
            tf.reduce_any((tf.bitwise.bitwise_and(entries, _RARE) > 0) & may_be_short),
            lambda: self._with_graphemes(stream, rows, entries),
            lambda: (rows, self._replacements.counts(rows)),
        )
        return self._replacements.apply(stream, rows, counts)

    def _with_graphemes(self, stream, rows, entries):
        """Rows of replacements, and how many code points each code point becomes, int32 `[chars]`."""
        begins = grapheme_begins(stream, entries)
        numbers = tf.cumsum(tf.cast(begins, tf.int32)) - 1
        num_bytes = tf.math.segment_sum(utf8_lengths(tf.maximum(stream.codes, 0)), numbers)
        sizes = tf.math.segment_sum(tf.ones_like(numbers), numbers)
        short = tf.where((sizes > 1) & (num_bytes <= MAX_BYTES))[:, 0]
        heads = tf.gather(tf.cast(tf.where(begins)[:, 0], tf.int32), short)
        last = tf.size(rows) - 1
        first, second, third = (tf.gather(stream.codes, tf.minimum(heads + place, last)) for place in range(3))
        row = tf.gather(rows, heads)
        row = tf.where(row > 0, row, _look_up(self._several[2], _packed64(first, second)))
        three = tf.where(tf.gather(sizes, short) > 2, _look_up(self._several[3], _packed64(first, second, third)), 0)
        row = tf.where(row > 0, row, three)
        is_whole = tf.scatter_nd(short[:, None], row > 0, tf.shape(sizes, tf.int64))
        rows = tf.tensor_scatter_nd_update(rows, heads[:, None], row)
        is_gone = tf.gather(is_whole, numbers) & ~begins
        return tf.where(is_gone, 0, rows), tf.where(is_gone, 0, self._replacements.counts(rows))


def _packed(*codes):
    """One number of two or three code points."""
    number = 0
    for code in codes:
        number = (number << _CODE_BITS) + code
    return number


def _packed64(*codes):
    number = 0
    for code in codes:
        number = number * 2**_CODE_BITS + tf.cast(tf.maximum(code, 0), tf.int64)
    return number


def _sorted_table(rows):
    keys = sorted(rows)
    # The end is equal to no key.
    return np.array([*keys, np.iinfo(np.int64).max]), np.array([*(rows[key] for key in keys), 0], np.int32)


def _look_up(table, keys):
    """int32 values of int64 keys in a sorted table, 0 for those that are not in it."""
    places = tf.searchsorted(table[0], keys)
    return tf.where(tf.equal(tf.gather(table[0], places), keys), tf.gather(table[1], places), 0)


def read_charsmap(text):
    """The replacements in a map, dict from str to str; only of keys that may be found.

    The map is the size of a double-array trie (Aoe 1989) in bytes, the trie in the units of darts-clone, and the
    replacements, each with a zero at its end. A unit has 8 bits for the byte that leads to it, a bit for keys that end
    there, and the offset of its children.

    Raises:
        InputError: it is no such map.
    """
    try:
        data = base64.b64decode(text or "", validate=True)
        size = int.from_bytes(data[:4], "little")
        if len(data) < 4 or size % 4 or size + 4 > len(data):
            raise ValueError("its size is wrong")
        units = np.frombuffer(data[4 : 4 + size], np.uint32).astype(np.int64)
        return _keys(units, data[4 + size :])
    except (binascii.Error, ValueError, IndexError, TypeError) as error:
        raise InputError(f"`precompiled_charsmap` must be a map of SentencePiece. Received: {error}.") from None


def _keys(units, block):
    labels = np.arange(256)
    offsets = (units >> 10) << ((units & (1 << 9)) >> 6)
    replacements = {}
    keys, nodes = [b""], offsets[:1]
    for _ in range(MAX_BYTES):
        places = nodes[:, None] ^ labels
        inside = places < len(units)
        found = units[np.where(inside, places, 0)]
        parents, letters = np.nonzero(inside & (labels > 0) & ((found & (1 << 31 | 0xFF)) == labels))
        places = places[parents, letters]
        keys = [keys[parent] + bytes([byte]) for parent, byte in zip(parents.tolist(), letters.tolist(), strict=True)]
        nodes = places ^ offsets[places]
        is_key = units[places] >> 8 & 1
        for place in np.flatnonzero(is_key):
            begin = int(units[nodes[place]] & (1 << 31) - 1)
            replacements[keys[place].decode("utf-8")] = block[begin : block.index(b"\0", begin)].decode("utf-8")
        # The shortest key decides, so none that goes on after another one is ever found.
        keys, nodes = [key for key, found in zip(keys, is_key, strict=True) if not found], nodes[is_key == 0]
    return replacements
