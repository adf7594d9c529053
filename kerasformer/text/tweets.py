"""Tweets as TweetEval has them."""

import tensorflow as tf


def normalize_tweets(texts):
    """User names as `@user` and links as `http` (Barbieri et al. 2020, arXiv:2010.12421; `cardiffnlp/tweeteval`); in
    the graph.

    A word, which spaces divide, that begins with `@` and has more than that, and one that begins with `http`.

    Args:
        texts: strings, any shape.

    Returns:
        strings of the same shape.
    """
    texts = tf.strings.regex_replace(texts, r"(^| )@[^ ]+", r"\1@user")
    return tf.strings.regex_replace(texts, r"(^| )http[^ ]*", r"\1http")


def original_places(texts, normalized, owners, starts, ends, word_ids):
    """Where pieces of normalized texts are in the texts before `normalize_tweets`; in the graph.

    Pieces of a name or link that was masked have the place of all of it, and are of one word.

    Args:
        texts, normalized: strings `[N]`, before and after.
        owners, starts, ends, word_ids: int32 `[P]` of each piece: its text, its bytes in the normalized text, its word.

    Returns:
        starts, ends, word_ids: int32 `[P]`; the words are numbered anew.
    """
    before, after = (tf.strings.split(strings, " ") for strings in (texts, normalized))
    sizes, new_sizes = (tf.strings.length(parts.values) for parts in (before, after))
    first = tf.cast(before.row_splits, tf.int32)
    # Where each part begins, counted over all texts with a space after each part.
    begins, new_begins = (tf.cumsum(lengths + 1, exclusive=True) for lengths in (sizes, new_sizes))
    bases, new_bases = (
        tf.gather(tf.pad(places, [[0, 1]]), tf.gather(first, owners)) for places in (begins, new_begins)
    )
    # A piece may begin with the space before its part.
    part = tf.searchsorted(new_begins, new_bases + tf.maximum(starts, ends - 1), side="right") - 1
    is_masked = tf.gather(before.values != after.values, part)
    begin = tf.gather(begins, part) - bases
    moved = begin - (tf.gather(new_begins, part) - new_bases)
    starts = tf.where(is_masked, begin, starts + moved)
    ends = tf.where(is_masked, begin + tf.gather(sizes, part), ends + moved)
    # Beyond all others, that of a masked part.
    words = tf.where(is_masked, tf.reduce_max(tf.concat([word_ids, [0]], 0)) + 1 + part, word_ids)
    return starts, ends, words
