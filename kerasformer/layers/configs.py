"""Frozen configs that a Transformer block and its embedding are composed of.

A config is data: it compares by value, is hashable, and is saved with a layer or a model. Configs nest: a `BlockConfig`
holds an `AttentionConfig`, a `FeedForwardConfig` and a `NormConfig`.
"""

import dataclasses
import typing

import keras

from kerasformer.errors import InputError


@dataclasses.dataclass(frozen=True)
class Config:
    """Base class: checks fields when it is made, and saves them as Keras saves its objects."""

    def get_config(self):
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    @classmethod
    def from_config(cls, config):
        return cls(**{name: deserialized(value) for name, value in config.items()})

    def replace(self, **changes):
        """A copy with other values in some fields."""
        return dataclasses.replace(self, **changes)

    def _check_positive(self, *names):
        for name in names:
            check_positive(name, getattr(self, name))

    def _check_rates(self, *names):
        for name in names:
            check_rate(name, getattr(self, name))

    def _check_choice(self, name, choices):
        value = getattr(self, name)
        if value not in choices:
            raise InputError(f"`{name}` must be one of {list(choices)}. Received: {name}={value!r}.")


def check_positive(name, value):
    """Raises InputError unless `value` is a positive integer."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InputError(f"`{name}` must be a positive integer. Received: {name}={value!r}.")


def check_rate(name, value):
    """Raises InputError unless `value` is a number in [0, 1)."""
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value < 1:
        raise InputError(f"`{name}` must be a number in [0, 1). Received: {name}={value!r}.")


def check_heads(num_heads, hidden_dim):
    """Raises InputError unless heads of one width make up `hidden_dim`."""
    if hidden_dim % num_heads:
        raise InputError(
            f"`num_heads` must divide `hidden_dim`. Received: num_heads={num_heads}, hidden_dim={hidden_dim}."
        )


def serialized(value):
    """A config, or a plain value, as JSON takes it."""
    return keras.saving.serialize_keras_object(value) if isinstance(value, Config) else value


def deserialized(value):
    """The reverse of `serialized`, and of what Keras makes of configs inside configs."""
    if isinstance(value, dict) and "class_name" in value:
        return keras.saving.deserialize_keras_object(value)
    return tuple(map(deserialized, value)) if isinstance(value, (list, tuple)) else value


@typing.dataclass_transform(frozen_default=True)
def registered(cls):
    """Class decorator: a frozen dataclass that Keras can save."""
    return keras.saving.register_keras_serializable(package="kerasformer")(dataclasses.dataclass(frozen=True)(cls))


@registered
class RotaryConfig(Config):
    """Rotary positions, see `RotaryPositionEmbedding`.

    Attributes:
        max_wavelength: longest wavelength, 10,000 in the paper ("theta" elsewhere).
        rotary_dim: leading features of a head that are rotated; None rotates all of them.
    """

    max_wavelength: float = 10_000
    rotary_dim: int | None = None


@registered
class RelativeBiasConfig(Config):
    """Relative position buckets, see `RelativePositionBias`.

    Attributes:
        num_buckets: number of buckets.
        max_distance: distance from which all positions share one bucket.
    """

    num_buckets: int = 32
    max_distance: int = 128


@registered
class DisentangledConfig(Config):
    """Disentangled attention to relative positions, see `DisentangledAttention`.

    Attributes:
        content_to_position: whether queries attend to relative positions.
        position_to_content: whether relative positions attend to keys.
        share_projections: project positions by the projections of the content.
        dropout: rate on the vectors of relative positions, when training.
    """

    content_to_position: bool = True
    position_to_content: bool = True
    share_projections: bool = True
    dropout: float = 0.0

    def __post_init__(self):
        self._check_rates("dropout")
        if not (self.content_to_position or self.position_to_content):
            raise InputError("`content_to_position` or `position_to_content` must be true. Received: both are false.")


@registered
class NormConfig(Config):
    """A normalization and its position.

    Attributes:
        kind: "layer" for layer normalization, "rms" for root mean square normalization.
        epsilon: added to the variance.
        placement: "post" for `norm(x + f(x))`, "pre" for `x + f(norm(x))`.
        use_bias: whether layer normalization has `beta`.
    """

    kind: str = "layer"
    epsilon: float = 1e-12
    placement: str = "post"
    use_bias: bool = True

    def __post_init__(self):
        self._check_choice("kind", ("layer", "rms"))
        self._check_choice("placement", ("pre", "post"))


@registered
class PoolerConfig(Config):
    """One vector for a text: of its first token or the mean of its tokens, then a dense layer, see `Pooler`.

    Attributes:
        pooling: "first" for the first token, "mean" for the mean of the real tokens.
        activation: name or function, as in `FeedForwardConfig`.
        use_bias: whether the dense layer has a bias.
        norm: NormConfig of a normalization after the activation, or None; its placement is not read.
    """

    pooling: str = "first"
    activation: str = "tanh"
    use_bias: bool = True
    norm: NormConfig | None = None

    def __post_init__(self):
        self._check_choice("pooling", ("first", "mean"))
        if self.norm is not None and not isinstance(self.norm, NormConfig):
            raise InputError(f"`norm` must be a NormConfig or None. Received: norm={self.norm!r}.")


@registered
class RelativeEmbeddingConfig(Config):
    """The vectors of relative positions that `DisentangledAttention` reads, see `RelativeEmbedding`.

    Attributes:
        num_distances: vectors in each direction.
        max_distance: distance from which all positions share a vector, where half of the distances in each direction
            grow logarithmically up to it; None where each has its own.
        norm: NormConfig of a normalization of the vectors, or None; its placement is not read.
    """

    num_distances: int
    max_distance: int | None = None
    norm: NormConfig | None = None

    def __post_init__(self):
        self._check_positive("num_distances")
        if self.max_distance is not None:
            self._check_positive("max_distance")
            if self.num_distances < 2 or self.max_distance - 1 <= self.num_distances // 2:
                raise InputError(
                    "`num_distances` must be at least 2, and `max_distance` more than half of it and one. "
                    f"Received: num_distances={self.num_distances}, max_distance={self.max_distance}."
                )
        if self.norm is not None and not isinstance(self.norm, NormConfig):
            raise InputError(f"`norm` must be a NormConfig or None. Received: norm={self.norm!r}.")


@registered
class MaskedHeadConfig(Config):
    """What is between hidden states and the table of token embeddings, see `MaskedLanguageModelHead`.

    Attributes:
        activation: name or function, as in `FeedForwardConfig`.
        norm: NormConfig of the normalization after it; its placement is not read.
        use_bias: whether the dense layer has a bias.
    """

    activation: str = "gelu"
    norm: NormConfig = NormConfig()
    use_bias: bool = True

    def __post_init__(self):
        if not isinstance(self.norm, NormConfig):
            raise InputError(f"`norm` must be a NormConfig. Received: norm={self.norm!r}.")


@registered
class ConvolutionConfig(Config):
    """A convolution along the tokens beside the first block, see `TokenConvolution`.

    Attributes:
        kernel_size: tokens in a window, an odd number.
        activation: name or function, as in `FeedForwardConfig`.
        norm: NormConfig of the normalization of the sum; its placement is not read.
        dropout: rate before the activation, when training.
    """

    kernel_size: int = 3
    activation: str = "tanh"
    norm: NormConfig = NormConfig()
    dropout: float = 0.0

    def __post_init__(self):
        self._check_positive("kernel_size")
        self._check_rates("dropout")
        if self.kernel_size % 2 == 0:
            raise InputError(f"`kernel_size` must be odd. Received: kernel_size={self.kernel_size}.")
        if not isinstance(self.norm, NormConfig):
            raise InputError(f"`norm` must be a NormConfig. Received: norm={self.norm!r}.")


@registered
class AttentionConfig(Config):
    """Multi-head attention, see `MultiHeadAttention`.

    Attributes:
        num_heads: number of query heads.
        num_key_value_heads: number of key and value heads; None for `num_heads`. Must divide `num_heads`.
        head_dim: width of a head; None for `hidden_dim // num_heads`.
        use_bias: whether the query, key and value projections have biases.
        use_output_bias: whether the output projection has one; None for `use_bias`.
        scale: factor of the scores; None for `(head_dim * terms) ** -0.5`, with the 2 or 3 terms of disentangled
            attention, else 1.
        window: a query attends to keys at a distance of at most `window` positions; None for all keys.
        positions: a `RotaryConfig`, a `RelativeBiasConfig` or a `DisentangledConfig`, of this layer alone; or None.
        dropout: rate on the attention probabilities, when training.
    """

    num_heads: int
    num_key_value_heads: int | None = None
    head_dim: int | None = None
    use_bias: bool = True
    use_output_bias: bool | None = None
    scale: float | None = None
    window: int | None = None
    positions: Config | None = None
    dropout: float = 0.0

    def __post_init__(self):
        self._check_positive("num_heads")
        self._check_positive(
            *[n for n in ("num_key_value_heads", "head_dim", "window") if getattr(self, n) is not None]
        )
        self._check_rates("dropout")
        if self.num_key_value_heads is not None and self.num_heads % self.num_key_value_heads:
            raise InputError(
                "`num_key_value_heads` must divide `num_heads`. "
                f"Received: num_key_value_heads={self.num_key_value_heads}, num_heads={self.num_heads}."
            )
        schemes = (RotaryConfig, RelativeBiasConfig, DisentangledConfig)
        if self.positions is not None and not isinstance(self.positions, schemes):
            raise InputError(
                f"`positions` must be a {', a '.join(kind.__name__ for kind in schemes)} or None. "
                f"Received: positions={self.positions!r}."
            )
        if isinstance(self.positions, DisentangledConfig) and self.num_key_value_heads not in (None, self.num_heads):
            raise InputError(
                "Disentangled attention needs as many key and value heads as query heads. "
                f"Received: num_key_value_heads={self.num_key_value_heads}, num_heads={self.num_heads}."
            )


@registered
class FeedForwardConfig(Config):
    """The feed-forward network, see `FeedForward`.

    Attributes:
        intermediate_dim: width between the projections.
        activation: name or function; "gelu" is the exact one, "gelu_approximate" its tanh form.
        gated: multiply the activated projection with a second, linear one (GLU).
        use_bias: whether the projections have biases.
        dropout: rate after the activation, when training.
    """

    intermediate_dim: int
    activation: str = "gelu"
    gated: bool = False
    use_bias: bool = True
    dropout: float = 0.0

    def __post_init__(self):
        self._check_positive("intermediate_dim")
        self._check_rates("dropout")


@registered
class BlockConfig(Config):
    """A Transformer block, see `TransformerBlock`.

    Attributes:
        attention: AttentionConfig of self-attention.
        feed_forward: FeedForwardConfig.
        norm: NormConfig of all normalizations of the block.
        cross_attention: AttentionConfig of the attention to an encoder's output; None for a block without.
        causal: no position attends to a later one.
        dropout: rate after attention and after the feed-forward network, when training.
        norm_attention: whether self-attention has a normalization. The first block of a pre-norm model does without
            where the embeddings are normalized (Warner et al. 2024, section 2.1.1).
    """

    attention: AttentionConfig
    feed_forward: FeedForwardConfig
    norm: NormConfig = NormConfig()
    cross_attention: AttentionConfig | None = None
    causal: bool = False
    dropout: float = 0.0
    norm_attention: bool = True

    def __post_init__(self):
        self._check_rates("dropout")
        kinds = {"attention": AttentionConfig, "feed_forward": FeedForwardConfig, "norm": NormConfig}
        kinds |= {} if self.cross_attention is None else {"cross_attention": AttentionConfig}
        for name, kind in kinds.items():
            if not isinstance(getattr(self, name), kind):
                raise InputError(f"`{name}` must be of type {kind.__name__}. Received: {getattr(self, name)!r}.")


@registered
class EmbeddingConfig(Config):
    """What a Transformer begins with, see `TransformerEmbedding`.

    Attributes:
        vocabulary_size: number of tokens.
        hidden_dim: width of the model.
        positions: "learned", "sinusoidal", or None where attention knows positions.
        max_sequence_length: number of positions; for learned ones, rows of the table less `position_offset`.
        position_offset: rows of the learned table before the row of position 0 (RoBERTa: 2). With these, positions
            count the tokens that are not padding, also where padding is on the left.
        num_segments: rows of the segment table; 0 for none.
        embedding_dim: width of the tables, which a projection to `hidden_dim` follows; None for tables of width
            `hidden_dim` without one.
        scale_by_dim: multiply token embeddings by the square root of their width (Vaswani et al. 2017, section 3.4).
        norm: NormConfig of a normalization of the sum, or None; its placement is not read.
        dropout: rate on the result, when training.
        initializer_range: standard deviation of the tables; None for `hidden_dim ** -0.5`.
    """

    vocabulary_size: int
    hidden_dim: int
    positions: str | None = "learned"
    max_sequence_length: int = 512
    position_offset: int = 0
    num_segments: int = 0
    embedding_dim: int | None = None
    scale_by_dim: bool = False
    norm: NormConfig | None = None
    dropout: float = 0.0
    initializer_range: float | None = 0.02

    def __post_init__(self):
        self._check_positive("vocabulary_size", "hidden_dim", "max_sequence_length")
        self._check_choice("positions", ("learned", "sinusoidal", None))
        self._check_rates("dropout")
        for name in ("position_offset", "num_segments"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 0:
                raise InputError(f"`{name}` must be an integer of 0 or more. Received: {name}={value!r}.")
        if self.embedding_dim is not None:
            self._check_positive("embedding_dim")

    @property
    def table_dim(self):
        """Width of the tables."""
        return self.embedding_dim or self.hidden_dim
