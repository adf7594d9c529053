"""KerasHub's `BertTextClassifier`: served from strings as one SavedModel, and trained by `fit`."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from benchmarks.head import Head
from benchmarks.optimizer import CLIP_NORM, EPSILON, LEARNING_RATE, WEIGHT_DECAY
from benchmarks.saved_model import open_signature

PACKAGES = ("keras_hub", "tensorflow_text")


def prepare(checkpoint: Path, head: Head, folder: Path, sequence_length: int | None) -> None:
    """Writes a SavedModel from `text [N]` to `logits [N, C]`.

    Args:
        sequence_length: tokens that every text is padded or cut to; None as KerasHub reads it from the checkpoint.
    """
    import keras
    import tensorflow as tf

    classifier = _classifier(checkpoint, head, sequence_length)
    # Keras's own way. `tf.saved_model.save` of a module that holds the model writes each variable twice, of which a
    # session, and so TensorFlow Serving, restores the wrong one.
    archive = keras.export.ExportArchive()
    archive.track(classifier)
    classifier.preprocessor(["any"])  # builds it, as `track` demands
    archive.track(classifier.preprocessor)
    archive.add_endpoint(
        "serving_default",
        lambda text: {"logits": classifier(classifier.preprocessor(text), training=False)},
        input_signature=[tf.TensorSpec([None], tf.string, "text")],
    )
    archive.write_out(str(folder / "1"), verbose=False)


def load(folder: Path, threads: int) -> Callable[[list[str]], np.ndarray]:
    """Opens what `prepare` wrote: N texts to logits float32 `[N, C]`."""
    return open_signature(folder / "1", "text", "logits", threads)


def load_training(
    checkpoint: Path, head: Head, threads: int, sequence_length: int | None
) -> Callable[[Sequence[tuple[list[str], list[int]]]], float]:
    """`fit` on batches of texts and labels, in their order.

    Returns:
        A callable that trains once on each batch and returns the mean loss.
    """
    import keras
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    classifier = _classifier(checkpoint, head, sequence_length)
    classifier.compile(
        optimizer=keras.optimizers.AdamW(
            LEARNING_RATE, weight_decay=WEIGHT_DECAY, epsilon=EPSILON, global_clipnorm=CLIP_NORM
        ),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )

    def train(batches):
        texts = [text for batch, _ in batches for text in batch]
        labels = [label for _, batch in batches for label in batch]
        dataset = tf.data.Dataset.from_tensor_slices((texts, labels)).batch(len(batches[0][0]))
        return classifier.fit(dataset, shuffle=False, verbose=0).history["loss"][0]

    return train


def _classifier(checkpoint, head, sequence_length):
    import keras_hub

    classifier = keras_hub.models.BertTextClassifier.from_preset(str(checkpoint), num_classes=len(head.bias))
    classifier.get_layer("logits").set_weights([head.kernel, head.bias])
    if sequence_length is not None:
        classifier.preprocessor.sequence_length = sequence_length
    return classifier
