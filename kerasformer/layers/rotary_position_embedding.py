"""Rotary position embeddings."""

import keras
import tensorflow as tf

from kerasformer.errors import InputError


@keras.saving.register_keras_serializable(package="kerasformer")
class RotaryPositionEmbedding(keras.layers.Layer):
    """Turns pairs of numbers by an angle that grows with the position (Su et al. 2021, arXiv:2104.09864, section 3.2).

    The scalar product of a query and a key that were turned so depends on their distance, not on their places. Number
    i of a head is paired with number i + head width / 2, as in GPT-NeoX and LLaMA. Angles are computed in float32.

    Args:
        max_wavelength: 10,000 in the paper.

    Call:
        inputs: `[batch, heads, length, head width]`, queries or keys.
        positions: int32 `[length]` or `[batch, length]`; by default 0, 1, 2, …

    Returns:
        The shape and type of `inputs`.

    Raises:
        InputError: the head width is odd.
    """

    def __init__(self, max_wavelength=10_000, **kwargs):
        super().__init__(**kwargs)
        self.max_wavelength = max_wavelength

    def call(self, inputs, positions=None):
        width = inputs.shape[-1]
        if width % 2:
            raise InputError(f"The head width must be even to be turned in pairs. Received: head width {width}.")
        if positions is None:
            positions = tf.range(tf.shape(inputs)[2])
        rates = tf.constant([float(self.max_wavelength) ** (-2 * i / width) for i in range(width // 2)], tf.float32)
        angles = tf.cast(positions, tf.float32)[..., None] * rates
        if len(angles.shape) == 3:
            angles = angles[:, None]
        cosine, sine = tf.cast(tf.cos(angles), inputs.dtype), tf.cast(tf.sin(angles), inputs.dtype)
        first, second = tf.split(inputs, 2, axis=-1)
        return tf.concat([first * cosine - second * sine, second * cosine + first * sine], -1)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "max_wavelength": self.max_wavelength}
