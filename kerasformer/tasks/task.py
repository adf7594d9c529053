"""What all tasks share: a model and a tokenizer, saved, loaded and run together."""

import functools
import importlib
import json
import pathlib

import keras
import numpy as np
import tensorflow as tf

from kerasformer import __version__
from kerasformer.errors import InputError
from kerasformer.files import read_locally, written_beside
from kerasformer.layers import BertEmbedding
from kerasformer.text import SentencePieceTokenizer, WordPieceTokenizer

_MODULES = {
    "BertPretraining": "bert_pretraining",
    "ExtractiveSummarizer": "extractive_summarizer",
    "QuestionAnswerer": "question_answerer",
    "Tagger": "tagger",
    "TextClassifier": "text_classifier",
    "TextEmbedder": "text_embedder",
    "Translator": "translator",
}
_TOKENIZERS = {kind.__name__: kind for kind in (SentencePieceTokenizer, WordPieceTokenizer)}
_ENCODER_OUTPUTS = ("sequence_output", "pooled_output")


class Task:
    """An encoder, what stands on it, and its tokenizer. A subclass adds what its task needs:

    - `loss(targets, outputs)` gives `(sum, count)`, both scalars, so that batches of any split add up exactly
    - `loss_totals(targets)`, for a loss of several means, gives what they are divided by; `loss` then takes the sum of
      that over the whole batch as its third argument
    - `evaluate_batches(batches)` gives the metrics of a whole data set
    - `answer(outputs)` gives what is served, in the graph; or all of `answer_features(features, core)`
    - `serving_functions(core)` gives the signatures that can be served
    - `warmup_inputs(batch_size)` gives inputs of `serving_default` that look like real ones
    - `settings()` gives the arguments, beside the parts, that `from_parts` makes it again from

    Args:
        encoder: functional `keras.Model` from `token_ids`, `segment_ids`, `padding_mask` to `sequence_output` and, or,
            `pooled_output`.
        outputs: of the task's own layers on the encoder's, a dictionary of symbolic tensors.
        tokenizer: gives the encoder's inputs.
        inputs: symbolic inputs beside the encoder's, by name.

    Attributes:
        model: functional `keras.Model` from the inputs to `outputs`, without what they do not need.
        encoder, tokenizer: as given.

    Raises:
        InputError: the tokenizer's vocabulary or length does not fit the encoder's tables.
    """

    # Names of layers that stay in float32 in an export of lower precision.
    float32_layers = ()

    # Parts of a served batch, of which all but the last have their attention computed at the length of their own
    # longest row, see `attention_for_serving`. With more than one, rows go through the model in order of length, and
    # all outputs must be by rows.
    row_groups = 1

    # Gives what a loss of several means is divided by, see above.
    loss_totals = None

    # Cached functions, traced with the settings of then.
    _traced = ("_answer_batch",)

    def __init__(self, encoder, outputs, tokenizer, inputs=None):
        _check_fit(encoder, tokenizer)
        self.encoder = encoder
        self.model = keras.Model({**encoder.input, **(inputs or {})}, outputs, name="task")
        self.tokenizer = tokenizer

    def __setattr__(self, name, value):
        # What was traced holds the old value of a setting.
        traced = [function for function in self._traced if function in self.__dict__]
        if traced and not name.startswith("_"):
            old = self.__dict__.get(name)
            is_same = old is value or (
                isinstance(value, (str, int, float)) and type(old) is type(value) and old == value
            )
            if not is_same:
                for function in traced:
                    del self.__dict__[function]
        super().__setattr__(name, value)

    def batch_inputs(self, features):
        """A batch of texts, `{"text": [N], "text_pair": [N] or absent}`, as inputs of the model; in the graph."""
        return self.tokenizer(features["text"], features.get("text_pair"))

    def training_batch(self, features, targets):
        """A batch of the data as `(inputs of the model, targets of the loss)`; in the graph, on the host."""
        return self.batch_inputs(features), targets

    def evaluate_batches(self, batches):
        """Metrics of a data set.

        Args:
            batches: iterator of `(features, targets, outputs)`, nested structures of NumPy arrays, in the data's
                order; `outputs` are the model's.

        Returns:
            `{name: float}`.
        """
        raise NotImplementedError(f"{type(self).__name__} must define evaluate_batches.")

    def answer_features(self, features, core):
        """From a batch of features to what is served, in the graph.

        Args:
            features: `{name: tensor [N]}`, as `batch_inputs` takes them.
            core: the model as a function from its dictionary of inputs to that of its outputs.
        """
        return self.answer(core(self.batch_inputs(features)))

    def core_inputs(self):
        """What `core_outputs` takes, `{name: tf.TensorSpec}`."""
        names = ("token_ids", "segment_ids", "padding_mask")
        return {name: tf.TensorSpec([None, None], tf.int32, name=name) for name in names}

    def core_outputs(self, model, inputs):
        """All that reads weights when a task is served: an export keeps it once, for all its signatures.

        Args:
            model: `self.model`, or a copy of it in another precision.
            inputs: `{name: tensor}`, as `core_inputs` tells.
        """
        return model(inputs, training=False)

    def answers(self, columns, batch_size=32):
        """Answers as they are served, from Python, computed `batch_size` at a time.

        Args:
            columns: `{name: list of N values}`, as `batch_inputs` takes them.

        Returns:
            `{name: array [N, ...]}`, strings as str; what has other lengths in other batches is filled up with "",
            -1 or 0, as in a batch.
        """
        count = len(next(iter(columns.values())))
        batches = []
        for start in range(0, max(count, 1), batch_size):
            features = {
                name: tf.constant(values[start : start + batch_size], tf.string if _are_texts(values) else None)
                for name, values in columns.items()
            }
            batches.append({key: value.numpy() for key, value in self._answer_batch(features).items()})
        joined = concatenate(batches)
        return {key: as_strings(value) if value.dtype == object else value for key, value in joined.items()}

    @functools.cached_property
    def _answer_batch(self):
        return tf.function(
            lambda features: self.answer_features(features, lambda inputs: self.core_outputs(self.model, inputs)),
            reduce_retracing=True,
        )

    def whole_model(self):
        """The model that `save` writes, and that `from_model` takes."""
        # With the outputs of both, so that an encoder stays whole of which the task uses a part.
        return keras.Model(self.model.input, {**self.encoder.output, **self.model.output}, name="task")

    def further_tokenizers(self):
        """Tokenizers beside `tokenizer`, by the name of the argument of `from_model` that takes them."""
        return {}

    @classmethod
    def from_model(cls, model, tokenizer, **settings):
        """The task again, from what `whole_model`, `further_tokenizers` and `settings` gave."""
        encoder = keras.Model(model.input, _pick(model.output, lambda name: name in _ENCODER_OUTPUTS), name="encoder")
        outputs = _pick(model.output, lambda name: name not in _ENCODER_OUTPUTS)
        return cls.from_parts(encoder, outputs, tokenizer, **settings)

    def save(self, folder):
        """Writes model, tokenizer and settings into `folder`, whole or not at all; an older task is replaced.

        Raises:
            InputError: `folder` holds something else.
        """
        with written_beside(folder, replaces="task.json") as scratch:
            self.whole_model().save(scratch / "model.keras")
            others = self.further_tokenizers()
            for name, tokenizer in {"tokenizer": self.tokenizer, **others}.items():
                tokenizer.save(scratch / name)
            description = {
                "task": type(self).__name__,
                "tokenizer": type(self.tokenizer).__name__,
                "further_tokenizers": {name: type(tokenizer).__name__ for name, tokenizer in others.items()},
                "kerasformer": __version__,
                "settings": self.settings(),
            }
            text = json.dumps(description, indent=2, ensure_ascii=False) + "\n"
            (scratch / "task.json").write_text(text, encoding="utf-8")


