r"""The patterns of `Replace` and `Split` that are found by looking at code points: a text, or one class of characters.

A regular expression may be a literal text, with `\` before what has a meaning, or one class, `\s`, `\S`, `\d`, `\p{L}`,
`[...]` of these and of characters and ranges, with `+`, `{n}` or `{n,}` behind it. Others are refused.
"""

import re

import numpy as np
import tensorflow as tf

from kerasformer.errors import InputError
from kerasformer.text.character_classes import CLASS_MASK, LETTER, NUMBER, SPACE, WORD, character_classes
from kerasformer.text.code_point_table import CODE_POINTS, CodePointTable
from kerasformer.text.special_tokens import find_special_tokens
from kerasformer.text.splits import neighbours

_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "f": "\f", "v": "\v", "0": "\0"}
_QUANTIFIER = re.compile(r"\{(\d+)(,?)\}$|(\+)$")


class Matches:
    """Where a pattern matches: called with a Stream, it gives two bool `[chars]`, code points inside of matches and
    those where a match begins.

    Args:
        pattern: `{"String": str}`, `{"Regex": str}`, or a str.

    Raises:
        InputError: a regular expression that cannot be said.
    """

    def __init__(self, pattern):
        self._text = self._table = None
        if isinstance(pattern, str):
            pattern = {"String": pattern}
        if "String" in pattern:
            self._text = pattern["String"]
        else:
            expression = pattern["Regex"]
            self._text = _literal(expression)
            if self._text is None:
                flags, self._low, self._fixed = _one_class(expression)
                self._table = CodePointTable(flags)
        if self._text == "":
            raise InputError(f"`pattern` must not be empty. Received: {pattern!r}.")

    def __call__(self, stream):
        if self._text is not None:
            return self._find_text(stream)
        inside = (self._table(stream.codes) > 0) & (stream.codes >= 0)
        if self._fixed and self._low == 1:
            return inside, inside
        before, _ = neighbours(stream, inside, False)
        begins = inside & ~before
        if self._low == 1:
            return inside, begins
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
        # Room between pieces, so that no match goes over it.
        begins = stream.begins
        spaced, chars, turns = stream.insert(tf.cast(begins, tf.int32))
        is_room = tf.gather(begins, chars) & tf.equal(turns, 0)
        starts, ends, _ = find_special_tokens(tf.where(is_room, -1, spaced.codes), [self._text])
        size, ones = tf.shape(chars), tf.ones_like(starts)
        first, after = tf.scatter_nd(starts[:, None], ones, size), tf.scatter_nd(ends[:, None] - 1, ones, size)
        inside = tf.cumsum(first) - tf.cumsum(after, exclusive=True)
        return tuple(tf.boolean_mask(flags > 0, ~is_room) for flags in (inside, first))


def _refuse(expression):
    return InputError(
        f"a regular expression must be a text or one class of characters such as {chr(92)}s+ or [a-z]. Received: "
        f"{expression!r}."
    )


def _literal(expression):
    """The text that a regular expression is; None where it has a meaning."""
    text, place = "", 0
    while place < len(expression):
        char = expression[place]
        if char == "\\" and place + 1 < len(expression):
            following = expression[place + 1]
            if following.isalnum() and following not in _ESCAPES:
                return None
            text += _ESCAPES.get(following, following)
            place += 2
            continue
        if char in "\\^$.|?*+()[]{}":
            return None
        text += char
        place += 1
    return text


def _one_class(expression):
    """int32 `[0x110000]` flags of a class, the least length of a match, and whether that is the only one."""
    quantifier = _QUANTIFIER.search(expression)
    low, fixed, body = 1, True, expression
    if quantifier and not (expression.endswith("+") and expression.endswith("\\+")):
        body = expression[: quantifier.start()]
        low = int(quantifier[1] or 1)
        fixed = bool(quantifier[1]) and not quantifier[2]
    if low < 1:
        raise _refuse(expression)
    flags, rest = _atom(body, expression)
    if rest:
        raise _refuse(expression)
    return flags.astype(np.int32), low, fixed


def _atom(body, expression):
    """Flags, bool `[0x110000]`, of the class that an expression begins with, and what comes after it."""
    classes = character_classes()
    kinds = classes & CLASS_MASK
    for name, flags in (
        (r"\s", kinds == SPACE),
        (r"\w", (classes & WORD) > 0),
        (r"\p{L}", kinds == LETTER),
        (r"\p{N}", kinds == NUMBER),
    ):
        for written, value in ((name, flags), (f"\\{name[1].upper()}{name[2:]}", ~flags)):
            if body.startswith(written):
                return value, body[len(written) :]
    if body.startswith("["):
        return _set(body, expression)
    length = 2 if body.startswith("\\") else 1
    text = _literal(body[:length])
    if not text:
        raise _refuse(expression)
    flags = np.zeros(CODE_POINTS, bool)
    flags[ord(text)] = True
    return flags, body[length:]


def _set(body, expression):
    negated = body.startswith("[^")
    rest, flags = body[1 + negated :], np.zeros(CODE_POINTS, bool)
    while rest and rest[0] != "]":
        if rest[0] in "[&" or rest.startswith("-"):
            raise _refuse(expression)
        one, rest = _atom(rest, expression)
        if rest.startswith("-") and not rest.startswith("-]"):
            if one.sum() != 1:
                raise _refuse(expression)
            last, rest = _atom(rest[1:], expression)
            if last.sum() != 1:
                raise _refuse(expression)
            one[one.argmax() : last.argmax() + 1] = True
        flags |= one
    if not rest:
        raise _refuse(expression)
    return ~flags if negated else flags, rest[1:]
