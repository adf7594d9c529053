"""Pretrains a BERT on plain text, or goes on with a published one on texts of one's own field.

    python recipes/pretrain_bert.py                                     # on the samples beside this script, in a minute
    python recipes/pretrain_bert.py --train 'books/*.txt' --size mini --epochs 8
    python recipes/pretrain_bert.py --train tweets.jsonl --init path/to/published --no-next-sentence

Text files hold a sentence or a paragraph a line and a blank line between documents; other sources one document a
record, in the field `text`. `WORKDIR/huggingface` is for `--init` of the other recipes and for Hugging Face
Transformers.
"""

import dataclasses
import pathlib
import time
from typing import Literal

import common
import tensorflow as tf

import kerasformer as kf
from kerasformer.errors import InputError

# Seconds that the other workers wait for the first one to write the text.
CACHE_TIMEOUT = 3600
VALIDATION_BATCHES = 200
LENGTHS = ("first_length", "length", "long_length")


@dataclasses.dataclass
class Flags(common.Flags):
    """Pretrains a BERT and exports it."""

    train: list[str] = dataclasses.field(default_factory=lambda: [str(common.SAMPLES / "pretraining" / "train.txt")])
    """Training text, one source or several, such as one a language: file, folder, glob, tfds:NAME[/CONFIG]:SPLIT or
    hf:FOLDER:SPLIT."""
    validation: str | None = None
    """Validation text, of which the first 12,800 sequences are evaluated. None: the samples', or one in fifty documents
    of the training text, of fewer than 500 one in ten."""
    test: str | None = None
    """Test text, evaluated once at the end, all of it."""
    init: str | None = None
    """A Hugging Face folder of BERT type, one of google-research/bert, or a saved kerasformer task;
    None: a new BERT."""
    workdir: str = "work/pretrain_bert"
    """Where metrics.json, checkpoints, the trained task and the Hugging Face folder go."""
    size: Literal["tiny", "mini", "small", "medium", "base", "large"] = "mini"
    """Of a new BERT, as published (Turc et al. 2019)."""
    vocabulary: int = 8000
    """Word pieces of a new BERT, learned from the training text; fewer where it has no more to give."""
    dropout: float = 0.1
    """Of a new BERT, in layers and attention. 0 learns faster where the text is read only a few times; who goes on from
    the Hugging Face folder finds the usual 0.1 there."""
    cased: bool = False
    """Whether a new BERT keeps capitals and accents."""
    next_sentence: bool = True
    """Learn next sentence prediction too; without it sequences are running text."""
    whole_words: bool = False
    """Hide all pieces of a word, or none."""
    mask_rate: float = 0.15
    """Share of the tokens that are hidden."""
    first_mask_rate: float | None = None
    """Share at the first step, such as 0.4, from where it goes in a line to `mask_rate` (Ankner et al. 2024): more is
    learned of each sequence. None: `mask_rate`."""
    smoothing: float = 1.0
    """With several sources the exponent of their shares; multilingual BERT has 0.7."""
    length: int = 128
    """Tokens of a sequence, for most of the steps."""
    first_length: int = 32
    """Tokens of a sequence in the first steps, see `first_share`."""
    first_share: float | None = None
    """Share of the steps that are the first, in batches of as many tokens. Where a word has few others beside it, a
    BERT finds out sooner which of them matter (Press et al. 2021, section 4). None: 0.3 for a new BERT, 0 for one of
    --init, and where `first_length` is no less than `length`."""
    long_length: int = 512
    """Tokens of a sequence in the last steps."""
    long_share: float = 0.1
    """Share of the steps that are the last, in batches of as many tokens."""
    epochs: int = 4
    """Passes over the training text."""
    steps: int | None = None
    """Updates, in place of epochs."""
    batch_size: int | None = None
    """Sequences of `length` an update. None: 64, or fewer for small corpora."""
    learning_rate: float | None = None
    """Highest learning rate, after a warmup over a tenth of the steps; then down in a line. None: 1e-3 for a new BERT,
    1e-4 to go on with one of --init."""
    weight_decay: float = 0.01
    """Decoupled weight decay."""
    pack: bool = False
    """Fill sequences with several short ones, which do not see each other; with --no-next-sentence, for a new BERT."""
    cache: str | None = None
    """Folder to write the training text to as TFRecords, once, and to read it from; a data service needs it."""
    microbatches: int = 1
    """Parts of a batch that are computed one after the other, to save memory."""
    data_service: str | None = None
    """Address of a tf.data service that prepares the batches, see kerasformer.training.data_service."""

    changeable = common.CHANGEABLE | {"data_service"}
    # Other epochs are another plan of lengths.
    resumable = ("learning_rate", "weight_decay")


