"""The models WordLevel and WordPiece as TensorFlow ops: words to token ids."""

import tensorflow as tf

from kerasformer.errors import InputError
from kerasformer.text.span_table import SpanTable
from kerasformer.text.words import utf8_lengths


def _unknown_id(ids, unk_token):
    if unk_token not in ids:
        raise InputError(f"`unk_token` must be in the vocabulary. Received: {unk_token!r}.")
    return ids[unk_token]


def _size(ids):
    return max(ids.values()) + 1


class WordLevelModel:
    """A word is a token.

    Args:
        vocab: dict from str to int.
        unk_token: str, what other words become.

    Raises:
        InputError: the vocabulary lacks the unknown token.
    """

    def __init__(self, vocab, unk_token="<unk>"):
        self.ids = vocab
        self._unknown = _unknown_id(vocab, unk_token)
        self._table = SpanTable({token: place for token, place in vocab.items() if token}, _size(vocab))

    def __call__(self, words):
        """ids, splits and starts of the tokens of Words, see `models`."""
        ids = self._table.reader(words.codes)(words.splits[:-1], words.splits[1:] - 1)
        ids = tf.where(ids < self._table.missing, ids, self._unknown)
        ids = tf.where(words.known < 0, ids, words.known)
        return ids, tf.range(tf.size(ids) + 1), tf.zeros_like(ids)


class WordPieceModel:
    """The longest token that a word begins with, then the longest that goes on from there, and so on (Schuster and
    Nakajima 2012, "Japanese and Korean Voice Search", as in BERT). A word with a rest that no token begins is unknown.

    Args:
        vocab: dict from str to int.
        unk_token: str.
        continuing_subword_prefix: str, before tokens that go on in a word, in the vocabulary.
        max_input_chars_per_word: int, a longer word is unknown.

    Raises:
        InputError: the vocabulary lacks the unknown token.
    """

    def __init__(self, vocab, unk_token="[UNK]", continuing_subword_prefix="##", max_input_chars_per_word=100):
        self.ids = vocab
        self._unknown, self._max_length = _unknown_id(vocab, unk_token), max_input_chars_per_word
        prefix = continuing_subword_prefix
        begins = {token: place for token, place in vocab.items() if token}
        goes_on = {token[len(prefix) :]: place for token, place in begins.items() if token.startswith(prefix)}
        goes_on.pop("", None)
        self._tables = SpanTable(begins, _size(vocab)), SpanTable(goes_on, _size(vocab))
        self._max_piece = max(table.max_length for table in self._tables)

    def __call__(self, words):
        """ids, splits and starts of the tokens of Words, see `models`."""
        lengths = words.splits[1:] - words.splits[:-1]
        num_words = tf.size(lengths)
        is_spelled = (words.known < 0) & (lengths <= self._max_length)
        word_of = tf.repeat(tf.range(num_words), lengths)
        places = tf.range(tf.size(words.codes))
        is_first = tf.equal(places, tf.gather(words.splits, word_of))
        pieces, ends = self._longest(words.codes, is_first, tf.gather(words.splits, word_of + 1))
        # From the first character of each word on, from piece to piece, in steps of 1, 2, 4, ... pieces.
        reached = is_first & tf.gather(is_spelled, word_of)
        after = tf.where((pieces >= 0) & (ends < tf.gather(words.splits, word_of + 1)), ends, places)

        def step(reached, after):
            following = tf.gather(after, tf.where(reached)[:, 0])
            reached = tf.tensor_scatter_nd_update(reached, following[:, None], tf.ones_like(following, tf.bool))
            return reached, tf.gather(after, after)

        reached, after = tf.while_loop(
            lambda _, after: tf.reduce_any(tf.gather(after, after) > after), step, (reached, after)
        )
        reached, _ = step(reached, after)
        stops = tf.cast(reached & (pieces < 0), tf.int32)
        is_spelled &= tf.equal(tf.math.segment_max(stops, word_of), 0)
        kept = tf.where(tf.where(tf.gather(is_spelled, word_of), reached, is_first))[:, 0]
        word_of, pieces = tf.gather(word_of, kept), tf.gather(pieces, kept)
        whole = tf.where(words.known < 0, self._unknown, words.known)
        ids = tf.where(tf.gather(is_spelled, word_of), pieces, tf.gather(whole, word_of))
        counts = tf.math.bincount(word_of, minlength=num_words, dtype=tf.int32)
        bytes_before = tf.cumsum(utf8_lengths(words.codes), exclusive=True)
        starts = tf.gather(bytes_before, kept) - tf.gather(bytes_before, tf.gather(words.splits, word_of))
        return ids, tf.concat([[0], tf.cumsum(counts)], 0), starts

    def _longest(self, codes, is_first, stops):
        """The longest piece that begins at each character, -1 for none, and where it ends, int32 `[chars]`."""
        places = tf.range(tf.size(codes))
        counts = tf.minimum(stops - places, self._max_piece)
        begins, first = tf.repeat(places, counts), tf.cumsum(counts, exclusive=True)
        turns = tf.range(tf.size(begins)) - tf.gather(first, begins)
        ids = [table.reader(codes)(begins, begins + turns) for table in self._tables]
        ids = tf.where(tf.gather(is_first, begins), *ids)
        longest = tf.math.segment_max(tf.where(ids < self._tables[0].missing, turns, -1), begins)
        pieces = tf.where(longest < 0, -1, tf.gather(ids, first + tf.maximum(longest, 0)))
        return pieces, places + longest + 1
