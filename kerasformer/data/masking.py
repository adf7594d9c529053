"""Masks for learning a language model, drawn while training: every epoch other ones."""

import numpy as np
import tensorflow as tf

from kerasformer.errors import InputError
from kerasformer.hashing import as_uint32, keyed_bits, keyed_uniform, mix

# What the random numbers of a position, or of a word, are for.
_ORDER, _REMAINDER, _ACTION, _REPLACEMENT = range(4)


class TokenMasking:
    """Hides tokens that a model is to predict (Devlin et al. 2019, section 3.1, task 1, and appendix A.1).

    A share of the tokens is chosen in each text, special tokens never; of those 80 % become `[MASK]`, 10 % a random
    token, 10 % stay as they are. How many: the share of the text's tokens, rounded up or down by chance, so that it
    holds on average for texts of any length. The numbers depend on each text's seed and on nothing else.

    Args:
        tokenizer: a `WordPieceTokenizer` or `Tokenizer` with a mask token.
        rate: share of the tokens to choose.
        whole_words: choose all pieces of a word, or none.
        max_masked: most chosen tokens a text, or None.

    Raises:
        InputError: a tokenizer without a mask token, a rate outside of (0, 1), `max_masked` below 1.
    """

    def __init__(self, tokenizer, rate=0.15, *, whole_words=False, max_masked=None):
        if tokenizer.mask_id is None:
            raise InputError(
                f"Learning a masked language model needs a mask token. The vocabulary of {tokenizer.vocabulary_size:,} "
                "tokens lacks it: add it, or learn a new vocabulary."
            )
        if not 0 < rate < 1 or (max_masked is not None and max_masked < 1):
            raise InputError(
                f"`rate` must be in (0, 1), and `max_masked` at least 1 or None. Received: {rate} and {max_masked}."
            )
        self.rate, self.whole_words, self.max_masked = rate, whole_words, max_masked
        self._mask_id, self._begins_word = tokenizer.mask_id, tokenizer.begins_word
        is_special = np.isin(tokenizer.vocabulary, [*tokenizer.special_tokens, ""])
        self._is_special, self._replacements = is_special, np.flatnonzero(~is_special).astype(np.int32)

    def __call__(self, token_ids, padding_mask, seeds, rates=None):
        """Hides tokens of a batch; in the graph.

        Args:
            token_ids, padding_mask: int32 `[batch, length]`.
            seeds: int32 `[batch, 2]`, other ones for each text and epoch.
            rates: float32 `[batch]`, each text's share in (0, 1); None: the one of this object.

        Returns:
            `(token_ids, masked_positions, labels)`: int32 `[batch, length]`, some replaced; int32 `[batch, slots]`, the
            places of the chosen tokens in order, -1 after the last; and what stood there, -1 after the last. There are
            `max_masked` slots, or as many as any text needs.
        """
        keys = mix(as_uint32(seeds[:, 0]) ^ mix(as_uint32(seeds[:, 1])))[:, None]
        places = tf.range(tf.shape(token_ids)[1])[None, :]
        can_choose = (padding_mask > 0) & ~tf.gather(tf.constant(self._is_special), token_ids)
        chosen = can_choose & self._chosen(token_ids, keys, places, can_choose, rates)

        action = keyed_uniform(keys, places, _ACTION)
        count = tf.constant(len(self._replacements), tf.uint32)
        pick = tf.cast(tf.math.floormod(keyed_bits(keys, places, _REPLACEMENT), count), tf.int32)
        replacement = tf.gather(tf.constant(self._replacements), pick)
        hidden = tf.where(action < 0.8, self._mask_id, tf.where(action < 0.9, replacement, token_ids))

        slots = tf.where(chosen)
        width = None if self.max_masked is None else [None, self.max_masked]

        def in_slots(values):
            rows = tf.RaggedTensor.from_value_rowids(values, slots[:, 0], tf.shape(token_ids, tf.int64)[0])
            return rows.to_tensor(-1, width)

        positions = in_slots(tf.cast(slots[:, 1], tf.int32))
        return tf.where(chosen, hidden, token_ids), positions, in_slots(tf.gather_nd(token_ids, slots))

    def _chosen(self, token_ids, keys, places, can_choose, rates):
        """Which tokens to hide: words in a random order, until the share is reached.

        The word that would reach beyond it is taken with the probability with which the share holds on average.
        """
        if self.whole_words:
            before = tf.pad(can_choose[:, :-1], [[0, 0], [1, 0]])
            begins = can_choose & (self._begins_word(token_ids) | ~before)
            word = tf.maximum(tf.cumsum(tf.cast(begins, tf.int32), 1) - 1, 0)
            size, first = _sizes_and_firsts(word, can_choose)
            within = places - first
        else:
            word, size, within = places, 1, 0
        order = tf.cast(keyed_bits(keys, word, _ORDER), tf.int64)
        # Stable: the pieces of a word stay in their order, side by side.
        sorted_places = tf.argsort(tf.where(can_choose, order, 2**33), stable=True)
        rank = tf.argsort(sorted_places)
        rates = self.rate if rates is None else rates[:, None]
        wanted = rates * tf.reduce_sum(tf.cast(can_choose, tf.float32), 1, keepdims=True)
        start = rank - within
        begin, end = tf.cast(start, tf.float32), tf.cast(start + size, tf.float32)
        chance = (wanted - begin) / tf.cast(size, tf.float32)
        chosen = (end <= wanted) | (keyed_uniform(keys, word, _REMAINDER) < chance)
        return chosen if self.max_masked is None else chosen & (start + size <= self.max_masked)


def _sizes_and_firsts(word, counted):
    """For each token the number of tokens of its word, and the place of the first of them; int32 `[batch, length]`."""
    batch, length = tf.unstack(tf.shape(word))
    segment = tf.reshape(word + tf.range(batch)[:, None] * length, [-1])
    sizes = tf.math.unsorted_segment_sum(tf.reshape(tf.cast(counted, tf.int32), [-1]), segment, batch * length)
    place = tf.where(counted, tf.range(length)[None, :], length)
    firsts = tf.math.unsorted_segment_min(tf.reshape(place, [-1]), segment, batch * length)
    return tuple(tf.reshape(tf.gather(values, segment), tf.shape(word)) for values in (sizes, firsts))
