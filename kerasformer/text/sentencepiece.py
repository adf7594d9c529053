"""SentencePiece as TensorFlow ops: strings to token ids and back."""

import base64
import json
import os
import pathlib

import keras
import numpy as np
import tensorflow as tf

from kerasformer._compat import sentencepiece_ops
from kerasformer.errors import InputError
from kerasformer.text.inputs import as_ragged_ids, checked_max_length
from kerasformer.text.stream import decode
from kerasformer.text.templates import Part, Templates, model_inputs
from kerasformer.text.tokenizer import BaseTokenizer

_MODEL_FILE, _CONFIG_FILE = "sentencepiece.model", "tokenizer_config.json"


@keras.saving.register_keras_serializable(package="kerasformer")
class SentencePieceTokenizer(BaseTokenizer):
    """Splits texts into the pieces of a SentencePiece model (Kudo and Richardson 2018, arXiv:1808.06226), unigram or
    BPE, inside the graph, and joins pieces to texts.

    The ids are those of the `sentencepiece` library. It runs eagerly, in a `tf.function`, in `tf.data`, and in a
    SavedModel, which then needs only `tensorflow` and `tensorflow_text` to load; nothing has to be tracked.

    Args:
        model: the serialized model, bytes, as `learn_sentencepiece` returns it; or the path of its file.
        lowercase: bool, lower-case the text first.
        max_length: int, truncate model inputs to this many tokens, the end token included.

    Attributes:
        vocabulary: list of str, the pieces; a piece that begins a word begins with "▁".
        start_id, end_id, padding_id, unknown_id: int. A model without a start token starts with its padding, as T5
            does, and one without padding pads with 0.

    Raises:
        InputError: the file cannot be read, is no SentencePiece model, or has no end token.

    Example:

    >>> model = kf.text.learn_sentencepiece(texts, vocabulary_size=8000)
    >>> tokenizer = kf.text.SentencePieceTokenizer(model)
    >>> tokenizer.detokenize(tokenizer.tokenize(["Good morning."]))
    <tf.Tensor: shape=(1,), dtype=string, numpy=array([b'Good morning.'], dtype=object)>
    """

    def __init__(self, model, *, lowercase=False, max_length=512):
        name = "model"
        if isinstance(model, (str, os.PathLike)):
            name, model = os.fspath(model), _read(model)
        if not isinstance(model, bytes):
            raise InputError(f"`model` must be bytes or the path of a file. Received: a {type(model).__name__}.")
        processor = _processor(model, name)
        self.model = model
        self.lowercase, self.max_length = bool(lowercase), checked_max_length(max_length, 1)
        self.vocabulary = [processor.id_to_piece(place) for place in range(processor.get_piece_size())]
        self.unknown_id, self.end_id = processor.unk_id(), processor.eos_id()
        if self.end_id < 0:
            raise InputError(f"A SentencePiece model needs an end token, such as </s>. Not found in: {name}.")
        self.padding_id = max(processor.pad_id(), 0)
        self.start_id = processor.bos_id() if processor.bos_id() >= 0 else self.padding_id
        end = Part(self.end_id)
        self.templates = Templates((Part(sequence=0), end), (Part(sequence=0), end, Part(sequence=1), end))
        self._with_start = Templates((Part(self.start_id), *self.templates.single), ())
        self._is_text = np.array(
            [not (processor.is_control(place) or processor.is_unused(place)) for place in range(len(self.vocabulary))]
        )
        ids, splits = tf.TensorSpec([None], tf.int32), tf.TensorSpec([None], tf.int64)
        self._begins_word = np.array([piece.startswith("\u2581") for piece in self.vocabulary])
        self._texts = tf.function(self._trace_texts, input_signature=[ids, splits], autograph=False)
        self._build()

    def with_start(self, pieces, max_length=None):
        """Model inputs of pieces, ragged int32 `[batch, (pieces)]`, with a start token before and an end token after.

        A decoder reads all but the last token and is to say all but the first; `max_length` leaves the start token out.
        """
        room = checked_max_length(self.max_length if max_length is None else max_length, 1) - 1
        splits = tf.cast(pieces.row_splits, tf.int32)
        sequence = (splits[:-1], tf.minimum(splits[1:] - splits[:-1], min(room, tf.int32.max - 2)))
        inputs = model_inputs(pieces.values, [sequence], self._with_start, self.padding_id)
        return {name: inputs[name] for name in ("token_ids", "padding_mask")}

    def detokenize(self, ids):
        """Texts of ids, int `[batch, length]` or ragged `[batch, (length)]`: string tensor `[batch]`.

        Control tokens such as padding, start and end, and ids outside of the vocabulary, are left out.
        """
        ids = as_ragged_ids(ids)
        return self._texts(ids.values, ids.row_splits)

    def get_config(self):
        """Arguments that make this tokenizer again, the model as base64 text."""
        model = base64.b64encode(self.model).decode("ascii")
        return {"model": model, "lowercase": self.lowercase, "max_length": self.max_length}

    @classmethod
    def from_config(cls, config):
        return cls(**{**config, "model": base64.b64decode(config["model"])})

    def save(self, folder):
        """Writes `sentencepiece.model`, as other programs read it, and `tokenizer_config.json`."""
        folder = pathlib.Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _MODEL_FILE).write_bytes(self.model)
        config = {"lowercase": self.lowercase, "max_length": self.max_length}
        (folder / _CONFIG_FILE).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder):
        """Reads a tokenizer that `save` wrote, or any folder with a `sentencepiece.model`.

        Raises:
            InputError: no such file, or a damaged one.
        """
        folder = pathlib.Path(folder)
        config = {}
        if (folder / _CONFIG_FILE).is_file():
            try:
                config = json.loads((folder / _CONFIG_FILE).read_text(encoding="utf-8"))
                config = {name: config[name] for name in ("lowercase", "max_length") if name in config}
            except (ValueError, TypeError) as error:
                raise InputError(f"{folder / _CONFIG_FILE} must be a JSON object. Received: {error}.") from None
        return cls(folder / _MODEL_FILE, **config)

    def _resource(self):
        # Made where it is used: TensorFlow keeps it beside the operation, so no object has to.
        return sentencepiece_ops().sentencepiece_op(model=self.model)

    def _lowered(self, texts):
        return tf.strings.lower(texts, encoding="utf-8") if self.lowercase else texts

    def _trace_pieces(self, texts):
        with tf.device("CPU"):
            return sentencepiece_ops().sentencepiece_tokenize_op(
                self._resource(), self._lowered(texts), 0, 1.0, False, False, False, tf.int32, return_nbest=False
            )

    def _trace_offsets(self, texts):
        with tf.device("CPU"):
            lowered = self._lowered(texts)
            ids, splits, starts, ends = sentencepiece_ops().sentencepiece_tokenize_with_offsets_op(
                self._resource(), lowered, 0, 1.0, False, False, False, tf.int32, return_nbest=False
            )
            starts, ends = tf.cast(starts, tf.int32), tf.cast(ends, tf.int32)
            text_of = tf.repeat(tf.range(tf.size(texts)), splits[1:] - splits[:-1])
            if self.lowercase:
                starts, ends = _before_lowering(texts, lowered, text_of, starts, ends)
            begins = tf.cast(tf.gather(self._begins_word, ids), tf.int32)
            is_first = tf.not_equal(text_of, tf.concat([[-1], text_of[:-1]], 0))
            number = tf.cumsum(tf.where(is_first, 1, begins))
            words = number - tf.gather(tf.concat([number, [0]], 0), tf.gather(splits, text_of))
            return ids, starts, ends, words, splits

    def _trace_texts(self, ids, splits):
        with tf.device("CPU"):
            known = (ids >= 0) & (ids < len(self.vocabulary))
            is_text = known & tf.gather(self._is_text, tf.where(known, ids, 0))
            rows = tf.RaggedTensor.from_row_splits(ids, splits, validate=False)
            rows = tf.ragged.boolean_mask(rows, rows.with_values(is_text))
            return sentencepiece_ops().sentencepiece_detokenize_op(
                self._resource(), rows.values, rows.row_splits, False, False, False
            )


