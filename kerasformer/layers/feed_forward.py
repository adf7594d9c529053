"""The position-wise feed-forward network."""

import keras
import tensorflow as tf

from kerasformer.layers.activations import get_activation
from kerasformer.layers.base import Layer
from kerasformer.layers.dropout import Dropout
from kerasformer.layers.projection import Projection, project


@keras.saving.register_keras_serializable(package="kerasformer")
class FeedForward(Layer):
    """Two projections with an activation between them (Vaswani et al. 2017, section 3.3).

    With `gated`, `outer(activation(gate(x)) * inner(x))` (Shazeer 2020, arXiv:2002.05202).

    Args:
        intermediate_dim: width between the projections.
        activation: name or function; "gelu" is the exact one, "gelu_approximate" its tanh form, "relu" the paper's.
        dropout: rate after the activation, when training.
        kernel_initializer: of all projections.
        gated: whether the activation gates a second projection.
        use_bias: whether the projections have biases.

    Call:
        inputs: `[..., dim]`; returns the same shape.
    """

    def __init__(
        self,
        intermediate_dim,
        activation="gelu",
        dropout=0.0,
        kernel_initializer="glorot_uniform",
        gated=False,
        use_bias=True,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.intermediate_dim = intermediate_dim
        self.activation = activation
        self.dropout = dropout
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.gated, self.use_bias = gated, use_bias
        self.supports_masking = True
        self.serving_form = False  # see use_serving_form
        self._activation = get_activation(activation)
        self._dropout = Dropout(dropout, dtype=self.dtype_policy, name="dropout")

    def build(self, input_shape):
        dim = input_shape[-1]
        self.inner = self._projection(self.intermediate_dim, "inner", dim)
        if self.gated:
            self.gate = self._projection(self.intermediate_dim, "gate", dim)
        self.outer = self._projection(dim, "outer", self.intermediate_dim)

    def _projection(self, units, name, input_dim):
        initializer = self.kernel_initializer.clone()
        projection = Projection(
            units, use_bias=self.use_bias, kernel_initializer=initializer, dtype=self.dtype_policy, name=name
        )
        projection.build((None, input_dim))
        return projection

    def call(self, inputs, training=None):
        # Two dimensions, since TensorFlow fuses projection, bias and activation in this form only.
        rows = inputs if len(inputs.shape) == 2 else tf.reshape(inputs, [-1, inputs.shape[-1]])
        if not training and (self.inner.int8 or self.outer.int8):
            outputs = self._int8(rows)
        elif self.serving_form and not training and not self.gated and self.use_bias and self.intermediate_dim > 1:
            middle = self.intermediate_dim // 2
            outputs = self._half(rows, slice(middle)) + self._half(rows, slice(middle, None))
        else:
            hidden = self._activation((self.gate if self.gated else self.inner)(rows), training=training)
            hidden = hidden * self.inner(rows) if self.gated else hidden
            outputs = self.outer(self._dropout(hidden, training=training))
        if len(inputs.shape) == 2:
            return outputs
        return tf.ensure_shape(tf.reshape(outputs, tf.shape(inputs)), inputs.shape)

    def _int8(self, rows):
        if self.gated:
            return self.outer.apply(self.gate.apply(rows, activation=self.activation) * self.inner.apply(rows))
        outputs = [self._int8_units(rows, units) for units in self._streams()]
        if self.outer.int8 and self.outer.int8.wide:
            # The units that the product in integers leaves out, in floats.
            wide = self.outer.int8.wide
            bias = tf.gather(self.inner.bias, wide) if self.use_bias else None
            hidden = project(rows, tf.gather(self.inner.kernel, wide, axis=1), bias)
            outputs.append(project(self._activation(hidden, training=False), tf.gather(self.outer.kernel, wide)))
        return tf.add_n(outputs)

    def _streams(self):
        """Parts of the units that are computed side by side."""
        if not self.serving_form or self.intermediate_dim < 2:
            return [slice(0, self.intermediate_dim)]
        middle = self.intermediate_dim // 2
        return [slice(0, middle), slice(middle, self.intermediate_dim)]

    def _int8_units(self, rows, units):
        hidden = self.inner.apply(rows, units=units, activation=self.activation, into=self.outer)
        return self.outer.apply(hidden, inputs=units)

    def _half(self, rows, units):
        """What some of the inner units add to the output. Half of the bias comes with each half, since TensorFlow
        caches the layout of a weight only where a bias follows."""
        hidden = self._activation(project(rows, self.inner.kernel[:, units], self.inner.bias[units]), training=False)
        return project(hidden, self.outer.kernel[units], self.outer.bias * 0.5)

    def get_config(self):
        is_name = isinstance(self.activation, str)
        return {
            **super().get_config(),
            "intermediate_dim": self.intermediate_dim,
            "activation": self.activation if is_name else keras.activations.serialize(self.activation),
            "dropout": self.dropout,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "gated": self.gated,
            "use_bias": self.use_bias,
        }
