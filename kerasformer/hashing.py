"""Random numbers that depend on keys and nothing else: the same for an example wherever, and beside whatever, it is
computed."""

import tensorflow as tf

# 2^32 over the golden ratio: neighbours in a sequence of its multiples differ in all bits.
GOLDEN = 0x9E3779B9


def mix(x):
    """The finalizer of MurmurHash3 (Appleby), uint32: every bit of the input decides on half the bits of the output."""
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        x = (x ^ tf.bitwise.right_shift(x, tf.constant(shift, tf.uint32))) * tf.constant(factor, tf.uint32)
    return x ^ tf.bitwise.right_shift(x, tf.constant(16, tf.uint32))


def as_uint32(value):
    """Integers as uint32, negative ones too."""
    return tf.bitcast(tf.cast(value, tf.int32), tf.uint32)


def keyed_bits(keys, index, purpose=0):
    """32 random bits for each pair of a key and an index, uint32.

    Args:
        keys: uint32, well mixed.
        index: integers, broadcastable to `keys`.
        purpose: another number for each independent use of the same keys and indices.
    """
    return mix(mix(keys + as_uint32(index) * GOLDEN) ^ tf.constant(purpose * GOLDEN % 2**32, tf.uint32))


def keyed_uniform(keys, index, purpose=0):
    """As `keyed_bits`, float32 in [0, 1)."""
    return (
        tf.cast(tf.bitwise.right_shift(keyed_bits(keys, index, purpose), tf.constant(8, tf.uint32)), tf.float32) / 2**24
    )
