"""From tokenized documents to the token sequences that BERT is pretrained on; in the graph.

Symbols: P parts of documents, S sentences and T tokens of all of them in a row, I sequences. All parts are walked
through at once, one sequence of each at a time.
"""

import tensorflow as tf

from kerasformer.text.inputs import cut_pair
from kerasformer.text.templates import bert_templates, model_inputs


def sentence_pairs(pieces, documents, seed, max_length, short_probability, special_ids):
    """Pairs of segments, of which half follow each other and half come from two documents (Devlin et al. 2019,
    appendix A.2, and `create_pretraining_data` of google-research/bert).

    Sentences of a document are taken until they fill a sequence. A random number of them, at least one, is the first
    segment; the second is the rest of them, or as much from a random sentence on of another document, and what was
    not used comes next. Pairs that are too long lose tokens at the beginning and the end of the longer segment. A last
    sentence that is alone is left out, and so are documents that are here without another one, whichever kind of
    pair they would have given, so that both kinds are equally likely everywhere.

    As with google-research/bert, where documents are short, the length of the second segment depends on the kind: a
    random one is longer, if there is more to take than the document's own rest.

    Args:
        pieces: int32 `[P, (sentences), (tokens)]`, ragged, no sentence empty.
        documents: int64 `[P]`, the document that each part is of.
        seed: int32 `[2]`.
        max_length: longest sequence, special tokens included.
        short_probability: share of the sequences that are to have a random shorter length.
        special_ids: `(start, end, padding)`.

    Returns:
        `{"token_ids": int32 [I, max_length], "length", "first_length", "is_random": int32 [I]}`; `first_length` counts
        the first segment with its two special tokens.
    """
    room = max_length - 3
    has_text = pieces.row_lengths() > 0
    pieces, documents = tf.ragged.boolean_mask(pieces, has_text), tf.boolean_mask(documents, has_text)
    parts = tf.size(documents)
    # Parts ordered by document: those of others are the ones outside of a run.
    by_document = tf.argsort(documents, stable=True)
    ordered = tf.gather(documents, by_document)
    own_first = tf.searchsorted(ordered, documents)
    own_end = tf.searchsorted(ordered, documents, side="right")
    others = parts - (own_end - own_first)
    splits = tf.cast(pieces.row_splits, tf.int32)
    first_sentences, end_sentences = splits[:-1], splits[1:]
    starts = tf.cast(pieces.values.row_splits, tf.int32)  # of sentences, in tokens, [S + 1]

    def sentence_at(token, end):
        """The first sentence that begins there or later, at most `end`."""
        return tf.minimum(tf.searchsorted(starts, token), end)

    def step(place, random):
        target = _target(random[0], random[1], room, short_probability, 2)
        chunk_end = sentence_at(tf.gather(starts, place) + target, end_sentences)
        chunk_end = tf.where(chunk_end - place < 2, tf.minimum(place + 2, end_sentences), chunk_end)
        is_pair = chunk_end - place >= 2
        # A part that is at its end gives no sequence, and must not reach beyond.
        first_end = tf.minimum(place + 1 + _below(random[2], chunk_end - place - 1), end_sentences)
        first = tf.gather(starts, place), tf.gather(starts, first_end)

        other = tf.gather(by_document, (own_end + _below(random[6], others)) % tf.maximum(parts, 1))
        other_start, other_end = tf.gather(first_sentences, other), tf.gather(end_sentences, other)
        begin = other_start + _below(random[3], other_end - other_start)
        second_room = tf.maximum(target - (first[1] - first[0]), 1)
        stop = sentence_at(tf.gather(starts, begin) + second_room, other_end)

        is_random = random[4] < 0.5
        second = [tf.gather(starts, tf.where(is_random, *ends)) for ends in ((begin, first_end), (stop, chunk_end))]
        lengths = first[1] - first[0], second[1] - second[0]
        kept = cut_pair(*lengths, room)
        columns = [
            first[0] + _below(random[5], lengths[0] - kept[0] + 1),
            kept[0],
            second[0] + _below(random[5], lengths[1] - kept[1] + 1),
            kept[1],
            tf.cast(is_random, tf.int32),
        ]
        is_used = is_pair & (others > 0)
        following = tf.where(is_used & is_random, first_end, chunk_end)
        return columns, is_used, tf.where(is_pair, following, end_sentences)

    columns = _walk(step, first_sentences, end_sentences, 5, 7, seed)
    first, first_length, second, second_length, is_random = tf.unstack(columns, axis=1)
    rows = _assembled(pieces.flat_values, [(first, first_length), (second, second_length)], max_length, special_ids)
    return {**rows, "first_length": first_length + 2, "is_random": is_random}


