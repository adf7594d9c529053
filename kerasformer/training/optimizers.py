"""Optimizers."""

import keras

# Biases and the gains of normalizations are left out of decay, as in BERT's own optimizer.
_NO_DECAY = ["bias", "gamma", "beta"]


def adamw(learning_rate=5e-5, *, weight_decay=0.01, beta_1=0.9, beta_2=0.999, epsilon=1e-6, no_decay=_NO_DECAY):
    """AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101) with BERT's settings.

    Args:
        learning_rate: a number or a Keras schedule.
        weight_decay: decoupled, multiplied with the learning rate.
        no_decay: weights whose path holds one of these words are left out of decay.

    Returns:
        A `keras.optimizers.AdamW`, to be used by the Trainer or by Keras's own `compile`.
    """
    optimizer = keras.optimizers.AdamW(
        learning_rate, weight_decay=weight_decay, beta_1=beta_1, beta_2=beta_2, epsilon=epsilon
    )
    optimizer.exclude_from_weight_decay(var_names=list(no_decay))
    return optimizer
