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
