"""Trains a model that finds answers in texts and exports it: question and context in, the answer and its position out.

    python recipes/question_answering.py                            # on the samples beside this script, in minutes
    python recipes/question_answering.py --train train.json --validation dev.json --export savedmodels/mine

The README describes sources, formats and flags; so does `--help`.
"""

import dataclasses
import functools
import pathlib
from typing import Literal

import common
import numpy as np

import kerasformer as kf
from kerasformer.errors import InputError

# Flags that mean something with --average.
OF_AVERAGE = {
    "average",
    "validation",
    "test",
    "offsets",
    "workdir",
    "export",
    "export_precision",
    "max_loss",
    "strategy",
}


@dataclasses.dataclass
class Flags(common.FineTuningFlags):
    """Trains a model that finds answers in texts and exports it."""

    train: str = str(common.SAMPLES / "questions" / "train.json")
    """Training data: file, folder, glob, tfds:NAME[/CONFIG]:SPLIT or hf:FOLDER:SPLIT."""
    validation: str | None = None
    """Validation data: the best epoch and the no-answer threshold are chosen on it. None: the samples', or a tenth of
    the training data."""
    workdir: str = "work/question_answering"
    batch_size: int = 16
    learning_rate: float = 3e-4
    offsets: Literal["repair", "skip", "refuse"] = "repair"
    """What to do with answers that are not at their offset: take their nearest occurrence, leave them out, or end with
    an error."""
    window: int | None = None
    """Maximum tokens that the model reads at once; longer contexts are read in windows. None: 384."""
    overlap: int | None = None
    """Tokens that two neighbouring windows have in common. None: 128."""
    max_answer: int = 30
    """Maximum tokens of an answer."""
    most_words: int | None = None
    """Leave out training questions with an answer of more words, where answers elsewhere are short (as Lee et al. 2019
    did with Natural Questions; they kept five). None: keep all."""
    longest_context: int | None = None
    """Leave out training questions on contexts of more tokens: long ones are read in many windows, most of which hold
    no answer. None: keep all."""
    shuffle_sentences: bool = False
    """Shuffle the sentences of each training context in each epoch, where answers are mostly at the beginning in the
    training data, and elsewhere are not."""
    question_marks: float | None = None
    """Share of the training questions that end with a question mark, drawn in each epoch, where all do or none, and
    elsewhere it is otherwise. None: leave them as they are."""
    average: tuple[str, ...] | None = None
    """Tasks that were trained from the same --init with other seeds (work/.../task), instead of training: the mean of
    their weights is evaluated beside each of them, saved and exported. Of the other flags it takes those that name
    validation and test data, workdir and export."""
    layer_decay: float = 1.0
    """Factor of the learning rate from each layer to the one below it."""
    microbatches: int = 1
    """Parts of a batch that are computed one after the other, to save memory."""


def main(flags):
    common.check_least(flags, epochs=1, batch_size=1, most_words=1, longest_context=1)
    if flags.question_marks is not None and not 0 <= flags.question_marks <= 1:
        raise InputError(f"question_marks must be a share from 0 to 1. Received: {flags.question_marks}.")
    if flags.average is not None:
        check_average(flags)
    strategy = common.begin(flags)
    train, validation, test = load_data(flags)
    speed = {}
    if flags.average is not None:
        trainer = mean_of_tasks(flags.average, validation, strategy)
        has_threshold = trainer.task.no_answer_threshold is not None
    else:
        trainer, has_threshold, speed = train_task(train, validation, flags, strategy)

    def batches(questions):
        return questions and kf.data.question_batches(questions, 32)

    results = common.evaluate(trainer, validation=batches(validation))
    if has_threshold and validation.has_unanswerable:
        trainer.task = trainer.task.replace(no_answer_threshold=results["validation"]["best_threshold"])
        results = common.evaluate(trainer, validation=batches(validation))
    results |= common.evaluate(trainer, test=batches(test)) | ({"train": speed} if speed else {})
    common.finish(flags, trainer.task, results, validation=batches(validation))


def check_average(flags):
    """Nothing is learned: what else was asked for would be passed over, and nothing of other trainings may be lost."""
    others = [name for name, value in vars(Flags()).items() if name not in OF_AVERAGE and getattr(flags, name) != value]
    if others:
        raise InputError(f"With --average nothing is trained. Received also: {', '.join(others)}.")
    if flags.validation is None:
        raise InputError("--average needs --validation: the tasks may have learned any part of the training data.")
    if any((pathlib.Path(flags.workdir) / name).exists() for name in ("task", "checkpoints")):
        raise InputError(f"--average needs a --workdir of its own. Received one that holds a training: {flags.workdir}")


