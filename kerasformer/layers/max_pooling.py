"""The largest of a text's tokens."""

import keras
import tensorflow as tf

from kerasformer.layers.masks import is_open


@keras.saving.register_keras_serializable(package="kerasformer")
class MaxPooling(keras.layers.Layer):
    """The largest value of each feature over the real tokens of each text (Reimers and Gurevych 2019, section 3), in
    float32 whatever comes in.

    Call:
        inputs: `[batch, length, width]`.
        padding_mask: `[batch, length]`, positive or true for real tokens; by default Keras's mask of `inputs`.

    Returns:
        float32 `[batch, width]`; 0 for a text without tokens.
    """

    def __init__(self, **kwargs):
        super().__init__(autocast=False, **kwargs)

    def call(self, inputs, padding_mask=None):
        if padding_mask is None:
            padding_mask = getattr(inputs, "_keras_mask", None)
        if padding_mask is None:
            padding_mask = tf.ones(tf.shape(inputs)[:2], tf.bool)
        real = is_open(padding_mask)[..., None]
        largest = tf.reduce_max(tf.where(real, tf.cast(inputs, tf.float32), tf.float32.min), axis=1)
        return tf.where(tf.reduce_any(real, axis=1), largest, 0.0)
