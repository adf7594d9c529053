"""What a family of checkpoints is: data that one file holds, and what all families have in common."""

import dataclasses
import re
import typing

import numpy as np

from kerasformer.errors import InputError
from kerasformer.families.torch_files import Tensor
from kerasformer.layers.configs import check_rate
from kerasformer.text.components import read_json

# The end of a class name in transformers, by what a head is for.
SUFFIXES = {
    None: "Model",
    "sequence_classification": "ForSequenceClassification",
    "token_classification": "ForTokenClassification",
    "question_answering": "ForQuestionAnswering",
    "masked_lm": "ForMaskedLM",
    "next_sentence": "ForNextSentencePrediction",
    "pretraining": "ForPreTraining",
    "replaced_tokens": "ForPreTraining",
    "causal_lm": "ForCausalLM",
}
# Buffers, which hold no weights: positions, and the frequencies of rotary ones.
_BUFFERS = re.compile(r"(^|\.)(position_ids|token_type_ids|inv_freq)$")
ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_new": "gelu_approximate",
    "gelu_pytorch_tanh": "gelu_approximate",
    "gelu_fast": "gelu_approximate",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
    "tanh": "tanh",
}
_ACTIVATION_NAMES = {"gelu": "gelu", "gelu_approximate": "gelu_new", "relu": "relu", "silu": "silu", "tanh": "tanh"}


@dataclasses.dataclass(frozen=True)
class Family:
    """One family of checkpoints.

    Attributes:
        model_type: as in `config.json`.
        class_name: beginning of its class names in transformers, "Bert" of "BertModel".
        prefix: of the backbone's tensors in files of a model with a head, "bert" of "bert.embeddings...".
        config: function from `Settings` to our config.
        settings: its reverse, function from our config to a dictionary.
        names: the backbone's table of names, see `kerasformer.families.weights`; without the prefix.
        pooler: rows of the pooler that comes with the backbone.
        heads: `{kind: rows}`, kinds as in `SUFFIXES`. Rows address `pooler` (and `pooler.norm`), of the backbone, and
            `head.output`, `head.transform`, `head.norm` and `head.bias`, of the head.
        head_dropout: `{kind: field}` of `config.json` with the dropout rate of a head, where it is not
            `classifier_dropout`.
        tied: `{name: other name}` of tensors that are one, such as the table that makes the scores of a vocabulary.
        renamed: `{regular expression: replacement}` of other names that tensors have in some files.
        joined: `{name: names of its parts}`, the middle of the names of tensors that some files hold in several, one
            below the other.
        buffers: regular expression of further tensors that hold no weights.
        code: regular expression of the classes of other people's code (`auto_map`) that compute what is computed here.
            A folder that asks for other code is refused.
        architectures: `{kind: class name}` where it is not `class_name` with the suffix of `SUFFIXES`.
        tokenizer: function from a folder to its tokenizer, for one that has neither a `tokenizer.json` nor
            a SentencePiece file; or None.
    """

    model_type: str
    class_name: str
    prefix: str
    config: typing.Callable
    settings: typing.Callable
    names: list
    pooler: list = dataclasses.field(default_factory=list)
    heads: dict = dataclasses.field(default_factory=dict)
    head_dropout: dict = dataclasses.field(default_factory=dict)
    tied: dict = dataclasses.field(default_factory=dict)
    renamed: dict = dataclasses.field(default_factory=dict)
    joined: dict = dataclasses.field(default_factory=dict)
    buffers: str = r"$^"
    code: str = r"$^"
    architectures: dict = dataclasses.field(default_factory=dict)
    tokenizer: typing.Callable | None = None

    def architecture(self, kind):
        """The class name in transformers of a model with a head of this kind, None for the backbone alone."""
        return self.architectures.get(kind, self.class_name + SUFFIXES[kind])

    def kind_of(self, architecture):
        """The kind of head of a class in transformers; None for the backbone alone and for a head not known here."""
        kinds = {self.architecture(kind): kind for kind in self.heads}
        return kinds.get(architecture)

    def canonical(self, tensors):
        """Tensors by the names of the tables: without the prefix, old names made new, tied ones once, no buffers.

        Args:
            tensors: `{name: Tensor}`, as they are in the files.

        Returns:
            The same under other names.
        """
        found = {}
        for stored, tensor in tensors.items():
            name = stored.removeprefix(f"{self.prefix}.")
            for pattern, replacement in self.renamed.items():
                name = re.sub(pattern, replacement, name)
            # Checkpoints converted from TensorFlow 1 keep its names of normalizations.
            name = re.sub(r"\.gamma$", ".weight", re.sub(r"\.beta$", ".bias", name))
            if not _BUFFERS.search(name) and not re.search(self.buffers, name):
                found[name] = tensor
        for whole, parts in self.joined.items():
            for first in [name for name in found if f".{parts[0]}." in name]:
                names = [first.replace(parts[0], part) for part in parts]
                if found.keys() >= set(names):
                    found[first.replace(parts[0], whole)] = _joined([found.pop(name) for name in names])
        for name, other in self.tied.items():
            if name in found and _are_equal(found[name], found.setdefault(other, found[name])):
                del found[name]
        return found


