"""Keys and values of earlier positions, for decoding step by step."""

import typing

import tensorflow as tf


class KeyValueCache(typing.NamedTuple):
    """Keys and values of one attention layer, of the positions so far.

    As a named tuple it passes through `tf.while_loop` and `tf.function` like any nest of tensors. Each step adds
    columns by concatenation: TensorFlow has no operation that writes into a part of a tensor and is as fast (a cache
    with room to spare, written by scatter, took 1.3 to 1.7 times as long per step).

    Attributes:
        keys, values: `[batch, key heads, length, head_dim]`.
    """

    keys: tf.Tensor
    values: tf.Tensor

    @classmethod
    def empty(cls, batch, heads, head_dim, dtype=tf.float32):
        """A cache without columns; `batch` may be an int32 scalar."""
        # The shapes of the graph do not show the length: it grows in a loop.
        length = tf.compat.v1.placeholder_with_default(tf.constant(0), [])
        zeros = tf.zeros(tf.stack([batch, heads, length, head_dim]), dtype)
        return cls(*[tf.ensure_shape(zeros, [None, heads, None, head_dim])] * 2)

    @property
    def length(self):
        """Number of positions, int32 scalar."""
        return tf.shape(self.keys)[2]

    def append(self, keys, values):
        """The cache with further columns, `[batch, key heads, new, head_dim]`."""
        return KeyValueCache(tf.concat([self.keys, keys], 2), tf.concat([self.values, values], 2))
