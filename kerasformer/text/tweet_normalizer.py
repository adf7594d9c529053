"""BERTweet's normalizer of tweets as TensorFlow ops.

Nguyen et al. 2020, "BERTweet: A pre-trained language model for English Tweets", section 3.1, as the tokenizer of
transformers does it.

    characters    quotes and ellipses become ASCII, references of HTML characters, and of four equal ones in a row three
    words         a tweet is divided, and a user name, a link or an emoji becomes what is in the vocabulary for it
    spellings     contractions are divided as the Penn Treebank does it

A word here is what a space is put around.
"""

import numpy as np
import tensorflow as tf

from kerasformer.errors import InputError
from kerasformer.text.code_point_table import CODE_POINTS, CodePointTable, Replacements
from kerasformer.text.html_entities import HtmlEntities
from kerasformer.text.stream import Stream, copies
from kerasformer.text.tweet_words import TweetWords, ascii_text, text_bytes

_PUNCTUATION = {"’": "'", "…": "..."}
_ROWS = "", "@USER", "HTTPURL"
_USER_ROW, _LINK_ROW = 1, 2
# Replaced one after the other, each wherever it is found from the left on. The reference also has "n 't ", but an
# apostrophe that begins a word is the whole of it.
_ENDS = ("m", "re", "s", "ll", "d", "ve")
_CONTRACTIONS = (
    ("cannot ", "can not "),
    ("n't ", " n't "),
    ("ca n't", "can't"),
    ("ai n't", "ain't"),
    *((f"'{end} ", f" '{end} ") for end in _ENDS),
)
_TIMES = ((" p . m .", "  p.m."), (" p . m ", " p.m "), (" a . m .", " a.m."), (" a . m ", " a.m "))
# Most texts have neither times nor a contraction that is seen once another one is divided. Two expressions do for them.
_RARE = f"(?s).*(?: [pa] \\. m|'(?:{'|'.join(_ENDS)})n?').*"
_USUAL = ((f"(can)(not )|(n't |'(?:{'|'.join(_ENDS)}) )", r"\1 \2\3"), ("(ca|ai) (n't)", r"\1\2"))
# Python's white space; only the first one is in what spellings look for.
_SPACES = [0x20, *range(0x9, 0xE), *range(0x1C, 0x20), 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029]
_SPACES += [0x202F, 0x205F, 0x3000]
_SPACE, _OTHER_SPACE, _OTHER = 0x20, 0x0A, 0x7F


def emoji_names():
    """`{character: name}` of emoji of one code point by the package `emoji`; {} where that is not installed."""
    try:
        import emoji
    except ImportError:
        return {}
    known = getattr(emoji, "EMOJI_DATA", None) or emoji.UNICODE_EMOJI
    single = [char for char in known if len(char) == 1] + ["\ufe0e", "\ufe0f"]  # the last two are left out
    names = {char: emoji.demojize(char) for char in single}
    return {char: name for char, name in sorted(names.items()) if name != char}


