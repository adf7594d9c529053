"""Layer normalization, written so that TensorFlow fuses it."""

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="kerasformer")
class LayerNormalization(keras.layers.Layer):
    """Layer normalization over the last axis (Ba et al. 2016, arXiv:1607.06450).

    Differs from `keras.layers.LayerNormalization` in two things: with constant weights, as in an export, TensorFlow
    makes one operation of it on a CPU; and when training it is computed in float32 whatever the dtype.

    Args:
        epsilon: added to the variance.

    Call:
        inputs: `[..., width]`; returns the same shape.
    """

    def __init__(self, epsilon=1e-12, **kwargs):
        super().__init__(**kwargs)
        self.epsilon = epsilon
        self.supports_masking = True

    def build(self, input_shape):
        width = input_shape[-1]
        self.gamma = self.add_weight(name="gamma", shape=(width,), initializer="ones", autocast=False)
        self.beta = self.add_weight(name="beta", shape=(width,), initializer="zeros", autocast=False)

    def call(self, inputs, training=None):
        dtype = tf.float32 if training else inputs.dtype
        values = tf.cast(inputs, dtype)
        gamma, beta = tf.cast(self.gamma, dtype), tf.cast(self.beta, dtype)
        # A positive axis: the only form that TensorFlow recognizes.
        mean, variance = tf.nn.moments(values, [len(inputs.shape) - 1], keepdims=True)
        normalized = tf.nn.batch_normalization(values, mean, variance, beta, gamma, self.epsilon)
        return tf.cast(normalized, inputs.dtype)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "epsilon": self.epsilon}
