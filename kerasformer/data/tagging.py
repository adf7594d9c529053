"""Sentences whose words carry tags, in memory: named entities and the like."""

import dataclasses
import functools

import numpy as np
import tensorflow as tf

from kerasformer.data import huggingface, tfds
from kerasformer.data.batching import epoch_order
from kerasformer.data.columns import find_field, object_column, whole_characters
from kerasformer.data.files import file_ending, find_files, label_names_beside, read_lines
from kerasformer.data.sources import read_records
from kerasformer.errors import InputError
from kerasformer.metrics.entities import entities_of, split_tag

TAG_FIELDS = ("tags", "ner_tags", "ner", "labels")
WORD_FIELDS = ("tokens", "words")


@dataclasses.dataclass(frozen=True, eq=False)
class TaggedSentences:
    """Columns of one length N.

    Attributes:
        words: `[N]` objects, each a tuple of str.
        tags: `[N]` objects, each int32 `[words]`, in IOB2: 0 outside, `1 + 2k` where an entity of type k begins,
            `2 + 2k` inside of it.
        entity_types: names of the types.
        repaired: how many entities began without a B- of their own, though others of the data do begin so.
        source: where they were read.
    """

    words: np.ndarray
    tags: np.ndarray
    entity_types: tuple[str, ...]
    repaired: int
    source: str

    pairs = None

    def __len__(self):
        return len(self.words)

    @functools.cached_property
    def texts(self):
        """`[N]` objects, the words of each sentence joined by spaces."""
        return object_column([" ".join(words) for words in self.words])

    def select(self, indices) -> "TaggedSentences":
        """The sentences at `indices` (integers), in that order."""
        indices = np.asarray(indices, np.int64)
        return dataclasses.replace(self, words=self.words[indices], tags=self.tags[indices])


def load_tagging(source, *, entity_types=None, repair=True) -> TaggedSentences:
    """Reads sentences with a tag for each word: IOB2 (BIO), IOB1, BIOES or BILOU.

    Args:
        source: one source or several in a tuple or list. A `.tsv` or `.txt` file is in CoNLL's form: a line for each
            word, `word<TAB>tag` or, in files without tabs, `word tag`; an empty line after each sentence; lines that
            begin with -DOCSTART- end a sentence as well. Everything else is what `read_records` takes, each record with
            `tokens` (or `words`) and `tags` (or `ner_tags`, `ner`), lists of one length; tags are names, or numbers of
            the names that come with the source (`labels.json`, `ClassLabel`).
        entity_types: those of the training data; all others are then an error.
        repair: whether an entity may begin without B- (as IOB1 has it, and as `conlleval` reads it), or is an error.

    Raises:
        InputError: the source cannot be read or is empty, a line has not two columns, or a tag is none; with the file
            and the line.
    """
    sources = [source] if isinstance(source, str) or not isinstance(source, (list, tuple)) else list(source)
    words, entities, repaired, first_places = [], [], [], {}
    for name in map(str, sources):
        for sentence, tags, places in _read_sentences(name):
            found = entities_of(tags)
            for begin, _, kind in found:
                first_places.setdefault(kind, places[begin])
            repaired += [places[begin] for begin, _, _ in found if tags[begin][0] not in "BS"]
            words.append(tuple(sentence))
            entities.append(found)
    name = ", ".join(map(str, sources))
    if not words:
        raise InputError(f"{name}: expected at least one sentence. Received an empty data set.")
    if repaired and not repair:
        raise InputError(f"{repaired[0]}: an entity begins without B- ({len(repaired)} such places in all).")
    if entity_types is None:
        entity_types = sorted({kind for found in entities for _, _, kind in found})
        if not entity_types:
            raise InputError(f"{name}: expected tags of entities, such as B-Disease. Received no tag but O.")
    numbers = {kind: number for number, kind in enumerate(entity_types)}
    for kind, place in first_places.items():
        if kind not in numbers:
            raise InputError(f"{place}: the entity type {kind!r} is not one of {list(entity_types)}.")
    tags = []
    for sentence, found in zip(words, entities, strict=True):
        row = np.zeros(len(sentence), np.int32)
        for begin, end, kind in found:
            row[begin:end] = 2 + 2 * numbers[kind]
            row[begin] -= 1
        tags.append(row)
    return TaggedSentences(object_column(words), object_column(tags), tuple(entity_types), len(repaired), name)


