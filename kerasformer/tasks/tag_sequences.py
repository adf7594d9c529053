"""What the labels of a tagger mean, and sequences of them: which fit together, the best one, their loss."""

import functools

import numpy as np
import tensorflow as tf

from kerasformer.layers import crf_decode, crf_log_partition, crf_marginals, crf_score
from kerasformer.metrics.entities import split_tag

_NEVER = -1e9
FOLLOWS = -2  # in labels: no word here, and this window continues the text of the one before


class TagScheme:
    """The meaning of a tagger's labels: entities in one of the usual schemes, or a label for each word.

    - labels with letters: IOB2 (BIO), IOB1, BIOES and BILOU, also with labels left out
    - other labels beside O (IO): neighbouring words of one label are one entity
    - other labels without O, such as parts of speech: each word is an entity of its own

    Entities are held as IOB2 tags: 0 outside, `1 + 2k` where an entity of type k begins, `2 + 2k` inside of it.

    Args:
        labels: names, a sequence of different str.

    Attributes:
        labels: as given, a tuple.
        entity_types: the types in the order of the labels, a tuple.
        is_constrained: whether some sequences of labels do not fit together.
    """

    def __init__(self, labels):
        self.labels = tuple(labels)
        pairs = _split(self.labels)
        self.entity_types = tuple(dict.fromkeys(kind for letter, kind in pairs if letter != "O"))
        numbers = {kind: number for number, kind in enumerate(self.entity_types)}
        self._letters = "".join(letter for letter, _ in pairs)
        self._kinds = np.array([numbers.get(kind, -1) for _, kind in pairs], np.int32)
        # In IOB1 an entity begins with I-, and with B- behind another of its type. Some of these B- never occur.
        self._is_iob1 = not set(self._letters) & set("ES") and any(
            "B" not in found and "I" in found for found in self._letters_of_types
        )
        self.is_constrained = not self._is_iob1 and bool(set(self._letters) & set("IE"))

    @classmethod
    def bio(cls, entity_types):
        """O, then B- and I- of each type."""
        return cls(["O", *(f"{letter}-{kind}" for kind in entity_types for letter in "BI")])

    @functools.cached_property
    def _letters_of_types(self):
        """Of each type, `{letter: label number}`."""
        found = [{} for _ in self.entity_types]
        for number, (letter, kind) in enumerate(zip(self._letters, self._kinds, strict=True)):
            if kind >= 0:
                found[kind][letter] = number
        return found

    @functools.cached_property
    def constraints(self):
        """float32 `[labels + 1, labels + 1]`, in the numbers of `layers.crf`: -1e9 where two do not fit, else 0: I- or
        E- without an entity of its type before it; with E-, an entity without its end."""
        count = len(self.labels) + 1
        scores = np.zeros([count, count], np.float32)
        for found in self._letters_of_types:
            if not self.is_constrained or "B" not in found:
                continue
            open_ones = [found[letter] + 1 for letter in "BI" if letter in found]
            inner = [found[letter] + 1 for letter in "IE" if letter in found]
            if "E" in found:
                scores[open_ones] = _NEVER
            scores[:, inner] = _NEVER
            scores[np.ix_(open_ones, inner)] = 0
        return scores

    def to_iob2(self, tags, follows):
        """Labels of words as IOB2 tags. Where labels do not fit together an entity begins, as in `conlleval`.

        Args:
            tags: int32 `[M]`, numbers of labels.
            follows: bool `[M]`, whether the word before is of the same text.

        Returns:
            int32 `[M]`.
        """
        kinds = tf.gather(tf.constant(self._kinds), tags)
        begins, ends = (tf.gather(tf.constant([x in s for x in self._letters]), tags) for s in ("BS", "ES"))
        goes_on = follows & (kinds == _shifted(kinds, -1)) & ~_shifted(ends, False) & ~begins
        return tf.where(kinds < 0, 0, 1 + 2 * kinds + tf.cast(goes_on, tf.int32))

    def from_iob2(self, tags, follows):
        """The reverse of `to_iob2`; -1 where no label says what a tag does."""
        kinds, inside = (tags - 1) // 2, (tags > 0) & (tags % 2 == 0)
        neighbours = follows & (kinds == _shifted(kinds, -1))
        goes_on = tf.concat([(inside & neighbours)[1:], tf.zeros_like(inside[:1])], 0)
        number = (kinds + 1) * 8
        for place, flag in enumerate((inside, goes_on, neighbours)):
            number += tf.cast(flag, tf.int32) * 2**place
        return tf.gather(tf.constant(self._numbers), number)

    @functools.cached_property
    def _numbers(self):
        """Of each type, behind O: the labels of words that begin an entity or not, that end it or not, and do not or do
        have a word of this type before them, int32 `[8 * (types + 1)]`."""
        outside = self._letters.find("O")
        numbers = [outside] * 8
        for found in self._letters_of_types:
            for flags in range(8):
                inside, goes_on, neighbours = flags & 1, flags & 2, flags & 4
                if inside:
                    wanted = "IE" if goes_on else "EI"
                elif self._is_iob1 and not neighbours:
                    wanted = "I"
                else:
                    wanted = "BS" if goes_on else "SB"
                numbers.append(next(found[letter] for letter in wanted + "IBESP" if letter in found))
        return np.array(numbers, np.int32)


