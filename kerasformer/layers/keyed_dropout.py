"""Dropout masks that depend on the example, not on the device that computes it.

Inside `keyed_dropout(...)` each element's fate is a hash of (layer, step, example, position, column): the same batch
gives the same masks however it is split over replicas, microbatches or lengths of padding. Elsewhere dropout draws
from its generator, which is several times faster.
"""

import contextlib
import threading

import tensorflow as tf

from kerasformer.layers.masks import is_open
from kerasformer.layers.padding import padding_layout

# Of the thread, since MirroredStrategy traces its replicas in threads.
_current = threading.local()

# 2^32 over the golden ratio: neighbours in a sequence of its multiples differ in all bits.
_GOLDEN = 0x9E3779B9


@contextlib.contextmanager
def keyed_dropout(step, examples, padding_mask=None):
    """Every dropout layer of this package called in the block takes its masks from these keys.

    Args:
        step: integer scalar, the number of the update.
        examples: int32 `[batch]`, the place of each example in the whole batch.
        padding_mask: `[batch, length]`, positive or true for real tokens, of a model with packed tokens: what has as
            many rows as there are tokens is keyed by example and position.
    """
    outer = keys_in_force()
    _current.keys = DropoutKeys(step, examples, padding_mask)
    try:
        yield
    finally:
        _current.keys = outer


def keys_in_force():
    """The `DropoutKeys` of the innermost `keyed_dropout` block, or None."""
    return getattr(_current, "keys", None)


class DropoutKeys:
    """See `keyed_dropout`."""

    def __init__(self, step, examples, padding_mask):
        self.step, self.examples, self.padding_mask = _as_uint32(step), _as_uint32(examples), padding_mask

    def bits(self, seed, shape):
        """16 random bits for each element, uint32 of `shape`, whose first dimension is the batch or its tokens.

        Args:
            seed: uint32 scalar, the layer's own.
        """
        base = _mix(seed ^ _mix(self.step))
        keys = _mix(base + self.examples * _GOLDEN)
        if shape.shape[0] == 2 and self.padding_mask is not None:
            keys = self._row_keys(keys, shape[0])
        for axis in range(1, shape.shape[0]):
            index = tf.range(shape[axis], dtype=tf.int32)
            keys = _mix(keys[..., None] + _as_uint32(index) * _GOLDEN)
        return tf.bitwise.right_shift(keys, tf.constant(16, tf.uint32))

    def _row_keys(self, keys, rows):
        """A key for each row: of examples if there are as many, else of all slots, else of the packed tokens."""
        batch, length = tf.unstack(tf.shape(self.padding_mask))

        def of_slots(slots):
            position = _as_uint32(slots % tf.maximum(length, 1))
            return _mix(tf.gather(keys, slots // tf.maximum(length, 1)) + position * _GOLDEN)

        def of_tokens():
            slots = tf.range(batch * length)
            packed = padding_layout(is_open(self.padding_mask))["pack"]
            return of_slots(tf.cond(tf.equal(rows, batch * length), lambda: slots, lambda: packed))

        return tf.cond(tf.equal(rows, batch), lambda: keys, of_tokens)


def _mix(x):
    """The finalizer of MurmurHash3 (Appleby): every bit of the input decides on half the bits of the output."""
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        x = (x ^ tf.bitwise.right_shift(x, tf.constant(shift, tf.uint32))) * tf.constant(factor, tf.uint32)
    return x ^ tf.bitwise.right_shift(x, tf.constant(16, tf.uint32))


def _as_uint32(value):
    return tf.bitcast(tf.cast(value, tf.int32), tf.uint32)
