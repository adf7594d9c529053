"""Learned position embeddings."""

import keras
import tensorflow as tf

from kerasformer.errors import InputError


@keras.saving.register_keras_serializable(package="kerasformer")
class LearnedPositionEmbedding(keras.layers.Layer):
    """A trained vector for each position (Devlin et al. 2019, section 3; Gehring et al. 2017).

    Args:
        max_length: number of positions.
        initializer: of the table.

    Call:
        inputs: `[batch, length, width]`, or packed `[tokens, width]` with `positions`; only the shape is read.
        positions: int32 `[length]`, `[batch, length]` or `[tokens]`, each below `max_length`; by default 0, 1, 2, …

    Returns:
        The embeddings, to be added to the inputs; the shape of `inputs`, in the compute dtype.

    Raises:
        InputError: the inputs are known to be longer than `max_length`.
    """

    def __init__(self, max_length, initializer="uniform", **kwargs):
        super().__init__(**kwargs)
        self.max_length = max_length
        self.initializer = keras.initializers.get(initializer)
        self.supports_masking = True

    def build(self, input_shape):
        self.embeddings = self.add_weight(
            name="embeddings",
            shape=(self.max_length, input_shape[-1]),
            initializer=self.initializer,
            autocast=False,
        )

    def call(self, inputs, positions=None):
        table = tf.convert_to_tensor(self.embeddings)
        if positions is None:
            length = inputs.shape[-2]
            if length is not None and length > self.max_length:
                raise InputError(f"At most {self.max_length} positions (`max_length`) fit. Received: length={length}.")
            # A gather, not a slice: a length beyond the table is then an error instead of a shorter answer.
            positions = tf.range(tf.shape(inputs)[-2])
        rows = tf.cast(tf.gather(table, positions), self.compute_dtype)
        return tf.ensure_shape(tf.broadcast_to(rows, tf.shape(inputs)), inputs.shape)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {
            **super().get_config(),
            "max_length": self.max_length,
            "initializer": keras.initializers.serialize(self.initializer),
        }
