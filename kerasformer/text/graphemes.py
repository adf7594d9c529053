"""Extended grapheme clusters: the characters that users see (Unicode Standard Annex #29, section 3.1.1)."""

import functools
import pathlib

import numpy as np
import tensorflow as tf

FLAGS_FILE = pathlib.Path(__file__).with_name("graphemes.npz")

# What a code point is to its neighbours.
JOINS = 1  # goes with what is before it: marks and joiners
PREPENDS = 2  # goes with what is after it
CONTROL = 4
PICTURE = 8
CONSONANT, LINKER, EXTENDER = 16, 32, 64  # of conjuncts in Indic scripts
FLAG_BITS = 7
_RETURN, _LINE_FEED, _JOINER = 0x0D, 0x0A, 0x200D


@functools.cache
def grapheme_flags():
    """uint8 `[0x110000]`."""
    with np.load(FLAGS_FILE) as file:
        return np.repeat(file["values"], np.diff(file["starts"], append=0x110000))


def grapheme_begins(stream, flags):
    """Where graphemes begin in the pieces of a Stream, bool `[chars]`.

    Syllables of Korean jamo and pairs of regional indicators are left apart: they have 6 bytes or more, and so do not
    count where this is used.

    Args:
        flags: int32 `[chars]`, flags as above.
    """
    codes = stream.codes

    def has(flag):
        return tf.bitwise.bitwise_and(flags, flag) > 0

    def previous(values):
        return tf.concat([values[:1], values[:-1]], 0)

    is_control = has(CONTROL) | (codes < 0)
    inside = ~is_control & ~previous(is_control) & ~stream.begins
    joins = inside & (has(JOINS) | previous(has(PREPENDS)))
    # Pictures with a joiner between them, and consonants with a linker: what is before a run of marks?
    chars = tf.range(tf.size(codes, tf.int64), dtype=tf.int64)

    def before(passed):
        solid = tf.concat([[0], tf.where(~passed | stream.begins)[:, 0]], 0)
        return tf.gather(solid, tf.maximum(tf.searchsorted(solid, chars) - 1, 0))

    is_picture, is_consonant = has(PICTURE), has(CONSONANT)
    after_picture = tf.gather(is_picture, before(has(JOINS)))
    joins |= inside & is_picture & after_picture & tf.equal(previous(codes), _JOINER)
    base = before(has(EXTENDER))
    linkers = tf.cumsum(tf.cast(has(LINKER), tf.int32), exclusive=True)
    joins |= inside & is_consonant & tf.gather(is_consonant, base) & (linkers > tf.gather(linkers, base))
    joins |= ~stream.begins & tf.equal(codes, _LINE_FEED) & tf.equal(previous(codes), _RETURN)
    return ~joins
