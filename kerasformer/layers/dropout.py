"""Dropout."""

import keras
import tensorflow as tf

from kerasformer._compat import is_compiled_by_xla
from kerasformer.errors import InputError
from kerasformer.hashing import GOLDEN, as_uint32, mix
from kerasformer.layers.base import Layer
from kerasformer.layers.keyed_dropout import keys_in_force


@keras.saving.register_keras_serializable(package="kerasformer")
class Dropout(Layer):
    """Sets a share `rate` of the inputs to 0 and scales the others up, when training (Srivastava et al. 2014).

    Differs from `keras.layers.Dropout` in that 16 random bits decide on an element instead of 32, which halves the
    time: the rate is rounded to 1/65,536, and the scale is exact for that. Inside `keyed_dropout` the masks depend on
    the examples alone.

    Args:
        rate: in [0, 1).
        seed: of the random numbers; by default from Keras's global seed.

    Call:
        inputs: any shape; returns the same.
    """

    def __init__(self, rate, seed=None, **kwargs):
        super().__init__(**kwargs)
        if not 0 <= rate < 1:
            raise InputError(f"`rate` must be in [0, 1). Received: rate={rate}.")
        self.rate = rate
        self.seed = seed
        self.supports_masking = True
        self._threshold = min(round(rate * 65536), 65535)
        if self._threshold:
            self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, inputs, training=None):
        if not training or not self._threshold:
            return inputs
        keys = keys_in_force()
        scale = tf.constant(65536 / (65536 - self._threshold), inputs.dtype)
        if keys is not None:
            seed = tf.cast(self.seed_generator.state.value[0], tf.uint32)
            kept = keys.bits(seed, tf.shape(inputs)) >= tf.constant(self._threshold, tf.uint32)
            return inputs * tf.where(kept, scale, tf.zeros([], inputs.dtype))
        if is_compiled_by_xla():
            kept = _hashed_bits(self.seed_generator.next(), inputs) >= tf.constant(self._threshold, tf.uint32)
            return inputs * tf.where(kept, scale, tf.zeros([], inputs.dtype))
        size = tf.size(inputs)
        seed = tf.cast(self.seed_generator.next(), tf.int32)
        words = tf.random.stateless_uniform([(size + 1) // 2], seed, minval=None, maxval=None, dtype=tf.uint32)
        bits = tf.reshape(tf.bitcast(words, tf.uint16), [-1])[:size]
        kept = tf.reshape(bits >= tf.constant(self._threshold, tf.uint16), tf.shape(inputs))
        return inputs * tf.where(kept, scale, tf.zeros([], inputs.dtype))

    def get_config(self):
        return {**super().get_config(), "rate": self.rate, "seed": self.seed}


def _hashed_bits(seed, inputs):
    """16 random bits for each element, uint32, by hashing its index.

    XLA draws random numbers for static shapes alone, and packed tokens have none; their number is counted here.
    """
    seed = tf.cast(seed, tf.uint32)
    ones = tf.ones_like(inputs, tf.int32)
    rows = tf.cumsum(tf.reduce_max(ones, list(range(1, len(inputs.shape)))))
    keys = mix(mix(seed[0] ^ mix(seed[1])) + as_uint32(rows) * GOLDEN)
    for axis in range(1, len(inputs.shape)):
        size = tf.shape(inputs)[axis] if inputs.shape[axis] is None else inputs.shape[axis]
        keys = mix(keys[..., None] + as_uint32(tf.range(size)) * GOLDEN)
    return tf.bitwise.right_shift(keys, tf.constant(16, tf.uint32))
