"""Token ids back to text, as the WordPiece decoder of the reference does it."""

import functools

import numpy as np
import tensorflow as tf

from kerasformer.text.inputs import as_ragged_ids

# What the reference's clean-up closes up, in its order. It looks at one token and the space before it.
CLEAN_UP = (
    (" .", "."),
    (" ?", "?"),
    (" !", "!"),
    (" ,", ","),
    (" ' ", "'"),
    (" n't", "n't"),
    (" 'm", "'m"),
    (" do not", " don't"),
    (" 's", "'s"),
    (" 've", "'ve"),
    (" 're", "'re"),
)


class Detokenizer:
    """Joins pieces to texts.

    Args:
        vocabulary: list of str.
        special_ids: list of int, ids that leave nothing in the text.
    """

    def __init__(self, vocabulary, special_ids):
        self._vocabulary, self._special_ids = vocabulary, special_ids
        signature = [tf.TensorSpec([None], tf.int32), tf.TensorSpec([None], tf.int64)]
        self._joined = tf.function(self._join, input_signature=signature, autograph=False)

    @functools.cached_property
    def _forms(self):
        """string `[2 * vocabulary]`: each token as it stands inside a text, then each as it begins one."""
        inside = [cleaned(token[2:] if token.startswith("##") else f" {token}") for token in self._vocabulary]
        return np.array([*inside, *map(cleaned, self._vocabulary)], object)

    @functools.cached_property
    def _is_text(self):
        is_text = np.ones(len(self._vocabulary), bool)
        is_text[self._special_ids] = False
        return is_text

    def __call__(self, ids):
        ids = as_ragged_ids(ids)
        return self._joined(ids.values, ids.row_splits)

    def _join(self, ids, splits):
        size = len(self._vocabulary)
        known = (ids >= 0) & (ids < size)
        is_text = known & tf.gather(self._is_text, tf.where(known, ids, 0))
        rows = tf.RaggedTensor.from_row_splits(ids, splits, validate=False)
        rows = tf.ragged.boolean_mask(rows, rows.with_values(is_text))
        begins = tf.equal(tf.range(tf.size(rows.values, tf.int64)), tf.gather(rows.row_starts(), rows.value_rowids()))
        places = rows.values + size * tf.cast(begins, tf.int32)
        return tf.strings.reduce_join(rows.with_values(tf.gather(self._forms, places)), axis=1)


def cleaned(token):
    """A token of a decoded text without the spaces that `CLEAN_UP` closes up."""
    for old, new in CLEAN_UP:
        token = token.replace(old, new)
    return token
