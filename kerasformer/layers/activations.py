"""Activations by name, in the forms that TensorFlow computes fastest."""

import math

import keras
import numpy as np
import tensorflow as tf


def gelu(inputs, training=False):
    """Gaussian error linear unit, x · Φ(x) (Hendrycks and Gimpel 2016, arXiv:1606.08415), exact.

    When training, in float32 with a gradient of its own, whatever the dtype: TensorFlow's gradient takes twice the
    time, most of it erfc in bfloat16. Otherwise the form that is fused into the projection before it.
    """
    return _gelu_with_gradient(inputs) if training else tf.nn.gelu(inputs, approximate=False)


@tf.custom_gradient
def _gelu_with_gradient(inputs):
    x = tf.cast(inputs, tf.float32)
    cumulative = 0.5 + 0.5 * tf.math.erf(x * np.float32(math.sqrt(0.5)))

    def gradient(upstream):
        density = tf.exp(-0.5 * tf.square(x)) * np.float32(1 / math.sqrt(2 * math.pi))
        return tf.cast(tf.cast(upstream, tf.float32) * (cumulative + x * density), inputs.dtype)

    return tf.cast(x * cumulative, inputs.dtype), gradient


def get_activation(activation):
    """A function `(inputs, training)` from a name, "gelu", "gelu_approximate" or one of Keras's, or from a function."""
    if activation == "gelu":
        return gelu
    if activation == "gelu_approximate":
        return lambda inputs, training: tf.nn.gelu(inputs, approximate=True)
    function = keras.activations.get(activation)
    return lambda inputs, training: function(inputs)


def activation_config(activation):
    """An activation as a layer's config holds it."""
    return activation if isinstance(activation, str) else keras.activations.serialize(activation)
