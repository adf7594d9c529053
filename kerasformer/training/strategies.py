"""Distribution strategies by name."""

import tensorflow as tf

from kerasformer.errors import InputError
from kerasformer.training.cluster import read_cluster, wait_for_workers

STRATEGIES = ("default", "mirrored", "multi_worker")


def make_strategy(strategy: str | tf.distribute.Strategy = "default") -> tf.distribute.Strategy:
    """A `tf.distribute.Strategy` by name; an object is returned as it is.

    - "default": one device; where `TF_CONFIG` names several workers, as "multi_worker"
    - "mirrored": all GPUs of this machine
    - "multi_worker": all workers that `TF_CONFIG` names, with all their GPUs. To be made before anything else is
      computed.

    Raises:
        InputError: an unknown name; a `TF_CONFIG` that cannot be used; a worker that does not start, see
            `wait_for_workers`.
    """
    if isinstance(strategy, tf.distribute.Strategy):
        return strategy
    if strategy not in STRATEGIES:
        raise InputError(f"`strategy` must be one of {list(STRATEGIES)}. Received: strategy={strategy!r}.")
    if strategy == "mirrored":
        return tf.distribute.MirroredStrategy()
    several = len(read_cluster()[0]) > 1
    if strategy == "default" and not several:
        return tf.distribute.get_strategy()
    wait_for_workers()
    return tf.distribute.MultiWorkerMirroredStrategy()
