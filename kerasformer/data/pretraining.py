"""Batches for pretraining, from documents to model inputs, in one pipeline of `tf.data`."""

import dataclasses

import numpy as np
import tensorflow as tf

from kerasformer.data.corpus import Corpus
from kerasformer.data.packing import pack_sequences
from kerasformer.data.sequence_rows import sentence_pairs, text_runs
from kerasformer.errors import InputError
from kerasformer.text import split_sentences

# Parts of documents whose sentences are paired with each other, and buffers of parts and of sequences to shuffle.
_POOL, _SHUFFLED_PARTS, _SHUFFLED_ROWS = 64, 1024, 8192
# Sequences that are packed together.
_PACKED_ROWS = 512


@dataclasses.dataclass(frozen=True)
class PretrainingData:
    """Token sequences of a corpus, other ones in each epoch: the same for the same seed, epoch and global seed of Keras
    (`keras.utils.set_random_seed`).

    Masks are not drawn here but by `kf.tasks.BertPretraining`, from the seeds that come with each text. The text is
    streamed: shuffled are about 1,000 parts of documents (64,000 characters at most) and 8,000 sequences at a time, and
    a second segment comes from one of the 64 parts that are read together.

    Args:
        corpora: a Corpus, or several, such as one a language.
        tokenizer: a WordPieceTokenizer.
        next_sentence: pairs of segments, see `sentence_pairs`; False returns running text, see `text_runs`.
        short_probability: share of the sequences of a random shorter length.
        pack: fill each sequence with several short ones, see `pack_sequences`; for running text and an encoder made
            with `packed_sequences`. `padding_mask` then numbers them.
        smoothing: with several corpora the exponent of their shares: each is drawn from as often as its number of
            sequences to this power tells, so that small ones are seen more often (Devlin et al., multilingual BERT:
            0.7). 1 takes them as they are.
        seed: of all that is random.

    Raises:
        InputError: a setting out of range.
    """

    corpora: Corpus | tuple[Corpus, ...]
    tokenizer: object
    next_sentence: bool = True
    short_probability: float = 0.1
    pack: bool = False
    smoothing: float = 1.0
    seed: int = 0

    def __post_init__(self):
        corpora = (self.corpora,) if isinstance(self.corpora, Corpus) else tuple(self.corpora)
        object.__setattr__(self, "corpora", corpora)
        object.__setattr__(self, "_counts", {})
        object.__setattr__(self, "_sequences", {})
        if self.pack and self.next_sentence:
            raise InputError("`pack` is for running text: set `next_sentence=False`.")
        if not corpora or not 0 <= self.short_probability <= 1 or not 0 < self.smoothing <= 1:
            raise InputError(
                "Expected at least one corpus, `short_probability` in [0, 1] and `smoothing` in (0, 1]. Received: "
                f"{len(corpora)} corpora, {self.short_probability} and {self.smoothing}."
            )

    def batches(self, batch_size, max_length, *, epoch=0, steps=None, held_out=False, shuffle=True):
        """One epoch as `({"token_ids", "segment_ids", "padding_mask": [N, L], "seed": [N, 2]}, {"is_random": [N]})`.

        All int32. `is_random` is 1 where the second segment is of another document; without `next_sentence` the
        targets are empty. With several corpora an epoch has as many sequences as all of them together.

        Args:
            batch_size: sequences in a batch; the last one may have fewer.
            max_length: longest sequence, special tokens included.
            epoch: each has sequences, an order and masks of its own.
            steps: exactly so many batches, from the beginning again, with other masks, where the epoch has fewer.
            held_out: of the documents that the corpora hold out, each once.
            shuffle: False keeps the order of the documents.
        """
        self._check_length(max_length)
        sets = [self._rows(corpus, max_length, epoch, held_out, shuffle) for corpus in self.corpora]
        rows = sets[0]
        if held_out and len(sets) > 1:
            # Each once, but mixed, so that the first batches tell of all of them.
            rows = tf.data.Dataset.sample_from_datasets(sets, seed=self.seed, rerandomize_each_iteration=False)
        elif len(sets) > 1:
            counts = self._numbers(max_length, held_out)
            weights = counts**self.smoothing / np.sum(counts**self.smoothing)
            rows = tf.data.Dataset.sample_from_datasets(
                [data.repeat() for data in sets], weights, seed=self._seed(epoch), rerandomize_each_iteration=False
            ).take(counts.sum())
        if steps is not None:
            rows = rows.repeat().take(steps * batch_size)
        finish = _Finish(self._seed(epoch), batch_size)
        data = rows.batch(batch_size).enumerate().map(_plain(finish), tf.data.AUTOTUNE)
        return data if steps is None else data.apply(tf.data.experimental.assert_cardinality(steps))

    def count(self, max_length, *, held_out=False):
        """Number of sequences of an epoch; of later ones it differs a little.

        Raises:
            InputError: there are none.
        """
        self._check_length(max_length)
        total = int(self._numbers(max_length, held_out).sum())
        if not total and self.next_sentence:
            raise InputError(
                "Next-sentence pairs need at least two documents, one of them with two sentences. Received text with "
                "none to make: put a blank line between documents, or turn off next-sentence prediction."
            )
        if not total:
            raise InputError("The corpus contains no sequence: none of its text has a token.")
        return total

    def _numbers(self, max_length, held_out):
        """Sequences of each corpus, counted once."""
        key = max_length, held_out
        if key not in self._counts:
            sets = [self._rows(corpus, max_length, 0, held_out, True, False) for corpus in self.corpora]
            one_more = [data.reduce(np.int64(0), lambda count, _: count + 1) for data in sets]
            self._counts[key] = np.array([int(count) for count in one_more])
        return self._counts[key]

    def _check_length(self, max_length):
        least = 5 if self.next_sentence else 3
        if max_length < least:
            raise InputError(
                f"`max_length` must be at least {least}, for special tokens and text. Received: {max_length}."
            )

    def _seed(self, epoch):
        return int(np.random.SeedSequence([self.seed, epoch]).generate_state(1)[0] >> 1)

    def _rows(self, corpus, max_length, epoch, held_out, shuffle, shuffle_rows=True):
        seed = self._seed(epoch)
        parts = corpus.documents(held_out=held_out)
        if shuffle:
            parts = parts.shuffle(_SHUFFLED_PARTS, seed, reshuffle_each_iteration=False)
        sequences = self._sequences_of(max_length)

        def of_epoch(pool, elements):
            return sequences(tf.stack([tf.constant(seed), tf.cast(pool, tf.int32)]), **elements)

        rows = parts.batch(_POOL).enumerate().map(_plain(of_epoch), tf.data.AUTOTUNE).prefetch(1).unbatch()
        if self.pack:
            rows = rows.batch(_PACKED_ROWS).map(_plain(pack_sequences), tf.data.AUTOTUNE).prefetch(1).unbatch()
        return rows.shuffle(_SHUFFLED_ROWS, seed, reshuffle_each_iteration=False) if shuffle and shuffle_rows else rows

    def _sequences_of(self, max_length):
        """From a seed and a pool of parts to rows: a function that is traced once for all epochs."""
        if max_length not in self._sequences:
            special_ids = (self.tokenizer.start_id, self.tokenizer.end_id, self.tokenizer.padding_id)
            options = max_length, self.short_probability, special_ids

            @tf.function(autograph=False)
            def sequences(seed, text, document):
                pieces = tokenized_sentences(text, self.tokenizer)
                if self.next_sentence:
                    return sentence_pairs(pieces, document, seed, *options)
                return text_runs(pieces, seed, *options)

            self._sequences[max_length] = sequences
        return self._sequences[max_length]


