"""BERT's tokenizer as TensorFlow ops: strings to token ids, with offsets back into the strings."""

import os

import keras
import numpy as np
import tensorflow as tf
import tensorflow_text as tf_text

from kerasformer.errors import InputError
from kerasformer.text import huggingface
from kerasformer.text.components import word_beginnings
from kerasformer.text.detokenizing import Detokenizer
from kerasformer.text.inputs import checked_max_length
from kerasformer.text.templates import bert_templates, roberta_templates
from kerasformer.text.tokenizer import BaseTokenizer
from kerasformer.text.words import WordSplitter, utf8_lengths

SUFFIX_INDICATOR = "##"


@keras.saving.register_keras_serializable(package="kerasformer")
class WordPieceTokenizer(BaseTokenizer):
    """Splits texts into BERT's word pieces (Devlin et al. 2018; Wu et al. 2016, section 4.1), inside the graph.

    The ids are those of the Hugging Face `tokenizers` library with BERT's normalizer, pre-tokenizer and model, code
    point for code point. It runs eagerly, in a `tf.function`, in `tf.data`, and in a SavedModel, which then needs
    only `tensorflow` and `tensorflow_text` to load; nothing has to be tracked.

    A special token that is written in a text, such as `[MASK]`, becomes that token.

    Args:
        vocabulary: list of str, the index is the id; or the path of a file with one token per line. An empty
            string is a gap.
        lowercase: bool, lower-case the text.
        strip_accents: bool, drop accents; None does as `lowercase` does.
        split_cjk: bool, make every CJK ideograph a word.
        max_length: int, truncate model inputs to this many tokens, special tokens included.
        start_token, end_token, padding_token, unknown_token: str, all in the vocabulary.
        mask_token: str or None; `mask_id` is None if the vocabulary lacks it.
        additional_special_tokens: list of str in the vocabulary, found literally in texts as well.
        max_word_length: int, a word of more code points is unknown.
        added_words: list of str in the vocabulary, found anywhere in the normalized text, also inside of
            longer words, such as words of one's field that were added to a trained model.
        truncation_side: "right" or "left", the side where long texts are truncated.
        double_separator: bool, a pair is `<s> A </s></s> B </s>`, all in segment 0, as RoBERTa and MPNet have it.

    A token that is in the vocabulary twice has its last id, as in Transformers.

    Raises:
        InputError: the vocabulary cannot be read, is empty or lacks a token that is needed, or another argument cannot
            be used.

    Example:

    >>> tokenizer = WordPieceTokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "un", "##aff", "##able"])
    >>> tokenizer(["Unaffable"])["token_ids"]
    <tf.Tensor: shape=(1, 5), dtype=int32, numpy=array([[2, 4, 5, 6, 3]], dtype=int32)>
    """

    def __init__(
        self,
        vocabulary,
        lowercase=True,
        *,
        strip_accents=None,
        split_cjk=True,
        max_length=512,
        start_token="[CLS]",
        end_token="[SEP]",
        padding_token="[PAD]",
        unknown_token="[UNK]",
        mask_token="[MASK]",
        additional_special_tokens=(),
        max_word_length=100,
        added_words=(),
        truncation_side="right",
        double_separator=False,
    ):
        if isinstance(vocabulary, (str, os.PathLike)):
            vocabulary = huggingface.read_vocabulary(vocabulary)
        self.vocabulary = list(vocabulary)
        ids = _ids_of(self.vocabulary)
        self.lowercase, self.strip_accents, self.split_cjk = bool(lowercase), strip_accents, bool(split_cjk)
        self.max_length = checked_max_length(max_length, 2)
        self.start_token, self.end_token, self.padding_token = start_token, end_token, padding_token
        self.unknown_token, self.mask_token = unknown_token, mask_token
        self.additional_special_tokens = list(additional_special_tokens)
        self.max_word_length = max_word_length
        if isinstance(max_word_length, bool) or not isinstance(max_word_length, int) or max_word_length < 1:
            raise InputError(f"`max_word_length` must be an integer of 1 or more. Received: {max_word_length!r}.")

        if truncation_side not in ("left", "right"):
            raise InputError(f"`truncation_side` must be 'left' or 'right'. Received: {truncation_side!r}.")
        self.truncation_side, self.double_separator = truncation_side, bool(double_separator)
        self.added_words = list(added_words)

        self.start_id = _special_id(ids, "start_token", start_token)
        self.end_id = _special_id(ids, "end_token", end_token)
        self.padding_id = _special_id(ids, "padding_token", padding_token)
        self.unknown_id = _special_id(ids, "unknown_token", unknown_token)
        self.mask_id = ids.get(mask_token)
        special = [start_token, end_token, padding_token, unknown_token]
        special += [mask_token] * (self.mask_id is not None)
        for token in self.additional_special_tokens:
            _special_id(ids, "additional_special_tokens", token)
        for token in self.added_words:
            _special_id(ids, "added_words", token)
            if any(char.isspace() for char in token):
                raise InputError(f"`added_words` must be without white space. Received: {token!r}.")
        self.special_tokens = list(dict.fromkeys([*special, *self.additional_special_tokens]))
        for token in (*self.special_tokens, *self.added_words):
            if not token or "\0" in token or len(token) > max_word_length:
                raise InputError(
                    f"A special token must have 1 to {max_word_length} characters, none of them NUL. "
                    f"Received: {token!r}."
                )

        self._split = WordSplitter(
            self.lowercase,
            self.lowercase if strip_accents is None else bool(strip_accents),
            self.split_cjk,
            self.special_tokens,
            max_word_length,
            self.added_words,
        )
        self._model = _wordpiece_model(
            self.vocabulary, ids, {*self.special_tokens, *self.added_words}, unknown_token, max_word_length
        )
        self._detokenizer = Detokenizer(self.vocabulary, [ids[token] for token in self.special_tokens])
        make = roberta_templates if self.double_separator else bert_templates
        self.templates = make(self.start_id, self.end_id)
        self._build()

    def begins_word(self, ids):
        """Whether a piece begins a word, what is between white space and punctuation marks: int to bool, of the
        same shape."""
        return tf.gather(word_beginnings(self.vocabulary, SUFFIX_INDICATOR), ids)

    def detokenize(self, ids):
        """Texts of ids, as the reference decodes them: pieces joined, punctuation and contractions closed up.

        Args:
            ids: int, `[batch, length]` or ragged `[batch, (length)]`. Special tokens, and ids outside of the
                vocabulary, are left out.

        Returns:
            string tensor `[batch]`.
        """
        return self._detokenizer(ids)

    def get_config(self):
        """Arguments that make this tokenizer again, the vocabulary among them."""
        names = (
            "vocabulary lowercase strip_accents split_cjk max_length start_token end_token padding_token "
            "unknown_token mask_token additional_special_tokens max_word_length "
            "added_words truncation_side double_separator"
        )
        return {name: getattr(self, name) for name in names.split()}

    def save(self, folder):
        """Writes `vocab.txt` and `tokenizer_config.json` as Hugging Face's BERT tokenizers read them."""
        huggingface.write_tokenizer(self.get_config(), folder)

    @classmethod
    def load(cls, folder):
        """Reads a tokenizer that was saved by kerasformer or by Hugging Face Transformers.

        Truncation and padding that `tokenizer.json` may hold are ignored: they are settings of a run.

        Args:
            folder: one with `vocab.txt` or `tokenizer.json`; `tokenizer_config.json`, `special_tokens_map.json` and
                `added_tokens.json` are read where they exist.

        Raises:
            InputError: no such file, or one of a tokenizer with other rules than BERT's.
        """
        return cls(**huggingface.read_tokenizer(folder))

    def _trace_pieces(self, texts):
        with tf.device("CPU"):
            words = self._split(texts)
            pieces, _, _ = self._wordpiece(words)
            return pieces.values, tf.gather(pieces.row_splits, words.text_splits)

    def _trace_offsets(self, texts):
        with tf.device("CPU"):
            words = self._split(texts, with_offsets=True)
            pieces, starts, ends = self._wordpiece(words)
            # Pieces cover all words without a gap, so their ends in the joined words are running sums.
            piece_lengths = tf.cast(ends.values - starts.values, tf.int32)
            piece_ends = tf.cumsum(piece_lengths)
            char_ends = tf.cumsum(utf8_lengths(words.char_codes))
            first = tf.searchsorted(char_ends, piece_ends - piece_lengths, side="right")
            last = tf.searchsorted(char_ends, piece_ends)
            splits = tf.gather(pieces.row_splits, words.text_splits)
            # Some words hold no piece, and they do not count.
            number = tf.cumsum(tf.cast(pieces.row_lengths() > 0, tf.int32), exclusive=True)
            number = tf.concat([number, [0]], 0)
            text_first = tf.repeat(tf.gather(number, words.text_splits[:-1]), splits[1:] - splits[:-1])
            return (
                pieces.values,
                tf.gather(words.char_starts, first),
                tf.gather(words.char_ends, last),
                tf.gather(number, pieces.value_rowids()) - text_first,
                splits,
            )

    def _wordpiece(self, words):
        model = tf_text.FastWordpieceTokenizer(model_buffer=tf.constant(self._model), token_out_type=tf.int32)
        return model.tokenize_with_offsets(words.strings)


