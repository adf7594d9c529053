"""One vector for a text, out of the hidden states of its tokens."""

import keras
import tensorflow as tf

from kerasformer.layers.activations import activation_config, get_activation
from kerasformer.layers.base import Layer, RowsLayer
from kerasformer.layers.configs import serialized
from kerasformer.layers.masks import check_padding_mask, is_open
from kerasformer.layers.normalization import normalization
from kerasformer.layers.projection import project


class _Pooling(RowsLayer):
    """`[batch, length, dim]` to `[batch, dim]`; reads the padding mask, and passes none on."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True

    def compute_mask(self, inputs, mask=None):
        return None


@keras.saving.register_keras_serializable(package="kerasformer")
class FirstToken(_Pooling):
    """The hidden state of each text's first token, in BERT `[CLS]`.

    Call:
        inputs: `[batch, length, dim]`.
        padding_mask: `[batch, length]`, positive or true for real tokens; None where the first token of each text is at
            position 0.

    Returns:
        `[batch, dim]`; with a mask, 0 for a text without tokens.

    Raises:
        InputError: the mask is of another shape.
    """

    def call(self, inputs, padding_mask=None):
        return inputs[:, 0] if padding_mask is None else _token(inputs, padding_mask, tf.argmax)


@keras.saving.register_keras_serializable(package="kerasformer")
class LastToken(_Pooling):
    """The hidden state of each text's last real token.

    Call:
        inputs: `[batch, length, dim]`.
        padding_mask: `[batch, length]`, positive or true for real tokens; by default Keras's mask of `inputs`.

    Returns:
        `[batch, dim]`; 0 for a text without tokens.

    Raises:
        InputError: the mask is of another shape.
    """

    def call(self, inputs, padding_mask=None):
        def last(real, axis, output_type):
            return tf.shape(real, output_type)[axis] - 1 - tf.argmax(real[:, ::-1], axis, output_type)

        return _token(inputs, padding_mask, last)


class _WeightedSum(_Pooling):
    """A weighted sum over the real tokens, float32 `[batch, dim]`. A subclass has `weights_of(real)`, where `real` is
    float32 `[batch, length, 1]` with 1 for real tokens, and `divisor(weights)`."""

    def call(self, inputs, padding_mask=None):
        weights = self.weights_of(tf.cast(_real(inputs, padding_mask), tf.float32))
        total = tf.reduce_sum(tf.cast(inputs, tf.float32) * weights, axis=1)
        return total / self.divisor(tf.maximum(tf.reduce_sum(weights, axis=1), 1))

    def weights_of(self, real):
        return real

    def divisor(self, total):
        return total


@keras.saving.register_keras_serializable(package="kerasformer")
class MeanPooling(_WeightedSum):
    """The mean over the real tokens of each text (Reimers and Gurevych 2019, section 3), in float32.

    Call:
        inputs: `[batch, length, dim]`.
        padding_mask: `[batch, length]`, positive or true for real tokens; by default Keras's mask of `inputs`.

    Returns:
        float32 `[batch, dim]`; 0 for a text without tokens.

    Raises:
        InputError: the mask is of another shape.
    """


@keras.saving.register_keras_serializable(package="kerasformer")
class MeanSqrtLengthPooling(_WeightedSum):
    """The sum over the real tokens of each text, divided by the square root of their number, in float32
    (`mean_sqrt_len_tokens` of sentence-transformers).

    Call:
        inputs, padding_mask: as in `MeanPooling`.

    Returns:
        float32 `[batch, dim]`; 0 for a text without tokens.

    Raises:
        InputError: the mask is of another shape.
    """

    def divisor(self, total):
        return tf.sqrt(total)


@keras.saving.register_keras_serializable(package="kerasformer")
class WeightedMeanPooling(_WeightedSum):
    """The mean over the real tokens of each text, weighted by their positions 1, 2, 3, ... (Muennighoff 2022,
    arXiv:2202.08904, section 4.1.1), in float32.

    Call:
        inputs, padding_mask: as in `MeanPooling`. The first position counts 1, whether or not it is real.

    Returns:
        float32 `[batch, dim]`; 0 for a text without tokens.

    Raises:
        InputError: the mask is of another shape.
    """

    def weights_of(self, real):
        return real * tf.range(1, tf.shape(real)[1] + 1, dtype=tf.float32)[:, None]


@keras.saving.register_keras_serializable(package="kerasformer")
class MaxPooling(_Pooling):
    """The largest value of each feature over the real tokens of each text (Reimers and Gurevych 2019, section 3), in
    float32.

    Call:
        inputs, padding_mask: as in `MeanPooling`.

    Returns:
        float32 `[batch, dim]`; 0 for a text without tokens.

    Raises:
        InputError: the mask is of another shape.
    """

    def call(self, inputs, padding_mask=None):
        real = _real(inputs, padding_mask)
        largest = tf.reduce_max(tf.where(real, tf.cast(inputs, tf.float32), tf.float32.min), axis=1)
        return tf.where(tf.reduce_any(real, axis=1), largest, 0.0)


def _token(inputs, padding_mask, position_of):
    """One token of each text, `[batch, dim]`.

    Args:
        position_of: function from int32 `[batch, length]`, 1 for real tokens, to the position of one, `[batch]`.
    """
    real = _real(inputs, padding_mask)
    position = position_of(tf.cast(real[..., 0], tf.int32), axis=1, output_type=tf.int32)
    token = tf.gather(inputs, position, batch_dims=1)
    return tf.where(tf.reduce_any(real, axis=1), token, tf.zeros([], inputs.dtype))


def _real(inputs, padding_mask):
    """bool `[batch, length, 1]`."""
    if padding_mask is None:
        padding_mask = getattr(inputs, "_keras_mask", None)
    if padding_mask is None:
        padding_mask = tf.ones(tf.shape(inputs)[:2], tf.bool)
    check_padding_mask(padding_mask, inputs)
    return is_open(padding_mask)[..., None]


@keras.saving.register_keras_serializable(package="kerasformer")
class Pooler(Layer):
    """A text's vector through a dense layer with activation and normalization. BERT's has tanh, on the first token
    (Devlin et al. 2019, section 4.1).

    Args:
        pooling: "first" for the first token, "mean" for the mean of the real ones.
        activation: as in `FeedForward`.
        use_bias: whether the dense layer has a bias.
        norm: `NormConfig` of a normalization after the activation, or None.
        kernel_initializer: of the dense layer.

    Call:
        inputs: `[batch, length, dim]`; or `[batch, dim]`, the vectors themselves.
        padding_mask: as in `MeanPooling`; read where the mean is taken.

    Returns:
        `[batch, dim]`.
    """

    def __init__(
        self,
        pooling="first",
        activation="tanh",
        use_bias=True,
        norm=None,
        kernel_initializer="glorot_uniform",
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.pooling, self.activation, self.use_bias = pooling, activation, use_bias
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self._pool = MeanPooling(name="mean") if pooling == "mean" else None
        self._activation, self._norm_config = get_activation(activation), norm
        self.norm = norm and normalization(norm, dtype=self.dtype_policy, name="norm")

    def build(self, inputs_shape, padding_mask_shape=None):
        dim = inputs_shape[-1]
        self.kernel = self.add_weight(
            name="kernel", shape=(dim, dim), initializer=self.kernel_initializer, autocast=False
        )
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(name="bias", shape=(dim,), initializer="zeros", autocast=False)
        if self.norm is not None:
            self.norm.build((None, dim))

    def call(self, inputs, padding_mask=None, training=None):
        if len(inputs.shape) == 3:
            inputs = inputs[:, 0] if self._pool is None else self._pool(inputs, padding_mask=padding_mask)
        vectors = tf.cast(inputs, self.compute_dtype)
        hidden = self._activation(project(vectors, self.kernel, self.bias), training=training)
        return hidden if self.norm is None else self.norm(hidden, training=training)

    def get_config(self):
        return {
            **super().get_config(),
            "pooling": self.pooling,
            "activation": activation_config(self.activation),
            "use_bias": self.use_bias,
            "norm": serialized(self._norm_config),
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }
