"""A convolution along the tokens of a text."""

import keras
import tensorflow as tf

from kerasformer.layers.activations import get_activation
from kerasformer.layers.base import Layer
from kerasformer.layers.configs import ConvolutionConfig, serialized
from kerasformer.layers.dropout import Dropout
from kerasformer.layers.masks import is_open
from kerasformer.layers.normalization import normalization
from kerasformer.layers.padding import pack, unpack
from kerasformer.layers.projection import project


@keras.saving.register_keras_serializable(package="kerasformer")
class TokenConvolution(Layer):
    """`norm(residual + activation(convolution(inputs)))`, a window of tokens at a time.

    DeBERTa-v2's larger sizes add it to the output of the first block, from the input of that block ("n-gram induced
    input encoding", https://github.com/microsoft/DeBERTa). Padding is 0 to its neighbours.

    Args:
        kernel_size, activation, norm, dropout: the fields of `ConvolutionConfig`.
        kernel_initializer: of the convolution.

    Call:
        inputs, residual: `[batch, length, dim]`, or packed `[tokens, dim]`.
        padding_mask: `[batch, length]`, positive or true for real tokens; required when packed.
        layout: of packed inputs, see `padding_layout`.

    Returns:
        The shape of `inputs`.
    """

    def __init__(
        self, kernel_size=3, activation="tanh", norm=None, dropout=0.0, kernel_initializer="glorot_uniform", **kwargs
    ):
        super().__init__(**kwargs)
        config = ConvolutionConfig(kernel_size, activation, dropout=dropout)
        self.config = config if norm is None else config.replace(norm=norm)
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self._activation = get_activation(activation)
        self.norm = normalization(self.config.norm, dtype=self.dtype_policy, name="norm")
        self._dropout = Dropout(dropout, dtype=self.dtype_policy, name="dropout")

    def build(self, inputs_shape, residual_shape=None, padding_mask_shape=None):
        dim = inputs_shape[-1]
        self.kernel = self.add_weight(
            name="kernel",
            shape=(self.config.kernel_size, dim, dim),
            initializer=self.kernel_initializer.clone(),
            autocast=False,
        )
        self.bias = self.add_weight(name="bias", shape=(dim,), initializer="zeros", autocast=False)
        self.norm.build((None, dim))

    def call(self, inputs, residual, padding_mask=None, layout=None, training=None):
        dim = inputs.shape[-1]
        if len(inputs.shape) == 2:
            padded = unpack(inputs, layout, padding_mask)
        else:
            padded = inputs
            if padding_mask is not None:
                padded = inputs * tf.cast(is_open(padding_mask), inputs.dtype)[..., None]
        length, reach = tf.shape(padded)[1], self.config.kernel_size // 2
        wide = tf.pad(padded, [[0, 0], [reach, reach], [0, 0]])
        windows = tf.concat([wide[:, i : i + length] for i in range(self.config.kernel_size)], -1)
        hidden = project(pack(windows, layout), tf.reshape(self.kernel, [-1, dim]), self.bias)
        hidden = self._activation(self._dropout(hidden, training=training), training=training)
        return self.norm(tf.reshape(hidden, tf.shape(residual)) + residual, training=training)

    def get_config(self):
        return {
            **super().get_config(),
            **{name: serialized(value) for name, value in self.config.get_config().items()},
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }
