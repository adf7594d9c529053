"""Choosing the sentences of a summary, in the graph."""

import tensorflow as tf


def select_sentences(sentences, scores, num_sentences, *, block_trigrams=True):
    """The best sentences of each document, without saying a thing twice (trigram blocking, Paulus et al. 2018,
    arXiv:1705.04304, section 2.5; as BERTSum uses it).

    The best one is taken, again and again, of those that share no three words in a row with one taken before.

    Args:
        sentences: `tf.RaggedTensor` of strings, `[batch, (sentences)]`.
        scores: float32 `[all sentences]`, from 0 up.
        num_sentences: int32 `[batch]`, how many at most.

    Returns:
        bool `[all sentences]`.
    """
    offsets = sentences.row_starts()
    count = tf.size(scores, tf.int64)
    trigrams, of_sentence, num_trigrams = _trigrams(sentences) if block_trigrams else (None, None, None)

    def step(taken, chosen):
        is_open = ~chosen
        if block_trigrams:
            said = _any_of(tf.gather(chosen, of_sentence), trigrams, num_trigrams)
            is_open &= ~_any_of(tf.gather(said, trigrams), of_sentence, count)
        rows = sentences.with_values(tf.where(is_open, scores, -1.0)).to_tensor(-1.0)
        rows = tf.pad(rows, [[0, 0], [0, 1]], constant_values=-1.0)  # so that there is always something to take
        best = tf.argmax(rows, 1)
        found = (tf.reduce_max(rows, 1) >= 0) & (taken < num_sentences)
        places = tf.boolean_mask(offsets + best, found)
        chosen = tf.tensor_scatter_nd_update(chosen, places[:, None], tf.ones_like(places, tf.bool))
        # Where nothing was found, nothing will be.
        return tf.where(found, taken + 1, num_sentences), chosen

    taken, chosen = tf.zeros_like(num_sentences), tf.zeros([count], tf.bool)
    shapes = (num_sentences.shape, tf.TensorShape([None]))
    return tf.while_loop(
        lambda taken, _: tf.reduce_any(taken < num_sentences), step, (taken, chosen), shape_invariants=shapes
    )[1]


def _trigrams(sentences):
    """Trigrams of words: a number for each, from 0 and other ones in each document; its sentence; and how many numbers
    there are."""
    words = tf.strings.regex_replace(tf.strings.lower(sentences.values, "utf-8"), r"[^\p{L}\p{M}\p{N}]+", " ")
    ngrams = tf.strings.ngrams(tf.strings.split(words), 3)
    of_sentence = ngrams.value_rowids()
    document = tf.strings.as_string(tf.gather(sentences.value_rowids(), of_sentence))
    hashes = tf.strings.to_hash_bucket_fast(tf.strings.join([document, ngrams.values], " "), 2**63 - 1)
    unique, numbers = tf.unique(hashes, tf.int64)
    return numbers, of_sentence, tf.size(unique, tf.int64)


def _any_of(values, groups, num_groups):
    """Whether any of the bool `values` in each group is true."""
    return tf.math.unsorted_segment_sum(tf.cast(values, tf.int32), groups, num_groups) > 0