class TweetNormalizer:
    """Words with a space between them.

    Args:
        emoji: `{character: name}`, what a character becomes that is a word by itself.

    Raises:
        InputError: a name is of no single character.
    """

    def __init__(self, emoji=None):
        if wrong := next((char for char in emoji or {} if len(char) != 1), None):
            raise InputError(f"`emoji` must name single characters. Received: {wrong!r}.")
        self._punctuation = Replacements([*_PUNCTUATION.values()])
        self._entities = HtmlEntities()
        self._find_words = TweetWords()
        single = {**(emoji or {}), **_PUNCTUATION}
        # A word that becomes nothing leaves a space.
        rows = [*_ROWS, *(name or " " for name in single.values())]
        self._lengths = np.array([len(row) for row in rows], np.int32)
        self._starts = np.cumsum(self._lengths, dtype=np.int32) - self._lengths
        self._codes = np.array([ord(char) for row in rows for char in row], np.int32)
        singles = np.zeros(CODE_POINTS, np.int32)
        singles[[ord(char) for char in single]] = range(len(_ROWS), len(rows))
        self._singles = CodePointTable(singles)
        # A code that is no code point is looked up as 0, and so no spelling goes over it.
        ascii_codes = np.full(CODE_POINTS, _OTHER, np.int32)
        ascii_codes[0x21:_OTHER] = range(0x21, _OTHER)
        ascii_codes[_SPACES] = [_SPACE] + [_OTHER_SPACE] * (len(_SPACES) - 1)
        self._ascii = CodePointTable(ascii_codes)

    def __call__(self, stream):
        rows = sum(
            row * tf.cast(tf.equal(stream.codes, ord(char)), tf.int32) for row, char in enumerate(_PUNCTUATION, 1)
        )
        stream = tf.cond(tf.reduce_any(rows > 0), lambda: self._punctuation.apply(stream, rows), lambda: stream)
        stream = _shorten(self._entities(stream))
        inside, begins = self._find_words(stream)
        return tf.cond(
            tf.reduce_any(begins),
            lambda: self._spell(self._replace_words(stream, inside, begins)),
            lambda: stream.keep(inside),
        )

    def _replace_words(self, stream, inside, begins):
        """The stream with words replaced, and a space between them in place of what is there."""
        starts = tf.cast(tf.where(begins)[:, 0], tf.int32)
        word_of = tf.maximum(tf.cumsum(tf.cast(begins, tf.int32)) - 1, 0)
        lengths = tf.math.segment_sum(tf.cast(inside, tf.int32), word_of)
        rows = self._rows(stream.codes, starts, lengths)
        pieces = tf.gather(stream.pieces, starts)
        follows = tf.cast(tf.concat([[False], tf.equal(pieces[1:], pieces[:-1])], 0), tf.int32)
        # The first code point of a word makes room for a space and for what the word becomes.
        sizes = follows + tf.where(rows > 0, tf.gather(self._lengths, rows), 1)
        is_same = inside & tf.equal(tf.gather(rows, word_of), 0)
        counts = tf.tensor_scatter_nd_update(tf.cast(is_same | (stream.codes < 0), tf.int32), starts[:, None], sizes)
        chars, turns = copies(counts)
        turns -= tf.gather(tf.scatter_nd(starts[:, None], follows, tf.shape(begins)), chars)
        words = tf.gather(word_of, chars)
        rows = tf.where(tf.gather(inside, chars), tf.gather(rows, words), 0)
        new = tf.gather(self._codes, tf.gather(self._starts, rows) + tf.maximum(turns, 0))
        codes = tf.where(rows > 0, new, tf.gather(stream.codes, chars))
        codes = tf.where(turns < 0, _SPACE, codes)
        # What replaces a word begins and ends where the word does.
        is_last = (rows > 0) & tf.equal(turns + 1, tf.gather(self._lengths, rows))
        sources = chars + tf.where(is_last, tf.gather(lengths, words) - 1, 0)
        return Stream(codes, tf.gather(stream.places, sources), tf.gather(stream.pieces, chars))

    def _rows(self, codes, starts, lengths):
        """int32 `[words]`, the rows of what words become, 0 for those that stay as they are."""
        first = tf.gather(codes, starts)

        def begin_with(text):
            found = lengths >= len(text)
            for place, char in enumerate(text):
                codes_there = tf.gather(codes, tf.minimum(starts + place, tf.size(codes) - 1))
                found &= tf.equal(tf.bitwise.bitwise_or(codes_there, 32), ord(char))  # in lower case
            return found

        rows = tf.where(tf.equal(lengths, 1), self._singles(first), 0)
        rows = tf.where(begin_with("http") | begin_with("www"), _LINK_ROW, rows)
        return tf.where(tf.equal(first, ord("@")), _USER_ROW, rows)

    def _spell(self, stream):
        """The stream with a space between words as contractions and times have it, which change nothing else."""
        codes = self._ascii(stream.codes)
        text = ascii_text(codes)
        text = tf.cond(
            tf.strings.regex_full_match(text, _RARE)[0],
            lambda: _replaced(text, [(old.replace(".", r"\."), new) for old, new in _CONTRACTIONS + _TIMES]),
            lambda: _replaced(text, _USUAL),
        )
        is_solid = text_bytes(text) > _SPACE
        after_space = tf.concat([[False], ~is_solid], 0)[:-1]
        stream = stream.take(tf.where(codes > _SPACE)[:, 0])
        return stream.put_before(tf.boolean_mask(after_space, is_solid) & ~stream.begins, _SPACE)


def _replaced(text, expressions):
    for old, new in expressions:
        text = tf.strings.regex_replace(text, old, new)
    return text


def _shorten(stream):
    """The stream without what follows three of the same code point, other than ASCII letters and digits."""
    codes = stream.codes
    low = tf.bitwise.bitwise_or(codes, 32)
    is_name = ((low >= ord("a")) & (low <= ord("z"))) | ((codes >= ord("0")) & (codes <= ord("9")))
    again = tf.concat([[False], tf.equal(codes[1:], codes[:-1])], 0) & ~is_name & (codes >= 0)
    after = tf.concat([[False, False], again], 0)
    fourth = again & after[1:-1] & after[:-2]
    return tf.cond(tf.reduce_any(fourth), lambda: stream.keep(~fourth), lambda: stream)
