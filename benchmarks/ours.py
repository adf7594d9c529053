"""kerasformer itself, in the shape of a peer."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from benchmarks.head import LABELS, Head
from benchmarks.optimizer import CLIP_NORM, EPSILON, LEARNING_RATE, WEIGHT_DECAY
from benchmarks.saved_model import open_signature

PACKAGES = ("kerasformer",)

SAMPLES = Path(__file__).parent.parent / "recipes" / "samples"


def load_task(checkpoint: Path, head: Head, policy: str = "float32"):
    """A `TextClassifier` of the checkpoint with `head`, under a Keras dtype policy."""
    import kerasformer as kf

    encoder, tokenizer = kf.load_encoder(checkpoint, dtype=policy)
    task = kf.tasks.TextClassifier(encoder, tokenizer, label_names=LABELS)
    task.head.output.set_weights([head.kernel, head.bias])
    return task


def prepare(checkpoint: Path, head: Head, folder: Path, precision: str) -> None:
    """Exports the task as it would be served, `precision` "float32", "bfloat16" or "int8"."""
    import kerasformer as kf

    kf.serving.export(load_task(checkpoint, head), folder / "1", precision=precision, data=sample_batches())


def sample_batches():
    """Texts that show an int8 export its ranges, of another kind than those that are measured."""
    import kerasformer as kf

    texts = kf.data.load_classification(SAMPLES / "reviews" / "train.jsonl").texts
    return kf.data.batches(kf.data.from_lists(texts, [LABELS[0]] * len(texts), label_names=LABELS), 32)


def prepare_folder(checkpoint: Path, folder: Path) -> None:
    """Exports the task that a folder of other people holds, in float32."""
    import kerasformer as kf

    kf.serving.export(kf.load(checkpoint), folder / "1")


def load(folder: Path, threads: int) -> Callable[[list[str]], np.ndarray]:
    """Opens what `prepare` wrote: N texts to logits `[N, C]`, less a number of each text's own.

    What is served are probabilities; their logarithms differ from the logits by the normalization alone.
    """
    from kerasformer.serving.warmup import asked, read_warmup

    serve = open_signature(folder / "1", "text", "scores", threads)
    # As TensorFlow Serving does before it takes a version into service.
    for _, signature, inputs, outputs in map(asked, read_warmup(folder / "1")):
        if signature == "serving_default" and not outputs:
            serve([text.decode() for text in inputs["text"]])
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


def load_training(
    checkpoint: Path, head: Head, threads: int, precision: str
) -> Callable[[Sequence[tuple[list[str], list[int]]]], float]:
    """The trainer, on one device.

    Args:
        precision: "float32" or "mixed_bfloat16".

    Returns:
        A callable that trains once on each batch of texts and labels and returns the mean loss.
    """
    import tensorflow as tf

    import kerasformer as kf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    task = load_task(checkpoint, head, policy=precision)
    optimizer = kf.training.adamw(LEARNING_RATE, weight_decay=WEIGHT_DECAY, epsilon=EPSILON)
    trainer = kf.training.Trainer(task, optimizer, clip_norm=CLIP_NORM)

    def train(batches):
        texts = [text for batch, _ in batches for text in batch]
        labels = [label for _, batch in batches for label in batch]
        dataset = tf.data.Dataset.from_tensor_slices(({"text": texts}, labels)).batch(len(batches[0][0]))
        return trainer.fit(dataset).history["loss"][0]

    return train
