"""Tweets masked as TweetEval's README does it, word by word."""

import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasformer.text.tweets import normalize_tweets


def as_published(text):
    words = []
    for word in text.split(" "):
        word = "@user" if word.startswith("@") and len(word) > 1 else word
        words.append("http" if word.startswith("http") else word)
    return " ".join(words)


def test_known():
    tweets = ["@bob @alice: look, https://t.co/x http @ a@b", "", "http", "(@bob) @ @@"]
    expected = ["@user @user look, http http @ a@b", "", "http", "(@bob) @ @user"]
    assert [as_published(tweet) for tweet in tweets] == expected
    assert [tweet.decode() for tweet in normalize_tweets(tf.constant(tweets)).numpy()] == expected


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(["@", " ", "http", "https://", "é", "a", "@b", "👍"]), max_size=12).map("".join))
def test_as_published(tweet):
    assert normalize_tweets(tf.constant([tweet])).numpy()[0].decode() == as_published(tweet)
