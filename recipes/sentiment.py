"""Trains a classifier of texts or of pairs of texts and exports it: strings in, answers out.

    python recipes/sentiment.py                                   # on the samples beside this script, in minutes
    python recipes/sentiment.py --train my.csv --validation my_validation.csv --init FOLDER --export savedmodels/mine

The README describes sources, formats and flags; so does `--help`.
"""

import dataclasses
from typing import Literal

import common
import numpy as np
import tensorflow as tf

import kerasformer as kf
from kerasformer.data.files import find_files
from kerasformer.errors import InputError


@dataclasses.dataclass
class Flags(common.FineTuningFlags):
    """Trains a classifier of texts and exports it."""

    train: str = str(common.SAMPLES / "reviews" / "train.jsonl")
    """Training data: file, folder, glob, tfds:NAME[/CONFIG]:SPLIT or hf:FOLDER:SPLIT."""
    test: str | None = None
    """Test data, evaluated once at the end; several files, such as '*/test.jsonl', are evaluated each as well."""
    workdir: str = "work/sentiment"
    text_column: str | None = None
    """Field or column of the text, case ignored. None: text, sentence, content or review."""
    pair_column: str | None = None
    """Field or column of the second text of a pair, with --text-column."""
    label_column: str | None = None
    """Field or column of the label or score, case ignored. None: label or score."""
    pooling: Literal["first", "mean"] | None = None
    """The vector of a text: [CLS], or the mean of its tokens. None: as the starting point was trained."""
    normalize_tweets: bool = False
    """Mask user names and links as in TweetEval, also in the exported model."""
    layer_decay: float = 1.0
    """Factor of the learning rate from each layer to the one below it."""
    average: float | None = None
    """Momentum of a moving average of the weights, such as 0.999, which is what is evaluated and kept."""
    microbatches: int = 1
    """Parts of a batch that are computed one after the other, to save memory."""
    class_weights: bool = False
    """Weight each class by the inverse of its frequency."""
    metric: Literal["accuracy", "macro_f1", "macro_recall", "f1", "matthews", "spearman", "pearson"] | None = None
    """Chooses the best epoch. None: accuracy, or Spearman's correlation for a regression."""


def main(flags):
    common.check_least(flags, epochs=1, batch_size=1)
    strategy = common.begin(flags)
    train, validation, test = load_data(flags)
    with strategy.scope():
        encoder, tokenizer, folder = common.starting_point(flags, train.texts)
        task = kf.tasks.TextClassifier(
            encoder,
            tokenizer,
            train.label_names,
            pairs=train.pairs is not None,
            pooling=flags.pooling or (kf.families.pooling_of(folder) if folder else "first"),
            normalize_tweets=flags.normalize_tweets,
        )
        common.say_lengths(tokenizer, train.texts, train.pairs)
        optimizer = common.adamw(flags, len(train), task.encoder)
    trainer = kf.training.Trainer(
        task, optimizer, strategy=strategy, loss=weighted_loss(task, train, flags), microbatches=flags.microbatches
    )
    speed = common.fit(
        flags,
        trainer,
        lambda epoch: kf.data.batches(train, flags.batch_size, shuffle_seed=flags.seed, epoch=epoch),
        kf.data.batches(validation, 64),
        len(train),
        monitor=flags.metric or ("accuracy" if train.label_names else "spearman"),
    )
    batches = {name: part and kf.data.batches(part, 64) for name, part in (("validation", validation), ("test", test))}
    results = common.evaluate(trainer, **batches)
    for name, path in each_file(flags.test).items():
        part = kf.data.batches(load_labelled(path, train, flags), 64)
        results.setdefault("test_files", {})[name] = trainer.evaluate(part)
    results["train"] = speed
    common.finish(flags, task, results, lambda: print_details(results, task, test or validation))


def load_data(flags):
    """Training, validation and test examples; the latter two read with the labels of the first."""
    return common.load_splits(flags, lambda source, train: load_labelled(source, train, flags), describe)


def load_labelled(source, train, flags):
    """Examples that all have a label or score, numbered as those of `train`."""
    names = {} if train is None else {"label_names": train.label_names, "regression": train.label_names is None}
    columns = {name: getattr(flags, name) for name in ("text_column", "pair_column", "label_column")}
    examples = kf.data.load_classification(source, **names, **columns)
    if examples.targets is None:
        raise InputError(f"A label or score is needed for each text. None in: {source}")
    return examples


def describe(examples):
    kind = "texts" if examples.pairs is None else "pairs of texts"
    if examples.label_names is None:
        return f"{kind}, scores from {examples.targets.min():g} to {examples.targets.max():g}"
    counts = np.bincount(examples.targets, minlength=len(examples.label_names))
    shown = ", ".join(f"{name} {count:,}" for name, count in zip(examples.label_names[:20], counts, strict=False))
    return f"{kind}, {len(counts)} classes: {shown}{', ...' if len(counts) > 20 else ''}"


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


def weighted_loss(task, train, flags):
    """The task's loss with each class weighted by the inverse of its frequency, or None for the plain one."""
    if not flags.class_weights or train.label_names is None:
        return None
    counts = np.bincount(train.targets, minlength=len(train.label_names))
    weights = tf.constant(len(train) / (len(counts) * np.maximum(counts, 1)), tf.float32)
    return lambda targets, outputs: task.loss(targets, outputs, tf.gather(weights, targets))


def print_details(results, task, held_out):
    """Metrics of each test file, and how each class fared on the last split."""
    if files := results.get("test_files"):
        rows = [[name, *metrics.values()] for name, metrics in files.items()]
        rows.append(["mean", *[float(np.mean(column)) for column in zip(*[row[1:] for row in rows], strict=True)]])
        kf.training.print_table("each file, test", ["file", *results["test"]], rows)
    if not task.is_regression:
        columns = [held_out.texts, held_out.pairs][: len(task.feature_names)]
        labels = task.predict(*columns)["label"]
        rows = task.class_report(held_out.targets, np.array([task.label_names.index(label) for label in labels]))
        split = "test" if "test" in results else "validation"
        kf.training.print_table(f"each class, {split}", ["class", "precision", "recall", "f1", "examples"], rows)


if __name__ == "__main__":
    common.run(main, Flags)
