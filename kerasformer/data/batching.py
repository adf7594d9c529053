"""Batches in an order that depends on nothing but (seed, epoch), so that a killed run resumes at any batch."""

import numpy as np
import tensorflow as tf

from kerasformer.data.examples import Examples
from kerasformer.errors import InputError


def batches(
    examples: Examples,
    batch_size: int,
    *,
    shuffle_seed: int | None = None,
    epoch: int = 0,
    skip_batches: int = 0,
    drop_remainder: bool = False,
    length_pool: int = 0,
) -> tf.data.Dataset:
    """One epoch of `examples` as `({"text": [batch], "text_pair": [batch]}, targets [batch])`.

    `text_pair` is there for pairs only. Where the examples have no targets an element is the dict alone. A tokenizer
    is mapped over it by the caller.

    Args:
        examples: what `load_classification` returns.
        batch_size: examples in a batch; the last one may have fewer.
        shuffle_seed: shuffles with this seed; `None` keeps the order of the examples.
        epoch: each epoch has an order of its own.
        skip_batches: begins at this batch of the epoch, where a killed run goes on.
        drop_remainder: leaves a last batch of fewer examples out.
        length_pool: batches of similar byte lengths, for less padding: each run of `length_pool * batch_size` examples
            is sorted by length and cut into batches, and with `shuffle_seed` the batches are shuffled. 0: off. Without
            `shuffle_seed` the order is no longer that of the examples: see `epoch_order`.

    Raises:
        InputError: an argument is out of its range.
    """
    _require_at_least(0, skip_batches=skip_batches)
    order = epoch_order(
        examples,
        batch_size,
        shuffle_seed=shuffle_seed,
        epoch=epoch,
        drop_remainder=drop_remainder,
        length_pool=length_pool,
    )
    chosen = examples.select(order[skip_batches * batch_size :])
    columns = {"text": _strings(chosen.texts)}
    if chosen.pairs is not None:
        columns["text_pair"] = _strings(chosen.pairs)
    elements = columns if chosen.targets is None else (columns, chosen.targets)
    return tf.data.Dataset.from_tensor_slices(elements).batch(batch_size, drop_remainder=drop_remainder)


def epoch_order(
    examples: Examples,
    batch_size: int,
    *,
    shuffle_seed: int | None = None,
    epoch: int = 0,
    drop_remainder: bool = False,
    length_pool: int = 0,
) -> np.ndarray:
    """The indices of the examples in the order in which `batches` gives them, int64 `[N]`; arguments as there.

    Batch k holds those from `k * batch_size`. With `drop_remainder` the examples left out are not among them.
    """
    _require_at_least(1, batch_size=batch_size)
    _require_at_least(0, shuffle_seed=shuffle_seed or 0, epoch=epoch, length_pool=length_pool)
    count = len(examples)
    random = None if shuffle_seed is None else np.random.default_rng([shuffle_seed, epoch])
    order = np.arange(count) if random is None else random.permutation(count)
    # The short batch stays last, and is drawn before sorting: it must not always hold the longest texts.
    full, remainder = np.split(order, [count - count % batch_size])
    if length_pool:
        full = _by_length(full, examples, batch_size, length_pool, random)
    return full if drop_remainder else np.concatenate([full, remainder])


def _by_length(order, examples, batch_size, length_pool, random):
    lengths = _byte_lengths(examples.texts)
    if examples.pairs is not None:
        lengths = lengths + _byte_lengths(examples.pairs)
    pool = batch_size * length_pool
    pools = [order[start : start + pool] for start in range(0, len(order), pool)]
    in_pools = [indices[np.argsort(lengths[indices], kind="stable")] for indices in pools]
    rows = np.concatenate([order[:0], *in_pools]).reshape(-1, batch_size)
    return (rows if random is None else random.permutation(rows)).ravel()


def _byte_lengths(texts):
    return np.fromiter((len(text.encode()) for text in texts), np.int64, len(texts))


def _strings(texts):
    return tf.constant(texts, tf.string, shape=[len(texts)])


def _require_at_least(least, **arguments):
    for name, value in arguments.items():
        if value < least:
            raise InputError(f"`{name}` must be {least} or more. Received: {name}={value}.")