# Nothing here has Python control flow on tensors; AutoGraph would take long to find that out.
_plain = tf.autograph.experimental.do_not_convert


class _Finish:
    """From a batch of rows to features and targets."""

    def __init__(self, seed, batch_size):
        self._seed, self._batch_size = seed, batch_size

    def __call__(self, index, rows):
        length = rows.pop("length")[:, None]
        token_ids = rows.pop("token_ids")[:, : tf.reduce_max(length)]
        places = tf.range(tf.shape(token_ids)[1])[None, :]
        is_token = places < length
        first_length = rows.pop("first_length")[:, None] if "first_length" in rows else length
        number = tf.cast(index, tf.int32) * self._batch_size + tf.range(tf.shape(token_ids)[0])
        features = {
            "token_ids": token_ids,
            "segment_ids": tf.cast(is_token & (places >= first_length), tf.int32),
            "padding_mask": rows.pop("sequence")[:, : tf.shape(token_ids)[1]]
            if "sequence" in rows
            else tf.cast(is_token, tf.int32),
            "seed": tf.stack([tf.fill(tf.shape(number), self._seed), number], 1),
        }
        return features, rows


def tokenized_sentences(texts, tokenizer):
    """Texts `[P]`, of lines, to the ids of their sentences, int32 `[P, (sentences), (tokens)]`, ragged; in the graph.

    A sentence never continues in the next line. Those without a token are left out.
    """
    lines = tf.strings.split(texts, "\n")
    sentences = split_sentences(lines.values)[0]
    pieces = tokenizer.tokenize(sentences.values)
    rows = tf.gather(lines.value_rowids(), sentences.value_rowids())
    kept = pieces.row_lengths() > 0
    return tf.RaggedTensor.from_value_rowids(
        tf.ragged.boolean_mask(pieces, kept), tf.boolean_mask(rows, kept), tf.shape(texts, tf.int64)[0], validate=False
    )
