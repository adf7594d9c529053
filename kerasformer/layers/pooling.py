"""One vector for a text, out of the hidden states of its tokens."""

import keras
import tensorflow as tf

from kerasformer.layers.base import RowsLayer
from kerasformer.layers.masks import check_padding_mask, is_open


class _Pooling(RowsLayer):
    """`[batch, length, dim]` to `[batch, dim]`; reads the padding mask, and passes none on."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True

    def compute_mask(self, inputs, mask=None):
        return None


@keras.saving.register_keras_serializable(package="kerasformer")
class FirstToken(_Pooling):
    """The hidden state of each text's first token, in BERT `[CLS]`: `[batch, length, dim]` to `[batch, dim]`."""

    def call(self, inputs):
        return inputs[:, 0]


@keras.saving.register_keras_serializable(package="kerasformer")
class MeanPooling(_Pooling):
    """The mean over the real tokens of each text (Reimers and Gurevych 2019, section 3), in float32.

    Call:
        inputs: `[batch, length, dim]`.
        padding_mask: `[batch, length]`, positive or true for real tokens; by default Keras's mask of `inputs`.

    Returns:
        float32 `[batch, dim]`; 0 for a text without tokens.

    Raises:
        InputError: the mask is of another shape.
    """

    def call(self, inputs, padding_mask=None):
        real = tf.cast(_real(inputs, padding_mask), tf.float32)
        total = tf.reduce_sum(tf.cast(inputs, tf.float32) * real, axis=1)
        return total / tf.maximum(tf.reduce_sum(real, axis=1), 1)


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


def _real(inputs, padding_mask):
    """bool `[batch, length, 1]`."""
    if padding_mask is None:
        padding_mask = getattr(inputs, "_keras_mask", None)
    if padding_mask is None:
        padding_mask = tf.ones(tf.shape(inputs)[:2], tf.bool)
    check_padding_mask(padding_mask, inputs)
    return is_open(padding_mask)[..., None]