def is_saved_task(folder):
    """Whether the local `folder` was written by `Task.save`."""
    return (pathlib.Path(folder) / "task.json").is_file()


def load(folder):
    """Loads a task that `task.save(folder)` wrote, of whatever kind it is.

    Raises:
        InputError: `folder` holds no saved task, or a file in it is damaged.
    """
    with read_locally(folder) as local:
        return _load(local)


def _load(folder):
    if not is_saved_task(folder):
        raise InputError(f"A folder that `task.save` wrote holds task.json. Not found in: {folder}")
    try:
        description = json.loads((folder / "task.json").read_text(encoding="utf-8"))
        name, settings = description["task"], description["settings"]
        tokenizer_type = _TOKENIZERS[description.get("tokenizer", "WordPieceTokenizer")]
        others = {part: _TOKENIZERS[kind] for part, kind in description.get("further_tokenizers", {}).items()}
        module = importlib.import_module(f"kerasformer.tasks.{_MODULES[name]}")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{folder / 'task.json'} does not describe a task this version knows: {error!r}") from None
    tokenizer = tokenizer_type.load(folder / "tokenizer")
    further = {part: kind.load(folder / part) for part, kind in others.items()}
    path = folder / "model.keras"
    try:
        model = keras.saving.load_model(path, compile=False)
    except Exception as error:  # zip, JSON and HDF5 errors of many classes, all meaning the same to the caller
        first_line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(f"{path} cannot be loaded as a Keras model, is it complete? {first_line}") from None
    try:
        return getattr(module, name).from_model(model, tokenizer, **further, **settings)
    except TypeError as error:
        raise InputError(f"{folder / 'task.json'} has settings that {name} does not know: {error}") from None