def _joined(parts):
    """Tensors one below the other, as one `Tensor`."""
    first = parts[0]
    shape = (sum(part.shape[0] for part in parts), *first.shape[1:])
    return Tensor(shape, first.dtype, lambda: np.concatenate([part.read() for part in parts]))


def _are_equal(one, other):
    return one is other or (one.shape == other.shape and np.array_equal(one.read(), other.read()))


class Settings(dict):
    """The object in a JSON file. A field that is missing and is asked for by `[...]` raises InputError, and so does one
    that is asked for by `get` with a number, or a truth value, as its default and holds none.

    Attributes:
        path: the file.
    """

    def __init__(self, fields, path):
        super().__init__(fields)
        self.path = path

    def __missing__(self, name):
        raise InputError(f"{self.path} lacks the field {name!r}.")

    def get(self, name, default=None):
        value = super().get(name, default)
        if isinstance(default, int | float) and not _is_of(type(default), value):
            expected = "true or false" if isinstance(default, bool) else "a number"
            raise InputError(f"`{name}` must be {expected}. {self.path} has {value!r}.")
        return value

    @property
    def architecture(self):
        """The class name in transformers, or None."""
        names = self.get("architectures") or [None]
        if not isinstance(names, list) or not isinstance(names[0], str | None):
            raise InputError(f"`architectures` must be a list of class names. {self.path} has {names!r}.")
        return names[0]

    def rate(self, name, default):
        """The dropout rate in a field; `default` where it holds none."""
        value = default if self.get(name) is None else self[name]
        check_rate(name, value)
        return value

    def integer(self, name):
        """The whole number in a field."""
        if type(self[name]) is not int:
            raise InputError(f"`{name}` must be a whole number. {self.path} has {self[name]!r}.")
        return self[name]

    def activation(self, name, default=...):
        """Our name of the activation in a field."""
        theirs = self[name] if default is ... else self.get(name, default)
        if not isinstance(theirs, str) or theirs not in ACTIVATIONS:
            raise InputError(f"`{name}` must be one of {list(ACTIVATIONS)}. {self.path} has {theirs!r}.")
        return ACTIVATIONS[theirs]

    def must_be(self, name, *values):
        """Raises InputError where a field has another value than the first, its default, or another of these."""
        if super().get(name, values[0]) not in values:
            expected = " or ".join(map(repr, values))
            raise InputError(f"`{name}` must be {expected} to be read. {self.path} has {self[name]!r}.")


def _is_of(kind, value):
    """Whether a value is a truth value, or a number, as the other ones of this type are."""
    return isinstance(value, bool) if kind is bool else isinstance(value, int | float) and not isinstance(value, bool)


def read_settings(path):
    """The object in a JSON file, `Settings`.

    Raises:
        InputError: as for `read_json`.
    """
    return Settings(read_json(path, required=True), path)


def activation_name(activation):
    """What `config.json` calls one of our activations.

    Raises:
        InputError: it has no name there.
    """
    if not isinstance(activation, str) or activation not in _ACTIVATION_NAMES:
        raise InputError(
            f"The activation must be one of {list(_ACTIVATION_NAMES)} to be written. Received: {activation!r}."
        )
    return _ACTIVATION_NAMES[activation]


def missing_config(folder):
    """The InputError for a folder without `config.json`."""
    if (folder / "adapter_config.json").is_file():
        base = read_settings(folder / "adapter_config.json").get("base_model_name_or_path")
        return InputError(
            f"{folder} holds an adapter of PEFT, not a model. Merge it into its base model {base!r} (PEFT: "
            "`merge_and_unload()`), and save the result with its tokenizer."
        )
    return InputError(f"A folder with a model holds config.json, bert_config.json or a task. Not found in {folder}")
