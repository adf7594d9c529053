"""Private API of Keras and TensorFlow that the package cannot do without, each with the version it was read in."""

import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2
from tensorflow.python.ops import control_flow_util


def flatten_layers(layer):
    """A layer and all layers inside of it, at any depth (Keras 3.15: `Layer._flatten_layers`)."""
    return list(layer._flatten_layers())


def is_compiled_by_xla():
    """Whether the present graph is traced for `jit_compile=True` (TensorFlow 2.21: `control_flow_util`)."""
    return not tf.executing_eagerly() and bool(
        control_flow_util.GraphOrParentsInXlaContext(tf.compat.v1.get_default_graph())
    )


def lora_kernel(dense):
    """The kernel of a `keras.layers.Dense`, without its low-rank update (Keras 3.15: `Dense._kernel`)."""
    return dense._kernel


def with_constant_weights(concrete):
    """A concrete function with its variables as constants and its loops lowered (TensorFlow 2.21:
    `convert_variables_to_constants_v2`). Its inputs may be in another order."""
    return convert_variables_to_constants_v2(concrete)
