"""Learning a vocabulary of word pieces from text."""

import collections
import collections.abc
import gzip
import os
import pathlib

import tensorflow as tf
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

from kerasformer.errors import InputError

_SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_MAX_WORD_LENGTH = 100  # longer words are unknown to the tokenizer
_WORDS_PER_LINE = 1000


def learn_wordpiece(
    source,
    vocabulary_size,
    *,
    lowercase=True,
    strip_accents=None,
    split_cjk=True,
    special_tokens=_SPECIAL_TOKENS,
    min_frequency=2,
    alphabet_size=1000,
):
    """Learns word pieces by merging the most frequent neighbours, as the `tokenizers` library does.

    The same text returns the same vocabulary, in any order and with any number of threads.

    Args:
        source: the path of a text file (`.gz` too) or a list of such paths, a `tf.data.Dataset` of strings (batched
            or not), or an iterable of str.
        vocabulary_size: int, special tokens included; fewer are learned where the text does not contain as many.
        lowercase, strip_accents, split_cjk: as in `WordPieceTokenizer`, to which they belong as well.
        special_tokens: list of str, the first ids.
        min_frequency: int, how often two pieces must be adjacent to be merged.
        alphabet_size: int, how many characters are kept, the most frequent ones; at most half of the vocabulary.

    Returns:
        list of str, for `WordPieceTokenizer`.

    Raises:
        InputError: a file cannot be read, `source` has no words, or `vocabulary_size` is too small.
    """
    special_tokens = list(special_tokens)
    if vocabulary_size < len(special_tokens) + 2:
        raise InputError(
            f"`vocabulary_size` must be {len(special_tokens) + 2} or more, for {len(special_tokens)} special tokens "
            f"and the first characters. Received: {vocabulary_size}."
        )
    normalizer = normalizers.BertNormalizer(
        handle_chinese_chars=split_cjk, strip_accents=strip_accents, lowercase=lowercase
    )
    counts = _count_words(texts_of(source), normalizer)
    if not counts:
        raise InputError("`source` must hold words to learn from. Received: none.")

    characters = collections.Counter()
    for word, count in counts.items():
        for character in word:
            characters[character] += count
    limit = min(alphabet_size, (vocabulary_size - len(special_tokens)) // 2)
    alphabet = set(sorted(characters, key=lambda character: (-characters[character], character))[:limit])
    words = sorted(word for word in counts if alphabet.issuperset(word))

    # The trainer breaks ties by id, and numbers what stands first in its hash table of words first. Special tokens
    # are numbered in their order, so the characters are given as such.
    starting = sorted({word[0] for word in words})
    continuing = sorted({f"##{character}" for word in words for character in word[1:]})
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocabulary_size,
        min_frequency=min_frequency,
        special_tokens=list(dict.fromkeys([*special_tokens, *starting, *continuing])),
        continuing_subword_prefix="##",
        show_progress=False,
    )
    tokenizer = Tokenizer(models.WordPiece())
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.train_from_iterator(_repeated(words, counts), trainer)
    ids = tokenizer.get_vocab()
    return sorted(ids, key=ids.get)


def _count_words(texts, normalizer):
    split = pre_tokenizers.BertPreTokenizer().pre_tokenize_str
    counts = collections.Counter()
    for text in texts:
        counts.update(word for word, _ in split(normalizer.normalize_str(text)) if len(word) <= _MAX_WORD_LENGTH)
    return counts


def _repeated(words, counts):
    """Each word as often as it was counted, in lines of bounded length."""
    line = []
    for word in words:
        for start in range(0, counts[word], _WORDS_PER_LINE):
            line += [word] * min(_WORDS_PER_LINE, counts[word] - start)
            if len(line) >= _WORDS_PER_LINE:
                yield " ".join(line)
                line = []
    yield " ".join(line)


def texts_of(source):
    """Streams the texts of what `learn_wordpiece` and `learn_sentencepiece` take as `source`."""
    if isinstance(source, (str, os.PathLike)):
        source = [pathlib.Path(source)]
    if isinstance(source, tf.data.Dataset):
        if getattr(source.element_spec, "dtype", None) != tf.string:
            raise InputError(f"`source` must be a data set of strings. Received elements: {source.element_spec}.")
        for element in source.as_numpy_iterator():
            for text in [element] if isinstance(element, bytes) else element.ravel():
                yield text.decode("utf-8", "replace")
    elif isinstance(source, (list, tuple)) and source and all(_is_path(item) for item in source):
        for path in source:
            yield from _lines(path)
    else:
        if not isinstance(source, collections.abc.Iterable):
            raise InputError(f"`source` must be files, a data set or an iterable. Received: {source!r}.")
        for text in source:
            if not isinstance(text, str):
                raise InputError(f"`source` must give str. Received: a {type(text).__name__}, {text!r}.")
            yield text


def _is_path(item):
    return isinstance(item, os.PathLike) or (isinstance(item, str) and len(item) < 4096 and os.path.isfile(item))


def _lines(path):
    opener = gzip.open if str(path).endswith(".gz") else open
    try:
        with opener(path, "rt", encoding="utf-8", errors="replace", newline="\n") as file:
            yield from file
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"`source` must be text files that can be read. Received: {path} ({reason}).") from None
