"""kerasformer itself, in the shape of a peer."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.head import LABELS, Head
from benchmarks.saved_model import open_signature

PACKAGES = ("kerasformer",)


def load_task(checkpoint: Path, head: Head):
    """A `TextClassifier` of the checkpoint with `head`."""
    import kerasformer as kf

    task = kf.tasks.TextClassifier(*kf.interop.load_huggingface(checkpoint), label_names=LABELS)
    task.model.get_layer("classifier").set_weights([head.kernel, head.bias])
    return task


def prepare(checkpoint: Path, head: Head, folder: Path, precision: str) -> None:
    """Exports the task as it would be served, `precision` "float32" or "bfloat16"."""
    import kerasformer as kf

    kf.serving.export(load_task(checkpoint, head), folder / "1", precision=precision)


def load(folder: Path, threads: int) -> Callable[[list[str]], np.ndarray]:
    """Opens what `prepare` wrote: N texts to logits `[N, C]`, less a number of each text's own.

    What is served are probabilities; their logarithms differ from the logits by the normalization alone.
    """
    serve = open_signature(folder / "1", "text", "scores", threads)
    return lambda texts: np.log(serve(texts))


def prepare_tokenizer(checkpoint: Path, head: Head, folder: Path) -> None:
    """Writes the tokenizer alone as a SavedModel from `text [N]` to the model's inputs."""
    import tensorflow as tf

    task = load_task(checkpoint, head)

    class Tokenizer(tf.Module):
        def __init__(self):
            self.tokenizer = task.tokenizer

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "text")])
        def serve(self, text):
            return task.batch_inputs({"text": text})

    tokenizer = Tokenizer()
    tf.saved_model.save(tokenizer, str(folder / "1"), signatures={"serving_default": tokenizer.serve})


def load_tokenizer(folder: Path, threads: int) -> Callable[[list[str]], np.ndarray]:
    """Opens what `prepare_tokenizer` wrote: N texts to token ids `[N, length]`."""
    return open_signature(folder / "1", "text", "token_ids", threads)