def _shifted(values, first):
    """The value before each, `[M]`."""
    return tf.concat([tf.fill(tf.shape(values[:1]), tf.constant(first, values.dtype)), values[:-1]], 0)


def _split(labels):
    """Labels as `(letter, type)`, letters as in `split_tag`, and P: neighbours that have it are one entity."""
    found = []
    for label in labels:
        try:
            found.append(split_tag(label))
        except ValueError:
            found.append(None)
    kinds = [{kind for letter, kind in filter(None, found) if letter == wanted} for wanted in "BI"]
    # A part of speech may look like a tag, or all of them.
    is_scheme = None not in found or (bool(kinds[0] | kinds[1]) if "O" in labels else bool(kinds[0] & kinds[1]))
    plain = "P" if "O" in labels or is_scheme else "S"
    return [
        ("O", "") if label == "O" else pair if is_scheme and pair else (plain, label)
        for label, pair in zip(labels, found, strict=True)
    ]


def follows(texts):
    """bool `[M]`: whether the word before is of the same text, the number of which is in int32 `[M]`."""
    return tf.concat([tf.zeros_like(texts[:1], tf.bool), texts[1:] == texts[:-1]], 0)


def word_probabilities(probabilities, begins, aggregation=None):
    """Probabilities of words, from those of their pieces.

    Args:
        probabilities: float32 `[P, labels]`.
        begins: bool `[P]`, whether a piece begins a word.
        aggregation: see `Tagger`; None is as "first".

    Returns:
        float32 `[M, labels]`.
    """
    if aggregation not in ("average", "max"):
        return tf.boolean_mask(probabilities, begins)
    word, count = tf.cumsum(tf.cast(begins, tf.int32)) - 1, tf.reduce_sum(tf.cast(begins, tf.int32))
    if aggregation == "average":
        return tf.math.unsorted_segment_mean(probabilities, word, count)
    best = tf.reduce_max(probabilities, -1)
    is_best = best == tf.gather(tf.math.unsorted_segment_max(best, word, count), word)
    # The first of the best pieces of each word.
    places = tf.where(is_best, tf.range(tf.size(word)), tf.size(word))
    return tf.gather(probabilities, tf.math.unsorted_segment_min(places, word, count))


def best_sequence(logits, texts, num_texts, transitions, crf):
    """The best labels that fit together.

    Args:
        logits: float32 `[M, labels]` of the words of all texts.
        texts: int32 `[M]`, the text that a word is of.
        num_texts: number of texts.
        transitions: float32 `[labels + 1, labels + 1]`, in the numbers of `layers.crf`.
        crf: whether transitions were learned; else they are 0, or forbid.

    Returns:
        `(labels, probabilities)`: int32 `[M]` and float32 `[M, labels]`.
    """
    lengths = tf.math.unsorted_segment_sum(tf.ones_like(texts), texts, num_texts)
    rows = tf.RaggedTensor.from_row_lengths(logits, lengths, validate=False)
    padded = tf.ensure_shape(rows.to_tensor(), [None, None, transitions.shape[0] - 1])
    mask = tf.sequence_mask(lengths, tf.shape(padded)[1])
    if crf:
        labels = tf.boolean_mask(crf_decode(padded, mask, transitions), mask)
        return labels, tf.boolean_mask(crf_marginals(padded, mask, transitions), mask)
    # The best label of each word, if these fit together; as they nearly always do.
    labels = tf.argmax(logits, -1, output_type=tf.int32)
    same_text = follows(texts)
    before = tf.where(same_text, _shifted(labels, 0) + 1, 0)
    is_last = tf.concat([~same_text[1:], tf.ones_like(same_text[:1])], 0)
    last = tf.boolean_mask(labels, is_last) + 1
    moves = tf.concat([tf.stack([before, labels + 1], 1), tf.stack([last, tf.zeros_like(last)], 1)], 0)
    fit = tf.reduce_all(tf.gather_nd(transitions, moves) == 0)
    labels = tf.cond(fit, lambda: labels, lambda: tf.boolean_mask(crf_decode(padded, mask, transitions), mask))
    return labels, tf.nn.softmax(logits)


def crf_loss(logits, labels, transitions):
    """Minus the log likelihoods of the tags of all texts, added up. The words of a text are one sequence, though they
    may be in several windows.

    Args:
        logits: float32 `[W, L, tags]`.
        labels: int32 `[W, L]`, a tag where there is a word; in a window that continues a text, `FOLLOWS` elsewhere.
        transitions: float32 `[tags + 1, tags + 1]`.

    Returns:
        A float32 scalar.
    """
    is_word = labels >= 0
    begins = tf.cast(~tf.reduce_any(labels == FOLLOWS, 1), tf.int32)
    text = tf.repeat(tf.cumsum(begins) - 1, tf.reduce_sum(tf.cast(is_word, tf.int32), 1))
    number = tf.reduce_sum(begins)
    lengths = tf.math.unsorted_segment_sum(tf.ones_like(text), text, number)

    def by_text(values):
        return tf.RaggedTensor.from_row_lengths(tf.boolean_mask(values, is_word), lengths, validate=False).to_tensor()

    tags, values = by_text(labels), tf.ensure_shape(by_text(logits), [None, None, logits.shape[-1]])
    mask = tf.sequence_mask(lengths, tf.shape(tags)[1])
    return tf.reduce_sum(crf_log_partition(values, mask, transitions) - crf_score(values, tags, mask, transitions))
