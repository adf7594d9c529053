"""Folders of checkpoints: `config.json` and weights, read and written for all families."""

import dataclasses
import functools
import json
import pathlib
import re
import types
import typing
import warnings

from safetensors.numpy import save_file

from kerasformer.errors import InputError, other_forms
from kerasformer.families import (
    albert,
    bert,
    deberta,
    distilbert,
    electra,
    gpt2,
    llama,
    modernbert,
    mpnet,
    nomic_bert,
    roberta,
    xlm_roberta,
)
from kerasformer.families.family import Family, Settings, missing_config, read_settings
from kerasformer.families.google_bert import (
    google_tokenizer,
    is_google_folder,
    open_google_tensors,
    read_google_settings,
)
from kerasformer.families.keras_hub import is_keras_hub_folder, read_keras_hub
from kerasformer.families.tensors import open_tensors
from kerasformer.families.weights import assign, collect, is_of_pooler, names_in
from kerasformer.files import local_path
from kerasformer.models import decoder, encoder
from kerasformer.text.components import from_older_files

_MODULES = (
    *(bert, roberta, xlm_roberta, distilbert, mpnet, electra, albert, deberta, modernbert, nomic_bert),
    *(gpt2, llama),
)
FAMILIES = {family.model_type: family for family in (*[module.FAMILY for module in _MODULES], xlm_roberta.CAMEMBERT)}
# Heads that a model is pretrained with. Who loads the backbone to fine-tune it does not miss them.
_PRETRAINING = ("masked_lm", "next_sentence", "pretraining", "replaced_tokens", "causal_lm")
_SCORE_A_VOCABULARY = ("masked_lm", "pretraining", "causal_lm")
_PROBLEM_TYPES = ("single_label_classification", "multi_label_classification", "regression")


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A folder that is open: what its config says, and tensors that are read when they are asked for.

    Attributes:
        folder: path, or the name of a model in memory.
        family: its Family.
        settings: the fields of `config.json`, `Settings`.
        tensors: `{name: Tensor}` by the names of the family's tables.
        kind: what the head is for, a key of `family.heads`; None for a backbone alone or a head not known here. Where
            the config does not say, the heads that a model is pretrained with are known by their tensors.
        read_tokenizer: function that returns the tokenizer as the objects of a `tokenizer.json` and a
            `tokenizer_config.json`, where the folder does not hold it in files of Hugging Face; or None.
    """

    folder: pathlib.Path
    family: Family
    settings: Settings
    tensors: dict
    kind: str | None
    read_tokenizer: typing.Callable | None = None

    @functools.cached_property
    def config(self):
        """Our config of the backbone. Raises InputError where a field is missing or cannot be used."""
        with other_forms(self.settings.path):
            return self.family.config(self.settings)

    @property
    def architecture(self):
        """The class name in `config.json`, or None."""
        return self.settings.architecture

    @property
    def kinds(self):
        """The heads whose tensors are all there, a list; without those that score a vocabulary with another table than
        the embeddings."""
        untied = self.family.tied.keys() & self.tensors.keys()
        return [
            kind
            for kind, rows in self.family.heads.items()
            if rows and set(names_in(rows)) <= self.tensors.keys() and not (untied and kind in _SCORE_A_VOCABULARY)
        ]

    @property
    def pooler(self):
        """Rows of the pooler that the tensors fill: the head's, the backbone's own, or those of a classifier, where its
        first layer is that of the head for masked tokens; [] where there is none."""
        rows_of = self.family.heads.get
        for rows in (rows_of(self.kind, []), self.family.pooler, rows_of("sequence_classification", [])):
            rows = [row for row in rows if is_of_pooler(row)]
            if set(names_in(rows)) & self.tensors.keys():
                return rows
        return []

    @functools.cached_property
    def labels(self):
        """The names of a classification head's outputs, a list.

        Raises:
            InputError: `id2label` has gaps, equal names, or not as many labels as the head has outputs.
        """
        name = next(row.theirs[0] for row in self.family.heads[self.kind] if row.ours == ("head.output",)) + ".weight"
        if name not in self.tensors:
            raise InputError(f"The checkpoint in {self.folder} lacks the tensor {name!r}.")
        outputs = self.tensors[name].shape[0]
        given = self.settings.get("id2label") or {place: f"LABEL_{place}" for place in range(outputs)}
        path = self.settings.path
        try:
            labels = {int(place): str(label) for place, label in given.items()}
        except (AttributeError, ValueError):
            raise InputError(f"`id2label` in {path} must be an object from numbers to names.") from None
        if sorted(labels) != list(range(len(labels))):
            raise InputError(
                f"`id2label` in {path} must number its labels from 0 without gaps. Received: {sorted(labels)[:20]}."
            )
        if len(labels) != outputs:
            raise InputError(
                f"`id2label` in {path} names {len(labels)} labels, but the head has {outputs} outputs ({name!r}): "
                "the files do not belong together."
            )
        if len(set(labels.values())) < outputs:
            raise InputError(
                f"`id2label` in {path} must name different labels. Received: {list(labels.values())[:20]}."
            )
        return [labels[place] for place in range(outputs)]

    @property
    def problem_type(self):
        """What a sequence classifier's scores are: of one label, of several, or a number ("regression").

        Raises:
            InputError: `config.json` says something else.
        """
        default = "regression" if len(self.labels) == 1 else "single_label_classification"
        found = self.settings.get("problem_type") or default
        if found not in _PROBLEM_TYPES:
            raise InputError(
                f"`problem_type` must be one of {list(_PROBLEM_TYPES)}. {self.settings.path} has {found!r}."
            )
        return found

    @property
    def head_dropout(self):
        """The dropout rate of a classification head, by default that of the blocks."""
        name = self.family.head_dropout.get(self.kind, "classifier_dropout")
        return self.settings.rate(name, default=self.config.blocks[0].dropout)

    def backbone(self, *, pooled=False, dtype=None):
        """A randomly initialized `Backbone` of `config`, for `assign`.

        Args:
            pooled: of an encoder, whether it has a pooler.
            dtype: Keras dtype or policy, by default Keras's global policy.
        """
        if self.config.blocks[0].causal:
            return decoder(self.config, dtype=dtype)
        return encoder(self.config, pooled=pooled, dtype=dtype)

    def assign(self, backbone, head=None, kind=None):
        """Puts the tensors into a model, one at a time. What is left over is named in a warning.

        Args:
            backbone: a `Backbone` made of `config`.
            head: an object with the attributes that the family's rows of this `kind` name: `output`, or `transform`,
                `norm` and `bias`. None leaves the head out.
            kind: another of the `kinds` of head.

        Raises:
            InputError: a tensor is missing, misshapen, or not of floating-point numbers; the head has a table of its
                own.
        """
        family, source = self.family, self.folder
        used = assign(family.names, backbone, self.tensors, source)
        pooler = self.pooler
        if backbone.pooler is not None and not pooler:
            warnings.warn(f"The checkpoint in {source} has no pooler: it is randomly initialized.", stacklevel=3)
        elif backbone.pooler is not None:
            used |= assign(pooler, backbone, self.tensors, source)
        used.update(names_in(pooler + family.pooler))
        if head is not None:
            rows = [row for row in family.heads[kind or self.kind] if not is_of_pooler(row)]
            if untied := sorted(family.tied.keys() & self.tensors.keys()):
                raise InputError(
                    f"The checkpoint in {source} must make its scores with {family.tied[untied[0]]!r}. "
                    f"Received: {untied[0]!r}, which differs."
                )
            used |= assign(rows, types.SimpleNamespace(head=head), self.tensors, source)
        for known in _PRETRAINING:
            used.update(names_in(family.heads.get(known, [])))
        if left := sorted(self.tensors.keys() - used - family.tied.keys()):
            more = f" and {len(left) - 8} more" if len(left) > 8 else ""
            warnings.warn(
                f"The checkpoint in {source} ({self.architecture}) holds tensors that are not used: "
                f"{', '.join(left[:8])}{more}." + (" `kf.load` reads the head too." if self.kind else ""),
                stacklevel=3,
            )

    def tokenizer_json(self):
        """The tokenizer as the object of a `tokenizer.json`: that file, or what the family makes of older files.

        Raises:
            InputError: files are missing or damaged.
        """
        if self.read_tokenizer is not None:
            return self.read_tokenizer()[0]
        if (self.folder / "tokenizer.json").is_file():
            return read_settings(self.folder / "tokenizer.json")
        if is_google_folder(self.folder):
            return google_tokenizer(self.folder)
        found = from_older_files(self.folder, f"{self.family.class_name}Tokenizer")
        if found is not None:
            return found[1]
        if self.family.tokenizer is None:
            raise InputError(f"{self.folder} must hold tokenizer.json or a SentencePiece model. Found: neither.")
        return self.family.tokenizer(self.folder)


def open_checkpoint(folder):
    """Opens a folder of Hugging Face Transformers, google-research/bert or KerasHub; needs neither torch nor
    transformers.

    Args:
        folder: with `config.json` and weights as `open_tensors` reads them, with `bert_config.json` and a TensorFlow 1
            checkpoint, or a preset of KerasHub.

    Returns:
        A `Checkpoint`.

    Raises:
        InputError: a file is missing or damaged, the family is not known, the model needs code of its own, or the
            weights are of another family.
    """
    folder = local_path(folder, "folder")
    if is_google_folder(folder):
        return _checked(folder, bert.FAMILY, read_google_settings(folder), open_google_tensors(folder))
    if is_keras_hub_folder(folder):
        return from_keras_hub(folder)
    if not folder.is_dir():
        raise InputError(f"A folder with config.json and model.safetensors is needed. No folder: {folder}")
    if not (folder / "config.json").is_file():
        raise missing_config(folder)
    settings = read_settings(folder / "config.json")
    return _checked(folder, _family(settings), settings, open_tensors(folder))


def from_keras_hub(source):
    """A model of KerasHub as a `Checkpoint`.

    Args:
        source: a preset folder, or a model of `keras_hub.models`; see `read_keras_hub` for which ones.

    Raises:
        InputError: KerasHub is not installed, the model is another one, or the folder is damaged.
    """
    return Checkpoint(**read_keras_hub(source))


def _family(settings):
    # Files of BERT's first years do not name their family.
    model_type = settings.get("model_type", "bert")
    known = FAMILIES.get(model_type) if isinstance(model_type, str) else None
    if settings.get("auto_map") and not _is_known_code(known, settings["auto_map"]):
        raise InputError(
            f"{settings.path} asks for code of its own (`auto_map`), which is never run. Models of these families "
            f"without it can be read: {', '.join(FAMILIES)}."
        )
    if known is None:
        raise InputError(f"`model_type` must be one of {', '.join(FAMILIES)}. {settings.path} has {model_type!r}.")
    return known


def _is_known_code(family, auto_map):
    """Whether all classes that a config asks for are those that the family computes itself; none of them is run."""
    classes = auto_map.values() if isinstance(auto_map, dict) else [auto_map]
    return family is not None and all(re.search(family.code, str(name)) for name in classes)


def _checked(folder, family, settings, stored):
    """The Checkpoint, if its weights are of its family."""
    checkpoint = Checkpoint(folder, family, settings, family.canonical(stored), family.kind_of(settings.architecture))
    if _first_name(family) not in checkpoint.tensors:
        others = [name for name, other in FAMILIES.items() if _first_name(other) in other.canonical(stored)]
        found = f"They are named as those of {others[0]!r}" if others else f"Found: {', '.join(sorted(stored)[:3])}"
        raise InputError(
            f"The checkpoint in {folder} lacks the tensor {_first_name(family)!r} of `model_type` "
            f"{family.model_type!r}. {found}."
        )
    if checkpoint.architecture is None:
        kinds = [kind for kind in reversed(_PRETRAINING) if kind in checkpoint.kinds]
        return dataclasses.replace(checkpoint, kind=kinds[0] if kinds else None)
    return checkpoint


def _first_name(family):
    return names_in(family.names[:1])[0]


def family_of(config):
    """The first family whose `config.json` can describe a backbone.

    Raises:
        InputError: there is none.
    """
    for family in FAMILIES.values():
        try:
            if family.config(Settings(family.settings(config), "config.json")) == config:
                return family
        except (InputError, AttributeError, LookupError, TypeError):
            continue
    raise InputError(
        f"The model must be of one of the families {', '.join(FAMILIES)} to be written. Received: {config!r}."
    )


def write_checkpoint(
    folder,
    backbone,
    kind=None,
    head=None,
    *,
    labels=None,
    problem_type=None,
    head_dropout=None,
    model_type=None,
    **further,
):
    """Writes `config.json` and `model.safetensors`, which Hugging Face Transformers loads, into a folder.

    The weights are float32, with low-rank updates merged, and read back to the last bit. Call it inside of
    `kerasformer.files.written_beside`, so that the folder appears atomically.

    Args:
        folder: path of a folder that exists.
        backbone: a `Backbone`.
        kind: what the head is for, a key of the family's `heads`; None writes the backbone alone.
        head: an object with the attributes that the family's rows of this kind name, as for `Checkpoint.assign`.
        labels: names of the outputs of a classification head.
        problem_type: of a sequence classifier, as in `Checkpoint`.
        head_dropout: rate of the head's dropout; None leaves it out.
        model_type: name of the family; by default the first whose config can describe the backbone.
        further: fields of `config.json`, such as `pad_token_id`.

    Raises:
        InputError: no family can describe the model, or its family has no head of this kind.
    """
    folder = pathlib.Path(folder)
    family = family_of(backbone.config) if model_type is None else FAMILIES[model_type]
    if kind is not None and kind not in family.heads:
        raise InputError(
            f"`kind` must be one of {list(family.heads)} in the family {family.model_type!r}. Received: {kind!r}."
        )
    rows = family.heads.get(kind, [])
    pooler = [] if backbone.pooler is None or any(map(is_of_pooler, rows)) else family.pooler
    prefix = "" if kind is None else f"{family.prefix}."
    tensors = {prefix + name: value for name, value in collect(family.names + pooler, backbone).items()}
    tensors |= collect(rows, types.SimpleNamespace(pooler=backbone.pooler, head=head))
    settings = {
        "architectures": [family.architecture(kind)],
        "model_type": family.model_type,
        # What the model says goes before what its tokenizer does: positions depend on RoBERTa's `pad_token_id`.
        **further,
        **family.settings(backbone.config),
        "tie_word_embeddings": True,
        "dtype": "float32",
    }
    if labels is not None:
        settings["id2label"] = {str(place): label for place, label in enumerate(labels)}
        settings["label2id"] = {label: place for place, label in enumerate(labels)}
    if problem_type is not None:
        settings["problem_type"] = problem_type
    if head_dropout is not None:
        # Where the field is the blocks' too (DistilBERT's token classifier), theirs is kept.
        settings.setdefault(family.head_dropout.get(kind, "classifier_dropout"), head_dropout)
    description, weights = folder / "config.json", folder / "model.safetensors"
    description.write_text(json.dumps(settings, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    # Transformers takes no file that does not say for which library it was written.
    save_file(tensors, weights, metadata={"format": "pt"})
    # safetensors makes a file that its owner alone can read, whatever the user's mask.
    weights.chmod(description.stat().st_mode)
