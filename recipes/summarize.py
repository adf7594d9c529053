"""Trains an extractive summarizer and exports it: documents in, their best sentences out.

    python recipes/summarize.py                               # on the samples beside this script, in minutes
    python recipes/summarize.py --train my.jsonl --validation my_validation.jsonl --export savedmodels/mine

A record has `sentences` (a list) or `text`, and `summaries` (a list) or `summary`; optionally `labels`, 1 for each
sentence of the summary and 0 for the others. Without them the sentences nearest to the summary are labelled. The README
describes sources and flags; so does `--help`.
"""

import dataclasses
from typing import Literal

import common

import kerasformer as kf
from kerasformer.errors import InputError
from kerasformer.metrics import rouge


@dataclasses.dataclass
class Flags(common.FineTuningFlags):
    """Trains an extractive summarizer and exports it."""

    train: str = str(common.SAMPLES / "summaries" / "train.jsonl")
    """Training data: file, folder, glob, tfds:NAME[/CONFIG]:SPLIT or hf:FOLDER:SPLIT."""
    workdir: str = "work/summarize"
    epochs: int = 4
    batch_size: int = 16
    num_sentences: int = 3
    """Maximum sentences of a summary."""
    pooling: Literal["first", "mean"] = "mean"
    """The vector of a sentence: its [CLS], as published for BERT, or the mean of its tokens, which encoders of
    sentence-transformers, such as MiniLM, were trained for."""
    block_trigrams: bool = True
    """Leave out sentences that share three words in a row with a better one."""
    average: float | None = None
    """Momentum of a moving average of the weights, such as 0.999, which is what is evaluated and kept."""
    metric: Literal["rouge1", "rouge2", "rougeL"] = "rouge1"
    """Chooses the best epoch."""


def main(flags):
    common.check_least(flags, epochs=1, batch_size=1)
    strategy = common.begin(flags)
    train, validation, test = load_data(flags)
    sentences = [sentence for row in train.sentences for sentence in row]
    with strategy.scope():
        encoder, tokenizer, _ = common.starting_point(flags, sentences)
        task = kf.tasks.ExtractiveSummarizer(
            encoder,
            tokenizer,
            num_sentences=flags.num_sentences,
            block_trigrams=flags.block_trigrams,
            pooling=flags.pooling,
        )
        common.say_lengths(tokenizer, sentences, what="sentences")
        optimizer = common.adamw(flags, len(train), task.encoder)
    trainer = kf.training.Trainer(task, optimizer, strategy=strategy)
    speed = common.fit(
        flags,
        trainer,
        lambda epoch: kf.data.document_batches(train, flags.batch_size, shuffle_seed=flags.seed, epoch=epoch),
        kf.data.document_batches(validation, 32),
        len(train),
        monitor=flags.metric,
    )
    results = common.evaluate(
        trainer,
        validation=kf.data.document_batches(validation, 32),
        test=test and kf.data.document_batches(test, 32),
    )
    common.finish(
        flags,
        task,
        results | {"train": speed},
        lambda: print_baseline(flags, validation, test),
        kf.data.document_batches(validation, 32),
    )


def load_data(flags):
    """Training, validation and test documents, all with summaries; those to train on also with labels."""

    def load(source, train):
        documents = kf.data.load_documents(source)
        if documents.summaries is None and (train is not None or documents.labels is None):
            raise InputError(f"Summaries are needed to label or to score sentences. None in: {documents.source}")
        return documents

    train, validation, test = common.load_splits(
        flags, load, lambda documents: f"documents, {sum(map(len, documents.sentences)):,} sentences"
    )
    if validation.summaries is None:
        raise InputError(f"Summaries are needed to label or to score sentences. None in: {validation.source}")
    if train.labels is None:
        common.say("labelling the sentences that are nearest to the summaries")
        train = kf.data.with_oracle_labels(train, flags.num_sentences)
    return train, validation, test


def print_baseline(flags, validation, test):
    """ROUGE of the first sentences of the documents."""
    held_out, split = (validation, "validation") if test is None else (test, "test")
    first = [" ".join(row[: flags.num_sentences]) for row in held_out.sentences]
    kf.training.print_table(
        f"first sentences, {split}", ["metric", "score"], list(rouge(first, held_out.summaries).items())
    )


if __name__ == "__main__":
    common.run(main, Flags)