def text_runs(pieces, seed, max_length, short_probability, special_ids):
    """Sequences of running text, each of one document, nothing left out: as many whole sentences as fit, and a longer
    sentence in parts (Liu et al. 2019, arXiv:1907.11692, section 4.2, DOC-SENTENCES).

    Args:
        pieces, seed, max_length, short_probability, special_ids: as for `sentence_pairs`.

    Returns:
        `{"token_ids": int32 [I, max_length], "length": int32 [I]}`.
    """
    starts = tf.cast(pieces.values.row_splits, tf.int32)
    splits = tf.gather(starts, tf.cast(pieces.row_splits, tf.int32))
    begins, ends = splits[:-1], splits[1:]

    def step(place, random):
        target = _target(random[0], random[1], max_length - 2, short_probability, 1)
        limit = tf.minimum(place + target, ends)
        whole = tf.gather(starts, tf.searchsorted(starts, limit, side="right") - 1)
        stop = tf.where(whole > place, whole, limit)
        return [place, stop - place], stop > place, stop

    first, length = tf.unstack(_walk(step, begins, ends, 2, 2, seed), axis=1)
    return _assembled(pieces.flat_values, [(first, length)], max_length, special_ids)


def _walk(step, places, ends, num_columns, num_random, seed):
    """Calls `step` until every part is at its end.

    Args:
        step: from places `[P]` and random numbers `[num_random, P]` to columns, a list of `[P]`, whether each is a
            sequence, `[P]`, and where to continue.
        places, ends: int32 `[P]`.

    Returns:
        int32 `[I, num_columns]`.
    """
    rows = tf.TensorArray(tf.int32, 0, dynamic_size=True, element_shape=[None, num_columns])
    is_row = tf.TensorArray(tf.bool, 0, dynamic_size=True, element_shape=[None])

    def body(turn, places, rows, is_row):
        random = tf.random.stateless_uniform(
            [num_random, tf.size(places)], tf.random.experimental.stateless_fold_in(seed, turn)
        )
        columns, used, following = step(places, random)
        rows = rows.write(turn, tf.stack(columns, 1))
        is_row = is_row.write(turn, used & (places < ends))
        return turn + 1, tf.minimum(following, ends), rows, is_row

    def is_left(turn, places, *_):
        # Once at least: TensorFlow joins no empty list of arrays.
        return tf.equal(turn, 0) | tf.reduce_any(places < ends)

    *_, rows, is_row = tf.while_loop(is_left, body, (0, places, rows, is_row), parallel_iterations=1)
    return tf.boolean_mask(rows.concat(), is_row.concat())


def _target(share, length, room, short_probability, least):
    """The lengths to aim at: mostly all the room, now and then a random one from `least` on."""
    return tf.where(share < short_probability, least + _below(length, room - least + 1), room)


def _below(uniform, count):
    """Random integers below `count`, 0 where that is 0 or less, from numbers in [0, 1)."""
    number = tf.cast(uniform * tf.cast(count, tf.float32), tf.int32)
    return tf.maximum(tf.minimum(number, count - 1), 0)


def _assembled(tokens, sequences, max_length, special_ids):
    start_id, end_id, padding_id = special_ids
    inputs = model_inputs(tokens, sequences, bert_templates(start_id, end_id), padding_id)
    length = tf.reduce_sum(inputs["padding_mask"], 1)
    token_ids = inputs["token_ids"]
    token_ids = tf.pad(token_ids, [[0, 0], [0, max_length - tf.shape(token_ids)[1]]], constant_values=padding_id)
    return {"token_ids": tf.ensure_shape(token_ids, [None, max_length]), "length": length}
