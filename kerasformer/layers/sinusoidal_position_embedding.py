"""Sinusoidal position embeddings."""

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="kerasformer")
class SinusoidalPositionEmbedding(keras.layers.Layer):
    """The fixed sine and cosine positions of Vaswani et al. 2017, section 3.5, interleaved as there.

    `PE(pos, 2i) = sin(pos / max_wavelength^(2i / width))`, `PE(pos, 2i + 1) = cos(...)` of the same angle. Computed in
    float32 and only then cast: in bfloat16 itself, positions above 256 would collide.

    Args:
        max_wavelength: 10,000 in the paper.

    Call:
        inputs: `[batch, length, width]`, or packed `[tokens, width]` with `positions`; only the shape is read.
        positions: int32 `[length]`, `[batch, length]` or `[tokens]`; by default 0, 1, 2, …

    Returns:
        The embeddings, to be added to the inputs; the shape of `inputs`, in the compute dtype.
    """

    def __init__(self, max_wavelength=10_000, **kwargs):
        super().__init__(**kwargs)
        self.max_wavelength = max_wavelength
        self.supports_masking = True

    def call(self, inputs, positions=None):
        width = inputs.shape[-1]
        if positions is None:
            positions = tf.range(tf.shape(inputs)[-2])
        # Rates from the exponents in float64: a constant, so exact at no cost.
        rates = tf.constant([float(self.max_wavelength) ** (-(i // 2 * 2) / width) for i in range(width)], tf.float64)
        angles = tf.cast(positions, tf.float64)[..., None] * rates
        odd = tf.constant([i % 2 == 1 for i in range(width)])
        # sin and cos of a float64 angle: in float32 an angle of 10,000 is already off by 5e-4.
        table = tf.cast(tf.where(odd, tf.cos(angles), tf.sin(angles)), tf.float32)
        return tf.ensure_shape(tf.broadcast_to(tf.cast(table, self.compute_dtype), tf.shape(inputs)), inputs.shape)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "max_wavelength": self.max_wavelength}
