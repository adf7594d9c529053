"""Products of 8-bit integers, by an operation of TensorFlow's that computes them on a CPU.

`_QuantizedMatMul` (TensorFlow 2.21, oneDNN) multiplies rows with weights, adds a bias, applies an activation and gives
floats again, or 8-bit integers for the next product. It is internal to TensorFlow: it has no Python function and enters
a graph as a node.

Inputs have one range for the whole tensor, known beforehand: one that is found anew for each batch costs another pass
over the inputs, and oneDNN sets up the product again. Weights have a range for each column, and 7 bits: without VNNI a
processor adds two products of 8 bits in 16, which would saturate.

Where a processor or a server lacks the operation, weights can be stored in 8 bits all the same (`StoredInt8`).
"""

import dataclasses

import numpy as np
import tensorflow as tf

from kerasformer.layers.activations import get_activation

_LARGEST_WEIGHT = 63

# The activations that the operation applies itself.
FUSED_ACTIVATIONS = {
    None: [],
    "gelu": ["GeluExact"],
    "gelu_approximate": ["GeluApproximate"],
    "relu": ["Relu"],
    "tanh": ["Tanh"],
}


def rounded(matrix, axis, most=127):
    """`(integers, steps)` of a matrix: int8 from `-most` to `most`, and what 1 means, along `axis`, float32."""
    # Of nothing but zeros as well.
    steps = tf.maximum(tf.reduce_max(tf.abs(matrix), axis), 1e-30) / most
    return tf.cast(tf.round(matrix / tf.expand_dims(steps, axis)), tf.int8), steps


@dataclasses.dataclass(frozen=True)
class Int8:
    """How a projection is computed in 8-bit integers.

    Attributes:
        largest: inputs from `-largest` to `largest` are told apart, and others clipped.
        scales: None, or `[input dim]`: inputs are divided by them before, and weights multiplied, so that a few wide
            inputs do not make the grid of all coarse (Xiao et al. 2022, arXiv:2211.10438, section 4).
        wide: inputs that this product leaves out, for they are computed in floats elsewhere.
    """

    largest: float
    scales: np.ndarray | None = None
    wide: tuple[int, ...] = ()

    def of_inputs(self, inputs):
        """The form for a slice of the inputs."""
        wide = tuple(place - inputs.start for place in self.wide if inputs.start <= place < inputs.stop)
        return Int8(self.largest, None if self.scales is None else self.scales[inputs], wide)

    def quantized_inputs(self, rows):
        """Floats `[rows, input dim]` as qint8, `-largest` to `largest` as -127 to 127."""
        steps = self.largest / 127 if self.scales is None else self.scales * (self.largest / 127)
        # Not QuantizeV2, for which oneDNN wakes other threads whatever the size.
        units = tf.round(tf.cast(rows, tf.float32) * tf.constant(1 / steps, tf.float32))
        return tf.bitcast(tf.cast(tf.clip_by_value(units, -127, 127), tf.int8), tf.qint8)

    def quantized_weights(self, kernel):
        """`(weights, steps)`: int8 `[input dim, dim]`, and what 1 means in each column, float32 `[dim]`."""
        kernel = tf.cast(kernel, tf.float32)
        factors = np.ones(kernel.shape[0], np.float32) if self.scales is None else self.scales.astype(np.float32)
        factors = np.where(np.isin(np.arange(len(factors)), self.wide), 0, factors)
        kernel = kernel * factors[:, None]
        return rounded(kernel, 0, _LARGEST_WEIGHT)

    def product(self, rows, kernel, bias, activation, output, dtype):
        """`activation(rows · kernel + bias)`.

        Args:
            rows: `[rows, input dim]`, floats or `quantized_inputs`.
            kernel: float `[input dim, dim]`.
            bias: float `[dim]`, or None.
            activation: a key of `FUSED_ACTIVATIONS`.
            output: None, or `largest` of the product that reads the outputs, which are qint8 then.
            dtype: of other outputs, float32 or bfloat16.
        """
        rows = rows if rows.dtype == tf.qint8 else self.quantized_inputs(rows)
        weights, steps = self.quantized_weights(kernel)
        # The operation takes what 127 means.
        largest_weights = 127 * steps
        # `identity`, since an import takes no tensors of an outer graph: in the body of a loop, a stored bias is one.
        bias = tf.zeros_like(steps) if bias is None else tf.identity(tf.cast(bias, tf.float32))
        inputs = [rows, tf.bitcast(weights, tf.qint8), bias]
        inputs += [-self.largest, self.largest, -largest_weights, largest_weights]
        fused = ["BiasAdd", *FUSED_ACTIVATIONS[activation]]
        if output is None:
            return _quantized_matmul(inputs, [*fused, "Dequantize"], [tf.as_dtype(dtype)])[0]
        inputs += [-output, output]
        return _quantized_matmul(inputs, [*fused, "Requantize"], [tf.qint8, tf.float32, tf.float32])[0]

    def scores(self, rows, table):
        """`rows · tableᵀ`, floats, for a float table `[units, input dim]`."""
        return self.product(rows, tf.transpose(table), None, None, None, rows.dtype)