def tagging_batches(sentences, batch_size, *, shuffle_seed=None, epoch=0, skip_batches=0, length_pool=0):
    """One epoch of `sentences` as `({"text": [batch]}, {"tags": [batch, words], "word_starts": [batch, words]})`.

    A text is its words joined by spaces; `word_starts` int32 tells where they begin in it, in bytes of UTF-8; both
    are filled up with -1.

    Args:
        sentences: what `load_tagging` returns.
        batch_size, shuffle_seed, epoch, skip_batches, length_pool: as in `batches`.
    """
    order = epoch_order(sentences, batch_size, shuffle_seed=shuffle_seed, epoch=epoch, length_pool=length_pool)
    chosen = sentences.select(order[skip_batches * batch_size :])
    columns = (
        tf.constant(chosen.texts, tf.string, shape=[len(chosen)]),
        _ragged(chosen.tags),
        _ragged([word_starts(words) for words in chosen.words]),
    )

    def padded(text, tags, starts):
        return {"text": text}, {"tags": tags.to_tensor(-1), "word_starts": starts.to_tensor(-1)}

    return tf.data.Dataset.from_tensor_slices(columns).batch(batch_size).map(padded)


def word_starts(words):
    """Where words begin in the text that they make when joined by spaces, int32 `[words]`, in bytes of UTF-8."""
    lengths = np.fromiter((len(word.encode()) + 1 for word in words), np.int32, len(words))
    return np.cumsum(lengths, dtype=np.int32) - lengths


def _ragged(rows):
    values = np.concatenate([np.zeros(0, np.int32), *rows])
    return tf.RaggedTensor.from_row_lengths(values, [len(row) for row in rows])


def _read_sentences(source):
    """Yields `(words, tags as letter and type, places)` of one source."""
    if not (tfds.is_tfds(source) or huggingface.is_huggingface(source)):
        files = find_files(source)
        if all(file_ending(path) in (".tsv", ".txt") for path in files):
            for path in files:
                yield from _read_conll(path)
            return
    names = _tag_names(source)
    for record, where in read_records(source):
        words, tags = _fields(record, where)
        if words:
            yield words, [_tag(tag, where, names) for tag in tags], [where] * len(words)


def _read_conll(path):
    words, tags, places = [], [], []
    separator = None
    for number, line in read_lines(path):
        where = f"{path}:{number}"
        is_boundary = line.startswith("-DOCSTART-")
        if is_boundary or not line.strip():
            if words:
                yield words, tags, places
                words, tags, places = [], [], []
            continue
        separator = separator or ("\t" if "\t" in line else " ")
        columns = line.split(separator)
        if len(columns) != 2 or not columns[0].strip():
            raise InputError(
                f"{where}: expected two columns, a word and its tag. Received {len(columns)}: {line[:60]!r}; keep "
                "these two of a file that has more."
            )
        words.append(columns[0])
        tags.append(_tag(columns[1].strip(), where))
        places.append(where)
    if words:
        yield words, tags, places


def _fields(record, where):
    """Words and tags of a record."""
    found = [[find_field(record, name) for name in names] for names in (WORD_FIELDS, TAG_FIELDS)]
    fields = [next((name for name in names if name is not None), None) for names in found]
    if None in fields:
        raise InputError(
            f"{where}: expected the fields tokens and tags (or {', '.join(TAG_FIELDS[1:])}). "
            f"Received {', '.join(map(str, record)) or 'none'}."
        )
    words, tags = (record[name] for name in fields)
    if not isinstance(words, list) or not isinstance(tags, list) or len(words) != len(tags):
        raise InputError(f"{where}: expected a tag for each word, two lists of one length.")
    if not all(isinstance(word, str) and word.strip() for word in words):
        raise InputError(f"{where}: expected words that are not empty. Received {str(words)[:60]}.")
    whole_characters(" ".join(words), where, "a word")
    return words, tags


def _tag_names(source):
    if tfds.is_tfds(source):
        return tfds.label_names(source, TAG_FIELDS)
    if huggingface.is_huggingface(source):
        return huggingface.label_names(source, TAG_FIELDS)
    return label_names_beside(find_files(source))


def _tag(tag, where, names=None):
    if isinstance(tag, int) and not isinstance(tag, bool):
        if names is None or not 0 <= tag < len(names):
            raise InputError(f"{where}: tag {tag} has no name; names of numbered tags stand in labels.json.")
        tag = names[tag]
    try:
        return split_tag(tag)
    except (ValueError, AttributeError):
        raise InputError(
            f"{where}: expected a tag such as B-Disease, I-Disease or O. Received {str(tag)[:40]!r}."
        ) from None
