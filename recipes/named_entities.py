"""Trains a tagger of named entities and exports it: strings in, entities with their positions out.

    python recipes/named_entities.py                                # on the samples beside this script, in minutes
    python recipes/named_entities.py --train train.tsv dev.tsv --test test.tsv --export savedmodels/mine

The README describes sources, formats and flags; so does `--help`.
"""

import dataclasses
from typing import Literal

import common

import kerasformer as kf


@dataclasses.dataclass
class Flags(common.FineTuningFlags):
    """Trains a tagger of named entities and exports it."""

    train: list[str] = dataclasses.field(default_factory=lambda: [str(common.SAMPLES / "entities" / "train.tsv")])
    """Training data, one source or several: file, folder, glob, tfds:NAME[/CONFIG]:SPLIT or hf:FOLDER:SPLIT."""
    workdir: str = "work/named_entities"
    epochs: int = 5
    learning_rate: float = 4e-4
    crf: bool = False
    """Learn the transitions between tags as well."""
    window: int | None = None
    """Maximum tokens that the model reads at once; longer texts are read in windows. None: what the encoder takes."""
    first_letters: Literal["repair", "refuse"] = "repair"
    """What to do with entities that begin without B-: begin them (and report how many), or end with an error."""
    layer_decay: float = 1.0
    """Factor of the learning rate from each layer to the one below it."""
    microbatches: int = 1
    """Parts of a batch that are computed one after the other, to save memory."""


def main(flags):
    common.check_least(flags, epochs=1, batch_size=1)
    strategy = common.begin(flags)
    train, validation, test = load_data(flags)
    with strategy.scope():
        encoder, tokenizer, _ = common.starting_point(flags, train.texts)
        task = kf.tasks.Tagger(
            encoder, tokenizer, train.entity_types, labels=train.labels, crf=flags.crf, window=flags.window
        )
        common.say_lengths(tokenizer, train.texts, limit=flags.window, what="sentences", fate="are read in windows")
        optimizer = common.adamw(flags, len(train), task.encoder)
    trainer = kf.training.Trainer(task, optimizer, strategy=strategy, microbatches=flags.microbatches)
    speed = common.fit(
        flags,
        trainer,
        lambda epoch: kf.data.tagging_batches(train, flags.batch_size, shuffle_seed=flags.seed, epoch=epoch),
        kf.data.tagging_batches(validation, 64),
        len(train),
        monitor="f1",
    )
    results = common.evaluate(
        trainer,
        validation=kf.data.tagging_batches(validation, 64),
        test=test and kf.data.tagging_batches(test, 64),
    )
    common.finish(flags, task, results | {"train": speed}, validation=kf.data.tagging_batches(validation, 64))


def load_data(flags):
    """Training, validation and test sentences; the latter two with the entity types and labels of the first."""

    def load(source, train):
        names = {} if train is None else {"entity_types": train.entity_types, "labels": train.labels}
        return kf.data.load_tagging(source, **names, repair=flags.first_letters == "repair")

    return common.load_splits(flags, load, describe)


def describe(sentences):
    counts = [
        sum(int((tags == 1 + 2 * k).sum()) for tags in sentences.tags) for k in range(len(sentences.entity_types))
    ]
    shown = ", ".join(f"{name} {count:,}" for name, count in zip(sentences.entity_types, counts, strict=True))
    repaired = f"; {sentences.repaired} entities without B- begin where their first I- is" if sentences.repaired else ""
    return f"sentences, {sum(counts):,} entities: {shown}{repaired}"


if __name__ == "__main__":
    common.run(main, Flags)
