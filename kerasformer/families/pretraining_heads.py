"""The heads that BERT was pretrained with, from checkpoints."""

import pathlib
import warnings

import numpy as np

from kerasformer.interop import google_bert, huggingface
from kerasformer.interop.weight_names import (
    GOOGLE,
    HEAD_WEIGHTS,
    HUGGINGFACE,
    MASKED_WEIGHTS,
    head_shapes,
    joined,
    names_in,
)
from kerasformer.tasks.bert_pretraining import BertPretraining
from kerasformer.tasks.task import is_saved_task, load

# In Hugging Face's files: a second name of the bias, and the table that the scores are made with, if it is kept.
_TABLE, _BIAS = "embeddings.word_embeddings.weight", "cls.predictions.bias"
_OTHER_TABLE, _OTHER_BIAS = "cls.predictions.decoder.weight", "cls.predictions.decoder.bias"


def load_pretraining_heads(folder):
    """The heads for masked tokens and for the next sentence (Devlin et al. 2019, section 3.1) that a checkpoint holds.

    The scores of the vocabulary are made with the token embeddings. Where a folder says otherwise, with a table of its
    own, the head for masked tokens is left out, with a warning.

    Args:
        folder: of Hugging Face, as `load_huggingface` reads it, of google-research/bert, as `load_google_bert` does, or
            of a saved kerasformer task, which has heads if it is `BertPretraining`.

    Returns:
        `{name: float32 array}`, kernels as Keras has them, `[inputs, outputs]`; what is not there is left out:
        `transform.kernel` `[width, width]`, `transform.bias`, `norm.gamma` and `norm.beta` `[width]`, `bias`
        `[vocabulary]`, `next_sentence.kernel` `[width, 2]` and `next_sentence.bias` `[2]`, where class 0 is "the next
        sentence" and 1 "any other".

    Raises:
        InputError: a file is missing or damaged, a tensor is misshapen.
    """
    folder = pathlib.Path(folder)
    if is_saved_task(folder):
        task = load(folder)
        return task.heads() if isinstance(task, BertPretraining) else {}
    kind, files = (GOOGLE, google_bert) if google_bert.is_google_folder(folder) else (HUGGINGFACE, huggingface)
    shapes = head_shapes(files.read_config(folder))
    names = names_in(HEAD_WEIGHTS, kind)
    tensors = files.read_tensors(folder, names + [_OTHER_BIAS, _OTHER_TABLE] * (kind == HUGGINGFACE))
    if _OTHER_BIAS in tensors:
        tensors.setdefault(_BIAS, tensors[_OTHER_BIAS])
    left_out = MASKED_WEIGHTS if _OTHER_TABLE in tensors and not _is_tied(folder, tensors[_OTHER_TABLE]) else []
    if left_out:
        warnings.warn(f"The masked-token head in {folder} has a table of its own: it is left out.", stacklevel=2)
    return {
        weight.ours: joined(weight, tensors, kind, shapes[weight.ours], folder)
        for weight in HEAD_WEIGHTS
        if weight not in left_out and set(weight.names[kind]) <= tensors.keys()
    }


def _is_tied(folder, table):
    return np.array_equal(huggingface.read_tensors(folder, [_TABLE]).get(_TABLE, table), table)