def main(flags):
    check(flags)
    strategy = common.begin(flags)
    train, held_out, test = common.sources(flags)
    common.say(f"reading training data: {', '.join(train)}")
    corpora = [open_corpus(source, bool(held_out)) for source in cached(flags)]
    held_out, test = (source and kf.data.Corpus(source) for source in (held_out, test))
    with strategy.scope():
        task = starting_point(flags, corpora)
        data = pretraining_data(flags, corpora, task.tokenizer)
        common.say("counting sequences")
        plan = make_plan(flags, data)
        steps = sum(steps for *_, steps in plan)
        for shape in dict.fromkeys((batch, length) for batch, length, _ in plan):
            of_shape = sum(number for *other, number in plan if tuple(other) == shape)
            common.say(f"  {of_shape:,} steps of {shape[0]} sequences of {shape[1]} tokens")
        usual_rate = 1e-3 if flags.init is None else 1e-4
        rate = usual_rate if flags.learning_rate is None else flags.learning_rate
        optimizer = kf.training.adamw(kf.training.linear_warmup(rate, steps), weight_decay=flags.weight_decay)
    trainer = kf.training.Trainer(
        task, optimizer, strategy=strategy, microbatches=flags.microbatches, data_service=flags.data_service
    )

    def epoch_data(epoch):
        batch_size, length, steps_here = plan[epoch]
        batches = data.batches(batch_size, length, epoch=epoch, steps=steps_here)
        if flags.first_mask_rate is None:
            return batches
        return with_mask_rates(batches, sum(before for *_, before in plan[:epoch]), steps, flags)

    if held_out:
        validation = evaluation_batches(flags, held_out, task.tokenizer)
    else:
        validation = not_empty(data.batches(64, flags.length, held_out=True), "The held-out text")
    validation = validation.take(VALIDATION_BATCHES)
    test = evaluation_batches(flags, test, task.tokenizer) if test else None
    speed = common.fit(flags, trainer, epoch_data, validation, 0, settings={"plan": plan}, epochs=len(plan))
    speed["examples_per_second"] = sum(batch * steps for batch, _, steps in plan) / max(speed["seconds"], 1e-9)
    results = common.evaluate(trainer, validation=validation, test=test) | {"train": speed}
    common.finish(flags, task, results, lambda: save_for_fine_tuning(flags, task))


def check(flags):
    """Raises InputError for flags that do not fit together."""
    common.check_least(flags, epochs=1, steps=1, batch_size=1)
    lengths = {name: getattr(flags, name) for name in LENGTHS}
    shortest = 5 if flags.next_sentence else 3
    if min(lengths.values()) < shortest:
        raise InputError(
            f"{', '.join(LENGTHS)} must be at least {shortest}, for special tokens and text. Received: {lengths}."
        )
    first_share = first_part(flags)
    if min(first_share, flags.long_share) < 0 or first_share + flags.long_share >= 1:
        raise InputError(
            "first_share and long_share must be 0 or more, and together less than 1. "
            f"Received: {first_share} and {flags.long_share}."
        )
    if flags.first_mask_rate is not None and not 0 < flags.first_mask_rate < 1:
        raise InputError(f"first_mask_rate must be in (0, 1). Received: {flags.first_mask_rate}.")


def save_for_fine_tuning(flags, task):
    """Writes `WORKDIR/huggingface`: the task, with the dropout and the pooling that fine-tuning is to start with."""
    folder = pathlib.Path(flags.workdir) / "huggingface"
    if flags.init is None and flags.dropout == 0:
        # A new BERT that learned without dropout is fine-tuned with the usual one; one of --init keeps its own.
        encoder = kf.models.encoder(task.encoder.config.with_dropout(0.1), pooled=True)
        encoder.set_weights(task.encoder.get_weights())
        copy = kf.tasks.BertPretraining(encoder, task.tokenizer, **dataclasses.asdict(task.settings))
        for new, old in zip(copy.head.variables(), task.head.variables(), strict=True):
            new.assign(old)
        task = copy
    task.save(folder)
    if flags.init is not None and kf.families.pooling_of(flags.init) == "mean":
        kf.families.write_embedder_settings(folder, "mean", task.encoder.config.hidden_dim)


def with_mask_rates(batches, first_step, steps, flags):
    """Batches whose share of hidden tokens goes in a line from `first_mask_rate` to `mask_rate`."""

    def add_rate(place, element):
        features, targets = element
        part = tf.cast(first_step + place, tf.float32) / steps
        rate = flags.first_mask_rate + (flags.mask_rate - flags.first_mask_rate) * part
        return {**features, "mask_rate": tf.fill(tf.shape(features["token_ids"])[:1], rate)}, targets

    return batches.enumerate().map(add_rate)


def cached(flags):
    """The sources of the training text, or where they are written to."""
    if flags.data_service and not flags.cache:
        raise InputError("--data-service needs --cache FOLDER, on a disk that the service's machines see.")
    if not flags.cache:
        return flags.train
    folders = [pathlib.Path(flags.cache) / str(index) for index in range(len(flags.train))]
    for source, folder in zip(flags.train, folders, strict=True):
        corpus = kf.data.Corpus(source)
        if kf.training.is_chief() and not folder.exists():
            kf.data.write_corpus(corpus, folder)
        deadline = time.monotonic() + CACHE_TIMEOUT
        while not folder.exists():  # on the other workers
            if time.monotonic() > deadline:
                raise InputError(
                    f"{folder} did not come within {CACHE_TIMEOUT} seconds: see what the first worker says."
                )
            time.sleep(1)
        if kf.data.written_source(folder) != corpus.fingerprint():
            raise InputError(f"{folder} holds other text than {source}: delete it, or name another --cache.")
    return folders


