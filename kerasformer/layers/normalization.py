"""Layer normalization."""

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="kerasformer")
class LayerNormalization(keras.layers.Layer):
    """Layer normalization over the last axis (Ba et al. 2016, arXiv:1607.06450).

    Computed in float32 or better whatever the dtype. On a CPU TensorFlow would make one operation of the usual form
    when the weights are constant, as in an export: this one is written so that it does not, since that operation adds
    an epsilon of its own and starts its threads three times, 0.13 ms for a single text where these few take 0.02.

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
        values = tf.cast(inputs, tf.float32) if inputs.dtype.size < 4 else inputs
        centred = values - tf.reduce_mean(values, -1, keepdims=True)
        variance = tf.reduce_mean(tf.square(centred), -1, keepdims=True)
        gamma, beta = tf.cast(self.gamma, values.dtype), tf.cast(self.beta, values.dtype)
        outputs = centred * tf.math.rsqrt(variance + self.epsilon) * gamma + beta
        return tf.cast(outputs, inputs.dtype)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "epsilon": self.epsilon}
