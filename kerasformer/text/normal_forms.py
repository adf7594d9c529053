"""Unicode's normal forms as TensorFlow ops (Unicode Standard Annex #15, sections 1.2 and 1.3).

A text is decomposed by a table, its marks are sorted by their combining class, and then what composes is composed. Most
texts hold nothing of all this: a flag for each code point says so.
"""

import functools
import pathlib

import numpy as np
import tensorflow as tf

from kerasformer.text.code_point_table import CODE_POINTS, CodePointTable, Replacements
from kerasformer.text.unicode_rules import recorded_rules

FORMS_FILE = pathlib.Path(__file__).with_name("normal_forms.npz")
_RARE = 64  # beside the rank in a table: may change, or change its place


@functools.cache
def _forms():
    with np.load(FORMS_FILE) as file:
        return dict(file)


def flags(name):
    """bool `[0x110000]`: "accent", what `StripAccents` leaves out, or "numeric", what `Digits` divides."""
    starts = _forms()[f"{name}_starts"]
    return np.repeat(np.arange(len(starts)) % 2 == 1, np.diff(starts, append=CODE_POINTS))


@functools.cache
def _decompositions(compatible):
    """dict from code point to tuple of code points."""
    rules, forms = recorded_rules(), _forms()
    rows = zip(rules["decomposed"].tolist(), rules["decompositions"].tolist(), strict=True)
    made = {code: tuple(part for part in row if part >= 0) for code, row in rows}
    if compatible:
        parts = np.split(forms["compatible_codes"], np.cumsum(forms["compatible_lengths"])[:-1])
        made |= {code: tuple(part.tolist()) for code, part in zip(forms["compatible"].tolist(), parts, strict=True)}
    return made


@functools.cache
def _ranks():
    """int32 `[0x110000]`, 0 for starters, more for marks, in the order of combining classes."""
    ranks = np.zeros(CODE_POINTS, np.int32)
    rules = recorded_rules()
    ranks[rules["marks"]] = 1 + np.unique(rules["combining_classes"], return_inverse=True)[1]
    return ranks


@functools.cache
def _compositions():
    """dict from a pair of code points to what they compose to."""
    excluded, whole, pairs = set(_forms()["not_composed"].tolist()), {}, {}
    for code, parts in sorted(_decompositions(False).items(), key=lambda item: len(item[1])):
        if code not in excluded and len(parts) > 1:
            first = parts[0] if len(parts) == 2 else whole[parts[:-1]]
            whole[parts] = code
            pairs[first, parts[-1]] = code
    return pairs


