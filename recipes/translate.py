"""Trains a Transformer to translate and exports it: a sentence in, its translation out.

    python recipes/translate.py                                    # on the samples beside this script, in minutes
    python recipes/translate.py --train pairs.jsonl --validation valid.jsonl --test test.jsonl --source en --target de \
        --export savedmodels/en-de

Each record holds a field a language; or PREFIX.en and PREFIX.de hold a sentence a line. With several targets,
`--target de,fr`, one model learns them all, and its texts begin with a tag: "<2fr> A dog runs."
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
from kerasformer.tasks.translation_pieces import language_tag

# Flags that may differ between a training that was killed and the one that goes on with it.
CHANGEABLE = {"workdir", "export", "export_precision", "test", "strategy"}
CHANGEABLE |= {"beam_size", "length_penalty", "coverage_penalty"}
SAMPLES = pathlib.Path(__file__).parent / "samples" / "translation"


@dataclasses.dataclass
class Flags:
    """Trains a translator and exports it."""

    train: str = str(SAMPLES / "train.jsonl")
    """Training data: file, folder, glob, prefix of two files, tfds:NAME[/CONFIG]:SPLIT or hf:FOLDER:SPLIT."""
    validation: str | None = None
    """Validation data. None: the samples', or a tenth of the training data, at most 1,000 pairs."""
    test: str | None = None
    """Test data, translated once at the end."""
    source: str = "en"
    """Language, as the field is named."""
    target: str = "de"
    """Language, or several with commas between them."""
    init: str | None = None
    """A translator that this recipe saved, to train on; its size, dropout, vocabulary and languages stay. None: a new
    one."""
    workdir: str = "work/translate"
    """Where metrics.json, checkpoints and the trained task go."""
    export: str | None = None
    """Base folder to publish a SavedModel in, such as savedmodels/en-de."""
    export_precision: Literal["float32", "bfloat16"] = "float32"
    """Precision of the exported weights and computation."""
    size: Literal["tiny", "small", "base", "big"] = "tiny"
    """Of the model: tiny has 4 + 4 layers, 128 wide (Wu et al. 2021); base and big are the paper's."""
    positions: Literal["sinusoidal", "learned", "rotary", "relative"] = "sinusoidal"
    """How it knows positions."""
    norm_first: bool = False
    """Pre-norm in place of the paper's post-norm."""
    dropout: float | None = None
    """None: as published for the size, 0.3 for tiny."""
    label_smoothing: float = 0.1
    """Share of the target that goes to all tokens evenly."""
    vocabulary: int | None = None
    """Pieces of a vocabulary. None: 10,000, fewer for small corpora."""
    shared_vocabulary: bool = True
    """One vocabulary and embedding for both sides, or `vocabulary` pieces each."""
    pieces: Literal["bpe", "unigram"] = "bpe"
    """How the pieces are learned."""
    lowercase: bool = False
    """Lower-case all texts, and score lower-cased."""
    max_length: int = 256
    """Longest sentence, in pieces; what is longer is cut."""
    epochs: int = 60
    """Passes over the training data."""
    batch_tokens: int | None = None
    """Target pieces an update. None: 4,096, or a fiftieth of a small corpus."""
    learning_rate: float = 5e-3
    """Highest learning rate, after the warmup; then down with the inverse square root of the step."""
    warmup: int | None = None
    """Updates in which the learning rate goes up. None: 2,000, or a quarter of a short training."""
    average: int = 10
    """Epochs at the end whose weights are averaged."""
    beam_size: int = 5
    """Beams of the translations that are scored and served."""
    length_penalty: float = 1.0
    """Above 0 favours longer translations."""
    coverage_penalty: float = 0.0
    """Above 0 favours translations that look at every word of their source; 0.2 is usual."""
    seed: int = 0
    """Of the order of the data, the dropout and new weights."""
    strategy: Literal["default", "mirrored", "multi_worker"] = "default"
    """How to spread the training over devices."""
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = "float32"
    """Of the computation in training; weights are kept in float32."""