def _before_lowering(texts, lowered, text_of, starts, ends):
    """Offsets in bytes of `texts`, of offsets in bytes of these texts lower-cased.

    Only U+0130 becomes two code points, an i and a dot; both came from it.
    """
    before, after = decode(texts), decode(lowered)
    counts = tf.where(tf.equal(before.codes, 0x130), 2, 1)
    source = tf.repeat(tf.range(tf.size(counts)), counts)
    size = tf.cast(tf.reduce_max(tf.strings.length(lowered)) + 2, tf.int64) if texts.shape[0] != 0 else 1
    text = tf.cast(tf.cumsum(tf.cast(after.codes < 0, tf.int32)) - 1, tf.int64)
    base = tf.cast(text_of, tf.int64) * size

    def place(offset, side):
        keys = text * size + tf.cast(after.starts, tf.int64)
        at = tf.searchsorted(keys, base + tf.cast(offset, tf.int64), side="right") - 1
        return tf.gather(source, at)

    first = tf.gather(before.starts, place(starts, "right"))
    last = tf.gather(before.ends, place(tf.maximum(ends - 1, starts), "right"))
    return first, tf.where(ends > starts, last, first)


def _read(path):
    try:
        return pathlib.Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"`model` must be a file that can be read. Received: {path} ({error.strerror}).") from None


def _processor(model, name):
    import sentencepiece  # only to read the model: a served graph does without

    try:
        if not model:
            raise RuntimeError("it is empty")
        return sentencepiece.SentencePieceProcessor(model_proto=model)
    except RuntimeError as error:
        raise InputError(f"`model` must be a SentencePiece model. Received: {name} ({error}).") from None