def _ids_of(vocabulary):
    if not vocabulary:
        raise InputError("`vocabulary` must hold tokens. Received: an empty one.")
    for token in vocabulary:
        if not isinstance(token, str):
            raise InputError(f"`vocabulary` must be a list of str. Received: a {type(token).__name__}, {token!r}.")
    ids = {token: place for place, token in enumerate(vocabulary)}
    return ids


def _special_id(ids, name, token):
    if token not in ids:
        raise InputError(f"`{name}` must be in the vocabulary. Received: {token!r}, not in {len(ids):,} tokens.")
    return ids[token]


def _wordpiece_model(vocabulary, ids, special_tokens, unknown_token, max_word_length):
    """The trie of Song et al. 2021, "Fast WordPiece Tokenization", as uint8 `[bytes]`."""
    # Entries that no word can be must not match what stands for an overlong word, nor trouble the trie: a space puts
    # them out of the way, as only special tokens hold one.
    longest = max_word_length + len(SUFFIX_INDICATOR)
    out_of_reach = {
        token
        for token in vocabulary
        if token in ("", SUFFIX_INDICATOR) or len(token) > longest or " " in token or "\0" in token
    }
    out_of_reach -= set(special_tokens)
    entries = [
        f" {place}" if token in out_of_reach or ids[token] != place else token for place, token in enumerate(vocabulary)
    ]
    try:
        model = tf_text.build_fast_wordpiece_model(
            entries, 4 * max_word_length, SUFFIX_INDICATOR, unknown_token, True, False
        )
    except Exception as error:
        raise InputError(f"`vocabulary` must be one that WordPiece can use. Received: {error}.") from None
    return np.frombuffer(model, np.uint8)
