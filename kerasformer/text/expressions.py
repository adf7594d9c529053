r"""Regular expressions: those that are a text or one class of characters, and those that RE2 can say.

RE2, the expressions of TensorFlow, takes the first alternative that matches, as the reference does, so what both read
in the same way is left as it is. Classes such as `\s` and `\p{L}` are written out, for RE2 has other ones. What RE2
lacks or reads otherwise is refused: looking around, anchors, references, possessive quantifiers, and what matches the
empty text.
"""

import re

import numpy as np
import tensorflow as tf

from kerasformer.errors import InputError
from kerasformer.text.character_classes import CLASS_MASK, LETTER, NUMBER, SPACE, character_classes
from kerasformer.text.code_point_table import CODE_POINTS

_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "f": "\f", "v": "\v", "0": "\0"}
_QUANTIFIER = re.compile(r"\{(\d+)(,?)\}$|(\+)$")
# A group, an alternative, or a quantifier that is not possessive.
_SYNTAX = re.compile(r"\(\?:|\((?!\?)|\)|\||(?:[*+?]|\{\d+,\d*\})(?!\+)|\{\d+\}(?![+?])")
_BEGIN, _END = 0xFE, 0xFF  # no UTF-8 has these bytes; they are put around matches


class Unreadable(ValueError):
    """An expression that is not of this kind."""


class ExpressionMatches:
    """Where an expression matches in the pieces of a Stream, see `Matches`.

    Raises:
        InputError: an expression that RE2 cannot say, or one that matches an empty text.
    """

    def __init__(self, expression):
        try:
            self._pattern = _translated(expression)
            matches_nothing = tf.strings.regex_full_match(tf.constant([""]), self._pattern).numpy()[0]
        except (Unreadable, tf.errors.InvalidArgumentError):
            raise InputError(
                "a regular expression must be one that RE2 reads in the same way, without looking around, anchors, "
                f"references and possessive quantifiers. Received: {expression!r}."
            ) from None
        if matches_nothing:
            raise InputError(f"a regular expression must not match an empty text. Received: {expression!r}.")

    def __call__(self, stream):
        chars = tf.where(stream.codes >= 0)[:, 0]
        codes, pieces = tf.gather(stream.codes, chars), tf.gather(stream.pieces, chars)
        begins = tf.concat([[True], tf.not_equal(pieces[1:], pieces[:-1])], 0)[: tf.size(pieces)]
        splits = tf.concat([tf.where(begins)[:, 0], [tf.size(codes, tf.int64)]], 0)
        strings = tf.raw_ops.UnicodeEncode(input_values=codes, input_splits=splits, output_encoding="UTF-8")
        marked = tf.strings.regex_replace(strings, self._pattern, bytes([_BEGIN]) + rb"\0" + bytes([_END]))
        values = tf.cast(tf.io.decode_raw(tf.strings.reduce_join(marked)[None], tf.uint8)[0], tf.int32)
        is_begin, is_end = tf.equal(values, _BEGIN), tf.equal(values, _END)
        inside = tf.cumsum(tf.cast(is_begin, tf.int32) - tf.cast(is_end, tf.int32)) > 0
        after_begin = tf.concat([[False], is_begin], 0)[:-1]
        is_char = ~is_begin & ~is_end & tf.not_equal(tf.bitwise.bitwise_and(values, 0xC0), 0x80)

        def spread(flags):
            new = tf.cast(tf.boolean_mask(flags, is_char), tf.int32)
            return tf.scatter_nd(chars[:, None], new, tf.shape(stream.codes, tf.int64)) > 0

        return spread(inside), spread(after_begin)


def _translated(expression):
    """An expression in RE2's words."""
    new, rest = "", expression
    while rest:
        syntax = _SYNTAX.match(rest)
        if syntax:
            part, rest = syntax[0], rest[syntax.end() :]
        elif rest[0] == ".":
            part, rest = r"[^\n]", rest[1:]
        elif rest[0] in "]}":  # one that closes nothing
            part, rest = "\\" + rest[0], rest[1:]
        else:
            flags, rest = _atom(rest)
            part = f"[{_ranges(flags)}]"
        new += part
    return new


def _ranges(flags):
    """The code points of a class, bool `[0x110000]`, as ranges."""
    flags = flags.copy()
    flags[0xD800:0xE000] = False
    if not flags.any():
        raise Unreadable
    edges = np.flatnonzero(np.diff(np.pad(flags.astype(np.int8), 1))).reshape(-1, 2)
    return "".join(f"\\x{{{begin:x}}}-\\x{{{end - 1:x}}}" for begin, end in edges.tolist())


def literal(expression):
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


def one_class(expression):
    """int32 `[0x110000]` flags of a class, the least length of a match, and whether that is the only one."""
    quantifier = _QUANTIFIER.search(expression)
    low, fixed, body = 1, True, expression
    if quantifier and not (expression.endswith("+") and expression.endswith("\\+")):
        body = expression[: quantifier.start()]
        low = int(quantifier[1] or 1)
        fixed = bool(quantifier[1]) and not quantifier[2]
    if low < 1:
        raise Unreadable
    flags, rest = _atom(body)
    if rest:
        raise Unreadable
    return flags.astype(np.int32), low, fixed


def _atom(body):
    """Flags, bool `[0x110000]`, of the class that an expression begins with, and what comes after it."""
    classes = character_classes()
    kinds = classes & CLASS_MASK
    for name, flags in (
        (r"\s", kinds == SPACE),
        (r"\p{L}", kinds == LETTER),
        (r"\p{N}", kinds == NUMBER),
    ):
        for written, value in ((name, flags), (f"\\{name[1].upper()}{name[2:]}", ~flags)):
            if body.startswith(written):
                return value, body[len(written) :]
    if body.startswith("["):
        return _set(body)
    # `\w` of the reference is another one than that of its pre-tokenizer Whitespace, which is recorded.
    length = 2 if body.startswith("\\") else 1
    text = literal(body[:length])
    if not text or len(text) != 1:
        raise Unreadable
    flags = np.zeros(CODE_POINTS, bool)
    flags[ord(text)] = True
    return flags, body[length:]


def _set(body):
    negated = body.startswith("[^")
    rest, flags = body[1 + negated :], np.zeros(CODE_POINTS, bool)
    while rest and rest[0] != "]":
        if rest[0] in "[&" or rest.startswith("-"):
            raise Unreadable
        one, rest = _atom(rest)
        if rest.startswith("-") and not rest.startswith("-]"):
            if one.sum() != 1:
                raise Unreadable
            last, rest = _atom(rest[1:])
            if last.sum() != 1:
                raise Unreadable
            one[one.argmax() : last.argmax() + 1] = True
        flags |= one
    if not rest:
        raise Unreadable
    return ~flags if negated else flags, rest[1:]
