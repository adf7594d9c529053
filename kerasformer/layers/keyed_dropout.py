"""Dropout masks that depend on the example, not on the device that computes it.

Inside `keyed_dropout(...)` each element's fate is a hash of (layer, step, example, position, column): the same batch
returns the same masks however it is split over replicas, microbatches or lengths of padding. Elsewhere dropout draws
from its generator, which is several times faster.
"""

import contextlib
import threading

import tensorflow as tf

from kerasformer.hashing import GOLDEN, as_uint32, mix
from kerasformer.layers.masks import is_open
from kerasformer.layers.padding import padding_layout

# Of the thread, since MirroredStrategy traces its replicas in threads.
_current = threading.local()


@contextlib.contextmanager
def keyed_dropout(step, examples, padding_mask=None):
    """Every dropout layer of this package called in the block takes its masks from these keys.

    Args:
        step: integer scalar, the number of the update.
        examples: int32 `[batch]`, the position of each example in the batch.
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
        self.step, self.examples, self.padding_mask = as_uint32(step), as_uint32(examples), padding_mask

    def bits(self, seed, shape):
        """16 random bits for each element, uint32 of `shape`, whose first dimension is the batch or its tokens.

        Args:
            seed: uint32 scalar, the layer's own.
        """
        base = mix(seed ^ mix(self.step))
        keys = mix(base + self.examples * GOLDEN)
        if shape.shape[0] == 2 and self.padding_mask is not None:
            keys = self._row_keys(keys, shape[0])
        for axis in range(1, shape.shape[0]):
            index = tf.range(shape[axis], dtype=tf.int32)
            keys = mix(keys[..., None] + as_uint32(index) * GOLDEN)
        return tf.bitwise.right_shift(keys, tf.constant(16, tf.uint32))

    def _row_keys(self, keys, rows):
        """A key for each row: of examples if there are as many, else of all slots, else of the packed tokens."""
        batch, length = tf.unstack(tf.shape(self.padding_mask))

        def of_slots(slots):
            position = as_uint32(slots % tf.maximum(length, 1))
            return mix(tf.gather(keys, slots // tf.maximum(length, 1)) + position * GOLDEN)

        def of_tokens():
            slots = tf.range(batch * length)
            packed = padding_layout(is_open(self.padding_mask))["pack"]
            return of_slots(tf.cond(tf.equal(rows, batch * length), lambda: slots, lambda: packed))

        return tf.cond(tf.equal(rows, batch), lambda: keys, of_tokens)
