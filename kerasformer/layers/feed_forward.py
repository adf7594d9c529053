"""The position-wise feed-forward network."""

import keras
import tensorflow as tf

from kerasformer.layers.activations import get_activation
from kerasformer.layers.dropout import Dropout
from kerasformer.layers.projection import project


@keras.saving.register_keras_serializable(package="kerasformer")
class FeedForward(keras.layers.Layer):
    """Two projections with an activation between them (Vaswani et al. 2017, section 3.3).

    Args:
        inner_width: width between the projections.
        activation: name or function; "gelu" is the exact one, "gelu_approximate" the tanh form, "relu" the paper's.
        dropout: rate after the activation, when training.
        kernel_initializer: of both projections.

    Call:
        inputs: `[..., width]`; returns the same shape.
    """

    def __init__(self, inner_width, activation="gelu", dropout=0.0, kernel_initializer="glorot_uniform", **kwargs):
        super().__init__(**kwargs)
        self.inner_width = inner_width
        self.activation = activation
        self.dropout = dropout
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.supports_masking = True
        self.serving_form = False  # see use_serving_form
        self._activation = get_activation(activation)
        self._dropout = Dropout(dropout, dtype=self.dtype_policy, name="dropout")

    def build(self, input_shape):
        width = input_shape[-1]
        self.inner = self._projection(self.inner_width, "inner", width)
        self.outer = self._projection(width, "outer", self.inner_width)

    def _projection(self, units, name, input_width):
        initializer = self.kernel_initializer.clone()
        dense = keras.layers.Dense(units, kernel_initializer=initializer, dtype=self.dtype_policy, name=name)
        dense.build((None, input_width))
        return dense

    def call(self, inputs, training=None):
        # Two dimensions, since TensorFlow fuses projection, bias and activation in this form only.
        rows = inputs if len(inputs.shape) == 2 else tf.reshape(inputs, [-1, inputs.shape[-1]])
        if self.serving_form and not training and self.inner_width > 1:
            middle = self.inner_width // 2
            outputs = self._half(rows, slice(middle)) + self._half(rows, slice(middle, None))
        else:
            hidden = self._activation(self.inner(rows), training=training)
            outputs = self.outer(self._dropout(hidden, training=training))
        return (
            outputs if len(inputs.shape) == 2 else tf.ensure_shape(tf.reshape(outputs, tf.shape(inputs)), inputs.shape)
        )

    def _half(self, rows, units):
        """What some of the inner units add to the output. Half of the bias comes with each half, since TensorFlow
        lays weights out for good only where a bias follows."""
        hidden = self._activation(project(rows, self.inner.kernel[:, units], self.inner.bias[units]), training=False)
        return project(hidden, self.outer.kernel[units], self.outer.bias * 0.5)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {
            **super().get_config(),
            "inner_width": self.inner_width,
            "activation": self.activation
            if isinstance(self.activation, str)
            else keras.activations.serialize(self.activation),
            "dropout": self.dropout,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }
