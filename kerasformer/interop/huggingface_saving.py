"""Writing folders that Hugging Face Transformers loads."""

import dataclasses
import json

import keras
import numpy as np
from safetensors.numpy import save_file

from kerasformer.errors import InputError
from kerasformer.files import local_path, written_beside
from kerasformer.interop.bert_settings import config_of, fitted, settings_of
from kerasformer.interop.weight_names import (
    HEAD_WEIGHTS,
    HUGGINGFACE,
    MASKED_WEIGHTS,
    NEXT_SENTENCE_WEIGHTS,
    POOLER_WEIGHTS,
    encoder_weights,
    head_shapes,
    taken_apart,
    variable_of,
)
from kerasformer.text import WordPieceTokenizer

_FILES = {"config.json", "model.safetensors", "vocab.txt", "tokenizer_config.json", "1_Pooling"}
# The class of Transformers, by whether there is a head for masked tokens and one for the next sentence.
_ARCHITECTURES = {
    (False, False): "BertModel",
    (True, False): "BertForMaskedLM",
    (False, True): "BertForNextSentencePrediction",
    (True, True): "BertForPreTraining",
}


def save_huggingface(encoder, tokenizer, folder, heads=None, *, dropout=None, pooling="first"):
    """Writes an encoder and its tokenizer as a folder that Hugging Face Transformers loads, whole or not at all.

    `load_huggingface` reads the same weights back, to the last bit. They are written in float32, with low-rank updates
    merged. Needs neither torch nor transformers.

    Args:
        encoder: made by `bert(config)`; its pooler is written if it has one.
        tokenizer: a WordPieceTokenizer.
        folder: to be written. One that holds nothing but the files of such a folder is replaced.
        heads: None, or those that BERT is pretrained with, named and shaped as `load_pretraining_heads` gives them: the
            five arrays for masked tokens, or the two for the next sentence, or all seven. The table that makes scores
            of the vocabulary is the encoder's own.
        dropout: rate of all dropout that the folder's readers are to train with; None: the encoder's rates.
        pooling: "mean" if the encoder was trained to make the vector of a text from all of its tokens, which is then
            written into `1_Pooling/config.json` as sentence-transformers does; else "first". See `pooling_of`.

    Raises:
        InputError: a rate outside [0, 1), another pooling; the encoder, the tokenizer or the heads are of another kind,
            or do not belong together; `folder` holds something else.
    """
    config = config_of(encoder)
    if dropout is not None:
        config = dataclasses.replace(config, dropout=dropout, attention_dropout=dropout)
    if pooling not in ("first", "mean"):
        raise InputError(f'`pooling` must be "first" or "mean". Received: pooling={pooling!r}.')
    if not isinstance(tokenizer, WordPieceTokenizer):
        raise InputError(f"`tokenizer` must be a WordPieceTokenizer. Received: a {type(tokenizer).__name__}.")
    if tokenizer.vocabulary_size > config.vocabulary_size:
        raise InputError(
            f"The vocabulary of {tokenizer.vocabulary_size} tokens does not fit the encoder's table of "
            f"{config.vocabulary_size}: give the tokenizer that the encoder was trained with."
        )
    folder = local_path(folder, "folder")
    tokenizer = fitted(tokenizer, config, folder / "config.json")
    has_pooler = "pooler" in [layer.name for layer in encoder.layers]
    heads = _checked_heads(heads, config)
    settings = {
        "architectures": [_architecture(heads, has_pooler)],
        "model_type": "bert",
        **settings_of(config),
        "pad_token_id": tokenizer.padding_id,
        "tie_word_embeddings": True,
        "dtype": "float32",
    }
    weights = encoder_weights(config.num_layers) + POOLER_WEIGHTS * has_pooler
    # A bare encoder's tensors stand at the top, those of one with heads below "bert".
    prefix = "bert." if heads else ""
    tensors = {}
    for weight in weights:
        value = _as_float32(variable_of(encoder, weight))
        tensors |= {prefix + name: part for name, part in taken_apart(weight, value, HUGGINGFACE).items()}
    for weight in HEAD_WEIGHTS:
        if weight.ours in heads:
            tensors |= taken_apart(weight, heads[weight.ours], HUGGINGFACE)

    if folder.is_dir() and (others := sorted({path.name for path in folder.iterdir()} - _FILES)):
        raise InputError(f"{folder} holds other files too ({others[0]}): it is not overwritten. Name another folder.")
    with written_beside(folder, replaces="config.json") as scratch:
        description, weights_file = scratch / "config.json", scratch / "model.safetensors"
        description.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
        # Transformers takes no file that does not say for which library it was written.
        save_file(tensors, weights_file, metadata={"format": "pt"})
        # safetensors makes a file that its owner alone can read, whatever the user's mask.
        weights_file.chmod(description.stat().st_mode)
        tokenizer.save(scratch)
        if pooling == "mean":
            (scratch / "1_Pooling").mkdir()
            settings = {"word_embedding_dimension": config.width, "pooling_mode_mean_tokens": True}
            (scratch / "1_Pooling" / "config.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def _checked_heads(heads, config):
    shapes, checked = head_shapes(config), {}
    for name, value in (heads or {}).items():
        if name not in shapes:
            raise InputError(f"`heads` must have names among {list(shapes)}. Received: {name!r}.")
        checked[name] = _as_float32(value)
        if checked[name].shape != shapes[name]:
            raise InputError(f"heads[{name!r}] must be of shape {shapes[name]}. Received: {checked[name].shape}.")
    return checked


def _architecture(heads, has_pooler):
    present = []
    for head in (MASKED_WEIGHTS, NEXT_SENTENCE_WEIGHTS):
        missing = [weight.ours for weight in head if weight.ours not in heads]
        if 0 < len(missing) < len(head):
            raise InputError(f"`heads` must hold a head as a whole. Received: {list(heads)}, without {missing[0]!r}.")
        present.append(not missing)
    if present[1] and not has_pooler:
        raise InputError("The next-sentence head stands on a pooler. Received: an encoder without `pooled_output`.")
    return _ARCHITECTURES[tuple(present)]


def _as_float32(value):
    return np.asarray(keras.ops.convert_to_numpy(value)).astype(np.float32)
