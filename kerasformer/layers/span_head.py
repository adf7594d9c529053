"""The head of extractive question answering."""

import keras
import tensorflow as tf

from kerasformer.layers.masks import mask_to_bias


@keras.saving.register_keras_serializable(package="kerasformer")
class SpanHead(keras.layers.Layer):
    """How well an answer begins, and ends, at each token (Devlin et al. 2019, section 4.2), in float32.

    An answer stands in the second segment; the first token stands for "no answer".

    Call:
        inputs: `[batch, length, width]`.
        segment_ids, padding_mask: int32 `[batch, length]`.

    Returns:
        float32 `[batch, length, 2]`; a large negative number where no answer can be.
    """

    def __init__(self, **kwargs):
        super().__init__(**{"dtype": "float32", **kwargs})
        self.dense = keras.layers.Dense(
            2, kernel_initializer=keras.initializers.TruncatedNormal(stddev=0.02), dtype="float32", name="dense"
        )

    def build(self, inputs_shape, segment_ids_shape=None, padding_mask_shape=None):
        self.dense.build(inputs_shape)

    def call(self, inputs, segment_ids, padding_mask):
        first = tf.equal(tf.range(tf.shape(segment_ids)[1]), 0)[None, :]
        possible = (first | (segment_ids > 0)) & (padding_mask > 0)
        return self.dense(inputs) + mask_to_bias(possible, tf.float32)[:, :, None]
