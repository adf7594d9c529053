"""Byte-level byte-pair encoding as TensorFlow ops: words to token ids."""

import numpy as np
import tensorflow as tf

from kerasformer.errors import InputError
from kerasformer.text.byte_level import byte_letters, to_bytes
from kerasformer.text.byte_pair_merges import BytePairMerges

_BUCKETS = 2**63 - 1
_NEVER = {0xC0, 0xC1, *range(0xF5, 0x100)}  # no text in UTF-8 holds these bytes


class ByteLevelModel:
    """Splits words into tokens of bytes.

    Most words are one token. A table of the vocabulary finds these; only the others are merged.

    Args:
        vocab: dict from str to int, the vocabulary in the letters of bytes.
        merges: list of pairs of str, or of lines with two tokens, the one that was learned first at the front.
        ignore_merges: bool, a word in the vocabulary is that token, even if no merges lead to it.

    Raises:
        InputError: the vocabulary lacks a byte, or a part or the whole of a merge.
    """

    def __init__(self, vocab, merges, ignore_merges=False):
        self.ids = ids = vocab
        missing = [byte for byte, letter in enumerate(byte_letters()) if letter not in ids and byte not in _NEVER]
        if missing:
            raise InputError(
                f"The vocabulary of a byte-level tokenizer must hold all 256 bytes. Missing: {len(missing)} of them, "
                f"first {missing[0]:#04x} ({byte_letters()[missing[0]]!r})."
            )
        for left, right in merges:
            unknown = next((token for token in (left, right, left + right) if token not in ids), None)
            if unknown is not None:
                raise InputError(
                    f"The parts of a merge, and what it gives, must be in the vocabulary. Received: the merge "
                    f"{left!r} {right!r} without {unknown!r}."
                )
        self._byte_ids = np.array([ids.get(letter, 0) for letter in byte_letters()], np.int32)
        self._merges = BytePairMerges(
            [(ids[left], ids[right]) for left, right in merges],
            [ids[left + right] for left, right in merges],
            max(ids.values()) + 1,
        )
        tokens = {to_bytes(token): place for token, place in ids.items()}
        tokens.pop(None, None)
        tokens.pop(b"", None)
        self._set_table(tokens, ignore_merges)

    def _set_table(self, tokens, ignore_merges):
        """Whole words: `_hashes` in order, their ids and bytes."""
        words = np.array(list(tokens), object)
        places = np.array(list(tokens.values()), np.int32)
        with tf.device("CPU"):
            if not ignore_merges:
                merged, of_word, _ = tf.function(self._merge, autograph=False)(tf.constant(words, tf.string))
                counts = np.bincount(of_word.numpy(), minlength=len(words))
                first = np.cumsum(counts) - counts
                is_whole = (counts == 1) & (merged.numpy()[first] == places)
                words, places = words[is_whole], places[is_whole]
            hashes = tf.strings.to_hash_bucket_fast(tf.constant(words, tf.string), _BUCKETS).numpy()
        order = np.argsort(hashes, kind="stable")
        # A word that shares its hash with an earlier one is not found; it is merged like any other.
        self._hashes = np.append(hashes[order], np.iinfo(np.int64).max)
        self._words = np.append(words[order], b"")
        self._ids = np.append(places[order], 0).astype(np.int32)

    def __call__(self, batch):
        """ids, splits and starts of the tokens of Words, see `models`."""
        words, known = batch.strings, batch.known
        places = tf.searchsorted(tf.constant(self._hashes), tf.strings.to_hash_bucket_fast(words, _BUCKETS))
        is_whole = tf.equal(tf.gather(self._words, places), words)
        whole = tf.where((known < 0) & is_whole, tf.gather(self._ids, places), known)
        unknown = tf.cast(tf.where(whole < 0)[:, 0], tf.int32)
        return tf.cond(
            tf.size(unknown) > 0,
            lambda: self._with_merged(words, whole, unknown),
            lambda: (whole, tf.range(tf.size(whole) + 1), tf.zeros_like(whole)),
        )

    def _with_merged(self, words, whole, unknown):
        ids, of_word, starts = self._merge(tf.gather(words, unknown))
        counts = tf.math.bincount(of_word, minlength=tf.size(unknown), dtype=tf.int32)
        all_counts = tf.tensor_scatter_nd_update(tf.ones_like(whole), unknown[:, None], counts)
        splits = tf.concat([[0], tf.cumsum(all_counts)], 0)
        size = splits[-1]
        # Whole words keep the start 0; the tokens of the others lie between them.
        shift = tf.gather(splits, unknown) - tf.cumsum(counts, exclusive=True)
        places = (tf.range(tf.size(ids)) + tf.gather(shift, of_word))[:, None]
        first = tf.scatter_nd(splits[:-1, None], whole, [size])
        return (
            tf.tensor_scatter_nd_update(first, places, ids),
            splits,
            tf.scatter_nd(places, starts, [size]),
        )

    def _merge(self, words):
        """ids, words and starts, int32 `[tokens]`, of words, string `[words]`."""
        values = tf.cast(tf.io.decode_raw(tf.strings.reduce_join(words)[None], tf.uint8)[0], tf.int32)
        lengths = tf.strings.length(words)
        of_word = tf.repeat(tf.range(tf.size(words)), lengths)
        ids, of_word, firsts = self._merges(tf.gather(self._byte_ids, values), of_word)
        return ids, of_word, firsts - tf.gather(tf.cumsum(lengths, exclusive=True), of_word)
