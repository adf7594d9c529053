"""Projections: the products with matrices of weights that attention and feed-forward networks consist of."""

from collections.abc import Callable

import keras
import tensorflow as tf

from kerasformer.layers.activations import get_activation
from kerasformer.layers.int8 import FUSED_ACTIVATIONS, Int8, StoredInt8, rounded


def project(rows, kernel, bias=None):
    """`rows · kernel + bias`, in the form that TensorFlow fuses.

    Args:
        rows: `[rows, input dim]`, of the dtype to compute in.
        kernel: `[input dim, dim]`.
        bias: `[dim]` or None.
    """
    outputs = tf.matmul(rows, tf.cast(kernel, rows.dtype))
    return outputs if bias is None else tf.nn.bias_add(outputs, tf.cast(bias, rows.dtype))


def table_rows(table, ids, dtype, int8=False):
    """Rows of a table.

    Args:
        table: `[units, dim]`.
        ids: int32, any shape S.
        dtype: of the result.
        int8: whether the table is stored in 8-bit integers.

    Returns:
        `S + [dim]`.
    """
    if not int8:
        return tf.cast(tf.gather(tf.convert_to_tensor(table), ids), dtype)
    integers, steps = rounded(tf.cast(table, tf.float32), axis=1)
    return tf.cast(tf.cast(tf.gather(integers, ids), tf.float32) * tf.gather(steps, ids)[..., None], dtype)


@keras.saving.register_keras_serializable(package="kerasformer")
class Projection(keras.layers.Dense):
    """A dense layer of rows, which may compute some of its units alone, and in 8-bit integers.

    Args:
        those of `keras.layers.Dense`.

    Attributes:
        int8: None to compute in floats, an `Int8` or a `StoredInt8`; see `kf.models.use_int8`.
        observer: None, or a function that is given all inputs.
    """

    int8: Int8 | StoredInt8 | None = None
    observer: Callable[[tf.Tensor], object] | None = None

    def call(self, inputs, training=None):
        return self.apply(inputs) if len(inputs.shape) == 2 else super().call(inputs, training=training)

    def apply(self, rows, units=slice(None), activation=None, into=None, inputs=None):
        """Some of the units.

        Args:
            rows: `[rows, input dim]`, floats, or qint8 in the range of this layer.
            units: slice of the outputs.
            activation: None, or a name or function as in `FeedForward`.
            inputs: None, or a slice of the inputs that `rows` are; the bias belongs to the first of them.
            into: None, or the `Projection` that alone reads the outputs.

        Returns:
            `[rows, units]`; qint8 in the range of `into` where that and this layer compute in 8-bit integers.
        """
        if self.observer is not None:
            self.observer(rows)
        kernel, bias = tf.convert_to_tensor(self.kernel), tf.convert_to_tensor(self.bias) if self.use_bias else None
        form = self.int8
        if units != slice(None):  # the gradient of a slice is a copy, of the whole as well
            kernel, bias = kernel[:, units], bias if bias is None else bias[units]
        if inputs is not None:
            kernel, form = kernel[inputs], form and form.of_inputs(inputs)
            bias = bias if inputs.start == 0 else None
        if form is None:
            outputs = project(rows, kernel, bias)
        else:
            fused = activation if activation in FUSED_ACTIVATIONS else None
            output = into.int8.largest if fused == activation and into is not None and into.int8 else None
            outputs = form.product(rows, kernel, bias, fused, output, self.compute_dtype)
            activation = None if fused == activation else activation
        return outputs if activation is None else get_activation(activation)(outputs, training=False)


class TableProjection:
    """The scores of a table's rows, `rows · tableᵀ`: a projection whose weights are those of embeddings.

    Args:
        layer: the layer that it is a part of.
        table: function to the table, `[units, input dim]`.

    Attributes:
        path: unique in a model, as that of a layer.
        kernel: float `[input dim, units]`.
        int8, observer: as of `Projection`.
    """

    int8: Int8 | StoredInt8 | None = None
    observer: Callable[[tf.Tensor], object] | None = None

    def __init__(self, layer, table):
        self._layer, self._table = layer, table

    path = property(lambda self: f"{self._layer.path}/scores")
    kernel = property(lambda self: tf.transpose(self._table()))

    def __call__(self, inputs):
        """`[..., input dim]` to `[..., units]`."""
        if self.observer is not None:
            self.observer(tf.reshape(inputs, [-1, inputs.shape[-1]]))
        if self.int8 is None or len(inputs.shape) != 2:
            return tf.matmul(inputs, tf.cast(self._table(), inputs.dtype), transpose_b=True)
        return self.int8.scores(inputs, self._table())

    def rows(self, units):
        """The table's rows of some units, int32, any shape S, to score these alone: floats `S + [input dim]`, of the
        layer's compute dtype."""
        return table_rows(self._table(), units, self._layer.compute_dtype, self.int8 is not None)
