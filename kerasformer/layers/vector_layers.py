"""What lies between the pooled vector of a text and its embedding."""

import keras

from kerasformer.layers.configs import Config, NormConfig, registered
from kerasformer.layers.dropout import Dropout
from kerasformer.layers.normalization import normalization


@registered
class VectorLayerConfig(Config):
    """One layer after pooling, `[batch, dim]` to `[batch, dim]`.

    Attributes:
        kind: "dense"; "norm" for layer normalization; "dropout"; "unit" for a division by the length.
        dim: outputs of a dense layer, which needs it.
        activation: of a dense layer: "linear", "tanh", "relu", "gelu", "silu" or "sigmoid".
        use_bias: whether a dense layer has a bias.
        rate: of dropout.
    """

    kind: str
    dim: int | None = None
    activation: str = "tanh"
    use_bias: bool = True
    rate: float = 0.0

    def __post_init__(self):
        self._check_choice("kind", ("dense", "norm", "dropout", "unit"))
        self._check_choice("activation", ("linear", "tanh", "relu", "gelu", "silu", "sigmoid"))
        self._check_rates("rate")
        if self.kind == "dense":
            self._check_positive("dim")


def vector_layer(config, **kwargs):
    """The layer that a `VectorLayerConfig` describes."""
    match config.kind:
        case "dense":
            return keras.layers.Dense(config.dim, config.activation, config.use_bias, **kwargs)
        case "norm":
            return normalization(NormConfig(epsilon=1e-5), **kwargs)
        case "dropout":
            return Dropout(config.rate, **kwargs)
    return keras.layers.UnitNormalization(**kwargs)