def open_corpus(source, has_validation):
    """The documents of a source; without validation text one in fifty held out, or of fewer than 500 one in ten."""
    corpus = kf.data.Corpus(source)
    if has_validation:
        return corpus
    documents = set()
    for number, _ in corpus.parts():
        documents.add(number)
        if len(documents) == 500:
            break
    if len(documents) < 20:
        raise InputError(
            f"{source} has {len(documents)} documents, too few to hold some out: give --validation, or a blank line "
            "between documents."
        )
    return kf.data.Corpus(source, held_out=50 if len(documents) >= 500 else 10)


def starting_point(flags, corpora):
    """The BERT of --init with the heads that it has, or a new one with word pieces of the training text."""
    options = {"next_sentence": flags.next_sentence, "whole_words": flags.whole_words, "mask_rate": flags.mask_rate}
    shares = first_part(flags), 1.0, flags.long_share
    lengths = {name: getattr(flags, name) for name, share in zip(LENGTHS, shares, strict=True) if share}
    longest = max(lengths.values())
    if flags.init is None:
        common.say(f"learning a vocabulary for a randomly initialized BERT-{flags.size}")
        lines = kf.data.smoothed_lines(corpora, flags.smoothing)
        pieces = kf.text.learn_wordpiece(lines, flags.vocabulary, lowercase=not flags.cased)
        tokenizer = kf.text.WordPieceTokenizer(pieces, lowercase=not flags.cased, max_length=longest)
        config = kf.models.BertConfig.named(
            flags.size,
            vocabulary_size=tokenizer.vocabulary_size,
            max_sequence_length=longest,
            dropout=flags.dropout,
            attention_dropout=flags.dropout,
        )
        encoder = kf.models.bert(config, pooled=True, packed_sequences=flags.pack, dtype=flags.precision)
        return kf.tasks.BertPretraining(encoder, tokenizer, **options)
    if flags.pack:
        raise InputError("--pack is for a new BERT, without --init.")
    common.say(f"starting from {flags.init}")
    encoder, tokenizer = kf.load_encoder(flags.init, dtype=flags.precision)
    most = encoder.config.max_sequence_length
    if longest > most:
        raise InputError(
            f"The BERT of {flags.init} has {most} positions. Received: {lengths}. Give smaller ones, or --long-share 0."
        )
    task = kf.tasks.BertPretraining(encoder, tokenizer, **options)
    checkpoint = kf.families.open_checkpoint(flags.init)
    for kind in ["masked_lm"] + ["next_sentence"] * flags.next_sentence:
        if kind in checkpoint.kinds:
            checkpoint.assign(task.encoder, task.head, kind)
        else:
            common.say(f"not in {flags.init}, so randomly initialized: the {kind} head")
    return task


def pretraining_data(flags, corpora, tokenizer):
    settings = {"next_sentence": flags.next_sentence, "pack": flags.pack, "smoothing": flags.smoothing}
    return kf.data.PretrainingData(corpora, tokenizer, **settings, seed=flags.seed)


def evaluation_batches(flags, corpus, tokenizer):
    data = pretraining_data(flags, [corpus], tokenizer)
    return not_empty(data.batches(64, flags.length, shuffle=False), corpus.sources[0])


def not_empty(batches, name):
    """The batches, if there are any."""
    if next(iter(batches), None) is None:
        raise InputError(
            f"{name} gives no sequence: give --validation, or text of at least two documents of two sentences, with a "
            "blank line between them."
        )
    return batches


def make_plan(flags, data):
    """For each epoch its `(batch size, length, steps)`: the first steps, most of them, and the last ones."""
    count = data.count(flags.length)
    batch_size = flags.batch_size or min(64, max(count // 8, 1))
    if count < batch_size:
        raise InputError(
            f"The text gives {count} sequences of up to {flags.length} tokens, fewer than a batch of {batch_size}: "
            "give a smaller --batch-size, or more text."
        )
    steps = flags.steps or flags.epochs * (count // batch_size)
    first_steps, long_steps = round(steps * first_part(flags)), round(steps * flags.long_share)
    plan = []
    numbers = first_steps, steps - first_steps - long_steps, long_steps
    for name, number in zip(LENGTHS, numbers, strict=True):
        if number:
            length = getattr(flags, name)
            # Batches of as many tokens.
            plan += _epochs(max(batch_size * flags.length // length, 1), length, number, data.count(length))
    return plan


def first_part(flags):
    """Share of the steps with sequences of `first_length`."""
    if flags.first_share is None:
        return 0.3 if flags.init is None and flags.first_length < flags.length else 0.0
    return flags.first_share


def _epochs(batch_size, length, steps, sequences):
    an_epoch = max(sequences // batch_size, 1)
    whole, rest = divmod(steps, an_epoch)
    return [(batch_size, length, number) for number in [an_epoch] * whole + [rest] * (rest > 0)]


if __name__ == "__main__":
    common.run(main, Flags)
