"""The words of texts, for people: pieces joined, with their bytes in the caller's string; all of it in the graph."""

import dataclasses
from typing import NamedTuple

import tensorflow as tf

from kerasformer.text.inputs import cut_sequences
from kerasformer.text.templates import Templates, model_inputs
from kerasformer.text.tweets import normalize_tweets, original_places
from kerasformer.text.windows import include_marks

_SPACE = r"[\s\p{Z}]"

# Scripts that put no space between words: each of their pieces is a word.
_UNSPACED = r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Tibetan}]"

# Bytes that are kept behind the last piece that is read: marks that belong to its letter.
_MARKS = 64


class Words(NamedTuple):
    """The words of N texts, or pairs, as rows of model inputs. L is the padded length, W the most words of a text.

    inputs: dict of int32 `[N, L]`: `token_ids`, `segment_ids`, `padding_mask`.
    slots: int32 `[N, L]`, the word that the token at each position is part of; -1 for special tokens and padding.
    words: string `[N, W]`, cut out of the texts; "" where there is none.
    starts, ends: int32 `[N, W]`, in bytes of the text; -1 where there is no word.
    fields: int32 `[N, W]`, 0 for words of the first text, 1 for those of the second; -1 where there is no word.
    read_until: int32 `[N, texts]`, the byte where reading stopped; -1 where a text was read to its end.
    """

    inputs: dict
    slots: tf.Tensor
    words: tf.Tensor
    starts: tf.Tensor
    ends: tf.Tensor
    fields: tf.Tensor
    read_until: tf.Tensor

    @property
    def is_word(self):
        """bool `[N, L]`, which tokens are part of a word."""
        return self.slots >= 0

    def of_row(self, row):
        """`words`, `starts`, `ends`, `fields` and `read_until` of one text, for `made`."""
        return self.words[row], self.starts[row], self.ends[row], self.fields[row], self.read_until[row]

    def sums(self, values):
        """float `[N, L]` of tokens, summed to words: `[N, W]`."""
        rows, width = tf.shape(self.words)[0], tf.shape(self.words)[1]
        # One more word than there is, for all tokens of none.
        numbers = tf.range(rows)[:, None] * (width + 1) + tf.where(self.is_word, self.slots, width)
        summed = tf.math.unsorted_segment_sum(values, numbers, rows * (width + 1))
        return tf.reshape(summed, [rows, width + 1])[:, :-1]


def read_words(tokenizer, texts, pairs=None, *, max_length=None, truncation="longest_first", tweets=False):
    """The `Words` of texts as `tokenizer(texts, pairs)` reads them.

    Words are those of the tokenizer, without the white space around them; where a script has no spaces, they are its
    pieces. Of a word at whose middle reading stops, the part that is read.

    Args:
        tokenizer: any BaseTokenizer.
        texts, pairs: strings `[N]`; `pairs` may be None.
        max_length, truncation: as of a tokenizer's call.
        tweets: whether texts go through `normalize_tweets` first. Bytes are those of the texts before.
    """
    with tf.device("CPU"):
        columns = [texts] if pairs is None else [texts, pairs]
        number, size = len(columns), tf.size(texts)
        strings = tf.concat(columns, 0)
        read = normalize_tweets(strings) if tweets else strings
        ids, starts, ends, word_ids = tokenizer.tokenize_with_words(read)
        splits = tf.cast(ids.row_splits, tf.int32)
        firsts, counts = splits[:-1], splits[1:] - splits[:-1]
        sequences = [(firsts[i * size : (i + 1) * size], counts[i * size : (i + 1) * size]) for i in range(number)]
        templates = tokenizer.templates
        longest = tokenizer.max_length if max_length is None else max_length
        room = min(longest, tf.int32.max) - templates.num_special(number)
        kept = cut_sequences(sequences, room, truncation, tokenizer.truncation_side)
        inputs = model_inputs(ids.values, kept, templates, tokenizer.padding_id)
        # The same rows of the pieces' numbers, and of nothing else.
        numbers = tf.range(tf.size(ids.values))
        places = model_inputs(numbers, kept, _without_tokens(templates), -1)["token_ids"]
        for value in inputs.values():
            value.set_shape([texts.shape[0], None])
        rows = tf.cast(tf.where(places >= 0)[:, 0], tf.int32)
        pieces = tf.boolean_mask(places, places >= 0)
        owners = tf.gather(tf.cast(ids.value_rowids(), tf.int32), pieces)
        starts, ends, word_ids = (tf.gather(ragged.values, pieces) for ragged in (starts, ends, word_ids))
        if tweets:
            starts, ends, word_ids = original_places(strings, read, owners, starts, ends, word_ids)
        reached = tf.maximum(tf.math.unsorted_segment_max(ends, owners, number * size), 0)
        is_cut = tf.concat([now < before for (_, now), (_, before) in zip(kept, sequences, strict=True)], 0)
        if tokenizer.truncation_side != "right":
            is_cut = tf.zeros_like(is_cut)
        read_until = tf.transpose(tf.reshape(tf.where(is_cut, reached, -1), [number, size]))
        # Each piece below gets a copy of its text, of what was read of it.
        strings = tf.strings.substr(strings, tf.zeros_like(reached), reached + _MARKS)
        word_of_piece, words = _join(strings, owners, starts, ends, word_ids)
        fields, word_rows = words["owners"] // tf.maximum(size, 1), words["owners"] % tf.maximum(size, 1)
        # Words are in the order of their rows.
        word_splits = tf.searchsorted(word_rows, tf.range(size + 1))
        slots = tf.where(word_of_piece < 0, -1, word_of_piece - tf.gather(word_splits, rows))
        slots = tf.tensor_scatter_nd_update(tf.fill(tf.shape(places), -1), tf.where(places >= 0), slots)

        def spread(values, default):
            return tf.RaggedTensor.from_row_splits(values, word_splits, validate=False).to_tensor(default)

        return Words(
            inputs,
            slots,
            spread(words["texts"], ""),
            spread(words["starts"], -1),
            spread(words["ends"], -1),
            spread(fields, -1),
            read_until,
        )


