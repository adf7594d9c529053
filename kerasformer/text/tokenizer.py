"""Any tokenizer: what all have in common, and the pipeline that a `tokenizer.json` describes."""

import copy
import functools
import json
import pathlib

import keras
import tensorflow as tf

from kerasformer.errors import InputError, other_forms
from kerasformer.text import components
from kerasformer.text.added_tokens import AddedTokenFinder, normalized_tokens
from kerasformer.text.character_classes import CLASS_MASK, SPACE
from kerasformer.text.decoders import TextDecoder
from kerasformer.text.inputs import as_text_tensor, checked_max_length, cut_sequences
from kerasformer.text.models import Words, read_model
from kerasformer.text.normalizers import read_normalizer
from kerasformer.text.older_files import FAST_BPE, fast_bpe_files
from kerasformer.text.pre_tokenizers import ByteLevel, read_pre_tokenizer
from kerasformer.text.stream import EDGE_CODE, added_code, decode
from kerasformer.text.templates import model_inputs, read_templates
from kerasformer.text.words import utf8_lengths


class BaseTokenizer:
    """What every tokenizer does with the pieces of texts.

    A subclass sets `vocabulary`, `templates`, `padding_id`, `max_length` and `truncation_side`, calls `_build`, and has
    `_trace_pieces(texts)` (ids, splits) and `_trace_offsets(texts)` (ids, starts, ends, words, splits) in graph ops.
    """

    truncation_side = "right"

    def _build(self):
        texts = tf.TensorSpec([None], tf.string)
        self._pieces = tf.function(self._trace_pieces, input_signature=[texts], autograph=False)
        self._pieces_with_offsets = tf.function(self._trace_offsets, input_signature=[texts], autograph=False)
        self._inputs = functools.cache(self._make_inputs)

    @property
    def vocabulary_size(self):
        return len(self.vocabulary)

    def __call__(self, texts, pairs=None, max_length=None, truncation="longest_first"):
        """Model inputs of texts, special tokens added.

        Args:
            texts: strings `[batch]`, UTF-8.
            pairs: strings `[batch]`, the second sequences.
            max_length: int, in place of the tokenizer's own.
            truncation: which sequence of a pair is cut where both are too long: "longest_first", "only_first",
                "only_second". The other one is cut only if that one has no tokens left.

        Returns:
            dict of int32 `[batch, length]`, where length is that of the longest row: `token_ids`, `segment_ids`,
            `padding_mask` (1 for tokens, 0 for padding).

        Raises:
            InputError: `texts` or `pairs` are not strings `[batch]`, or `max_length` leaves no room for the special
                tokens.
        """
        texts = as_text_tensor(texts, "texts")
        num_special = self.templates.num_special(1 if pairs is None else 2)
        max_length = checked_max_length(self.max_length if max_length is None else max_length, num_special)
        if pairs is not None:
            pairs = as_text_tensor(pairs, "pairs")
            if not texts.shape.is_compatible_with(pairs.shape):
                raise InputError(
                    f"`pairs` must be as many as `texts`. Received: {pairs.shape[0]} and {texts.shape[0]}."
                )
        if truncation not in ("longest_first", "only_first", "only_second"):
            raise InputError(
                "`truncation` must be 'longest_first', 'only_first' or 'only_second'. Received: "
                f"truncation={truncation!r}."
            )
        columns = [texts] if pairs is None else [texts, pairs]
        inputs = self._inputs(len(columns), min(max_length, tf.int32.max) - num_special, truncation)(*columns)
        for value in inputs.values():
            value.set_shape([texts.shape[0] if texts.shape.rank else None, None])
        return inputs

    def tokenize(self, texts):
        """Bare ids of texts, strings `[batch]`: a `tf.RaggedTensor` `[batch, (pieces)]`, int32, not truncated."""
        ids, splits = self._pieces(as_text_tensor(texts, "texts"))
        return tf.RaggedTensor.from_row_splits(ids, splits, validate=False)

    def tokenize_with_offsets(self, texts):
        """Bare ids of texts, strings `[batch]`, and where the pieces are.

        Returns:
            ids, starts, ends: `tf.RaggedTensor`s `[batch, (pieces)]`, int32. A piece came from `text[start:end]`, in
            bytes of the caller's UTF-8 string.
        """
        return self._ragged(texts)[:3]

    def word_ids(self, texts):
        """The number of the word that each piece of `tokenize(texts)` is part of, from 0 on in every text.

        Returns:
            `tf.RaggedTensor` `[batch, (pieces)]`, int32.
        """
        return self._ragged(texts)[3]

    def tokenize_with_words(self, texts):
        """ids, starts, ends and word_ids of texts, all at once."""
        return self._ragged(texts)

    def _ragged(self, texts):
        *values, splits = self._pieces_with_offsets(as_text_tensor(texts, "texts"))
        return tuple(tf.RaggedTensor.from_row_splits(value, splits, validate=False) for value in values)

    def _make_inputs(self, num_columns, room, truncation):
        """A function of texts, and pairs where `num_columns` is 2, traced once for batches of every size."""

        def inputs(texts, pairs=None):
            return self._trace_inputs(texts, pairs, room, truncation)

        signature = [tf.TensorSpec([None], tf.string)] * num_columns
        return tf.function(inputs, input_signature=signature, autograph=False)

    def _trace_inputs(self, texts, pairs, room, truncation):
        with tf.device("CPU"):
            ids, splits = self._pieces(texts if pairs is None else tf.concat([texts, pairs], 0))
            splits = tf.cast(splits, tf.int32)
            sequences = [(splits[:-1], splits[1:] - splits[:-1])]
            if pairs is not None:
                first, counts = sequences[0]
                size = tf.size(texts)
                sequences = [(first[:size], counts[:size]), (first[size:], counts[size:])]
            sequences = cut_sequences(sequences, room, truncation, self.truncation_side)
            return model_inputs(ids, sequences, self.templates, self.padding_id)

    @classmethod
    def from_config(cls, config):
        return cls(**config)

    def __reduce__(self):
        return _from_config, (type(self), self.get_config())


