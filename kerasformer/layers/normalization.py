"""Normalizations over the last axis."""

import keras
import tensorflow as tf

from kerasformer.layers.base import Layer


def normalization(config, **kwargs):
    """The layer that a `NormConfig` describes."""
    if config.kind == "rms":
        return RMSNormalization(config.epsilon, **kwargs)
    return LayerNormalization(config.epsilon, config.use_bias, **kwargs)


@keras.saving.register_keras_serializable(package="kerasformer")
class LayerNormalization(Layer):
    """Layer normalization over the last axis (Ba et al. 2016, arXiv:1607.06450).

    Computed in float32 or better whatever the dtype. On a CPU TensorFlow fuses the usual form into one operation when
    the weights are constant, as in an export. This layer is written so that it does not: the fused operation adds an
    epsilon of its own and starts its threads three times, 0.13 ms for a single text where these few take 0.02.

    Args:
        epsilon: added to the variance.
        use_bias: whether there is a `beta`.

    Call:
        inputs: `[..., dim]`; returns the same shape.
    """

    def __init__(self, epsilon=1e-12, use_bias=True, **kwargs):
        super().__init__(**kwargs)
        self.epsilon, self.use_bias = epsilon, use_bias
        self.supports_masking = True

    def build(self, input_shape):
        dim = input_shape[-1]
        self.gamma = self.add_weight(name="gamma", shape=(dim,), initializer="ones", autocast=False)
        self.beta = None
        if self.use_bias:
            self.beta = self.add_weight(name="beta", shape=(dim,), initializer="zeros", autocast=False)

    def call(self, inputs, training=None):
        values = tf.cast(inputs, tf.float32) if inputs.dtype.size < 4 else inputs
        centred = values - tf.reduce_mean(values, -1, keepdims=True)
        variance = tf.reduce_mean(tf.square(centred), -1, keepdims=True)
        outputs = centred * tf.math.rsqrt(variance + self.epsilon) * tf.cast(self.gamma, values.dtype)
        if self.use_bias:
            outputs = outputs + tf.cast(self.beta, values.dtype)
        return tf.cast(outputs, inputs.dtype)

    def get_config(self):
        return {**super().get_config(), "epsilon": self.epsilon, "use_bias": self.use_bias}


@keras.saving.register_keras_serializable(package="kerasformer")
class RMSNormalization(Layer):
    """Root mean square normalization over the last axis (Zhang and Sennrich 2019, arXiv:1910.07467), in float32 or
    better whatever the dtype.

    Args:
        epsilon: added to the mean square.

    Call:
        inputs: `[..., dim]`; returns the same shape.
    """

    def __init__(self, epsilon=1e-6, **kwargs):
        super().__init__(**kwargs)
        self.epsilon = epsilon
        self.supports_masking = True

    def build(self, input_shape):
        self.gamma = self.add_weight(name="gamma", shape=(input_shape[-1],), initializer="ones", autocast=False)

    def call(self, inputs, training=None):
        values = tf.cast(inputs, tf.float32) if inputs.dtype.size < 4 else inputs
        mean_square = tf.reduce_mean(tf.square(values), -1, keepdims=True)
        outputs = values * tf.math.rsqrt(mean_square + self.epsilon) * tf.cast(self.gamma, values.dtype)
        return tf.cast(outputs, inputs.dtype)

    def get_config(self):
        return {**super().get_config(), "epsilon": self.epsilon}
