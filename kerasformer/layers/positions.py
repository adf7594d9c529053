"""Position schemes: what is added to embeddings, and the two hooks by which attention learns of positions.

A scheme inside attention has two hooks, see `AttentionPositions`: `rotate(query, key, query_positions, key_positions)`
changes queries and keys; `bias(query, key, query_positions, key_positions)` returns numbers to add to the scores, or
None. A scheme overrides the one that it needs.
"""

import math

import keras
import tensorflow as tf

from kerasformer.errors import InputError
from kerasformer.layers.base import AttentionPositions, Layer
from kerasformer.layers.configs import DisentangledConfig, RelativeBiasConfig, RotaryConfig
from kerasformer.layers.disentangled import DisentangledAttention


def attention_positions(config, num_heads, head_dim=None, kernel_initializer="glorot_uniform", causal=False, **kwargs):
    """The scheme that a config describes; None for None."""
    if isinstance(config, RotaryConfig):
        return RotaryPositionEmbedding(config.max_wavelength, config.rotary_dim, **kwargs)
    if isinstance(config, RelativeBiasConfig):
        return RelativePositionBias(num_heads, config.num_buckets, config.max_distance, not causal, **kwargs)
    if isinstance(config, DisentangledConfig):
        fields = config.get_config()
        return DisentangledAttention(num_heads, head_dim, kernel_initializer=kernel_initializer, **fields, **kwargs)
    return None


