"""Texts longer than a model: overlapping windows inside the graph, and what the model says of them merged again."""

from typing import NamedTuple

import tensorflow as tf

from kerasformer.errors import InputError
from kerasformer.text.inputs import as_text_tensor
from kerasformer.text.templates import model_inputs


class Windows(NamedTuple):
    """Texts as rows of model inputs. W windows of N texts, padded length L, P pieces in all texts together.

    inputs: dict of int32 `[W, L]`, `token_ids`, `segment_ids`, `padding_mask`; the windows of a text in order, the
        texts in order, each text with one window at least.
    owners: int32 `[W]`, the text that a window is of.
    pieces: int32 `[W, L]`, the piece at each position, as a place in the `[P]` below; -1 where none of the text is.
    kept: bool `[W, L]`, true in one window only for each piece, the one where it has more context.
    ids, starts, ends: int32 `[P]`, token ids of all pieces, and their positions in bytes of their text.
    texts: int32 `[P]`, the text that a piece is of.
    words: int32 `[P]`, the number of the word in its text that a piece is of.
    """

    inputs: dict
    owners: tf.Tensor
    pieces: tf.Tensor
    kept: tf.Tensor
    ids: tf.Tensor
    starts: tf.Tensor
    ends: tf.Tensor
    texts: tf.Tensor
    words: tf.Tensor

    @property
    def begins_word(self):
        """bool `[P]`, whether a piece is the first of its word."""
        is_new = (self.words[1:] != self.words[:-1]) | (self.texts[1:] != self.texts[:-1])
        return tf.concat([tf.ones_like(self.words[:1], tf.bool), is_new], 0)

    def merge(self, values):
        """`[W, L, ...]` of a model to `[P, ...]`: what it says of each piece where that has more context."""
        return tf.boolean_mask(values, self.kept)

    def spread(self, values, default):
        """`[P]` to `[W, L]`, with `default` where no piece of a text is."""
        values = tf.concat([values, [default]], 0)
        return tf.gather(values, tf.where(self.pieces < 0, tf.size(values) - 1, self.pieces))


def window_texts(tokenizer, texts, length, overlap, heads=None, max_head=0):
    """Cuts texts into windows of a model's length, neighbours having pieces in common (Devlin et al.'s run_squad).

    A text that fits is one window; a batch of 0 has none. Nothing is truncated: memory grows with the windows.

    Args:
        tokenizer: any BaseTokenizer; its templates put special tokens around the sequences.
        texts: strings `[N]`.
        length: int, most tokens of a window, special tokens included.
        overlap: int, pieces that two neighbours have in common.
        heads: strings `[N]`, the first sequence of every window of its text, such as a question.
        max_head: int, a head is truncated to this many pieces.

    Returns:
        A Windows.

    Raises:
        InputError: no room is left for the texts beside `overlap`, or these are not strings `[N]`.
    """
    check_window(tokenizer, length, overlap, max_head if heads is not None else None)
    texts = as_text_tensor(texts, "texts")
    with tf.device("CPU"):
        ids, starts, ends, words = tokenizer.tokenize_with_words(texts)
        splits = tf.cast(ids.row_splits, tf.int32)
        counts = splits[1:] - splits[:-1]
        all_ids, head_first, head_counts = ids.values, None, tf.zeros_like(counts)
        num_sequences = 1 if heads is None else 2
        special = tokenizer.templates.num_special(num_sequences)
        before = tokenizer.templates.num_before(num_sequences)
        if heads is not None:
            head_ids = tokenizer.tokenize(as_text_tensor(heads, "heads"))
            head_first = tf.cast(head_ids.row_splits[:-1], tf.int32) + tf.size(all_ids)
            head_counts = tf.minimum(tf.cast(head_ids.row_lengths(), tf.int32), max_head)
            all_ids = tf.concat([all_ids, head_ids.values], 0)
        room = length - special - head_counts
        step = room - overlap
        # Rounded up: a last window that holds nothing new is not made.
        numbers = 1 + tf.maximum(-(-(counts - room) // step), 0)
        window_ends = tf.cumsum(numbers)
        owners = tf.searchsorted(window_ends, tf.range(tf.reduce_sum(numbers)), side="right")
        index = tf.range(tf.size(owners)) - tf.gather(window_ends - numbers, owners)
        first = index * tf.gather(step, owners)
        room, head_counts = tf.gather(room, owners), tf.gather(head_counts, owners)
        count = tf.minimum(room, tf.gather(counts, owners) - first)
        base = tf.gather(splits, owners) + first
        sequences = [(base, count)]
        if heads is not None:
            sequences = [(tf.gather(head_first, owners), head_counts), *sequences]
        inputs = model_inputs(all_ids, sequences, tokenizer.templates, tokenizer.padding_id)
        for value in inputs.values():
            value.set_shape([None, None])

        # What two neighbours share is cut in its middle.
        keep_from = tf.where(index > 0, overlap // 2, 0)
        is_last = tf.equal(index, tf.gather(numbers, owners) - 1)
        keep_to = tf.where(is_last, count, count - (overlap - overlap // 2))
        place = tf.range(tf.shape(inputs["token_ids"])[1])[None, :] - (before + head_counts)[:, None]
        inside = (place >= 0) & (place < count[:, None])
        return Windows(
            inputs,
            owners,
            tf.where(inside, base[:, None] + place, -1),
            (place >= keep_from[:, None]) & (place < keep_to[:, None]),
            ids.values,
            starts.values,
            ends.values,
            tf.cast(ids.value_rowids(), tf.int32),
            words.values,
        )


def include_marks(texts, ends):
    """Ends of spans, in bytes, moved over the marks that follow them: tokenizers that strip accents leave these out of
    their offsets, and a span would end inside of a letter.

    Args:
        texts: strings `[N]`.
        ends: int32 `[N]`, from 0 to the length of the text.

    Returns:
        int32 `[N]`.
    """
    rest = tf.strings.substr(texts, ends, tf.fill(tf.shape(ends), 2**30))
    return ends + tf.strings.length(rest) - tf.strings.length(tf.strings.regex_replace(rest, r"^\p{M}+", "", False))


def check_window(tokenizer, length, overlap, max_head=None):
    """Raises InputError unless windows of `length` tokens can overlap by `overlap` pieces."""
    if max_head is None:
        needed = tokenizer.templates.num_special(1)
    else:
        needed = tokenizer.templates.num_special(2) + max_head
    if overlap < 0 or length - needed <= overlap:
        raise InputError(
            f"A window needs more than `overlap` pieces of a text beside its {needed} other tokens. "
            f"Received: length={length}, overlap={overlap}."
        )