class NormalForm:
    """NFC, NFD, NFKC or NFKD of a Stream.

    Args:
        compatible: bool, compatibility decomposition (NFKC, NFKD).
        composes: bool, compose again (NFC, NFKC).
    """

    def __init__(self, compatible, composes):
        decompositions = _decompositions(compatible)
        self._replacements = Replacements(["".join(map(chr, parts)) for parts in decompositions.values()])
        rows = np.zeros(CODE_POINTS, np.int32)
        rows[list(decompositions)] = 1 + np.arange(len(decompositions))
        self._rows, self._composes = CodePointTable(rows), composes
        ranks = _ranks()
        rare = (ranks > 0) | (rows > 0)
        if composes:
            pairs = sorted((first << 21 | second, code) for (first, second), code in _compositions().items())
            self._pairs = np.array([key for key, _ in pairs] + [np.iinfo(np.int64).max])
            self._composed = np.array([code for _, code in pairs] + [0], np.int32)
            # What is composed stays so, unless a mark comes after it.
            composed = np.array(list(_compositions().values()))
            rare[np.setdiff1d(composed, _forms()["compatible"]) if compatible else composed] = False
            rare[[second for _, second in _compositions()]] = True
        self._ranks = CodePointTable(ranks | np.where(rare, _RARE, 0))

    def __call__(self, stream):
        is_rare = tf.reduce_any((self._ranks(stream.codes) >= _RARE) & (stream.codes >= 0))
        return tf.cond(is_rare, lambda: self._changed(stream), lambda: stream)

    def _changed(self, stream):
        rows = tf.where(stream.codes >= 0, self._rows(stream.codes), 0)
        if self._composes:
            return self._sorted(stream, rows)
        # Marks in their order need no sorting, and most are.
        plain = self._replacements.apply(stream, rows)
        ranks = self._known_ranks(plain.codes)
        is_sorted = tf.reduce_all((ranks[1:] >= ranks[:-1]) | tf.equal(ranks[1:], 0))
        return tf.cond(is_sorted, lambda: plain, lambda: self._sorted(stream, rows))

    def _known_ranks(self, codes):
        """int32 `[chars]`, 0 for starters and codes below 0."""
        return tf.where(codes < 0, 0, tf.bitwise.bitwise_and(self._ranks(codes), _RARE - 1))

    def _sorted(self, stream, rows):
        """The stream decomposed by `rows`, its marks sorted and, if so, composed."""
        size = tf.size(stream.codes)
        # Places of code points in the stream, so that a code point knows how many of these it stands for.
        decomposed = self._replacements.apply(stream._replace(places=tf.range(size)), rows)
        codes, sources = decomposed.codes, decomposed.places
        counts = tf.cast(tf.concat([[True], sources[1:] != sources[:-1]], 0), tf.int32)
        ranks = self._known_ranks(codes)
        group = tf.cumsum(tf.cast(tf.equal(ranks, 0), tf.int32))
        order = tf.argsort(group * _RARE + ranks, stable=True)
        codes, ranks, counts = (tf.gather(value, order) for value in (codes, ranks, counts))
        if self._composes:
            codes, ranks, counts = self._compose(codes, ranks, counts)
        # As in the reference, a code point has the place of the first one that it stands for.
        chars = tf.maximum(tf.cumsum(counts, exclusive=True) - tf.cast(tf.equal(counts, 0), tf.int32), 0)
        return stream.take(chars, codes)

    def _compose(self, codes, ranks, counts):
        def pairs(codes, ranks):
            """The starter before each code point, what both compose to, or 0 where they do not."""
            numbers = tf.range(tf.size(codes))
            starters = tf.cast(tf.where(tf.equal(ranks, 0))[:, 0], tf.int32)
            # A starter composes with the starter before it, if nothing is between.
            strictly = tf.cumsum(tf.cast(tf.equal(ranks, 0), tf.int32), exclusive=True) - 1
            starter = tf.gather(starters, tf.maximum(strictly, 0))
            left = tf.gather(codes, starter)
            keys = tf.bitwise.left_shift(tf.cast(tf.maximum(left, 0), tf.int64), 21) + tf.cast(
                tf.maximum(codes, 0), tf.int64
            )
            place = tf.searchsorted(self._pairs, keys)
            is_pair = tf.equal(tf.gather(self._pairs, place), keys) & (strictly >= 0) & (left >= 0) & (codes >= 0)
            before = tf.concat([[0], ranks[:-1]], 0)
            free = tf.equal(starter, numbers - 1) | ((before < ranks) & (before > 0))
            return starter, tf.where(is_pair & free, tf.gather(self._composed, place), 0)

        def step(codes, ranks, counts, starter, composed):
            found = tf.where(composed > 0)[:, 0]
            # One at a time for each starter, the first; and a starter that is composed itself waits.
            owners = tf.gather(starter, found)
            is_first = tf.concat([[True], owners[1:] != owners[:-1]], 0)
            is_first &= tf.equal(tf.gather(composed, owners), 0)
            found, owners = tf.boolean_mask(found, is_first), tf.boolean_mask(owners, is_first)
            codes = tf.tensor_scatter_nd_update(codes, owners[:, None], tf.gather(composed, found))
            counts = tf.tensor_scatter_nd_add(counts, owners[:, None], tf.gather(counts, found))
            kept = tf.tensor_scatter_nd_update(
                tf.ones_like(codes, tf.bool), found[:, None], tf.zeros_like(found, tf.bool)
            )
            codes, ranks, counts = (tf.boolean_mask(value, kept) for value in (codes, ranks, counts))
            return codes, ranks, counts, *pairs(codes, ranks)

        return tf.while_loop(
            lambda _codes, _ranks, _counts, _starter, composed: tf.reduce_any(composed > 0),
            step,
            (codes, ranks, counts, *pairs(codes, ranks)),
            shape_invariants=(tf.TensorShape([None]),) * 5,
        )[:3]