def mean_of_tasks(folders, validation, strategy):
    """A trainer of the mean of tasks that this recipe saved, whose own metrics are shown."""

    def trainer_of(task):
        return kf.training.Trainer(task, kf.training.adamw(0.0), strategy=strategy)

    with strategy.scope():
        mean = trainer_of(kf.tasks.average_tasks(folders))
    if not isinstance(mean.task, kf.tasks.QuestionAnswerer):
        raise InputError(f"--average takes tasks of this recipe. Received: {type(mean.task).__name__} in {folders[0]}.")
    for folder in folders:
        with strategy.scope():
            trainer = trainer_of(kf.load(folder))
        metrics = trainer.evaluate(kf.data.question_batches(validation, 32))
        shown = ", ".join(f"{key} {metrics[key]:.4f}" for key in metrics)
        common.say(f"{folder}, alone, on the validation data: {shown}")
    return mean


def train_task(train, validation, flags, strategy):
    """Returns a trainer whose task has the weights of the best epoch, whether there were questions without an answer to
    learn from, and the speed."""
    with strategy.scope():
        encoder, tokenizer, _ = common.starting_point(flags, [*train.contexts, *train.questions])
        task = kf.tasks.QuestionAnswerer(
            encoder, tokenizer, window=flags.window, overlap=flags.overlap, max_answer=flags.max_answer
        )
        common.say_lengths(
            tokenizer,
            train.questions,
            train.contexts,
            limit=task.window,
            what="questions with their contexts",
            fate="are read in windows",
        )
        train = short_answers(short_contexts(train, tokenizer, flags.longest_context), flags.most_words)
        optimizer = common.adamw(flags, len(train), task.encoder)
    trainer = kf.training.Trainer(task, optimizer, strategy=strategy, microbatches=flags.microbatches)
    # One epoch is kept, since the first is asked for more than once.
    in_epoch = functools.lru_cache(1)(lambda epoch: questions_of_epoch(train, flags, epoch))
    speed = common.fit(
        flags,
        trainer,
        lambda epoch: kf.data.question_batches(
            in_epoch(epoch), flags.batch_size, shuffle_seed=flags.seed, epoch=epoch, length_pool=8
        ),
        kf.data.question_batches(validation, 32),
        len(train),
        monitor="best_f1" if validation.has_unanswerable else "f1",
    )
    return trainer, train.has_unanswerable, speed


def load_data(flags):
    """Training, validation and test questions; with --average no training questions."""

    def load(source, train):
        return kf.data.load_questions(source, offsets=flags.offsets)

    if flags.average is None:
        return common.load_splits(flags, load, describe)
    splits = (("validation", flags.validation), ("test", flags.test))
    return None, *(source and common.read(split, source, lambda s: load(s, None), describe) for split, source in splits)


def describe(questions):
    unanswerable = sum(start < 0 for start in questions.starts)
    shown = f"questions, {unanswerable:,} without an answer" if unanswerable else "questions"
    for fate, places in (("moved to their nearest occurrence", "repaired"), ("left out", "skipped")):
        if places := getattr(questions, places):
            shown += f"; {len(places)} answers are not at their offset, {fate}; the first: {places[0]}"
    return shown


def short_contexts(questions, tokenizer, longest):
    """The questions on contexts of at most so many tokens."""
    if longest is None:
        return questions
    contexts = list(dict.fromkeys(questions.contexts))
    counts = dict(zip(contexts, tokenizer.tokenize(contexts).row_lengths().numpy(), strict=True))
    tokens = np.array([counts[context] for context in questions.contexts])
    if not (tokens <= longest).any():
        raise InputError(
            f"{questions.source}: no context has at most {longest} tokens. Give a larger --longest-context."
        )
    common.say(
        f"{(tokens > longest).sum()} of {len(tokens)} training questions left out: contexts of over {longest} tokens"
    )
    return questions.select(np.flatnonzero(tokens <= longest))


def short_answers(questions, most_words):
    """The questions whose answer has at most so many words, and those without one."""
    if most_words is None:
        return questions
    rows = zip(questions.contexts, questions.starts, questions.ends, strict=True)
    words = np.array([len(context.encode()[start:end].split()) if start >= 0 else 0 for context, start, end in rows])
    if not ((words > 0) & (words <= most_words)).any():
        raise InputError(f"{questions.source}: no answer has at most {most_words} words. Give a larger --most-words.")
    common.say(f"{(words > most_words).sum()} of {len(words)} training questions left out: over {most_words} words")
    return questions.select(np.flatnonzero(words <= most_words))


def questions_of_epoch(train, flags, epoch):
    """The training questions in the form that they have in this epoch."""
    seed = [flags.seed, epoch]
    if flags.shuffle_sentences:
        train = kf.data.shuffle_sentences(train, seed)
    if flags.question_marks is not None:
        train = kf.data.vary_question_marks(train, flags.question_marks, seed)
    return train


if __name__ == "__main__":
    common.run(main, Flags)
