"""Trains a Transformer to translate and exports it: a sentence in, its translation out.

    python recipes/translate.py                                    # on the samples beside this script, in minutes
    python recipes/translate.py --train pairs.jsonl --validation valid.jsonl --test test.jsonl --source en --target de \
        --export savedmodels/en-de

Each record holds a field per language; or PREFIX.en and PREFIX.de hold a sentence per line. With several targets,
`--target de,fr`, one model learns them all, and its texts begin with a tag: "<2fr> A dog runs."
"""

import dataclasses
import pathlib
from typing import Literal

import common
import numpy as np

import kerasformer as kf
from kerasformer.errors import InputError
from kerasformer.tasks.translation_pieces import language_tag


@dataclasses.dataclass
class Flags(common.Flags):
    """Trains a translator and exports it."""

    train: str = str(common.SAMPLES / "translation" / "train.jsonl")
    """Training data: file, folder, glob, prefix of two files, tfds:NAME[/CONFIG]:SPLIT or hf:FOLDER:SPLIT."""
    validation: str | None = None
    """Validation data. None: the samples', or a tenth of the training data, at most 1,000 pairs."""
    source: str = "en"
    """Source language, as the field is named."""
    target: str = "de"
    """Target language, or several separated by commas."""
    init: str | None = None
    """A translator that this recipe saved, to train on; its size, dropout, vocabulary and languages are kept. None: a
    randomly initialized one."""
    workdir: str = "work/translate"
    epochs: int = 60
    size: Literal["tiny", "small", "base", "big"] = "tiny"
    """Size of the model: tiny has 4 + 4 layers, 128 wide (Wu et al. 2021); base and big are the paper's."""
    positions: Literal["sinusoidal", "learned", "rotary", "relative"] = "sinusoidal"
    """Position scheme."""
    norm_first: bool = False
    """Pre-norm in place of the paper's post-norm."""
    dropout: float | None = None
    """None: as published for the size, 0.3 for tiny."""
    label_smoothing: float = 0.1
    """Share of the target that is spread over all tokens."""
    vocabulary: int | None = None
    """Pieces of a vocabulary. None: 10,000, fewer for small corpora."""
    shared_vocabulary: bool = True
    """One vocabulary and embedding for both sides, or `vocabulary` pieces each."""
    pieces: Literal["bpe", "unigram"] = "bpe"
    """How the pieces are learned."""
    lowercase: bool = False
    """Lower-case all texts, and score lower-cased."""
    max_length: int = 256
    """Maximum pieces of a sentence; longer ones are cut."""
    batch_tokens: int | None = None
    """Target pieces per update. None: 4,096, or a fiftieth of a small corpus."""
    learning_rate: float = 5e-3
    """Peak learning rate, after the warmup; then it decays with the inverse square root of the step."""
    warmup: int | None = None
    """Updates of the warmup. None: 2,000, or a quarter of a short training."""
    average: int = 10
    """Last epochs whose weights are averaged."""
    beam_size: int = 5
    """Beams of the translations that are scored and served."""
    length_penalty: float = 1.0
    """Above 0 favours longer translations."""
    coverage_penalty: float = 0.0
    """Above 0 favours translations that attend to every word of their source; 0.2 is usual."""
    vocabulary_map: int | None = None
    """Likeliest target pieces of each source piece, such as 50, of which alone translations are scored and served: they
    are made faster. None: of all pieces."""
    bleu_tokenize: str | None = None
    """Tokenizer of BLEU, as sacrebleu names it: 13a, intl, char, zh, ja-mecab, ko-mecab, flores200, ... None: by the
    script of the references: zh for Chinese, ja-mecab and ko-mecab where installed, char for others without spaces
    between words, else 13a."""

    changeable = common.CHANGEABLE | {
        "beam_size",
        "length_penalty",
        "coverage_penalty",
        "vocabulary_map",
        "bleu_tokenize",
    }


