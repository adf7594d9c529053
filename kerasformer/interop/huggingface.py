"""Hugging Face folders of BERT type: `config.json`, `model.safetensors`, vocabulary and tokenizer settings."""

import json
import pathlib
import warnings

import numpy as np
import safetensors

from kerasformer.errors import InputError
from kerasformer.models import BertConfig, bert
from kerasformer.text import WordPieceTokenizer

_ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_new": "gelu_approximate",
    "gelu_pytorch_tanh": "gelu_approximate",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
}


def load_huggingface(folder, *, dtype=None):
    """Reads a BERT-type folder of Hugging Face Transformers; needs neither torch nor transformers.

    The tokenizer cuts at the smaller of `model_max_length` and the position table; truncation and padding stored in
    `tokenizer.json` are ignored. A pooler that the checkpoint lacks starts fresh, with a warning.

    Args:
        folder: with `config.json`, `model.safetensors`, and `vocab.txt` or `tokenizer.json`.
        dtype: Keras dtype or policy of the encoder, by default Keras's global policy.

    Returns:
        `(encoder, tokenizer)`: `bert(config, pooled=True)` with the weights, and a WordPieceTokenizer.

    Raises:
        InputError: a file is missing or damaged, the model is of another kind, a tensor is missing or misshapen.
    """
    folder = pathlib.Path(folder)
    settings = _read_config(folder)
    config = _bert_config(settings, folder)
    tokenizer = WordPieceTokenizer.load(folder)
    if tokenizer.vocabulary_size > config.vocabulary_size:
        raise InputError(
            f"The vocabulary in {folder} has {tokenizer.vocabulary_size} tokens, more than `vocab_size`, "
            f"{config.vocabulary_size}, in config.json: the files do not belong together."
        )
    if tokenizer.max_length > config.max_length:
        tokenizer = WordPieceTokenizer.from_config({**tokenizer.get_config(), "max_length": config.max_length})
    tensors = _read_tensors(folder / "model.safetensors")
    encoder = bert(config, pooled=True, dtype=dtype)
    _assign(encoder, config, tensors, folder)
    return encoder, tokenizer


def _read_config(folder):
    path = folder / "config.json"
    if not folder.is_dir():
        raise InputError(f"A Hugging Face folder with config.json and model.safetensors is needed. No folder: {folder}")
    if not path.is_file():
        raise InputError(f"A Hugging Face folder holds config.json. Not found in {folder}")
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path} is not JSON: {error}") from None
    if not isinstance(settings, dict):
        raise InputError(f"{path} should hold a JSON object. It holds a {type(settings).__name__}.")
    if settings.get("model_type", "bert") != "bert":
        raise InputError(f"Only folders of model_type 'bert' can be read. {path} has {settings['model_type']!r}.")
    if settings.get("position_embedding_type", "absolute") != "absolute":
        raise InputError(
            f"Only absolute positions can be read. {path} has position_embedding_type="
            f"{settings['position_embedding_type']!r}."
        )
    return settings


def _bert_config(settings, folder):
    activation = settings.get("hidden_act", "gelu")
    if activation not in _ACTIVATIONS:
        raise InputError(f"`hidden_act` must be one of {sorted(_ACTIVATIONS)}. {folder} has {activation!r}.")
    try:
        return BertConfig(
            vocabulary_size=settings["vocab_size"],
            width=settings["hidden_size"],
            num_layers=settings["num_hidden_layers"],
            num_heads=settings["num_attention_heads"],
            inner_width=settings["intermediate_size"],
            max_length=settings["max_position_embeddings"],
            num_segments=settings.get("type_vocab_size", 2),
            activation=_ACTIVATIONS[activation],
            dropout=settings.get("hidden_dropout_prob", 0.1),
            attention_dropout=settings.get("attention_probs_dropout_prob", 0.1),
            epsilon=settings.get("layer_norm_eps", 1e-12),
            initializer_range=settings.get("initializer_range", 0.02),
        )
    except KeyError as error:
        raise InputError(f"{folder / 'config.json'} lacks the field {error}.") from None


def _read_tensors(path):
    """All tensors as float32 arrays, by name without the prefix of the model with heads."""
    if not path.is_file():
        raise InputError(f"A Hugging Face folder holds model.safetensors. Not found: {path}")
    tensors = {}
    try:
        # TensorFlow's reader, since NumPy's has no bfloat16.
        with safetensors.safe_open(path, framework="tf") as file:
            for name in file.keys():  # noqa: SIM118, not a dictionary
                tensor = file.get_tensor(name)
                if tensor.dtype.is_floating:
                    tensors[name.removeprefix("bert.")] = tensor.numpy().astype(np.float32)
    except (safetensors.SafetensorError, ValueError, OSError) as error:
        raise InputError(f"{path} cannot be read as safetensors, is it complete? {error}") from None
    return tensors


def _assign(encoder, config, tensors, folder):
    """Puts the tensors into the encoder, each checked against the shape it should have."""

    def take(name, transposed=False):
        # Checkpoints converted from TensorFlow 1 name the normalizations as TensorFlow 1 did.
        old = name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
        if name not in tensors and old not in tensors:
            raise InputError(f"The checkpoint in {folder} lacks the tensor {name!r}.")
        tensor = tensors[name] if name in tensors else tensors[old]
        return (tensor.T if transposed else tensor), name

    def assign(variable, *parts):
        """Several parts stand side by side in one fused projection."""
        width = variable.shape[-1] // len(parts)
        expected = (*variable.shape[:-1], width)
        for tensor, name in parts:
            if tensor.shape != expected:
                raise InputError(
                    f"The tensor {name!r} in {folder} should be, transposed as Keras has it, of shape {expected}. "
                    f"Received: {tensor.shape}."
                )
        variable.assign(np.concatenate([tensor for tensor, _ in parts], axis=-1))

    def assign_dense(dense, *names):
        assign(dense.kernel, *[take(f"{name}.weight", transposed=True) for name in names])
        assign(dense.bias, *[take(f"{name}.bias") for name in names])

    def assign_norm(norm, name):
        assign(norm.gamma, take(f"{name}.weight"))
        assign(norm.beta, take(f"{name}.bias"))

    embedding = encoder.get_layer("embedding")
    assign(embedding.token.embeddings, take("embeddings.word_embeddings.weight"))
    assign(embedding.segment.embeddings, take("embeddings.token_type_embeddings.weight"))
    assign(embedding.position.embeddings, take("embeddings.position_embeddings.weight"))
    assign_norm(embedding.norm, "embeddings.LayerNorm")
    for index in range(config.num_layers):
        block, name = encoder.get_layer(f"block_{index}"), f"encoder.layer.{index}"
        attention = block.attention
        assign_dense(
            attention.query_key_value, *[f"{name}.attention.self.{part}" for part in ("query", "key", "value")]
        )
        assign_dense(attention.output_projection, f"{name}.attention.output.dense")
        assign_norm(block.attention_norm, f"{name}.attention.output.LayerNorm")
        assign_dense(block.feed_forward.inner, f"{name}.intermediate.dense")
        assign_dense(block.feed_forward.outer, f"{name}.output.dense")
        assign_norm(block.feed_forward_norm, f"{name}.output.LayerNorm")
    if "pooler.dense.weight" in tensors:
        assign_dense(encoder.get_layer("pooler"), "pooler.dense")
    else:
        warnings.warn(f"The checkpoint in {folder} has no pooler; it starts fresh.", stacklevel=3)
