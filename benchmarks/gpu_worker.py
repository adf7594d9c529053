"""What `benchmarks.gpu` measures, each in a process of its own: on GPUs where there are some, else on the CPU."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.optimizer import CLIP_NORM, EPSILON, LEARNING_RATE, WEIGHT_DECAY

_POLICIES = {"float32": "float32", "tf32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}
_SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def device_names() -> Callable[[None], list[str]]:
    """A callable that returns the names of the GPUs."""
    import tensorflow as tf

    details = map(tf.config.experimental.get_device_details, tf.config.list_physical_devices("GPU"))
    names = [found.get("device_name", "unknown GPU") for found in details]
    return lambda _: names


def load_training(
    size: str, length: int, batch: int, steps: int, precision: str, xla: bool, *, replicas: int, fit: bool
) -> Callable[[None], float]:
    """BERT learns two labels of each token, by the trainer or by Keras's own `fit`.

    Args:
        batch: full sequences of `length` tokens, of all replicas.
        steps: updates a call.
        replicas: of a MirroredStrategy; 0 for one device without a strategy.

    Returns:
        A callable that trains and returns the mean loss.
    """
    import keras
    import tensorflow as tf

    import kerasformer as kf

    _use(precision)
    strategy = kf.training.make_strategy(tf.distribute.MirroredStrategy(_devices(replicas)) if replicas else "default")
    with strategy.scope():
        # Static shapes, as XLA wants them; sequences are full, so that nothing could be removed.
        config = kf.models.BertConfig.named(size)
        bert = kf.models.bert(config, remove_padding=False, dtype=_POLICIES[precision])
        scores = keras.layers.Dense(2, dtype="float32")(bert.output["sequence_output"])
        model = keras.Model(bert.input, scores)
        optimizer = kf.training.adamw(LEARNING_RATE, weight_decay=WEIGHT_DECAY, epsilon=EPSILON)
    draw = np.random.default_rng(0)
    inputs = {
        "token_ids": draw.integers(0, config.vocabulary_size, (batch, length), np.int32),
        "segment_ids": np.zeros((batch, length), np.int32),
        "padding_mask": np.ones((batch, length), np.int32),
    }
    labels = draw.integers(0, 2, (batch, length), np.int32)
    data = tf.data.Dataset.from_tensors((inputs, labels)).repeat(steps)
    if fit:
        optimizer.global_clipnorm = CLIP_NORM
        if precision == "float16":
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
        cross_entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(optimizer, cross_entropy, steps_per_execution=steps, jit_compile=xla)
        return lambda _: model.fit(data, verbose=0).history["loss"][0]

    def loss(labels, scores):
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, scores)
        return tf.reduce_sum(losses), tf.cast(tf.size(losses), tf.float32)

    trainer = kf.training.Trainer(
        (model, loss), optimizer, strategy=strategy, clip_norm=CLIP_NORM, steps_per_call=steps, jit=xla
    )
    return lambda _: trainer.fit(data).history["loss"][0]


def prepare_serving(folder: Path, size: str, length: int, precisions: tuple[str, ...]) -> None:
    """Exports a `TextClassifier` with random weights, that reads up to `length` tokens."""
    import kerasformer as kf

    config = kf.models.BertConfig.named(size)
    words = [f"w{number}" for number in range(config.vocabulary_size - len(_SPECIAL))]
    tokenizer = kf.text.WordPieceTokenizer(_SPECIAL + words, max_length=length)
    task = kf.tasks.TextClassifier(kf.models.bert(config, pooled=True), tokenizer, label_names=("no", "yes"))
    for precision in precisions:
        kf.serving.export(task, folder / precision, precision=precision)


def load_serving(folder: Path, precision: str, threads: int) -> Callable[[list[str]], np.ndarray]:
    """Opens what `prepare_serving` wrote: N texts to scores `[N, 2]`."""
    from benchmarks.saved_model import open_signature

    return open_signature(folder / _use(precision), "text", "scores", threads)


def load_decoding(folder: Path, precision: str, threads: int, beam: int) -> Callable[[np.ndarray], np.ndarray]:
    """Opens what `benchmarks.translator.prepare` wrote: places of N sources to their translations."""
    from benchmarks import translator

    return translator.load(folder, threads, _use(precision), beam)


def _use(precision):
    """Switches TF32 on or off, which no dtype tells; returns the precision of an export for it."""
    import tensorflow as tf

    tf.config.experimental.enable_tensor_float_32_execution(precision == "tf32")
    return "float32" if precision == "tf32" else precision


def _devices(count):
    import tensorflow as tf

    kind = "GPU" if tf.config.list_physical_devices("GPU") else "CPU"
    if kind == "CPU" and count > 1:
        cpu, parts = tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * count
        tf.config.set_logical_device_configuration(cpu, parts)
    return [f"{kind}:{number}" for number in range(count)]