def _pick(outputs, wanted):
    return {name: tensor for name, tensor in outputs.items() if wanted(name)}


def find_layer(model, kind):
    """The first layer of a class in a functional model, nested models included, or None."""
    return next((layer for layer in model._flatten_layers() if isinstance(layer, kind)), None)


def _check_fit(model, tokenizer):
    embedding = find_layer(model, BertEmbedding)
    if embedding is None:
        return
    if tokenizer.vocabulary_size > embedding.token.vocabulary_size:
        raise InputError(
            f"The vocabulary of {tokenizer.vocabulary_size} tokens does not fit the model's embedding of "
            f"{embedding.token.vocabulary_size}: use the vocabulary that the model was trained with."
        )
    if tokenizer.max_length > embedding.position.max_length:
        raise InputError(
            f"The tokenizer's max_length={tokenizer.max_length} is beyond the model's "
            f"{embedding.position.max_length} positions: make the tokenizer with a smaller `max_length`."
        )


def concatenate(batches):
    """A list of equal dictionaries of arrays as one dictionary of longer arrays.

    Where the further dimensions differ, the smaller arrays are filled up: strings with "", integers with -1 (no place),
    floats with 0.
    """
    return {key: _concatenate_padded([np.asarray(batch[key]) for batch in batches]) for key in batches[0]}


def _concatenate_padded(arrays):
    largest = np.max([array.shape[1:] for array in arrays], axis=0).astype(int)
    fill = {"O": b"", "S": b"", "i": -1}.get(arrays[0].dtype.kind, 0)

    def padded(array):
        room = [(0, 0), *((0, most - size) for most, size in zip(largest, array.shape[1:], strict=True))]
        return np.pad(array, room, constant_values=fill) if any(more for _, more in room) else array

    return np.concatenate([padded(array) for array in arrays])


def _are_texts(values):
    if isinstance(values, np.ndarray) and values.dtype.kind in "bif":
        return False
    return not len(values) or isinstance(values[0], (str, bytes))


def as_strings(array):
    """NumPy array of bytes to an array of str."""
    return np.array([value.decode("utf-8", "replace") for value in array.ravel()], dtype=object).reshape(array.shape)


def tokens_function(core):
    """The signature `tokens`: ids in, the model's outputs as they are."""

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, None], tf.int32, name=name) for name in ("token_ids", "segment_ids", "padding_mask")
        ]
    )
    def tokens(token_ids, segment_ids, padding_mask):
        return core({"token_ids": token_ids, "segment_ids": segment_ids, "padding_mask": padding_mask})

    return tokens


def string_spec(name):
    """Signature of a batch of strings."""
    return tf.TensorSpec([None], tf.string, name=name)
