"""Sentences of documents to model inputs as BERTSum has them, long documents in several windows."""

import tensorflow as tf


def document_inputs(tokenizer, sentences, *, windows=True):
    """`[CLS] sentence [SEP] [CLS] sentence [SEP] …`, segments 0 and 1 in turn (Liu 2019, arXiv:1903.10318, section 3).

    A sentence longer than the model is truncated. A document longer than the model continues in further windows, each
    beginning with the first sentence that did not fit; in the graph.

    Args:
        tokenizer: a WordPieceTokenizer; a window has up to its `max_length` tokens.
        sentences: `tf.RaggedTensor` of strings, `[batch, (sentences)]`.
        windows: False keeps the first window of each document, one row each.

    Returns:
        Model inputs, int32 `[windows, length]`: `token_ids`, `segment_ids`, `padding_mask`. The sentences of all
        windows one after another are those of all documents one after another (with `windows` False, the first ones
        of each).
    """
    ids = _sentence_ids(tokenizer, sentences.values)
    lengths = tf.cast(ids.row_lengths(), tf.int64)
    begins = _window_begins(lengths, sentences.row_splits, tokenizer.max_length)
    first = tf.reshape(tf.where(begins), [-1])
    count = tf.size(lengths, tf.int64)
    splits = tf.concat([first, [count]], 0)
    window_of = tf.cumsum(tf.cast(begins, tf.int64)) - 1
    segments = (tf.range(count) - tf.gather(first, window_of)) % 2
    token_splits = tf.gather(ids.row_splits, splits)
    if not windows:
        # A document's first window begins where the document does; one without sentences has an empty row.
        window_ends = tf.concat([tf.gather(token_splits[1:], window_of), ids.row_splits[-1:]], 0)
        starts = tf.gather(ids.row_splits, sentences.row_starts())
        ends = tf.where(sentences.row_lengths() > 0, tf.gather(window_ends, sentences.row_starts()), starts)
        places = tf.ragged.range(starts, ends)
    else:
        places = tf.ragged.range(token_splits[:-1], token_splits[1:])

    def rows(values, padding):
        return tf.cast(places.with_values(tf.gather(values, places.values)).to_tensor(padding), tf.int32)

    return {
        "token_ids": rows(ids.values, tokenizer.padding_id),
        "segment_ids": rows(tf.repeat(tf.cast(segments, tf.int32), lengths), 0),
        "padding_mask": rows(tf.ones_like(ids.values), 0),
    }


def _sentence_ids(tokenizer, sentences):
    """Ids of each sentence between start and end token, ragged int32 `[sentences, (length)]`."""
    ids = tokenizer.tokenize(sentences)[:, : tokenizer.max_length - 2]
    # A start token that stands literally in a text would begin a sentence.
    ids = ids.with_values(tf.where(tf.equal(ids.values, tokenizer.start_id), tokenizer.unknown_id, ids.values))
    edge = tf.ones([ids.nrows(), 1], tf.int32)
    edges = (tf.RaggedTensor.from_tensor(edge * token) for token in (tokenizer.start_id, tokenizer.end_id))
    start, end = edges
    return tf.concat([start, ids, end], 1)


def _window_begins(lengths, splits, room):
    """Which sentences begin a window, bool `[sentences]`: as many sentences as fit go into one.

    Args:
        lengths: int64 `[sentences]`, none above `room`.
        splits: int64 `[documents + 1]`, where documents begin.
    """
    count = tf.size(lengths, tf.int64)
    ends = tf.cumsum(lengths)
    document_end = tf.repeat(splits[1:], splits[1:] - splits[:-1])
    # Where the next window would begin, if one began with this sentence.
    following = tf.minimum(tf.searchsorted(ends, ends - lengths + room, side="right", out_type=tf.int64), document_end)

    def step(at, begins):
        begins = tf.tensor_scatter_nd_update(begins, at[:, None], tf.ones_like(at, tf.bool))
        after = tf.gather(following, at)
        return tf.boolean_mask(after, after < tf.gather(document_end, at)), begins

    first = tf.boolean_mask(splits[:-1], splits[1:] > splits[:-1])
    return tf.while_loop(
        lambda at, _: tf.size(at) > 0,
        step,
        (first, tf.zeros([count], tf.bool)),
        shape_invariants=(tf.TensorShape([None]), tf.TensorShape([None])),
    )[1]
