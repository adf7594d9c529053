"""Optimizers."""

import keras
import tensorflow as tf

# Biases and the gains of normalizations are left out of decay, as in BERT's own optimizer.
_NO_DECAY = ("bias", "gamma", "beta")


@keras.saving.register_keras_serializable(package="kerasformer")
class AdamW(keras.optimizers.AdamW):
    """Keras's AdamW, the same numbers, with the update of a float32 weight as one TensorFlow operation.

    Keras's own makes about ten passes over the memory of a weight and its two moments; on a CPU, where memory is what
    an optimizer waits for, this one takes a quarter of the time.
    """

    def _apply_weight_decay(self, variables):
        """Done in `update_step`, where the weight is at hand."""

    def update_step(self, gradient, variable, learning_rate):
        rate = tf.cast(learning_rate, variable.dtype)
        if self._use_weight_decay(variable):
            variable.assign(variable * (1 - rate * self.weight_decay))
        if variable.dtype != tf.float32 or self.amsgrad:
            super().update_step(gradient, variable, learning_rate)
            return
        index = self._get_variable_index(variable)
        step = tf.cast(self.iterations + 1, tf.float32)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[index].value.handle,
            v=self._velocities[index].value.handle,
            beta1_power=tf.pow(self.beta_1, step),
            beta2_power=tf.pow(self.beta_2, step),
            lr=rate,
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=tf.cast(gradient, tf.float32),
        )


def adamw(learning_rate=5e-5, *, weight_decay=0.01, beta_1=0.9, beta_2=0.999, epsilon=1e-6, no_decay=_NO_DECAY):
    """AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101) with BERT's settings.

    Args:
        learning_rate: a number or a Keras schedule.
        weight_decay: decoupled, multiplied with the learning rate.
        no_decay: weights whose path holds one of these words are left out of decay.

    Returns:
        A Keras optimizer, to be used by the Trainer or by Keras's own `compile`.
    """
    optimizer = AdamW(learning_rate, weight_decay=weight_decay, beta_1=beta_1, beta_2=beta_2, epsilon=epsilon)
    optimizer.exclude_from_weight_decay(var_names=list(no_decay))
    return optimizer
