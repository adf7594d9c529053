"""Layer normalization, written so that TensorFlow fuses it."""

import math

import keras
import tensorflow as tf

# Whatever the graph says, TensorFlow's fused operation (_MklLayerNorm, TensorFlow 2.21) adds this to the variance.
_FUSED_EPSILON = 1e-3


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
        # float16 would overflow when scaled for the fused form.
        if training or inputs.dtype == tf.float16:
            return tf.cast(self._normalize(tf.cast(inputs, tf.float32), self.epsilon), inputs.dtype)
        return self._normalize(_scale_for_fusion(inputs, self.epsilon), _FUSED_EPSILON)

    def _normalize(self, values, epsilon):
        gamma, beta = tf.cast(self.gamma, values.dtype), tf.cast(self.beta, values.dtype)
        # A positive axis: the only form that TensorFlow recognizes.
        mean, variance = tf.nn.moments(values, [len(values.shape) - 1], keepdims=True)
        return tf.nn.batch_normalization(values, mean, variance, beta, gamma, epsilon)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "epsilon": self.epsilon}


def _scale_for_fusion(inputs, epsilon):
    """Inputs scaled such that normalizing them with the fused operation's epsilon is normalizing them with `epsilon`:
    with s² · epsilon = e, (s x - s m) / sqrt(s² v + e) = (x - m) / sqrt(v + epsilon)."""
    scale = math.sqrt(_FUSED_EPSILON / epsilon)
    if inputs.dtype != tf.float32:
        # A power of two costs no precision; that epsilon is then off by up to a factor of 2, less than bfloat16 shows.
        scale = 2.0 ** round(math.log2(scale))
    # Not `inputs * scale`: TensorFlow does not recognize a normalization whose input is a product.
    return tf.math.multiply_no_nan(inputs, tf.constant(scale, inputs.dtype))
