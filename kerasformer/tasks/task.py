"""What all tasks share: preprocess, model, postprocess; settings, answers and signatures."""

import dataclasses
import functools
import inspect
import os
from collections.abc import Mapping, Sequence
from typing import Self

import numpy as np
import tensorflow as tf

from kerasformer.errors import InputError
from kerasformer.models import with_precision
from kerasformer.models.backbone import NamedInputs
from kerasformer.tasks.arrays import are_texts, as_strings, checked_columns, concatenate
from kerasformer.tasks.encoder_outputs import check_fit

_REGISTERED: dict[str, type] = {}


def built_in(default=dataclasses.MISSING, **options):
    """A field of a task's settings that is built into the model: `Task.replace` cannot change it."""
    given = {} if default is dataclasses.MISSING else {"default": default}
    return dataclasses.field(metadata={"built_in": True}, **given, **options)


def register_task(cls):
    """Class decorator: `kf.load` finds the task by its class name, and `help` shows its settings as arguments."""
    _REGISTERED[cls.__name__] = cls
    first = list(inspect.signature(Task.__init__).parameters.values())[1:3]
    cls.__signature__ = inspect.Signature([*first, *inspect.signature(cls.Settings).parameters.values()])
    return cls


def registered_tasks():
    """`{class name: class}` of all tasks."""
    return dict(_REGISTERED)


class Head:
    """The layers and weights of a task on its encoder, by the names that tables of weight names use: `output`,
    `transform`, `norm`, `bias` and `next_sentence`."""

    def __init__(self, **parts):
        self.__dict__.update(parts)

    def variables(self):
        """All weights of the parts."""
        return [weight for part in vars(self).values() for weight in getattr(part, "weights", [part])]


