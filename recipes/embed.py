"""Trains an embedder on pairs of texts and exports it: strings in, vectors out.

    python recipes/embed.py                                   # on the samples beside this script, in minutes
    python recipes/embed.py --train my.csv --validation my_validation.csv --export savedmodels/mine

Pairs with a `score` train the cosine of their vectors; pairs without one, texts that belong together, train that each
finds its own among the others. The README describes sources, formats and flags; so does `--help`.
"""

import dataclasses
from typing import Literal

import common
import numpy as np

import kerasformer as kf
from kerasformer.errors import InputError


@dataclasses.dataclass
class Flags(common.FineTuningFlags):
    """Trains an embedder of texts and exports it."""

    train: str = str(common.SAMPLES / "similarity" / "train.jsonl")
    """Pairs to train on: file, folder, glob, tfds:NAME[/CONFIG]:SPLIT or hf:FOLDER:SPLIT."""
    init: str | None = None
    """A folder of a pretrained encoder, such as one of sentence-transformers, Hugging Face's or a saved kerasformer
    task. None: MiniLM if installed, else random."""
    workdir: str = "work/embed"
    epochs: int = 4
    """Maximum number of epochs; 0 evaluates the starting point."""
    text_column: str | None = None
    """Field or column of the first text, case ignored. None: text_a, sentence1, premise or question1."""
    pair_column: str | None = None
    """Field or column of the second text, with --text-column."""
    label_column: str | None = None
    """Field or column of the score, case ignored. None: score or label."""
    pooling: Literal["mean", "max", "first"] | None = None
    """The vector of a text. None: as the starting point was trained, else the mean of its tokens."""
    objective: Literal["cosine", "ranking"] | None = None
    """What is trained: the cosine of a pair, or that each text finds its own. None: cosine where pairs have scores."""
    symmetric: bool = False
    """Also rank the first texts by the second ones in the ranking objective."""
    highest_score: float | None = None
    """The score of pairs of the same meaning: scores are divided by it to be cosines. None: the highest in training."""
    average: float | None = None
    """Momentum of a moving average of the weights, such as 0.999, which is what is evaluated and kept."""


def main(flags):
    common.check_least(flags, epochs=0, batch_size=2)
    strategy = common.begin(flags)
    train, validation, test, objective = load_data(flags)
    with strategy.scope():
        task = starting_point(flags, train.texts, objective)
        common.say_lengths(task.tokenizer, [*train.texts, *train.pairs])
        optimizer = common.adamw(flags, len(train), task.encoder)
    trainer = kf.training.Trainer(task, optimizer, strategy=strategy)
    results = {"train": {}}
    if flags.epochs:
        results["train"] = common.fit(
            flags,
            trainer,
            lambda epoch: kf.data.batches(train, flags.batch_size, shuffle_seed=flags.seed, epoch=epoch),
            kf.data.batches(validation, 64),
            len(train),
            monitor="spearman" if np.ptp(validation.targets) else "accuracy",
        )
    batches = {name: part and kf.data.batches(part, 64) for name, part in (("validation", validation), ("test", test))}
    common.finish(flags, task, results | common.evaluate(trainer, **batches), validation=batches["validation"])


def load_data(flags):
    """Training, validation and test pairs with scores from 0 to 1 (1 where they have none), and the objective."""
    columns = {name: getattr(flags, name) for name in ("text_column", "pair_column", "label_column")}
    highest, objective = flags.highest_score, flags.objective

    def load(source, train):
        nonlocal highest, objective
        pairs = kf.data.load_classification(source, regression=True, **columns)
        if pairs.pairs is None:
            raise InputError(f"Pairs of texts are needed, such as text_a and text_b. Single texts in: {source}")
        if train is None:
            objective = objective or ("ranking" if pairs.targets is None else "cosine")
            if objective == "cosine" and pairs.targets is None:
                raise InputError(f"The cosine objective needs a score for each pair. None in: {source}")
            highest = highest or (1.0 if pairs.targets is None else float(np.max(pairs.targets)))
            if highest <= 0:
                raise InputError(f"highest_score must be above 0. Received: {highest}.")
        scores = np.ones(len(pairs)) if pairs.targets is None else pairs.targets / highest
        return dataclasses.replace(pairs, targets=scores.astype(np.float32))

    splits = common.load_splits(
        flags, load, lambda pairs: f"pairs, cosines from {pairs.targets.min():g} to {pairs.targets.max():g}"
    )
    return *splits, objective


def starting_point(flags, texts, objective):
    """The embedder of --init, else MiniLM's, else a random BERT-mini with words of the texts."""
    folder = common.starting_folder(flags)
    if folder is None:
        encoder, tokenizer = kf.families.random_encoder(texts, dtype=flags.precision)
        found = None
    else:
        encoder, tokenizer, found = kf.families.load_embedder(folder, dtype=flags.precision)
    changes = {"objective": objective, "symmetric": flags.symmetric}
    changes |= {"pooling": flags.pooling} if flags.pooling else {}
    if found is None:
        return kf.tasks.TextEmbedder(encoder, tokenizer, **changes)
    task = kf.tasks.TextEmbedder(encoder, tokenizer, **found.arguments() | changes)
    # Its dense layers are trained with the encoder.
    found.assign(task)
    return task


if __name__ == "__main__":
    common.run(main, Flags)
