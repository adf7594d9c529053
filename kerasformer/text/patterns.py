r"""The patterns of `Replace` and `Split`: a text, one class of characters, or any other regular expression.

The first two are found by looking at code points. They are a literal text, with `\` before what has a meaning, and one
class, `\s`, `\S`, `\p{L}`, `[...]` of these and of characters and ranges, with `+`, `{n}` or `{n,}` behind it.
"""

import tensorflow as tf

from kerasformer.errors import InputError
from kerasformer.text.code_point_table import CodePointTable
from kerasformer.text.expressions import ExpressionMatches, Unreadable, literal, one_class
from kerasformer.text.special_tokens import find_special_tokens
from kerasformer.text.splits import neighbours


class Matches:
    """Where a pattern matches: called with a Stream, it gives two bool `[chars]`, code points inside of matches and
    those where a match begins.

    Args:
        pattern: `{"String": str}`, `{"Regex": str}`, or a str.

    Raises:
        InputError: a regular expression that cannot be said.
    """

    def __init__(self, pattern):
        self._text = self._table = self._expression = None
        if isinstance(pattern, str):
            pattern = {"String": pattern}
        if "String" in pattern:
            self._text = pattern["String"]
        else:
            expression = pattern["Regex"]
            self._text = literal(expression)
            if self._text is None:
                self._read(expression)
        if self._text == "":
            raise InputError(f"`pattern` must not be empty. Received: {pattern!r}.")

    def _read(self, expression):
        try:
            flags, self._low, self._fixed = one_class(expression)
        except Unreadable:
            self._expression = ExpressionMatches(expression)
        else:
            self._table = CodePointTable(flags)
            self._only = int(flags.argmax()) if flags.sum() == 1 else None

    def __call__(self, stream):
        if self._expression:
            return self._expression(stream)
        if self._text is not None:
            return self._find_text(stream)
        if self._only is not None:
            inside = tf.equal(stream.codes, self._only)
        else:
            inside = (self._table(stream.codes) > 0) & (stream.codes >= 0)
        if self._fixed and self._low == 1:
            return inside, inside
        before, after = neighbours(stream, inside, False)
        begins = inside & ~before
        if self._low == 1:
            return inside, begins
        if self._low == 2 and not self._fixed:
            return inside & (before | after), begins & after
        return tf.cond(tf.reduce_any(inside & before), lambda: self._runs(inside, begins), lambda: _nowhere(inside))

    def _runs(self, inside, begins):
        """Those of the runs that are long enough."""
        # The place of each code point in its run, and the length of the run.
        runs = tf.cumsum(tf.cast(begins | ~inside, tf.int32)) - 1
        places = tf.range(tf.size(runs))
        places -= tf.gather(tf.math.segment_min(places, runs), runs)
        lengths = tf.gather(tf.math.segment_max(places, runs), runs) + 1
        if self._fixed:
            inside &= places < lengths // self._low * self._low
            return inside, inside & tf.equal(places % self._low, 0)
        inside &= lengths >= self._low
        return inside, begins & inside

    def _find_text(self, stream):
        if len(self._text) == 1:
            inside = tf.equal(stream.codes, ord(self._text))
            return inside, inside
        first, second = (tf.equal(stream.codes, ord(char)) for char in self._text[:2])
        return tf.cond(
            tf.reduce_any(first[:-1] & second[1:]), lambda: self._find_whole(stream), lambda: _nowhere(first)
        )

    def _find_whole(self, stream):
        # Room between pieces, so that no match goes over it.
        begins = stream.begins
        spaced, chars, turns = stream.insert(tf.cast(begins, tf.int32))
        is_room = tf.gather(begins, chars) & tf.equal(turns, 0)
        starts, ends, _ = find_special_tokens(tf.where(is_room, -1, spaced.codes), [self._text])
        size, ones = tf.shape(chars), tf.ones_like(starts)
        first, after = tf.scatter_nd(starts[:, None], ones, size), tf.scatter_nd(ends[:, None] - 1, ones, size)
        inside = tf.cumsum(first) - tf.cumsum(after, exclusive=True)
        return tuple(tf.boolean_mask(flags > 0, ~is_room) for flags in (inside, first))


def _nowhere(flags):
    return (tf.zeros_like(flags),) * 2