def _without_tokens(templates):
    """Templates whose special tokens are -1."""

    def parts(template):
        return tuple(part if part.token_id is None else dataclasses.replace(part, token_id=-1) for part in template)

    return Templates(parts(templates.single), parts(templates.pair))


def _begins(texts, owner, start, end, word):
    """Which pieces begin a word for people, bool `[P]`, from their texts, `[P]`, and as in `_join`."""

    def matches(pattern):
        return tf.strings.regex_full_match(texts, pattern)

    is_adjacent = (owner[1:] == owner[:-1]) & (start[1:] <= end[:-1])
    unspaced, letter, mark = (matches(rf"{kind}.*") for kind in (_UNSPACED, r"\p{L}", r"\p{M}"))
    # Some tokenizers begin a word at each mark, and at the letter behind it.
    is_joined = is_adjacent & (mark[1:] | (matches(r".*\p{M}")[:-1] & letter[1:] & ~unspaced[1:]))
    is_new = (owner[1:] != owner[:-1]) | (word[1:] != word[:-1]) | (unspaced[1:] & (start[1:] >= end[:-1]))
    return tf.concat([tf.ones_like(owner[:1], tf.bool), is_new & ~is_joined], 0)


def _join(strings, owners, starts, ends, word_ids):
    """Pieces joined to words.

    Args:
        strings: `[texts]`.
        owners, starts, ends, word_ids: int32 `[P]` of each piece: its text, its bytes there, and the tokenizer's word.

    Returns:
        `(word_of_piece, words)`: int32 `[P]`, -1 for white space in a text of nothing else; and `{"owners", "starts",
        "ends", "texts"}` of M words, `[M]`.
    """
    own = tf.gather(strings, owners)
    bare = tf.strings.substr(own, starts, ends - starts)
    size = tf.strings.length(bare)
    spaces = size - tf.strings.length(tf.strings.regex_replace(bare, f"^{_SPACE}+", "", False))
    starts += spaces
    ends -= size - tf.strings.length(tf.strings.regex_replace(bare, f"{_SPACE}+$", "", False))
    is_solid = starts < ends
    solid = tf.cast(tf.where(is_solid)[:, 0], tf.int32)
    own, owner, start, end, word = (tf.gather(values, solid) for values in (own, owners, starts, ends, word_ids))
    begins = _begins(tf.strings.substr(own, start, end - start), owner, start, end, word)
    # Also behind white space that is a piece, or the beginning of one.
    begins |= (tf.gather(spaces, solid) > 0) | (solid - tf.concat([[-1], solid[:-1]], 0) > 1)[: tf.size(solid)]
    of_solid = tf.cumsum(tf.cast(begins, tf.int32)) - 1
    firsts = tf.cast(tf.where(begins)[:, 0], tf.int32)
    word_ends = tf.math.unsorted_segment_max(end, of_solid, tf.size(firsts))
    own, word_owners, word_starts = (tf.gather(values, firsts) for values in (own, owner, start))
    word_ends = include_marks(own, word_ends)
    # White space is of the next word, as SentencePiece has it, or of the last one of its text.
    behind = tf.cumsum(tf.cast(is_solid, tf.int32), exclusive=True)
    padded_owner, padded_word = tf.pad(owner, [[1, 1]], constant_values=-1), tf.pad(of_solid, [[1, 1]])
    is_next = tf.equal(tf.gather(padded_owner, behind + 1), owners)
    is_last = tf.equal(tf.gather(padded_owner, behind), owners)
    word_of_piece = tf.where(is_next, tf.gather(padded_word, behind + 1), tf.gather(padded_word, behind))
    words = {"owners": word_owners, "starts": word_starts, "ends": word_ends}
    words["texts"] = tf.strings.substr(own, word_starts, word_ends - word_starts)
    return tf.where(is_next | is_last, word_of_piece, -1), words
