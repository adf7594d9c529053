"""Relative position biases."""

import math

import keras
import tensorflow as tf

from kerasformer.errors import InputError


@keras.saving.register_keras_serializable(package="kerasformer")
class RelativePositionBias(keras.layers.Layer):
    """A trained number for each head and each bucket of distances, added to the attention scores: the simplified form
    that T5 (Raffel et al. 2020, arXiv:1910.10683, section 2.1) gives to Shaw et al. 2018 (arXiv:1803.02155).

    Half of a direction's buckets stand for one distance each, the others for ranges that grow logarithmically up to
    `max_distance`, beyond which all share the last.

    Args:
        num_heads: number of heads.
        num_buckets: over both directions, or one.
        max_distance: the distance from which on there is one bucket.
        bidirectional: False where no query looks at later keys, as in a decoder.

    Call:
        inputs: `[batch, length, ...]`; only its length is read, where positions are not given.
        query_positions, key_positions: int32 `[length]` or `[batch, length]`; by default 0, 1, 2, … for both.

    Returns:
        `[1 or batch, heads, query length, key length]`, the `bias` that attention takes.

    Raises:
        InputError: too few buckets, or `max_distance` within the buckets of one distance each.
    """

    def __init__(self, num_heads, num_buckets=32, max_distance=128, bidirectional=True, **kwargs):
        super().__init__(**kwargs)
        one_direction = num_buckets // 2 if bidirectional else num_buckets
        if one_direction < 2 or max_distance <= one_direction // 2:
            raise InputError(
                "`num_buckets` must be 2 or more a direction, and `max_distance` more than half of that. "
                f"Received: num_buckets={num_buckets}, max_distance={max_distance}."
            )
        self.num_heads, self.num_buckets = num_heads, num_buckets
        self.max_distance, self.bidirectional = max_distance, bidirectional

    def build(self, input_shape=None):
        self.table = self.add_weight(
            name="table",
            shape=(self.num_buckets, self.num_heads),
            initializer=keras.initializers.RandomNormal(stddev=0.02),
            autocast=False,
        )

    def call(self, inputs, query_positions=None, key_positions=None):
        if query_positions is None:
            query_positions = tf.range(tf.shape(inputs)[1])
        if key_positions is None:
            key_positions = query_positions
        buckets = self.bucket(key_positions[..., None, :] - query_positions[..., :, None])
        bias = tf.gather(tf.cast(tf.convert_to_tensor(self.table), self.compute_dtype), buckets)
        if len(bias.shape) == 3:
            bias = bias[None]
        return tf.transpose(bias, [0, 3, 1, 2])

    def bucket(self, distance):
        """The bucket of `key position - query position`, int32 of any shape."""
        buckets, offset = self.num_buckets, 0
        if self.bidirectional:
            buckets //= 2
            offset = tf.cast(distance > 0, tf.int32) * buckets
            distance = tf.abs(distance)
        else:
            distance = tf.maximum(-distance, 0)
        exact = buckets // 2
        ratio = tf.math.log(tf.cast(tf.maximum(distance, 1), tf.float32) / exact) / math.log(self.max_distance / exact)
        far = tf.minimum(exact + tf.cast(ratio * (buckets - exact), tf.int32), buckets - 1)
        return offset + tf.where(distance < exact, distance, far)

    def get_config(self):
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "num_buckets": self.num_buckets,
            "max_distance": self.max_distance,
            "bidirectional": self.bidirectional,
        }