def _from_config(cls, config):
    return cls.from_config(config)


@keras.saving.register_keras_serializable(package="kerasformer")
class Tokenizer(BaseTokenizer):
    """The tokenizer that a `tokenizer.json` describes, as TensorFlow ops: a normalizer, a pre-tokenizer, a model, a
    post-processor and a decoder.

    Ids and offsets are those of the Hugging Face `tokenizers` library. It runs eagerly, in a `tf.function`, in
    `tf.data`, and in a SavedModel, which then needs only `tensorflow` and `tensorflow_text` to load; nothing has to be
    tracked. Bytes that are no UTF-8 are read as U+FFFD.

    Args:
        specification: dict, the content of a `tokenizer.json`. Its padding and truncation are settings of a run and
            are ignored.
        settings: dict, the content of a `tokenizer_config.json`.

    Attributes:
        vocabulary: list of str, tokens by id; an id without a token is "".
        start_id, end_id, padding_id: int. Where a tokenizer has no padding, it pads with its end token.
        unknown_id, mask_id: int, or None.
        special_tokens: list of str.
        templates: the special tokens around sequences.

    Raises:
        InputError: a component that is not known, or files that do not fit together.
    """

    def __init__(self, specification, settings=None):
        self.specification, self.settings = copy.deepcopy(dict(specification)), copy.deepcopy(dict(settings or {}))
        for run_setting in ("truncation", "padding"):
            self.specification[run_setting] = None
        with other_forms("`specification`"):
            self._read("`specification`")
        self._build()

    def _read(self, where):
        settings = components.checked_settings(self.settings, where)
        normalizers = read_normalizer(self.specification.get("normalizer"), where)
        pre_tokenizers = read_pre_tokenizer(self.specification.get("pre_tokenizer"), settings, where)
        is_byte_level = any(isinstance(one, ByteLevel) for one in pre_tokenizers)
        self._model = read_model(self.specification.get("model") or {}, is_byte_level, where)
        added = components.read_added_tokens(self.specification, settings, self._model.ids, where)
        ids = dict(self._model.ids)
        for token in added:
            ids[token.content] = token.id
        self.vocabulary = [""] * (max(ids.values()) + 1)
        for token, place in ids.items():
            self.vocabulary[place] = token
        self.special_tokens = [token.content for token in added if token.special]
        literal, normalized = ([t for t in added if t.normalized is flag] for flag in (False, True))
        normalized = normalized_tokens(normalized, normalizers, where)
        self._steps = [
            *([AddedTokenFinder(literal)] if literal else []),
            *normalizers,
            *([AddedTokenFinder(normalized)] if normalized else []),
            *pre_tokenizers,
        ]
        self._strips = any(token.lstrip or token.rstrip for token in added)
        self._trims, self._trims_first = components.read_trimming(self.specification.get("post_processor"))
        self._spaces = components.outer_spaces(self.vocabulary)
        self.templates = read_templates(self.specification.get("post_processor"), ids, where)
        self._decoder = TextDecoder(
            self.specification.get("decoder"),
            self.vocabulary,
            {token.id for token in added if token.special},
            settings.get("clean_up_tokenization_spaces", False),
            where,
        )
        self._set_special_ids(ids, settings, where)
        self.truncation_side = settings.get("truncation_side", "right")
        limit = settings.get("model_max_length")
        limit = 512 if limit is None else int(min(limit, tf.int32.max))
        self.max_length = checked_max_length(limit, self.templates.num_special(1))

    def _set_special_ids(self, ids, settings, where):
        def find(*names):
            for name in names:
                token = settings.get(name)
                if token is not None:
                    if token not in ids:
                        raise InputError(f"`{name}` must be in the vocabulary of {where}. Received: {token!r}.")
                    return ids[token]
            return None

        tokens = [part.token_id for part in self.templates.single if part.token_id is not None]
        start, end = find("cls_token", "bos_token"), find("sep_token", "eos_token")
        self.end_id = end if end is not None else (tokens[-1] if tokens else 0)
        self.start_id = start if start is not None else (tokens[0] if tokens else self.end_id)
        padding = find("pad_token")
        self.padding_id = self.end_id if padding is None else padding
        self.unknown_id = find("unk_token")
        self.mask_id = find("mask_token")

    def begins_word(self, ids):
        """Whether a token begins a word, as far as it tells by itself: int to bool, of the same shape."""
        prefix = self.specification["model"].get("continuing_subword_prefix")
        return tf.gather(components.word_beginnings(self.vocabulary, prefix), ids)

    @classmethod
    def from_file(cls, path):
        """Reads a `tokenizer.json`.

        Raises:
            InputError: the file cannot be read, or it has a component that is not known.
        """
        with other_forms(path):
            return components.make_tokenizer(components.read_json(path, required=True), {}, pathlib.Path(path))

    @classmethod
    def from_folder(cls, folder):
        """Reads the tokenizer of a model folder: `tokenizer.json` and `tokenizer_config.json`, or older files.

        Raises:
            InputError: no tokenizer files, or one that has a component that is not known.
        """
        return components.load_folder(pathlib.Path(folder))

    load = from_folder

    def save(self, folder):
        """Writes `tokenizer.json` and `tokenizer_config.json` as transformers and `tokenizers` read them, and for
        PhoBERT's and BERTweet's classes, which read no `tokenizer.json`, `vocab.txt` and `bpe.codes`."""
        folder = pathlib.Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        settings = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": self.max_length, **self.settings}
        texts = {
            name: json.dumps(content, ensure_ascii=False, indent=2) + "\n"
            for name, content in (("tokenizer.json", self.specification), ("tokenizer_config.json", settings))
        }
        if settings["tokenizer_class"] in FAST_BPE:
            texts |= fast_bpe_files(self.specification)
        for name, text in texts.items():
            (folder / name).write_text(text, encoding="utf-8")

    def get_config(self):
        """Arguments that make this tokenizer again."""
        return {"specification": copy.deepcopy(self.specification), "settings": copy.deepcopy(self.settings)}

    def detokenize(self, ids):
        """Texts of ids, as the reference decodes them.

        Args:
            ids: int, `[batch, length]` or ragged `[batch, (length)]`. Special tokens, and ids outside of the
                vocabulary, are left out.

        Returns:
            string tensor `[batch]`.
        """
        return self._decoder(ids)

    def _trace_words(self, texts):
        """The texts decoded, the stream of the words' code points, Words, and how many words begin before each text."""
        decoded = decode(texts)
        stream = decoded.stream
        for step in self._steps:
            stream = step(stream)
        is_edge = tf.equal(stream.codes, EDGE_CODE)
        begins = stream.begins & ~is_edge
        text_words = tf.gather(tf.cumsum(tf.cast(begins, tf.int32)), tf.where(is_edge)[:, 0])
        kept = tf.where(~is_edge)[:, 0]
        stream = stream.take(kept)
        starts = tf.cast(tf.where(tf.gather(begins, kept))[:, 0], tf.int32)
        known = tf.maximum(added_code(tf.gather(stream.codes, starts)), -1)
        words = Words(tf.maximum(stream.codes, 0), tf.concat([starts, [tf.size(kept, tf.int32)]], 0), known)
        return decoded, stream, words, text_words

    def _trace_pieces(self, texts):
        with tf.device("CPU"):
            _, _, words, text_words = self._trace_words(texts)
            ids, token_splits, _ = self._model(words)
            return ids, tf.cast(tf.gather(token_splits, text_words), tf.int64)

    def _trace_offsets(self, texts):
        with tf.device("CPU"):
            decoded, stream, words, text_words = self._trace_words(texts)
            ids, token_splits, starts = self._model(words)
            splits = tf.cast(tf.gather(token_splits, text_words), tf.int64)
            word_of = tf.repeat(tf.range(tf.size(words.known)), token_splits[1:] - token_splits[:-1])
            # Tokens cover all words without a gap. Where they begin and end, in bytes of all words:
            char_ends = tf.cumsum(utf8_lengths(words.codes))
            word_ends = tf.gather(tf.concat([[0], char_ends], 0), words.splits)
            starts += tf.gather(word_ends, word_of)
            is_last = tf.concat([tf.not_equal(word_of[1:], word_of[:-1]), [True]], 0)[: tf.size(word_of)]
            ends = tf.where(
                is_last, tf.gather(word_ends, word_of + 1), tf.concat([starts[1:], [0]], 0)[: tf.size(starts)]
            )
            # Their first and last code points, in the decoded texts.
            first = tf.gather(stream.places, tf.searchsorted(char_ends, starts, side="right"))
            last = tf.gather(stream.places, tf.searchsorted(char_ends, ends))
            text_of = tf.repeat(tf.range(tf.size(texts)), splits[1:] - splits[:-1])
            if self._trims:
                is_added = tf.gather(words.known, word_of) >= 0
                starts, ends = self._trim(ids, is_added, decoded, first, last, splits, text_of)
            else:
                starts, ends = tf.gather(decoded.starts, first), tf.gather(decoded.ends, last)
            return ids, starts, ends, word_of - tf.gather(text_words, text_of), splits

    def _trim(self, ids, is_added, decoded, first, last, splits, text_of):
        """Byte offsets without the white space at the ends of tokens, counted as the reference does it."""
        edges = tf.gather(decoded.edges, text_of)
        starts, ends = first - edges - 1, last - edges  # in code points of the text
        leading, trailing = (tf.gather(spaces, ids) for spaces in self._spaces)
        if self._strips:
            added_spaces = _outer_spaces(decoded.stream.classes, first, last)
            leading = tf.where(is_added, added_spaces[0], leading)
            trailing = tf.where(is_added, added_spaces[1], trailing)
        if self._trims_first:
            is_first = tf.equal(starts, 0)
            is_first |= tf.equal(tf.range(tf.size(ids)), tf.gather(tf.cast(splits, tf.int32), text_of))
            # Of several spaces, none was added.
            leading = tf.where(is_first & tf.equal(leading, 1), 0, leading)
        starts = tf.minimum(starts + leading, ends)
        ends = tf.where(ends >= trailing, tf.maximum(ends - trailing, starts), ends)
        # Back to bytes: a place is where the code point before it ends, and an edge ends at 0.
        return tf.gather(decoded.ends, edges + starts), tf.gather(decoded.ends, edges + ends)


def _outer_spaces(classes, first, last):
    """White space at the beginning and at the end of spans, `first` and `last` being their outer code points."""
    solid = tf.cast(tf.where(tf.not_equal(tf.bitwise.bitwise_and(classes, CLASS_MASK), SPACE))[:, 0], tf.int32)
    after = tf.gather(solid, tf.minimum(tf.searchsorted(solid, first), tf.size(solid) - 1))
    before = tf.gather(solid, tf.searchsorted(solid, last, side="right") - 1)
    lengths = last - first + 1
    counts = tf.minimum(after - first, lengths), tf.minimum(last - before, lengths)
    return tuple(tf.cast(count, tf.int32) for count in counts)
