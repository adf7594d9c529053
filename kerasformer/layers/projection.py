"""Projections with weights that are not a whole layer's."""

import tensorflow as tf


def project(rows, kernel, bias=None):
    """`rows · kernel + bias`, in the form that TensorFlow fuses.

    Args:
        rows: `[rows, input width]`, of the dtype to compute in.
        kernel: `[input width, width]`.
        bias: `[width]` or None.
    """
    outputs = tf.matmul(rows, tf.cast(kernel, rows.dtype))
    return outputs if bias is None else tf.nn.bias_add(outputs, tf.cast(bias, rows.dtype))
