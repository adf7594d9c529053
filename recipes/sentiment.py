"""Trains a classifier of texts or of pairs of texts and exports it: strings in, answers out.

A text has one label, several, or a number.

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

# Validation examples of a class below which its metrics say little.
FEW = 5
MOST_IN_MATRIX = 20


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
    """Field or column of the label or score, case ignored. None: label, labels or score."""
    label_separator: str | None = None
    """Between the labels of a text that has several, such as "|". None: several labels are a list."""
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
    metric: (
        Literal["accuracy", "macro_f1", "micro_f1", "macro_recall", "f1", "matthews", "spearman", "pearson", "r2"]
        | None
    ) = None
    """Chooses the best epoch. None: accuracy, micro F1 of several labels, or Spearman's correlation of a regression."""


def main(flags):
    common.check_least(flags, epochs=1, batch_size=1)
    strategy = common.begin(flags)
    train, validation, test = load_data(flags)
    if flags.class_weights and (train.multi_label or train.label_names is None):
        raise InputError("--class-weights is for a single label a text.")
    warn_of_few(validation)
    with strategy.scope():
        encoder, tokenizer, folder = common.starting_point(flags, train.texts)
        task = kf.tasks.TextClassifier(
            encoder,
            tokenizer,
            train.label_names,
            **targets_of(train),
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
        monitor=flags.metric or default_metric(train),
    )
    batches = {name: part and kf.data.batches(part, 64) for name, part in (("validation", validation), ("test", test))}
    results = common.evaluate(trainer, **batches)
    for name, path in each_file(flags.test).items():
        part = kf.data.batches(load_labelled(path, train, flags), 64)
        results.setdefault("test_files", {})[name] = trainer.evaluate(part)
    results["train"] = speed
    common.finish(
        flags, task, results, lambda: print_details(flags, results, task, validation, test), batches["validation"]
    )


def load_data(flags):
    """Training, validation and test examples; the latter two read with the labels of the first."""
    return common.load_splits(flags, lambda source, train: load_labelled(source, train, flags), describe)


def load_labelled(source, train, flags):
    """Examples that all have a label or score, numbered as those of `train`."""
    names = {}
    if train is not None:
        names = {
            "label_names": train.label_names,
            "regression": train.label_names is None,
            "multi_label": train.multi_label,
        }
    columns = ("text_column", "pair_column", "label_column", "label_separator")
    examples = kf.data.load_classification(source, **names, **{name: getattr(flags, name) for name in columns})
    if examples.targets is None:
        raise InputError(f"A label or score is needed for each text. None in: {source}")
    return examples


def describe(examples):
    kind = "texts" if examples.pairs is None else "pairs of texts"
    if examples.label_names is None:
        return f"{kind}, scores from {examples.targets.min():g} to {examples.targets.max():g}"
    counts = class_counts(examples)
    shown = ", ".join(f"{name} {count:,}" for name, count in zip(examples.label_names[:20], counts, strict=False))
    return f"{kind}, {len(counts)} classes: {shown}{', ...' if len(counts) > 20 else ''}"


def class_counts(examples):
    """How many examples each class has, int `[classes]`."""
    if examples.multi_label:
        return examples.targets.sum(0).astype(int)
    return np.bincount(examples.targets, minlength=len(examples.label_names))


def warn_of_few(validation):
    """Prints the classes whose validation metrics mean little."""
    if validation.label_names is None:
        return
    counts = zip(validation.label_names, class_counts(validation), strict=True)
    few = [f"{name} {count}" for name, count in counts if count < FEW]
    if few:
        shown = ", ".join(few[:20]) + (", ..." if len(few) > 20 else "")
        common.say(f"warning: fewer than {FEW} validation examples of a class: {shown}")


def targets_of(train):
    """The settings of the task that say what is learned: one label, several, or a number and its scale."""
    if train.label_names is not None:
        return {"multi_label": train.multi_label}
    return {"target_mean": float(train.targets.mean()), "target_scale": float(train.targets.std()) or 1.0}


def default_metric(train):
    if train.label_names is None:
        return "spearman"
    return "micro_f1" if train.multi_label else "accuracy"


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
    if not flags.class_weights:
        return None
    counts = np.bincount(train.targets, minlength=len(train.label_names))
    weights = tf.constant(len(train) / (len(counts) * np.maximum(counts, 1)), tf.float32)
    return lambda targets, outputs: task.loss(targets, outputs, tf.gather(weights, targets))


def print_details(flags, results, task, validation, test):
    """Metrics of each test file, how each class fared on the last split, and the threshold with the best F1; writes
    the predictions of the test data."""
    if files := results.get("test_files"):
        rows = [[name, *metrics.values()] for name, metrics in files.items()]
        rows.append(["mean", *[float(np.mean(column)) for column in zip(*[row[1:] for row in rows], strict=True)]])
        kf.training.print_table("each file, test", ["file", *results["test"]], rows)
    answers = {name: answers_of(task, part) for name, part in (("validation", validation), ("test", test)) if part}
    split, held_out = ("test", test) if test else ("validation", validation)
    if test:
        common.write_predictions(flags, prediction_columns(task, test, answers["test"]))
    if task.is_regression:
        return
    scores, names = answers[split]["scores"], task.label_names
    predicted = scores >= task.threshold if task.multi_label else scores.argmax(-1)
    rows = task.class_report(held_out.targets, predicted)
    kf.training.print_table(f"each class, {split}", ["class", "precision", "recall", "f1", "examples"], rows)
    if not task.multi_label and len(names) <= MOST_IN_MATRIX:
        matrix = kf.metrics.confusion_matrix(held_out.targets, predicted, len(names)).tolist()
        rows = [[name, *row] for name, row in zip(names, matrix, strict=True)]
        kf.training.print_table(f"confusion matrix, {split}", ["label, predicted:", *names], rows)
    advise_threshold(task, validation, answers["validation"]["scores"], results["validation"])


def answers_of(task, examples):
    return task.predict(*[examples.texts, examples.pairs][: len(task.feature_names)])


def advise_threshold(task, validation, scores, metrics):
    """Prints the probability from which on a label is to be given for the highest F1, for two classes or several
    labels."""
    if task.multi_label:
        name, targets, label = "micro_f1", validation.targets, "a label"
    elif len(task.label_names) == 2:
        name, targets, scores, label = "f1", validation.targets, scores[:, 1], repr(task.label_names[1])
    else:
        return
    threshold, best = kf.metrics.best_f1_threshold(targets, scores)
    usual = f", {metrics[name]:.4f} from {task.threshold:g} on" if name in metrics else ""
    common.say(f"threshold: {name} of the validation data is {best:.4f} with {label} from {threshold:.3f} on{usual}")


def prediction_columns(task, examples, answers):
    """The columns of `predictions.csv`."""
    columns = {"text": examples.texts, "text_pair": examples.pairs}
    columns = {name: columns[name] for name in task.feature_names}
    if task.is_regression:
        return columns | {"target": examples.targets.tolist(), "prediction": answers["score"].tolist()}
    if task.multi_label:
        targets = ["|".join(np.array(task.label_names)[row > 0]) for row in examples.targets]
        predictions = ["|".join(filter(None, row)) for row in answers["labels"]]
        each = {f"score {name}": answers["scores"][:, k].tolist() for k, name in enumerate(task.label_names)}
        return columns | {"target": targets, "prediction": predictions} | each
    targets = [task.label_names[target] for target in examples.targets]
    return columns | {"target": targets, "prediction": answers["label"], "score": answers["score"].tolist()}


if __name__ == "__main__":
    common.run(main, Flags)