def main(flags):
    names = ("epochs", "batch_tokens", "warmup", "average", "beam_size", "vocabulary", "vocabulary_map")
    common.check_least(flags, **dict.fromkeys(names, 1))
    if flags.bleu_tokenize is not None:
        kf.metrics.bleu_tokenizer([], flags.bleu_tokenize)
    languages = flags.target.split(",")
    if len(set(languages)) < len(languages):
        raise InputError(f"--target must be different languages. Received: {flags.target}")
    strategy = common.begin(flags)
    train, validation, test = load_data(flags, languages)
    with strategy.scope():
        task = starting_point(flags, train, languages)
        task = task.replace(bleu_tokenize=flags.bleu_tokenize)
        common.say_lengths(task.tokenizer, train.texts, what="source sentences")
        lengths = target_lengths(task, train)
        batch_tokens = int(flags.batch_tokens or min(4096, max(lengths.sum() // 50, lengths.max())))
        steps = flags.epochs * lengths.sum() // batch_tokens
        warmup = int(flags.warmup or min(2000, 1 + steps // 4))
        common.say(f"about {steps:,} steps of {batch_tokens:,} target pieces")
        # The paper's schedule, scaled to its peak.
        schedule = kf.training.noam(1, warmup, flags.learning_rate * warmup**0.5)
        optimizer = kf.training.adamw(schedule, weight_decay=0.0, beta_2=0.98, epsilon=1e-9)
    trainer = kf.training.Trainer(task, optimizer, strategy=strategy, clip_norm=None)
    averaged = min(flags.average, flags.epochs)
    speed = common.fit(
        flags,
        trainer,
        lambda epoch: kf.data.token_batches(
            train, lengths, batch_tokens, shuffle_seed=flags.seed, epoch=epoch, length_pool=10_000
        ),
        kf.data.batches(validation, 64),
        len(train),
        # One per epoch, for averaging.
        checkpoint_every=10**9,
        keep_checkpoints=averaged,
    )
    kf.training.average_checkpoints(task.model, pathlib.Path(flags.workdir) / "checkpoints", last=averaged)
    task = task.replace(evaluation_beam=flags.beam_size)
    if flags.vocabulary_map is not None:
        learned = kf.tasks.learn_vocabulary_map(task, train.texts, train.pairs, size=flags.vocabulary_map)
        task = task.with_vocabulary_map(learned)
    trainer.task = task
    batches = {name: part and kf.data.batches(part, 64) for name, part in (("validation", validation), ("test", test))}
    results = common.evaluate(trainer, **batches)
    common.finish(
        flags,
        task,
        results | {"train": speed},
        lambda: print(f"BLEU: {task.bleu_signature}\nchrF: {task.chrf_signature}"),
        batches["validation"],
    )


def load_data(flags, languages):
    """Training, validation and test pairs; those of several targets one after the other, with tags."""

    def load(source):
        return [kf.data.load_translation(source, flags.source, language) for language in languages]

    def joined(parts):
        if len(languages) > 1:
            parts = [
                kf.data.with_prefix(part, language_tag(language))
                for part, language in zip(parts, languages, strict=True)
            ]
        return kf.data.join_examples(parts)

    def describe(parts):
        return f"target languages, {sum(map(len, parts)):,} pairs" if len(parts) > 1 else f"({len(parts[0]):,} pairs)"

    train, validation, test = (
        source and common.read(split, source, load, describe)
        for split, source in zip(("training", "validation", "test"), common.sources(flags), strict=True)
    )
    if validation is None:
        # The same sentences for all languages: none is held out in one and learned in another.
        count = max(map(len, train))
        if count < 2:
            raise InputError(
                f"{flags.train}: at least two pairs are needed, one of them to be held out. Received: {count}."
            )
        order = np.random.default_rng(flags.seed).permutation(count)
        held_out = min(max(count // 10, 1), 1000)
        common.say(f"no --validation: {held_out:,} pairs of the training data are held out")
        parts = [[part.select(chosen[chosen < len(part)]) for part in train] for chosen in np.split(order, [held_out])]
        validation, train = parts
    return joined(train), joined(validation), joined(test) if test else None


def starting_point(flags, train, languages):
    """The translator of --init, with the options of the flags, or a new one with pieces of the training texts."""
    options = {
        name: getattr(flags, name) for name in ("beam_size", "length_penalty", "coverage_penalty", "label_smoothing")
    }
    if flags.init is not None:
        common.say(f"starting from {flags.init}")
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
    common.say("learning a vocabulary for a randomly initialized Transformer")
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
    common.run(main, Flags)