def main(flags):
    names = ("epochs", "batch_tokens", "warmup", "average", "beam_size", "vocabulary")
    least = {name: getattr(flags, name) for name in names}
    if any(value is not None and value < 1 for value in least.values()):
        raise InputError(f"{', '.join(least)} must be at least 1. Received: {least}.")
    strategy = kf.training.make_strategy(flags.strategy)
    keras.utils.set_random_seed(flags.seed)
    workdir = pathlib.Path(flags.workdir)
    languages = flags.target.split(",")
    if len(set(languages)) < len(languages):
        raise InputError(f"--target must be different languages. Received: {flags.target}")
    train, validation, test = load_data(flags, languages)
    with strategy.scope():
        task = starting_point(flags, train, languages)
        lengths = target_lengths(task, train)
        batch_tokens = flags.batch_tokens or min(4096, max(lengths.sum() // 50, lengths.max()))
        warmup = flags.warmup or min(2000, 1 + flags.epochs * lengths.sum() // batch_tokens // 4)
        # The paper's schedule, scaled such that it is at its highest what was asked for.
        schedule = kf.training.noam(1, int(warmup), flags.learning_rate * warmup**0.5)
        optimizer = kf.training.adamw(schedule, weight_decay=0.0, beta_2=0.98, epsilon=1e-9)
    trainer = kf.training.Trainer(task, optimizer, strategy=strategy, clip_norm=None)
    history = trainer.fit(
        lambda epoch: kf.data.token_batches(
            train, lengths, int(batch_tokens), shuffle_seed=flags.seed, epoch=epoch, length_pool=10_000
        ),
        kf.data.batches(validation, 64),
        epochs=flags.epochs,
        callbacks=[kf.training.ProgressBar(), kf.training.MetricsLog(workdir)],
        # A run that was killed goes on from here when the same command is given again.
        checkpoint_folder=workdir / "checkpoints",
        # One an epoch, for averaging.
        checkpoint_every=10**9,
        keep_checkpoints=min(flags.average, flags.epochs),
        settings={name: value for name, value in vars(flags).items() if name not in CHANGEABLE},
    )
    kf.training.average_checkpoints(task.model, workdir / "checkpoints", last=min(flags.average, flags.epochs))

    task.evaluation_beam = flags.beam_size
    results = {"validation": trainer.evaluate(kf.data.batches(validation, 64))}
    if test is not None:
        results["test"] = trainer.evaluate(kf.data.batches(test, 64))
    if not kf.training.is_chief():
        return
    seconds = sum(history.history["seconds"])
    examples = len(train) * len(history.history["seconds"])
    results["train"] = {"examples_per_second": examples / max(seconds, 1e-9), "seconds": seconds}
    kf.training.write_metrics(workdir, results)
    task.save(workdir / "task")
    splits = [split for split in ("validation", "test") if split in results]
    rows = [[metric, *[results[split].get(metric, "") for split in splits]] for metric in results[splits[0]]]
    kf.training.print_table("results", ["metric", *splits], rows)
    print("BLEU:", task.bleu_signature)
    print("chrF:", task.chrf_signature)
    if flags.export:
        print("published", kf.serving.publish(task, flags.export, precision=flags.export_precision))
    # Last of all: a publication that fails is not worth training again.
    shutil.rmtree(workdir / "checkpoints", ignore_errors=True)


def load_data(flags, languages):
    """Training, validation and test pairs; those of several targets one after the other, with tags."""
    validation, test = flags.validation, flags.test
    if flags.train == str(SAMPLES / "train.jsonl"):
        validation = validation or str(SAMPLES / "validation.jsonl")
        test = test or str(SAMPLES / "test.jsonl")

    def load(source):
        return [kf.data.load_translation(source, flags.source, language) for language in languages]

    def joined(parts):
        if len(languages) > 1:
            parts = [
                kf.data.with_prefix(part, language_tag(language))
                for part, language in zip(parts, languages, strict=True)
            ]
        return kf.data.join_examples(parts)

    train, test = load(flags.train), load(test) if test else None
    if validation is not None:
        validation = load(validation)
    else:
        # The same sentences for all languages: none is held out in one and learned in another.
        count = max(map(len, train))
        if count < 2:
            raise InputError(
                f"{flags.train}: at least two pairs are needed, one of them to be held out. Received: {count}."
            )
        order = np.random.default_rng(flags.seed).permutation(count)
        held_out = min(max(count // 10, 1), 1000)
        parts = [[part.select(chosen[chosen < len(part)]) for part in train] for chosen in np.split(order, [held_out])]
        validation, train = parts
    return joined(train), joined(validation), joined(test) if test else None


def starting_point(flags, train, languages):
    """The translator of --init, with the options of the flags, or a new one with pieces of the training texts."""
    options = {
        name: getattr(flags, name) for name in ("beam_size", "length_penalty", "coverage_penalty", "label_smoothing")
    }
    if flags.init is not None:
        task = kf.load(flags.init)
        if not isinstance(task, kf.tasks.Translator):
            raise InputError(f"--init must be a translator that this recipe saved. Received: {flags.init}")
        asked = tuple(languages) if len(languages) > 1 else ()
        if asked != task.target_languages:
            raise InputError(
                f"The translator of --init has the target languages {list(task.target_languages) or 'of one'}. "
                f"Received: --target {flags.target}."
            )
        model = kf.models.with_precision(task.transformer, flags.precision)
        further = task.further_tokenizers()
        return kf.tasks.Translator(model, task.tokenizer, **further, target_languages=asked, **options)
    tags = [language_tag(language) for language in languages] if len(languages) > 1 else []
    if flags.shared_vocabulary:
        tokenizer, target = learn_tokenizer(flags, [*train.texts, *train.pairs], tags), None
    else:
        tokenizer, target = learn_tokenizer(flags, train.texts, tags), learn_tokenizer(flags, train.pairs, [])
    changes = {} if flags.dropout is None else {"dropout": flags.dropout}
    config = kf.models.TransformerConfig.named(
        flags.size,
        vocabulary_size=tokenizer.vocabulary_size,
        target_vocabulary_size=target and target.vocabulary_size,
        positions=flags.positions,
        norm_first=flags.norm_first,
        max_sequence_length=flags.max_length,
        **changes,
    )
    return kf.tasks.Translator(
        kf.models.transformer(config, dtype=flags.precision),
        tokenizer,
        target_tokenizer=target,
        target_languages=languages if tags else (),
        **options,
    )


def learn_tokenizer(flags, texts, tags):
    words = {word for text in texts for word in text.split()}
    model = kf.text.learn_sentencepiece(
        texts,
        flags.vocabulary or min(10_000, 300 + len(words)),
        at_most=flags.vocabulary is None,
        kind=flags.pieces,
        lowercase=flags.lowercase,
        special_tokens=tags,
    )
    return kf.text.SentencePieceTokenizer(model, lowercase=flags.lowercase, max_length=flags.max_length)


def target_lengths(task, train):
    """Pieces of each translation, its end token included, int `[N]`."""
    limit = task.target_tokenizer.max_length
    return np.minimum(task.target_tokenizer.tokenize(list(train.pairs)).row_lengths().numpy() + 1, limit)


if __name__ == "__main__":
    with one_line_errors():
        main(tyro.cli(Flags))
