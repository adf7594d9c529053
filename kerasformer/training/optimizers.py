"""Optimizers."""

from collections.abc import Mapping, Sequence

import keras
import tensorflow as tf

from kerasformer._compat import BareAdamW
from kerasformer.errors import InputError
from kerasformer.models import Backbone

# Biases and the gains of normalizations are left out of decay, as in BERT's own optimizer.
_NO_DECAY = ("bias", "gamma", "beta")


@keras.saving.register_keras_serializable(package="kerasformer")
class AdamW(BareAdamW):
    """Keras's AdamW, the same numbers, with the update of a float32 weight as one TensorFlow operation.

    There is no `amsgrad`. `layer_rates` multiplies the learning rate of single weights, by their paths; see the
    function `layer_rates`.

    Keras's own makes about ten passes over the memory of a weight and its two moments. On a CPU, where memory limits an
    optimizer, this one takes a quarter of the time.
    """

    def __init__(self, *args, layer_rates=None, **kwargs):
        super().__init__(*args, **kwargs)
        self.layer_rates = dict(layer_rates or {})

    def build(self, variables):
        super().build(variables)
        self._rates = {self.key_of(variable): self.layer_rates.get(variable.path, 1.0) for variable in variables}

    def get_config(self):
        return {**super().get_config(), "layer_rates": dict(self.layer_rates)}

    def update_step(self, gradient, variable, learning_rate):
        rate = tf.cast(learning_rate, tf.float32) * self._rates[self.key_of(variable)]
        if self.is_decayed(variable):
            variable.assign(variable * tf.cast(1 - rate * self.weight_decay, variable.dtype))
        momentum, velocity = self.moments_of(variable)
        step = tf.cast(self.iterations + 1, tf.float32)
        powers = tf.pow(self.beta_1, step), tf.pow(self.beta_2, step)
        if variable.dtype == tf.float32:
            tf.raw_ops.ResourceApplyAdam(
                var=variable.handle,
                m=momentum.handle,
                v=velocity.handle,
                beta1_power=powers[0],
                beta2_power=powers[1],
                lr=rate,
                beta1=self.beta_1,
                beta2=self.beta_2,
                epsilon=self.epsilon,
                grad=tf.cast(gradient, tf.float32),
            )
            return
        # The same in float32, or float64: in bfloat16 itself a beta of 0.999 is 1, and nothing would move.
        wide = tf.float64 if variable.dtype == tf.float64 else tf.float32
        gradient = tf.cast(gradient, wide)
        first = tf.cast(momentum, wide) * self.beta_1 + gradient * (1 - self.beta_1)
        second = tf.cast(velocity, wide) * self.beta_2 + tf.square(gradient) * (1 - self.beta_2)
        scale = tf.cast(rate * tf.sqrt(1 - powers[1]) / (1 - powers[0]), wide)
        updated = tf.cast(variable, wide) - scale * first / (tf.sqrt(second) + self.epsilon)
        for target, value in ((momentum, first), (velocity, second), (variable, updated)):
            target.assign(tf.cast(value, target.dtype))


def adamw(
    learning_rate: float | keras.optimizers.schedules.LearningRateSchedule = 5e-5,
    *,
    weight_decay: float = 0.01,
    beta_1: float = 0.9,
    beta_2: float = 0.999,
    epsilon: float = 1e-6,
    no_decay: Sequence[str] = _NO_DECAY,
    layer_rates: Mapping[str, float] | None = None,
    average: float | None = None,
) -> keras.optimizers.Optimizer:
    """AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101) with BERT's settings.

    Args:
        learning_rate: a number or a Keras schedule.
        weight_decay: decoupled, multiplied with the learning rate.
        no_decay: weights whose path ends in one of these words are left out of decay.
        layer_rates: factors of the learning rate by the paths of weights, such as `layer_rates(task.encoder, 0.9)`.
        average: momentum of an exponential moving average of the weights, such as 0.999, or None. The Trainer
            evaluates and keeps the averaged weights.

    Returns:
        A Keras optimizer, to be used by the Trainer or by Keras's own `compile`.

    Raises:
        InputError: `average` is not in (0, 1).
    """
    if average is not None and not 0 < average < 1:
        raise InputError(f"`average` must be in (0, 1) or None. Received: average={average}.")
    optimizer = AdamW(
        learning_rate,
        weight_decay=weight_decay,
        beta_1=beta_1,
        beta_2=beta_2,
        epsilon=epsilon,
        layer_rates=layer_rates,
        **({} if average is None else {"use_ema": True, "ema_momentum": average}),
    )
    # The last part of a path: a layer above may have such a word in its name. TensorFlow's own names add the rest.
    optimizer.exclude_from_weight_decay(var_names=[rf"(^|/){word}(/replica_\d+)?(:\d+)?$" for word in no_decay])
    return optimizer


def layer_rates(backbone: Backbone, decay: float) -> dict[str, float]:
    """Factors of the learning rate by which lower layers learn more slowly: `decay` to the number of layers above
    (Clark et al. 2020, arXiv:2003.10555, appendix A).

    Embeddings are below the first block, everything that is neither embedding nor block above the last one; in an
    encoder-decoder the decoder's blocks are above the encoder's. A block that is shared counts as the last one.

    Args:
        backbone: a `Backbone`.
        decay: factor from a layer to the one below it, in (0, 1].

    Returns:
        `{path of a weight: factor}` of all weights of embeddings and blocks.

    Raises:
        InputError: `decay` is out of range, or the model is not a `Backbone`.
    """
    if not 0 < decay <= 1:
        raise InputError(f"`decay` must be in (0, 1]. Received: decay={decay}.")
    if not isinstance(backbone, Backbone):
        raise InputError(f"`backbone` must be a Backbone, whose blocks are known. Received: {type(backbone).__name__}.")
    stacks = [stack for stack in (backbone.encoder, backbone.decoder) if stack is not None]
    blocks = [block for stack in stacks for block in stack.blocks]
    tables = [table for stack in stacks for table in (stack.embeddings, stack.relative_embedding) if table is not None]
    depths = {weight.path: 0 for table in tables for weight in table.weights}
    depths |= {weight.path: depth for depth, block in enumerate(blocks, 1) for weight in block.weights}
    return {path: decay ** (len(blocks) + 1 - depth) for path, depth in depths.items()}
