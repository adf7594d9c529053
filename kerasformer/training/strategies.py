"""Distribution strategies by name."""

import tensorflow as tf

from kerasformer.errors import InputError

_STRATEGIES = {
    "default": tf.distribute.get_strategy,
    "mirrored": tf.distribute.MirroredStrategy,
    "multi_worker": tf.distribute.MultiWorkerMirroredStrategy,
}


def make_strategy(strategy="default"):
    """A `tf.distribute.Strategy` by name, "default", "mirrored" or "multi_worker"; an object is returned as it is."""
    if isinstance(strategy, tf.distribute.Strategy):
        return strategy
    if strategy not in _STRATEGIES:
        raise InputError(f"`strategy` must be one of {list(_STRATEGIES)}. Received: strategy={strategy!r}.")
    return _STRATEGIES[strategy]()