@dataclasses.dataclass(frozen=True)
class StoredInt8:
    """How a projection computes in floats from weights that are stored in 8-bit integers.

    Attributes:
        largest, wide: as of an `Int8`; inputs are not rounded, and none is left out.
    """

    largest = None
    wide = ()

    def of_inputs(self, inputs):
        """The form for a slice of the inputs."""
        return self

    def product(self, rows, kernel, bias, activation, output, dtype):
        """As of an `Int8`; outputs are floats, of the dtype of `rows`."""
        outputs = tf.matmul(rows, self._floats(kernel, 0, rows.dtype))
        outputs = outputs if bias is None else tf.nn.bias_add(outputs, tf.cast(bias, rows.dtype))
        return outputs if activation is None else get_activation(activation)(outputs, training=False)

    def scores(self, rows, table):
        """As of an `Int8`."""
        return tf.matmul(rows, self._floats(table, 1, rows.dtype), transpose_b=True)

    def _floats(self, matrix, axis, dtype):
        """`matrix` from integers with a step for each slice along `axis`."""
        integers, steps = rounded(tf.cast(matrix, tf.float32), axis)
        # An export stores what can be computed from weights alone, but never a quantized type: the integers are stored
        # before the first bitcast, and become floats behind the second.
        integers = tf.bitcast(tf.bitcast(integers, tf.qint8), tf.int8)
        return tf.cast(integers, dtype) * tf.cast(tf.expand_dims(steps, axis), dtype)


def _quantized_matmul(tensors, fused_ops, output_dtypes):
    tensors = [tf.convert_to_tensor(tensor) for tensor in tensors]
    graph_def = tf.compat.v1.GraphDef()
    names = [f"input_{i}" for i in range(len(tensors))]
    for name, tensor in zip(names, tensors, strict=True):
        graph_def.node.add(name=name, op="Placeholder").attr["dtype"].type = tensor.dtype.as_datatype_enum
    node = graph_def.node.add(name="product", op="_QuantizedMatMul", input=names)
    types = {"T1": tf.qint8, "T2": tf.qint8, "Tbias": tf.float32, "U": tf.float32, "Tout": output_dtypes[0]}
    for name, dtype in types.items():
        node.attr[name].type = dtype.as_datatype_enum
    lists = {"Tdevice_inputs": [tensor.dtype for tensor in tensors], "Tdevice_outputs": output_dtypes}
    for name, dtypes in (lists | {"Thost_inputs": [], "Thost_outputs": []}).items():
        node.attr[name].list.type.extend(dtype.as_datatype_enum for dtype in dtypes)
        node.attr[name].list.SetInParent()
    node.attr["fused_ops"].list.s.extend(name.encode() for name in fused_ops)
    for name in ("is_weight_const", "is_bias_const"):
        node.attr[name].b = True
    for name in ("input_quant_mode", "output_quant_mode"):
        node.attr[name].s = b"SCALED"
    placed = {f"{name}:0": tensor for name, tensor in zip(names, tensors, strict=True)}
    outputs = [f"product:{i}" for i in range(len(output_dtypes))]
    return tf.graph_util.import_graph_def(graph_def, input_map=placed, return_elements=outputs, name="int8")
