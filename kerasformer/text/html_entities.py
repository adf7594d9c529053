"""Character references of HTML, such as `&amp;` and `&#38;`, as TensorFlow ops.

The rules are those of NLTK's tweet tokenizer, which BERTweet's tokenizer in transformers has too: `&`, `#` or not, `x`
for a hexadecimal number, and whatever is before the next `;` that is neither `&`, `;` nor white space. The names are
those of HTML 4. A number is what Python's `int` takes for one. What is no character is left out.
"""

import html.entities

import numpy as np
import tensorflow as tf

from kerasformer.text.character_classes import CLASS_MASK, SPACE, character_classes
from kerasformer.text.code_point_table import CODE_POINTS, CodePointTable
from kerasformer.text.models import encode
from kerasformer.text.tweet_words import DIGIT, character_kinds

_LONGEST = max(map(len, html.entities.name2codepoint))
_POWERS = 128 ** np.arange(_LONGEST)
_OUTER = r"[\x1c-\x1f]*"  # white space to Python, and not to the expression that finds references
_DECIMAL = rf"{_OUTER}[+-]?[0-9]+(?:_[0-9]+)*{_OUTER}"
_HEXADECIMAL = rf"{_OUTER}[+-]?(?:0[xX]_?)?[0-9a-fA-F]+(?:_[0-9a-fA-F]+)*{_OUTER}"
_NUM_DIGITS = 7  # of the last code point


class HtmlEntities:
    """Replaces the references in a Stream."""

    def __init__(self):
        names = {
            sum(ord(char) * power for char, power in zip(name, _POWERS.tolist(), strict=False)): code
            for name, code in html.entities.name2codepoint.items()
        }
        # The end is equal to no name.
        self._names = np.array([*sorted(names), np.iinfo(np.int64).max])
        self._codes = np.array([*(names[name] for name in sorted(names)), -1], np.int32)
        stops = character_classes() & CLASS_MASK == SPACE
        stops[[ord(char) for char in "&;"]] = True
        self._stops = CodePointTable(stops)
        # Ten digits of each script follow each other.
        is_digit = character_kinds() == DIGIT
        places = np.cumsum(is_digit) - 1
        self._digits = CodePointTable(np.where(is_digit, ord("0") + places % 10, 0))
        # Numbers of control characters are read as Windows wrote them.
        self._windows = np.array(
            [ord(bytes([byte]).decode("cp1252", "replace")) for byte in range(0x80, 0xA0)], np.int32
        )
        self._windows[self._windows == 0xFFFD] = -1

    def __call__(self, stream):
        is_begin = tf.equal(stream.codes, ord("&"))
        return tf.cond(tf.reduce_any(is_begin), lambda: self._replaced(stream, is_begin), lambda: stream)

    def _replaced(self, stream, is_begin):
        codes = stream.codes
        stops = tf.cast(tf.where((self._stops(codes) > 0) | (codes < 0))[:, 0], tf.int32)
        begins, ends = stops[:-1], stops[1:]
        found = tf.gather(is_begin, begins) & tf.equal(tf.gather(codes, ends), ord(";")) & (ends - begins > 1)
        begins, ends = tf.boolean_mask(begins, found), tf.boolean_mask(ends, found)
        first = begins + 1

        def passed(first, char):
            """Whether a character is there, and something after it."""
            return tf.equal(tf.gather(codes, first), ord(char)) & (first + 1 < ends)

        has_sign = passed(first, "#")
        first += tf.cast(has_sign, tf.int32)
        is_hexadecimal = passed(first, "x")
        first += tf.cast(is_hexadecimal, tf.int32)
        is_number = has_sign | is_hexadecimal
        new = self._named(codes, first, ends)
        new = tf.cond(
            tf.reduce_any(is_number),
            lambda: tf.where(is_number, self._numbered(codes, first, ends, is_hexadecimal), new),
            lambda: new,
        )
        size, ones = tf.shape(codes), tf.ones_like(begins)
        inside = tf.cumsum(tf.scatter_nd(begins[:, None], ones, size))
        inside -= tf.cumsum(tf.scatter_nd(ends[:, None], ones, size), exclusive=True)
        kept = tf.tensor_scatter_nd_update(tf.equal(inside, 0), begins[:, None], new >= 0)
        return stream.replace(tf.tensor_scatter_nd_update(codes, begins[:, None], tf.maximum(new, 0))).keep(kept)

    def _named(self, codes, first, ends):
        """int32 `[references]`, the code points of names, -1 for others."""
        places = first[:, None] + tf.range(_LONGEST)
        inside = places < ends[:, None]
        chars = tf.where(inside, tf.gather(codes, tf.minimum(places, tf.size(codes) - 1)), 0)
        keys = tf.reduce_sum(tf.cast(chars, tf.int64) * _POWERS, 1)
        is_name = (ends - first <= _LONGEST) & (tf.reduce_max(chars, 1) < 128)
        rows = tf.searchsorted(self._names, keys)
        return tf.where(is_name & tf.equal(tf.gather(self._names, rows), keys), tf.gather(self._codes, rows), -1)

    def _numbered(self, codes, first, ends, is_hexadecimal):
        """int32 `[references]`, the code points of numbers, -1 for others."""
        chars = tf.ragged.range(first, ends)
        codes = tf.gather(codes, chars.values)
        digits = self._digits(codes)
        texts = encode(tf.where(digits > 0, digits, codes), chars.row_splits)
        matches = tf.strings.regex_full_match
        is_known = tf.where(is_hexadecimal, matches(texts, _HEXADECIMAL), matches(texts, _DECIMAL))
        is_negative = matches(texts, rf"(?s){_OUTER}-.*")
        texts = tf.strings.regex_replace(texts, rf"^{_OUTER}[+-]?(?:0[xX])?[0_]*|[\x1c-\x1f_]", "")
        is_known &= tf.strings.length(texts) <= _NUM_DIGITS
        texts = tf.strings.substr(tf.strings.join(["0" * _NUM_DIGITS, texts]), -_NUM_DIGITS, _NUM_DIGITS)
        digits = tf.cast(tf.io.decode_raw(texts, tf.uint8), tf.int32)
        digits = tf.where(digits > ord("9"), tf.bitwise.bitwise_or(digits, 32) - ord("a") + 10, digits - ord("0"))
        decimal, hexadecimal = (
            tf.reduce_sum(digits * base ** np.arange(_NUM_DIGITS - 1, -1, -1, np.int32), 1) for base in (10, 16)
        )
        numbers = tf.where(is_hexadecimal, hexadecimal, decimal)
        is_known &= (numbers < CODE_POINTS) & ~(is_negative & (numbers > 0))
        row = numbers - 0x80
        is_windows = (row >= 0) & (row < len(self._windows))
        numbers = tf.where(is_windows, tf.gather(self._windows, tf.where(is_windows, row, 0)), numbers)
        return tf.where(is_known, numbers, -1)