@keras.saving.register_keras_serializable(package="kerasformer")
class SinusoidalPositionEmbedding(Layer):
    """The fixed sine and cosine positions of Vaswani et al. 2017, section 3.5, interleaved as there.

    `PE(pos, 2i) = sin(pos / max_wavelength^(2i / dim))`, and `PE(pos, 2i + 1)` is the cosine of the same angle. They
    are computed in float64 and then cast: in bfloat16 itself, positions above 256 collide.

    Args:
        max_wavelength: 10,000 in the paper.

    Call:
        inputs: `[batch, length, dim]`, or packed `[tokens, dim]` with `positions`; only the shape is read.
        positions: int32 `[length]`, `[batch, length]` or `[tokens]`; by default 0, 1, 2, ...

    Returns:
        The embeddings, to be added to the inputs: the shape of `inputs`, in the compute dtype.
    """

    def __init__(self, max_wavelength=10_000, **kwargs):
        super().__init__(**kwargs)
        self.max_wavelength = max_wavelength
        self.supports_masking = True

    def call(self, inputs, positions=None):
        dim = inputs.shape[-1]
        if positions is None:
            positions = tf.range(tf.shape(inputs)[-2])
        # Rates from the exponents in float64: a constant, so exact at no cost.
        rates = tf.constant([float(self.max_wavelength) ** (-(i // 2 * 2) / dim) for i in range(dim)], tf.float64)
        angles = tf.cast(positions, tf.float64)[..., None] * rates
        odd = tf.constant([i % 2 == 1 for i in range(dim)])
        # sin and cos of a float64 angle: in float32 an angle of 10,000 is already off by 5e-4.
        table = tf.cast(tf.where(odd, tf.cos(angles), tf.sin(angles)), tf.float32)
        return tf.ensure_shape(tf.broadcast_to(tf.cast(table, self.compute_dtype), tf.shape(inputs)), inputs.shape)

    def get_config(self):
        return {**super().get_config(), "max_wavelength": self.max_wavelength}


@keras.saving.register_keras_serializable(package="kerasformer")
class LearnedPositionEmbedding(Layer):
    """A trained vector for each position (Devlin et al. 2019, section 3; Gehring et al. 2017).

    Args:
        max_sequence_length: number of positions.
        initializer: of the table.
        position_offset: rows of the table before the row of position 0. RoBERTa's tables have two.

    Call:
        inputs: `[batch, length, dim]`, or packed `[tokens, dim]` with `positions`; only the shape is read.
        positions: int32 `[length]`, `[batch, length]` or `[tokens]`, each below `max_sequence_length`; by default
            0, 1, 2, ...

    Returns:
        The embeddings, to be added to the inputs: the shape of `inputs`, in the compute dtype.

    Raises:
        InputError: the inputs are known to be longer than `max_sequence_length`, or that is not a positive integer.
    """

    def __init__(self, max_sequence_length, initializer="uniform", position_offset=0, **kwargs):
        super().__init__(**kwargs)
        if not isinstance(max_sequence_length, int) or max_sequence_length < 1:
            raise InputError(
                "`max_sequence_length` must be a positive integer for learned positions. "
                f"Received: max_sequence_length={max_sequence_length!r}."
            )
        self.max_sequence_length = max_sequence_length
        self.position_offset = position_offset
        self.initializer = keras.initializers.get(initializer)
        self.supports_masking = True

    def build(self, input_shape):
        self.embeddings = self.add_weight(
            name="embeddings",
            shape=(self.max_sequence_length + self.position_offset, input_shape[-1]),
            initializer=self.initializer,
            autocast=False,
        )

    def call(self, inputs, positions=None):
        table = tf.convert_to_tensor(self.embeddings)
        if positions is None:
            length = inputs.shape[-2]
            if length is not None and length > self.max_sequence_length:
                raise InputError(
                    f"The input must have at most {self.max_sequence_length} positions (`max_sequence_length`). "
                    f"Received: length={length}."
                )
            # A gather, not a slice: a length beyond the table is then an error instead of a shorter result.
            positions = tf.range(tf.shape(inputs)[-2])
        rows = tf.cast(tf.gather(table, tf.convert_to_tensor(positions) + self.position_offset), self.compute_dtype)
        return tf.ensure_shape(tf.broadcast_to(rows, tf.shape(inputs)), inputs.shape)

    def get_config(self):
        return {
            **super().get_config(),
            "max_sequence_length": self.max_sequence_length,
            "initializer": keras.initializers.serialize(self.initializer),
            "position_offset": self.position_offset,
        }


@keras.saving.register_keras_serializable(package="kerasformer")
class RotaryPositionEmbedding(AttentionPositions):
    """Rotates pairs of features by an angle that grows with the position (Su et al. 2021, arXiv:2104.09864, section
    3.2).

    The scalar product of a rotated query and a rotated key depends on their distance, not on their positions. Feature i
    of a head is paired with feature i + rotary_dim / 2, as in GPT-NeoX and Llama. Angles are computed in float32.

    Args:
        max_wavelength: 10,000 in the paper.
        rotary_dim: leading features that are rotated; None rotates all.

    Call:
        inputs: `[batch, heads, length, head_dim]`, queries or keys.
        positions: int32 `[length]` or `[batch, length]`; by default 0, 1, 2, ...

    Returns:
        The shape and type of `inputs`.

    Raises:
        InputError: the number of rotated features is odd, or larger than a head.
    """

    def __init__(self, max_wavelength=10_000, rotary_dim=None, **kwargs):
        super().__init__(**kwargs)
        self.max_wavelength, self.rotary_dim = max_wavelength, rotary_dim

    def rotate(self, query, key, query_positions, key_positions):
        return self(query, query_positions), self(key, key_positions)

    def call(self, inputs, positions=None):
        head_dim = inputs.shape[-1]
        dim = head_dim if self.rotary_dim is None else self.rotary_dim
        if dim % 2 or dim > head_dim:
            raise InputError(
                "The rotated features of a head must be an even number, at most `head_dim`. "
                f"Received: rotary_dim={self.rotary_dim}, head_dim={head_dim}."
            )
        if positions is None:
            positions = tf.range(tf.shape(inputs)[2])
        rates = tf.constant([float(self.max_wavelength) ** (-2 * i / dim) for i in range(dim // 2)], tf.float32)
        angles = tf.cast(positions, tf.float32)[..., None] * rates
        if len(angles.shape) == 3:
            angles = angles[:, None]
        # In float32 also for lower precision: products of rounded sines add up.
        cosine, sine = tf.cos(angles), tf.sin(angles)
        parts = tf.split(inputs, [dim // 2, dim // 2, head_dim - dim], axis=-1)
        first, second, rest = tf.cast(parts[0], tf.float32), tf.cast(parts[1], tf.float32), parts[2]
        rotated = [first * cosine - second * sine, second * cosine + first * sine]
        rotated = [tf.cast(part, inputs.dtype) for part in rotated]
        return tf.concat(rotated if dim == head_dim else [*rotated, rest], -1)

    def get_config(self):
        return {**super().get_config(), "max_wavelength": self.max_wavelength, "rotary_dim": self.rotary_dim}


@keras.saving.register_keras_serializable(package="kerasformer")
class RelativePositionBias(AttentionPositions):
    """A trained number for each head and each bucket of distances, added to the attention scores (Raffel et al. 2020,
    arXiv:1910.10683, section 2.1).

    Half of the buckets hold one distance each, the others grow logarithmically up to `max_distance`, from which on all
    share the last one.

    Args:
        num_heads: number of heads.
        num_buckets: number of buckets, for both directions together.
        max_distance: distance from which all positions share a bucket.
        bidirectional: whether later keys have buckets of their own; False for a causal decoder.

    Call:
        inputs: `[batch, length, ...]`; only the length is read.
        query_positions, key_positions: int32 `[length]` or `[batch, length]`; by default 0, 1, 2, ... and the queries'.

    Returns:
        `[batch or 1, heads, query length, key length]` in the compute dtype: the `bias` of attention.

    Raises:
        InputError: a size is too small for the buckets.
    """

    def __init__(self, num_heads, num_buckets=32, max_distance=128, bidirectional=True, **kwargs):
        super().__init__(**kwargs)
        one_direction = num_buckets // 2 if bidirectional else num_buckets
        if one_direction < 2 or max_distance <= one_direction // 2:
            raise InputError(
                "`num_buckets` must be at least 2 for each direction, and `max_distance` more than half of these. "
                f"Received: num_buckets={num_buckets}, max_distance={max_distance}."
            )
        self.num_heads, self.num_buckets = num_heads, num_buckets
        self.max_distance, self.bidirectional = max_distance, bidirectional

    def build(self, input_shape=None):
        self.table = self.add_weight(
            name="table",
            shape=(self.num_buckets, self.num_heads),
            initializer=keras.initializers.RandomNormal(stddev=0.02),
            autocast=False,
        )

    def bias(self, query, key, query_positions, key_positions, relative=None, training=None):
        return self(query, query_positions, key_positions)

    def call(self, inputs, query_positions=None, key_positions=None):
        if query_positions is None:
            query_positions = tf.range(tf.shape(inputs)[1])
        if key_positions is None:
            key_positions = query_positions
        buckets = self.bucket(key_positions[..., None, :] - query_positions[..., :, None])
        bias = tf.gather(tf.cast(tf.convert_to_tensor(self.table), self.compute_dtype), buckets)
        if len(bias.shape) == 3:
            bias = bias[None]
        return tf.transpose(bias, [0, 3, 1, 2])

    def bucket(self, distance):
        """The bucket of `key position - query position`, int32 of any shape."""
        buckets, offset = self.num_buckets, 0
        if self.bidirectional:
            buckets //= 2
            offset = tf.cast(distance > 0, tf.int32) * buckets
            distance = tf.abs(distance)
        else:
            distance = tf.maximum(-distance, 0)
        exact = buckets // 2
        ratio = tf.math.log(tf.cast(tf.maximum(distance, 1), tf.float32) / exact) / math.log(self.max_distance / exact)
        far = tf.minimum(exact + tf.cast(ratio * (buckets - exact), tf.int32), buckets - 1)
        return offset + tf.where(distance < exact, distance, far)

    def get_config(self):
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "num_buckets": self.num_buckets,
            "max_distance": self.max_distance,
            "bidirectional": self.bidirectional,
        }
