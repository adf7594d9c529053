"""Keys and values of earlier positions, for decoding step by step."""

import typing

import tensorflow as tf


class KeyValueCache(typing.NamedTuple):
    """Keys and values of one attention layer, with room for further steps.

    As a named tuple it passes through `tf.while_loop` and `tf.function` like any nest of tensors. A `write` changes
    some columns, in place within a loop; a write beyond the capacity doubles it.

    Attributes:
        keys, values: `[batch, key heads, capacity, head_dim]`; columns that were not written are 0.
    """

    keys: tf.Tensor
    values: tf.Tensor

    @classmethod
    def empty(cls, batch, heads, capacity, head_dim, dtype=tf.float32):
        """A cache of zeros; `batch` and `capacity` may be int32 scalars."""
        shape = tf.stack([batch, heads, capacity, head_dim])
        zeros = [tf.ensure_shape(tf.zeros(shape, dtype), [None, heads, None, head_dim]) for _ in range(2)]
        return cls(*zeros)

    def write(self, keys, values, index):
        """The cache with `keys` and `values`, `[batch, key heads, new, head_dim]`, from column `index` on."""
        shape, capacity = tf.shape(keys), tf.shape(self.keys)[2]
        needed = index + shape[2]
        room = [[0, 0], [0, 0], [0, tf.maximum(capacity, needed - capacity)], [0, 0]]
        old_keys, old_values = tf.cond(
            needed > capacity,
            lambda: (tf.pad(self.keys, room), tf.pad(self.values, room)),
            lambda: (self.keys, self.values),
        )
        rows = shape[0] * keys.shape[1]
        row, column = tf.meshgrid(tf.range(rows), index + tf.range(shape[2]), indexing="ij")
        places = tf.stack([row, column], -1)

        def written(old, new):
            head_dim = self.keys.shape[3]
            flat = tf.reshape(old, [rows, tf.shape(old)[2], head_dim])
            flat = tf.tensor_scatter_nd_update(flat, places, tf.reshape(new, [rows, shape[2], head_dim]))
            return tf.ensure_shape(tf.reshape(flat, tf.shape(old)), [None, keys.shape[1], None, head_dim])

        return KeyValueCache(written(old_keys, keys), written(old_values, values))

    def used(self, number):
        """The first `number` columns of keys and of values."""
        return self.keys[:, :, :number], self.values[:, :, :number]
