"""A BertConfig in JSON, as Hugging Face and google-research/bert write it, and from an encoder."""

import dataclasses
import json

from kerasformer.errors import InputError
from kerasformer.models import BertConfig, ModelConfig
from kerasformer.text import WordPieceTokenizer

_FIELDS = {
    "vocabulary_size": "vocab_size",
    "hidden_dim": "hidden_size",
    "num_layers": "num_hidden_layers",
    "num_heads": "num_attention_heads",
    "intermediate_dim": "intermediate_size",
    "max_sequence_length": "max_position_embeddings",
    "num_segments": "type_vocab_size",
    "activation": "hidden_act",
    "dropout": "hidden_dropout_prob",
    "attention_dropout": "attention_probs_dropout_prob",
    "epsilon": "layer_norm_eps",
    "initializer_range": "initializer_range",
}
# Fields that every file tells; of the others, BertConfig's defaults are those of the files.
_REQUIRED = ("vocabulary_size", "hidden_dim", "num_layers", "num_heads", "intermediate_dim", "max_sequence_length")
_ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_new": "gelu_approximate",
    "gelu_pytorch_tanh": "gelu_approximate",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
}
_ACTIVATION_NAMES = {"gelu": "gelu", "gelu_approximate": "gelu_new", "relu": "relu", "silu": "silu", "swish": "silu"}


def read_settings(path):
    """The object in a JSON file.

    Raises:
        InputError: the file holds no JSON, or something else.
    """
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path} is not JSON: {error}") from None
    if not isinstance(settings, dict):
        raise InputError(f"{path} should hold a JSON object. It holds a {type(settings).__name__}.")
    return settings


def config_from(settings, path):
    """A BertConfig from the settings in a file.

    Raises:
        InputError: a field is missing or cannot be used.
    """
    activation = settings.get("hidden_act", "gelu")
    if activation not in _ACTIVATIONS:
        raise InputError(f"`hidden_act` must be one of {sorted(_ACTIVATIONS)}. {path} has {activation!r}.")
    for name in _REQUIRED:
        if _FIELDS[name] not in settings:
            raise InputError(f"{path} lacks the field {_FIELDS[name]!r}.")
    fields = {ours: settings[theirs] for ours, theirs in _FIELDS.items() if theirs in settings}
    return BertConfig(**fields | {"activation": _ACTIVATIONS[activation]})


def settings_of(config):
    """The fields of a BertConfig by the names that files give them.

    Raises:
        InputError: files have no name for its activation.
    """
    fields = {_FIELDS[ours]: value for ours, value in dataclasses.asdict(config).items()}
    if not isinstance(config.activation, str) or config.activation not in _ACTIVATION_NAMES:
        raise InputError(
            f"The activation must be one of {list(_ACTIVATION_NAMES)} to be written. Received: {config.activation!r}."
        )
    return fields | {"hidden_act": _ACTIVATION_NAMES[config.activation]}


def config_of(encoder):
    """The BertConfig that an encoder was made from.

    Raises:
        InputError: `bert(config)` did not make it.
    """
    model = getattr(encoder, "config", None)
    if isinstance(model, ModelConfig):
        embedding, block = model.embedding, model.blocks[0]
        config = BertConfig(
            vocabulary_size=embedding.vocabulary_size,
            hidden_dim=embedding.hidden_dim,
            num_layers=len(model.blocks),
            num_heads=block.attention.num_heads,
            intermediate_dim=block.feed_forward.intermediate_dim,
            max_sequence_length=embedding.max_sequence_length,
            num_segments=max(embedding.num_segments, 1),
            activation=block.feed_forward.activation,
            dropout=block.dropout,
            attention_dropout=block.attention.dropout,
            epsilon=block.norm.epsilon,
            initializer_range=model.initializer_range or BertConfig.initializer_range,
        )
        if config.model_config() == model:
            return config
    raise InputError(
        "`encoder` must be a model that `bert(config)` made, as it was made. "
        f"Received: {getattr(encoder, 'name', type(encoder).__name__)!r}."
    )


def fitted(tokenizer, config, path):
    """The tokenizer, cut to the positions of a model whose settings stand in `path`.

    Raises:
        InputError: its vocabulary is larger than the model's table.
    """
    if tokenizer.vocabulary_size > config.vocabulary_size:
        raise InputError(
            f"The vocabulary in {path.parent} has {tokenizer.vocabulary_size} tokens, more than `vocab_size`, "
            f"{config.vocabulary_size}, in {path.name}: the files do not belong together."
        )
    if tokenizer.max_length > config.max_sequence_length:
        tokenizer = WordPieceTokenizer.from_config({**tokenizer.get_config(), "max_length": config.max_sequence_length})
    return tokenizer
