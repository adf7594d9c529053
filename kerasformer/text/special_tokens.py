"""Special tokens such as `[MASK]`, found literally in a stream of code points: leftmost first, then longest."""

import numpy as np
import tensorflow as tf

_NONE, _ANY = -1, -2  # no code point; one that is not compared
_CODE_BITS = 21
_FEW = 8  # comparisons that take less time than a search


def find_special_tokens(codes, tokens, starts=None):
    """Finds the special tokens in `codes`.

    Args:
        codes: int32 `[chars]`, below 0 where no token may be.
        tokens: non-empty list of str.
        starts: int32 `[starts]`, what `possible_starts` gives, if that is known.

    Returns:
        Three int32 tensors `[found]`: where a token begins, where it ends, and its place in `tokens`.
    """
    starts = possible_starts(codes, tokens) if starts is None else starts
    starts, lengths, numbers = _matches(codes, tokens, starts)
    if _may_overlap(tokens):
        counts = _leftmost(starts, lengths)
        starts, lengths, numbers = (tf.boolean_mask(value, counts) for value in (starts, lengths, numbers))
    return starts, starts + lengths, numbers


def mark_special_tokens(codes, text_starts, tokens):
    """Marks the special tokens in `codes`.

    Args:
        codes: int32 `[chars]`, each text headed by a line feed.
        text_starts: int64 `[texts + 1]`, where those line feeds are.
        tokens: non-empty list of str.

    Returns:
        Three bool tensors `[chars]`: inside a special token, its first code point, its last one.
    """
    codes = tf.tensor_scatter_nd_update(codes, text_starts[:, None], tf.fill(tf.shape(text_starts), _NONE))
    starts, ends, _ = find_special_tokens(codes, tokens)
    size = tf.size(codes)[None]
    first = tf.scatter_nd(starts[:, None], tf.ones_like(starts), size)
    last = tf.scatter_nd((ends - 1)[:, None], tf.ones_like(starts), size)
    inside = tf.cumsum(first) - tf.cumsum(last, exclusive=True)
    return inside > 0, first > 0, last > 0


def possible_starts(codes, tokens):
    """Where the first two code points of a token are, int32 `[starts]`: most texts have no such place."""
    heads = np.unique([ord(token[0]) for token in tokens]).astype(np.int32)
    starts = tf.where(_is_any(codes, heads))[:, 0]
    first, second = (tf.gather(codes, starts), tf.gather(tf.concat([codes, [_NONE]], 0), starts + 1))
    pairs = {(ord(token[0]) << _CODE_BITS) + ord(token[1]) for token in tokens if len(token) > 1}
    is_start = _is_any(_pair(first, second), np.array(sorted(pairs), np.int64))
    single = np.unique([ord(token) for token in tokens if len(token) == 1]).astype(np.int32)
    if single.size:
        is_start |= _is_any(first, single)
    return tf.cast(tf.boolean_mask(starts, is_start), tf.int32)


def _pair(first, second):
    return tf.cast(first, tf.int64) * 2**_CODE_BITS + tf.cast(second, tf.int64)


def _is_any(values, some):
    """Whether each value is one of a sorted array, bool `[values]`."""
    if len(some) > _FEW:
        places = tf.minimum(tf.searchsorted(some, values), len(some) - 1)
        return tf.equal(tf.gather(some, places), values)
    found = tf.zeros_like(values, tf.bool)
    for one in some:
        found |= tf.equal(values, one)
    return found


def _matches(codes, tokens, starts):
    """Where a token begins, how long the longest one there is, and which one; all int32 `[matches]`."""
    width = max(map(len, tokens))
    patterns = np.full((len(tokens), width), _ANY, np.int32)
    for pattern, token in zip(patterns, tokens, strict=True):
        pattern[: len(token)] = [ord(char) for char in token]
    padded = tf.pad(codes, [[0, width]], constant_values=_NONE)
    windows = tf.gather(padded, starts[:, None] + tf.range(width))
    same = tf.reduce_all((windows[:, None, :] == patterns) | (patterns == _ANY), 2)
    lengths = tf.where(same, np.array([len(token) for token in tokens], np.int32), 0)
    numbers = tf.argmax(lengths, 1, tf.int32)
    lengths = tf.reduce_max(lengths, 1)
    found = lengths > 0
    return tuple(tf.boolean_mask(value, found) for value in (starts, lengths, numbers))


def _may_overlap(tokens):
    """Whether a token may begin inside another, where that one did not begin."""
    return any(
        one[place:].startswith(other) or other.startswith(one[place:])
        for one in tokens
        for other in tokens
        for place in range(1, len(one))
    )


def _leftmost(starts, lengths):
    """Which matches count, bool `[matches]`: not those that begin inside an earlier one that counts.

    Which ones count is told by following, from the first match, the chain of next free matches. All chains are
    followed at once, in jumps that double, so that a long text takes few steps.
    """
    count = tf.size(starts)
    following = tf.searchsorted(starts, starts + lengths)
    following = tf.concat([following, [count]], 0)
    counts = tf.one_hot(0, count + 1, True, False)

    def step(counts, following):
        targets = tf.boolean_mask(following, counts)
        counts |= tf.scatter_nd(targets[:, None], tf.ones_like(targets), [count + 1]) > 0
        return counts, tf.gather(following, following)

    counts, _ = tf.while_loop(
        lambda _, following: following[0] < count,
        step,
        [counts, following],
    )
    return counts[:-1]
