"""Normalizers of a `tokenizer.json`: one text in place of another.

A normalizer is called with a Stream and gives one, made with `take`, `keep` and `replace`, so that each code point
keeps the place that it came from. A run of code points between codes below 0 is one text. `NORMALIZERS` is the
registry, `{type: class}`, and a class takes the fields of its component.
"""

import numpy as np
import tensorflow as tf

from kerasformer.text import registry
from kerasformer.text.character_classes import CLASS_MASK, SPACE
from kerasformer.text.code_point_table import CODE_POINTS, CodePointTable, Replacements
from kerasformer.text.normal_forms import NormalForm, flags
from kerasformer.text.patterns import Matches
from kerasformer.text.precompiled import Precompiled
from kerasformer.text.stream import copies
from kerasformer.text.tweet_normalizer import TweetNormalizer
from kerasformer.text.unicode_rules import CJK, CONTROL, MARK, recorded_rules
from kerasformer.text.unicode_rules import SPACE as BLANK


def _form(compatible, composes):
    class Form(NormalForm):
        def __init__(self):
            super().__init__(compatible, composes)

    return Form


class Lowercase:
    """Each code point in lower case; U+0130 becomes two."""

    def __init__(self):
        rules = recorded_rules()
        new = ["".join(chr(code) for code in row if code > 0) for row in rules["lowercase"].tolist()]
        lowered = dict(zip(rules["lowered"].tolist(), new, strict=True))
        changes = np.zeros(CODE_POINTS, np.int32)
        for code, letters in lowered.items():
            if len(letters) == 1:
                changes[code] = ord(letters) - code
        self._changes = CodePointTable(changes)
        self._several = [code for code, letters in lowered.items() if len(letters) > 1]
        self._replacements = Replacements([lowered[code] for code in self._several])

    def __call__(self, stream):
        rows = sum(row * tf.cast(tf.equal(stream.codes, code), tf.int32) for row, code in enumerate(self._several, 1))
        stream = stream.replace(stream.codes + self._changes(stream.codes))
        return tf.cond(tf.reduce_any(rows > 0), lambda: self._replacements.apply(stream, rows), lambda: stream)


class _Dropped:
    """Leaves out code points.

    Args:
        dropped: bool `[0x110000]`.
    """

    def __init__(self, dropped):
        self._dropped = CodePointTable(dropped)

    def __call__(self, stream):
        dropped = self._dropped(stream.codes) > 0
        return tf.cond(tf.reduce_any(dropped), lambda: stream.keep(~dropped), lambda: stream)


class StripAccents(_Dropped):
    """Leaves out combining marks; what is composed stays."""

    def __init__(self):
        super().__init__(flags("accent"))


class Strip:
    """Leaves out white space at the beginning (`strip_left`) and at the end (`strip_right`) of each text."""

    def __init__(self, strip_left=True, strip_right=True):
        self._left, self._right = strip_left, strip_right

    def __call__(self, stream):
        solid = tf.not_equal(tf.bitwise.bitwise_and(stream.classes, CLASS_MASK), SPACE)
        number = tf.cumsum(tf.cast(solid, tf.int32))
        before, piece = number - tf.cast(solid, tf.int32), tf.cumsum(tf.cast(stream.begins, tf.int32)) - 1
        kept = tf.ones_like(solid)
        if self._left:
            kept &= number > tf.gather(tf.math.segment_min(before, piece), piece)
        if self._right:
            kept &= before < tf.gather(tf.math.segment_max(number, piece), piece)
        return stream.keep(kept)


class Replace:
    """`content`, str, in place of each match of `pattern`, `{"String": str}` or `{"Regex": str}`."""

    def __init__(self, pattern, content):
        self._matches = Matches(pattern)
        self._content = np.array([ord(char) for char in content], np.int32)

    def __call__(self, stream):
        inside, begins = self._matches(stream)
        return tf.cond(tf.reduce_any(inside), lambda: self._replaced(stream, inside, begins), lambda: stream)

    def _replaced(self, stream, inside, begins):
        # The last code point of a match makes room, the others go: that is the place that the reference gives.
        ends = inside & tf.concat([~inside[1:] | begins[1:], [True]], 0)
        size = len(self._content)
        if size == 1:
            return stream.replace(tf.where(ends, self._content[0], stream.codes)).keep(~inside | ends)
        counts = tf.where(inside, tf.where(ends, size, 0), 1)
        chars, turns = copies(counts)
        codes = tf.gather(stream.codes, chars)
        if size:
            codes = tf.where(tf.gather(ends, chars), tf.gather(self._content, tf.minimum(turns, size - 1)), codes)
        return stream.take(chars, codes)


class Prepend:
    """`prepend`, str, before each text that is not empty."""

    def __init__(self, prepend):
        self._codes = np.array([ord(char) for char in prepend], np.int32)

    def __call__(self, stream):
        size = len(self._codes)
        if not size:
            return stream
        first = stream.begins & (stream.codes >= 0)
        stream, chars, turns = stream.insert(size * tf.cast(first, tf.int32))
        is_new = tf.gather(first, chars) & (turns < size)
        return stream.replace(tf.where(is_new, tf.gather(self._codes, tf.minimum(turns, size - 1)), stream.codes))


class BertNormalizer:
    """BERT's rules: control characters left out, any white space a space, spaces around CJK ideographs, accents left
    out, lower case. `strip_accents` of None does as `lowercase` does.
    """

    def __init__(self, clean_text=True, handle_chinese_chars=True, strip_accents=None, lowercase=True):
        rules = recorded_rules()["flags"]
        self._steps = []
        if clean_text:
            self._steps.append(_Dropped(rules & CONTROL > 0))
        self._blank = CodePointTable(rules & BLANK) if clean_text else None
        self._cjk = CodePointTable(rules & CJK) if handle_chinese_chars else None
        self._after = []
        if lowercase if strip_accents is None else strip_accents:
            self._after += [NormalForm(False, False), _Dropped(rules & MARK > 0)]
        if lowercase:
            self._after.append(Lowercase())

    def __call__(self, stream):
        for step in self._steps:
            stream = step(stream)
        if self._blank:
            is_blank = (stream.codes >= 0) & (self._blank(stream.codes) > 0)
            stream = stream.replace(tf.where(is_blank, ord(" "), stream.codes))
        if self._cjk:
            is_cjk = (stream.codes >= 0) & (self._cjk(stream.codes) > 0)
            stream = tf.cond(tf.reduce_any(is_cjk), lambda: _set_apart(stream, is_cjk), lambda: stream)
        for step in self._after:
            stream = step(stream)
        return stream


def _set_apart(stream, chosen):
    stream, chars, turns = stream.insert(2 * tf.cast(chosen, tf.int32))
    is_space = tf.gather(chosen, chars) & tf.not_equal(turns, 1)
    return stream.replace(tf.where(is_space, ord(" "), stream.codes))


NORMALIZERS = {
    "NFC": _form(False, True),
    "NFD": _form(False, False),
    "NFKC": _form(True, True),
    "NFKD": _form(True, False),
    "Lowercase": Lowercase,
    "StripAccents": StripAccents,
    "Strip": Strip,
    "Replace": Replace,
    "Precompiled": Precompiled,
    "Prepend": Prepend,
    "BertNormalizer": BertNormalizer,
    "TweetNormalizer": TweetNormalizer,
}


def read_normalizer(component, where):
    """The normalizers of a component, list."""
    return [
        registry.make(NORMALIZERS, "normalizer", part, where) for part in registry.flatten(component, "normalizers")
    ]
