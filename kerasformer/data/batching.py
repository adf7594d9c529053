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
        skip_batches: begins at this batch of the epoch, where a killed run resumes.
        drop_remainder: leaves a last batch of fewer examples out.
        length_pool: batches of similar byte lengths, for less padding: each run of `length_pool * batch_size` examples
            is sorted by length and cut into batches, and with `shuffle_seed` the batches are shuffled. 0: off. Without
            `shuffle_seed` the order is not that of the examples: see `epoch_order`.

    Raises:
        InputError: an argument is out of range.
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
    elements = _columns(examples.select(order[skip_batches * batch_size :]))
    return tf.data.Dataset.from_tensor_slices(elements).batch(batch_size, drop_remainder=drop_remainder)


def token_batches(
    examples: Examples,
    lengths: np.ndarray,
    max_tokens: int,
    *,
    padded: bool = False,
    shuffle_seed: int | None = None,
    epoch: int = 0,
    length_pool: int = 1000,
) -> tf.data.Dataset:
    """One epoch of `examples` in batches of as many as have `max_tokens` tokens together, in the form of `batches`.

    Args:
        examples: what `load_classification` returns.
        lengths: tokens of each example, int `[N]`, such as `tokenizer(texts)["padding_mask"]` summed over each row.
        max_tokens, padded, shuffle_seed, epoch, length_pool: see `token_batch_rows`.

    Raises:
        InputError: an argument is out of range, or one example alone has more than `max_tokens`.
    """
    if len(lengths) != len(examples):
        raise InputError(f"`lengths` must have {len(examples)} entries, one per example. Received: {len(lengths)}.")
    rows = token_batch_rows(
        lengths, max_tokens, padded=padded, shuffle_seed=shuffle_seed, epoch=epoch, length_pool=length_pool
    )
    return batches_of_rows(_columns(examples), rows)


def token_batch_rows(
    lengths: np.ndarray,
    max_tokens: int,
    *,
    padded: bool = False,
    shuffle_seed: int | None = None,
    epoch: int = 0,
    length_pool: int = 1000,
) -> list[np.ndarray]:
    """The indices of the examples in each batch of an epoch: every example once, at most `max_tokens` tokens a batch.

    Args:
        lengths: tokens of each example, int `[N]`.
        max_tokens: budget of a batch.
        padded: count padding too: examples times the longest of them.
        shuffle_seed: shuffles with this seed; `None` keeps the order of the examples, but for the sorting in pools.
        epoch: each epoch has an order of its own.
        length_pool: examples are sorted by length within runs of so many before they are cut into batches, which are
            then shuffled; 0 or 1 does not sort.

    Raises:
        InputError: an argument is out of range, or one example alone has more than `max_tokens`.
    """
    _require_at_least(1, max_tokens=max_tokens)
    _require_at_least(0, shuffle_seed=shuffle_seed or 0, epoch=epoch, length_pool=length_pool)
    lengths = np.asarray(lengths, np.int64)
    if len(lengths) and lengths.max() > max_tokens:
        raise InputError(
            f"`max_tokens` must be at least the length of each example. Received: max_tokens={max_tokens}, and example "
            f"{int(lengths.argmax())} has {int(lengths.max())} tokens."
        )
    random = None if shuffle_seed is None else np.random.default_rng([shuffle_seed, epoch])
    order = np.arange(len(lengths)) if random is None else random.permutation(len(lengths))
    pool_size = length_pool if length_pool > 1 else max(len(order), 1)
    rows = []
    for start in range(0, len(order), pool_size):
        pool = order[start : start + pool_size]
        if length_pool > 1:
            pool = pool[np.argsort(lengths[pool], kind="stable")]
        rows += _cut_by_tokens(pool, lengths[pool], max_tokens, padded)
    return rows if random is None else [rows[index] for index in random.permutation(len(rows))]


def _cut_by_tokens(order, lengths, max_tokens, padded):
    rows, first, longest, total = [], 0, 0, 0
    for index, length in enumerate(lengths.tolist()):
        longest, total = max(longest, length), total + length
        if (longest * (index + 1 - first) if padded else total) > max_tokens:
            rows.append(order[first:index])
            first, longest, total = index, length, length
    return [*rows, order[first:]] if len(order) else rows


def batches_of_rows(columns, rows: list[np.ndarray]) -> tf.data.Dataset:
    """Batches of the examples whose indices are in each of `rows`.

    Args:
        columns: nested structure of tensors or arrays with the examples as their first dimension.
        rows: of int `[batch]`.
    """
    columns = tf.nest.map_structure(tf.convert_to_tensor, columns)
    indices = tf.RaggedTensor.from_row_lengths(
        tf.constant(np.concatenate([*rows, np.zeros(0, np.int64)])), [len(row) for row in rows]
    )
    return tf.data.Dataset.from_tensor_slices(indices).map(
        lambda row: tf.nest.map_structure(lambda column: tf.gather(column, row), columns)
    )


def _columns(examples):
    """`({"text", "text_pair"}, targets)`, or the dict alone, as tensors."""
    columns = {"text": _strings(examples.texts)}
    if examples.pairs is not None:
        columns["text_pair"] = _strings(examples.pairs)
    return columns if examples.targets is None else (columns, tf.convert_to_tensor(examples.targets))


def epoch_order(
    examples: Examples,
    batch_size: int,
    *,
    shuffle_seed: int | None = None,
    epoch: int = 0,
    drop_remainder: bool = False,
    length_pool: int = 0,
) -> np.ndarray:
    """The indices of the examples in the order in which `batches` returns them, int64 `[N]`; arguments as there.

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
