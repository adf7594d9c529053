"""The best path through the pieces of words, as TensorFlow ops: Viterbi's algorithm for a whole batch.

Every character is a node, every piece an edge from the character before it to its last one, and one node more, `nodes`,
is before the first characters of all words, with the sum 0. A node's best sum is the greatest sum of an edge and of the
node where it begins. That is computed for all nodes at once, again and again until nothing changes: as often as the
best path has edges, five or ten times, and not as often as a word has characters.
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

_BLOCK = 64  # characters of a word that are looked at together


class Edges(NamedTuple):
    """Edges in the order of the nodes where they begin; each node has one that ends there.

    before: int `[edges]`, the node where an edge begins.
    ends: int `[edges]`, the node where it ends.
    scores: float64 `[edges]`.
    """

    before: tf.Tensor
    ends: tf.Tensor
    scores: tf.Tensor


def best_path(edges, is_first, longest):
    """The edges on the paths of the greatest sums.

    Sums are added from the left. Of equal sums that whose last edge is longest is taken.

    Args:
        edges: Edges.
        is_first: bool `[nodes]`, the first character of a word.
        longest: int, characters of the longest word.

    Returns:
        int32 `[taken]`, places in `edges`, from the left.
    """
    size = tf.size(is_first)
    best = tf.cond(
        longest > _BLOCK,
        lambda: _best_in_blocks(edges, is_first),
        lambda: _best_sums(edges, size),
    )
    numbers = tf.range(tf.size(edges.ends))
    is_best = tf.equal(tf.gather(best, edges.before) + edges.scores, tf.gather(best, edges.ends))
    numbers = tf.where(is_best, numbers, tf.int32.max)
    taken = tf.math.unsorted_segment_min(numbers, edges.ends, size)

    # Back from the ends of words, in steps of 1, 2, 4, ... edges.
    before = tf.concat([tf.cast(tf.gather(edges.before, taken), tf.int32), [size]], 0)
    is_end = tf.cast(tf.concat([is_first[1:], [True, False]], 0), tf.int32)
    is_end, _ = tf.while_loop(
        lambda _, before: tf.reduce_any(before < size),
        lambda is_end, before: (
            tf.maximum(is_end, tf.math.unsorted_segment_max(is_end, before, size + 1)),
            tf.gather(before, before),
        ),
        (is_end, before),
        shape_invariants=(tf.TensorShape([None]),) * 2,
    )
    return tf.gather(taken, tf.where(is_end[:-1] > 0)[:, 0])


def _best_sums(edges, size):
    """float64 `[nodes + 1]`."""
    # An edge from the node before all words to itself, so that it keeps its sum.
    node = tf.cast([size], edges.ends.dtype)
    before, ends = (tf.concat([nodes, node], 0) for nodes in (edges.before, edges.ends))
    scores = tf.concat([edges.scores, [0.0]], 0)

    def relaxed(best):
        return tf.math.unsorted_segment_max(tf.gather(best, before) + scores, ends, size + 1)

    def step(best, _):
        best = relaxed(best)
        return relaxed(best), best

    start = tf.concat([tf.fill([size], np.float64(-np.inf)), [0.0]], 0)
    return tf.while_loop(
        lambda new, old: tf.reduce_any(tf.not_equal(new, old)),
        step,
        step(start, None),
        shape_invariants=(tf.TensorShape([None]),) * 2,
    )[0]


def _best_in_blocks(edges, is_first):
    """The same, block by block: first the characters of the first block of all words, then those of the second."""
    size = tf.size(is_first)
    chars = tf.range(size)
    heads = tf.cast(tf.where(is_first)[:, 0], tf.int32)
    block = (chars - tf.gather(heads, tf.cumsum(tf.cast(is_first, tf.int32)) - 1)) // _BLOCK
    num_blocks = tf.reduce_max(block) + 1
    order = tf.argsort(block, stable=True)
    rank = tf.concat([tf.math.invert_permutation(order), [size]], 0)
    ends = tf.gather(rank, edges.ends)
    edge_order = tf.argsort(ends, stable=True)
    ends = tf.gather(ends, edge_order)
    before = tf.gather(tf.gather(rank, edges.before), edge_order)
    scores = tf.gather(edges.scores, edge_order)
    node_splits = tf.searchsorted(tf.gather(block, order), tf.range(num_blocks + 1))
    edge_splits = tf.searchsorted(ends, node_splits)

    def step(number, best):
        node, stop = node_splits[number], node_splits[number + 1]
        some = slice(edge_splits[number], edge_splits[number + 1])
        # What begins in another block, or before all words, begins at a node of the sum 0.
        inside = (before[some] >= node) & (before[some] < size)
        outer = tf.gather(best, before[some]) + scores[some]
        local = Edges(
            tf.where(inside, before[some] - node, stop - node),
            ends[some] - node,
            tf.where(inside, scores[some], outer),
        )
        values = _best_sums(local, stop - node)[:-1]
        return number + 1, tf.concat([best[:node], values, best[stop:]], 0)

    start = tf.concat([tf.fill([size], np.float64(-np.inf)), [0.0]], 0)
    _, best = tf.while_loop(
        lambda number, _: number < num_blocks,
        step,
        (0, start),
        shape_invariants=(tf.TensorShape([]), tf.TensorShape([None])),
    )
    return tf.gather(best, rank)