class Task:
    """An encoder, a head and a tokenizer: strings in, answers out. A subclass defines

    - `Settings`, a frozen dataclass: the arguments beside encoder and tokenizer. They are readable as attributes of the
      task and change with `replace`
    - `build()`, which sets `self.head` and returns the model's outputs and its inputs beside the encoder's
    - `loss(targets, outputs)`, which returns `(sum, count)`, both scalars, so that batches of any split add up exactly
    - `evaluate_batches(batches)`, which returns the metrics of a data set
    - `answer(outputs)`, which returns what is served, in the graph; or all of `answer_features(features, core)`

    and where its defaults do not fit, the other methods.

    Args:
        encoder: functional `keras.Model` from `token_ids`, `segment_ids` (or not) and `padding_mask` to
            `sequence_output` and, or, `pooled_output`, such as a `Backbone`.
        tokenizer: makes the encoder's inputs.
        values, named: the fields of `Settings`.

    Attributes:
        model: functional `keras.Model` from the inputs to the task's outputs.
        encoder, tokenizer, settings: as given.
        head: a `Head`.

    Raises:
        InputError: the tokenizer's vocabulary or length does not fit the encoder's tables, or a setting is unknown or
            out of range.
    """

    Settings: type

    # Names of the columns that `predict` and `serving_default` take.
    feature_names: Sequence[str] = ("text",)

    # What the head is for in other people's checkpoints, a key of `Family.heads`; None where they have no such head.
    checkpoint_kind: str | None = None

    # Names of layers that stay in float32 in an export of lower precision.
    float32_layers: tuple[str, ...] = ()

    # Parts of a served batch, of which all but the last have their attention computed at the length of their own
    # longest row, see `attention_for_serving`. With more than one, rows go through the model in order of length, and
    # all outputs must be by rows.
    row_groups = 1

    # `loss_totals(targets)`, for a loss of several means, returns what they are divided by; `loss` then takes the sum
    # of that over the batch as its third argument.
    loss_totals = None

    def __init__(self, encoder, tokenizer, *values, **named):
        try:
            settings = self.Settings(*values, **named)
        except TypeError as error:
            raise InputError(f"{type(self).__name__} does not take these settings: {error}.") from None
        self.settings = self.resolved(settings, encoder, tokenizer)
        self.encoder, self.tokenizer = encoder, tokenizer
        self.check()
        outputs, inputs = self.build()
        self.model = NamedInputs({**encoder.input, **inputs}, outputs, name="task")

    def resolved(self, settings, encoder, tokenizer):
        """`settings` with values for those that are None and depend on the encoder or the tokenizer."""
        return settings

    def check(self):
        """Raises InputError where settings, encoder and tokenizer do not fit each other."""
        check_fit(self.encoder, self.tokenizer)

    def build(self):
        """Sets `self.head`; returns `(outputs, inputs)`, dictionaries of symbolic tensors."""
        raise NotImplementedError(f"{type(self).__name__} must define build.")

    def replace(self, **changes) -> Self:
        """The task with other settings; model and weights are shared.

        Raises:
            InputError: a setting is unknown, out of range, or built into the model.
        """
        fields = {field.name: field for field in dataclasses.fields(self.settings)}
        for name in changes:
            if name not in fields:
                raise InputError(f"{type(self).__name__} has the settings {list(fields)}. Received: {name!r}.")
            if fields[name].metadata.get("built_in"):
                raise InputError(f"`{name}` is built into the model and cannot be replaced: make a new task.")
        changed = object.__new__(type(self))
        # What was traced or made with the old settings is left behind.
        made = {name for name in vars(self) if isinstance(getattr(type(self), name, None), functools.cached_property)}
        changed.__dict__.update({name: value for name, value in vars(self).items() if name not in made})
        settings = dataclasses.replace(self.settings, **changes)
        changed.__dict__["settings"] = self.resolved(settings, self.encoder, self.tokenizer)
        changed.check()
        return changed

    def __getattr__(self, name):
        settings = self.__dict__.get("settings")
        if settings is not None and name in settings.__dataclass_fields__:
            return getattr(settings, name)
        if hasattr(type(self), name):
            # A property failed with an AttributeError: this tells which one.
            return object.__getattribute__(self, name)
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}.")

    def __setattr__(self, name, value):
        if "settings" in self.__dict__ and name in self.settings.__dataclass_fields__:
            raise InputError(f"Settings are frozen: use `task = task.replace({name}=...)`.")
        super().__setattr__(name, value)

    # ---- preprocess ----

    def batch_inputs(self, features):
        """A batch of texts, `{"text": [N], "text_pair": [N] or absent}`, as inputs of the model; in the graph."""
        return self.model_inputs(self.tokenizer(features["text"], features.get("text_pair")))

    def model_inputs(self, inputs):
        """Those of a tokenizer's outputs that the model reads."""
        return {name: value for name, value in inputs.items() if name in self.model.input}

    def training_batch(self, features, targets):
        """A batch of the data as `(inputs of the model, targets of the loss)`; in the graph, on the host."""
        return self.batch_inputs(features), targets

    # ---- evaluation ----

    def evaluation_batch(self, features, targets, core):
        """What `evaluate_batches` reads of a batch, a nest of tensors; in the graph, so that texts are tokenized once.

        Args:
            features, targets: a batch of the data.
            core: the model as a function from its dictionary of inputs to that of its outputs.
        """
        return core(self.batch_inputs(features))

    def forward(self, inputs):
        """`self.model` on a batch of its inputs, not in training.

        A task whose export computes more than its model computes that too, for `kf.models.int8_plan` to see.
        """
        return self.model(inputs, training=False)

    def evaluate_batches(self, batches):
        """Metrics of a data set.

        Args:
            batches: iterator of `(features, targets, found)`, nests of NumPy arrays in the data's order; `found` is
                what `evaluation_batch` returned.

        Returns:
            `{name: float}`.
        """
        raise NotImplementedError(f"{type(self).__name__} must define evaluate_batches.")

    def labelled_batches(self, source):
        """Labelled examples of what `kf.data` reads, as a data set of batches for `Trainer.evaluate`.

        Raises:
            InputError: the task has no such reader, or the source cannot be read.
        """
        raise InputError(
            f"{type(self).__name__} reads no labelled examples from a file alone: publish it from Python, with `data`."
        )

    def in_precision(self, precision) -> Self:
        """The task with copies of its models under another Keras dtype policy, to be evaluated."""
        changed = self.replace()
        changed.model = with_precision(self.model, precision, keep=self.float32_layers)
        return changed

    # ---- answers ----

    def answer(self, outputs):
        """What is served for the model's outputs, `{name: [N, ...]}`; in the graph."""
        raise NotImplementedError(f"{type(self).__name__} must define answer.")

    def answer_features(self, features, core):
        """From a batch of features to what is served, in the graph.

        Args:
            features: `{name: tensor [N]}`, as `batch_inputs` takes them.
            core: the model as a function from its dictionary of inputs to that of its outputs.
        """
        return self.answer(core(self.batch_inputs(features)))

    def predict(self, *columns: Sequence[str], batch_size: int = 32) -> Mapping[str, np.ndarray]:
        """Answers as they are served, from Python.

        Args:
            columns: a list of N str for each of `feature_names`.
            batch_size: rows computed at a time.

        Returns:
            `{name: array [N, ...]}`, strings as str; as `answers`.

        Raises:
            InputError: another number of columns, columns of unequal lengths, or something that is not a text.
        """
        return self.answers(self.checked_columns(columns), batch_size)

    def checked_columns(self, columns):
        """`{name: list}` of the columns that `predict` was given."""
        return checked_columns(columns, self.feature_names, type(self).__name__)

    def answers(self, columns, batch_size=32):
        """Answers as they are served, computed `batch_size` rows at a time.

        Args:
            columns: `{name: list of N values}`, as `batch_inputs` takes them.

        Returns:
            `{name: array [N, ...]}`, strings as str; what has other lengths in other batches is padded with "", -1 or
            0, as in a batch.
        """
        count = len(next(iter(columns.values())))
        batches = []
        for start in range(0, max(count, 1), batch_size):
            features = {
                name: tf.constant(values[start : start + batch_size], tf.string if are_texts(values) else None)
                for name, values in columns.items()
            }
            if not batches and not tf.config.functions_run_eagerly():
                # Traced once, for batches of every size.
                self._answer_batch.get_concrete_function(
                    {name: tf.TensorSpec([None, *column.shape[1:]], column.dtype) for name, column in features.items()}
                )
            batches.append({key: value.numpy() for key, value in self._answer_batch(features).items()})
        joined = concatenate(batches)
        return {key: as_strings(value) if value.dtype == object else value for key, value in joined.items()}

    @functools.cached_property
    def _answer_batch(self):
        return tf.function(
            lambda features: self.answer_features(features, lambda inputs: self.core_outputs(self.core_model, inputs)),
            reduce_retracing=True,
            autograph=False,
        )

    # ---- serving ----

    @property
    def core_model(self):
        """The model that `core_outputs` computes answers with, in Python."""
        return self.model

    def serving_model(self, precision):
        """What `core_outputs` takes when the task is served in `precision`: a copy of `core_model` and its weights."""
        return with_precision(self.core_model, precision, keep=self.float32_layers)

    def core_inputs(self):
        """What `core_outputs` takes, `{name: tf.TensorSpec}`."""
        return {name: tf.TensorSpec([None, None], tf.int32, name=name) for name in self.model.input}

    def core_outputs(self, model, inputs):
        """All that reads weights when a task is served: an export keeps it once, for all its signatures.

        Args:
            model: `core_model`, or what `serving_model` returned.
            inputs: `{name: tensor}`, as in `core_inputs`.
        """
        return model(inputs, training=False)

    def serving_functions(self, core):
        """The signatures of this task.

        Args:
            core: `core_outputs` as a function of a dictionary of its inputs.

        Returns:
            `{name: tf.function}`, each with an input signature batched on dimension 0: `serving_default` (strings to
            answers) and `tokens` (ids in, raw outputs).
        """
        names, specs = self.feature_names, self.core_inputs()

        @tf.function(input_signature=[string_spec(name) for name in names], autograph=False)
        def serving_default(*columns):
            return self.answer_features(dict(zip(names, columns, strict=True)), core)

        @tf.function(input_signature=list(specs.values()), autograph=False)
        def tokens(*inputs):
            return core(dict(zip(specs, inputs, strict=True)))

        return {"serving_default": serving_default, "tokens": tokens}

    def warmup_inputs(self, batch_size):
        """Inputs of `serving_default` that look like real ones, of growing lengths, NumPy arrays of strings."""
        texts = np.array([("good " * (4 + 6 * i)).strip() for i in range(batch_size)], dtype=object)
        return {name: texts if place % 2 == 0 else texts[::-1].copy() for place, name in enumerate(self.feature_names)}

    # ---- saving ----

    def further_tokenizers(self):
        """Tokenizers beside `tokenizer`, by the name of the setting that takes them."""
        return {}

    def write_files(self, folder):
        """Writes into a folder that is being saved what is neither model, tokenizer nor setting; see `with_files`."""

    def with_files(self, folder):
        """The task with what `write_files` wrote into the folder that it is loaded from."""
        return self

    def checkpoint_settings(self):
        """Further arguments of `write_checkpoint`, such as the names of labels."""
        return {}

    def checkpoint_head(self):
        """The head as it is written into a checkpoint, an object with the attributes of `head`."""
        return self.head

    def checkpoint_was_read(self):
        """Called when the head holds what `checkpoint_head` wrote: the reverse of it."""

    def vector_settings(self):
        """Arguments of `write_embedder_settings`, for a task that makes vectors of texts; else {}."""
        return {}

    def save(self, folder: str | os.PathLike) -> None:
        """Writes model, tokenizer and settings into `folder`, atomically; an older task is replaced.

        The folder is one of Hugging Face Transformers where that has the model's family and the task's head; the rest
        is beside it, see `kerasformer.tasks.saving`.

        Raises:
            InputError: `folder` holds something else.
        """
        from kerasformer.tasks.saving import save_task

        save_task(self, folder)


def string_spec(name):
    """Signature of a batch of strings."""
    return tf.TensorSpec([None], tf.string, name=name)
