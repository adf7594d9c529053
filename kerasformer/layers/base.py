"""The base classes of the package's layers."""

import typing

import keras

from kerasformer.layers.configs import deserialized


class Layer(keras.layers.Layer):
    """A Keras layer whose output spec follows from `call`, also before it is built.

    Keras asks a layer for its output shape in `TimeDistributed`, in `Sequential.summary` and in user code. The answer
    comes from tracing `call` on symbolic inputs; where the layer is not built yet, from a copy of it, so that asking
    creates no weights.
    """

    def compute_output_spec(self, *args, **kwargs):
        if self.built:
            return keras.Operation.compute_output_spec(self, *args, **kwargs)
        return type(self).from_config(self.get_config())(*args, **kwargs)

    def compute_output_shape(self, *args, **kwargs):
        """Shapes in, shapes out. Keyword arguments are named as those of `call`, with or without `_shape`."""
        args = [self._spec(shape) for shape in args]
        kwargs = {name.removesuffix("_shape"): self._spec(shape) for name, shape in kwargs.items()}
        outputs = self.compute_output_spec(*args, **kwargs)
        return keras.tree.map_structure(lambda tensor: tuple(tensor.shape), outputs)

    @classmethod
    def from_config(cls, config):
        # Keras reads the policy itself.
        return cls(**{name: value if name == "dtype" else deserialized(value) for name, value in config.items()})

    # dtype of the inputs where it is not the compute dtype.
    _input_dtype: str | None = None

    def _spec(self, shape):
        return None if shape is None else keras.KerasTensor(tuple(shape), dtype=self._input_dtype or self.compute_dtype)


class RowsLayer(Layer):
    """A layer that moves rows and computes nothing: it has no dtype of its own, the input's dtype is kept."""

    def __init__(self, **kwargs):
        super().__init__(autocast=False, **kwargs)


class Relative(typing.NamedTuple):
    """What a scheme with `needs_relative` gets from its model and from its layer of attention.

    Attributes:
        rows: `[2 * length, dim]`, vectors of relative positions, see `RelativeEmbedding`.
        project: function from such rows to their queries and keys, `[2 * length, heads * head_dim]` each, by the
            layer's own projections.
        scale: factor of the scores.
    """

    rows: typing.Any
    project: typing.Callable
    scale: float


class AttentionPositions(Layer):
    """Base class of position schemes inside attention.

    Symbols: `query` is `[batch, heads, query length, head_dim]`, `key` `[batch, key heads, key length, head_dim]`;
    positions are int32, `[length]` or `[batch, length]`.

    Attributes:
        needs_relative: whether `bias` needs a `Relative`. Positions are then 0, 1, 2, ...
        terms: number of products that a score is the sum of; scores are scaled by `(head_dim * terms) ** -0.5`.
    """

    needs_relative = False
    terms = 1

    def rotate(self, query, key, query_positions, key_positions):
        """The queries and keys to compute scores of."""
        return query, key

    def bias(self, query, key, query_positions, key_positions, relative=None, training=None):
        """Numbers added to the scaled scores, `[batch or 1, heads, query length, key length]`, or None."""
