"""Sentences whose words carry tags, in memory: named entities and the like."""

import dataclasses
import itertools
import re

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
# Words of a text that comes with spans: runs of letters, digits and marks, and each other character alone.
_WORD = re.compile(r"\w+|[^\w\s]")


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
        labels: of tags without letters, the names with O first, if it occurs; else None. See `kf.tasks.Tagger`.
        texts: `[N]` objects, each a str that holds the words in their order; by default they are joined by spaces.
        starts: `[N]` objects, each int32 `[words]`: where the words begin in the text, in bytes of UTF-8.
    """

    words: np.ndarray
    tags: np.ndarray
    entity_types: tuple[str, ...]
    repaired: int
    source: str
    labels: tuple[str, ...] | None = None
    _: dataclasses.KW_ONLY
    texts: np.ndarray | None = None
    starts: np.ndarray | None = None

    pairs = None

    def __post_init__(self):
        if self.texts is None:
            object.__setattr__(self, "texts", object_column([" ".join(words) for words in self.words]))
            object.__setattr__(self, "starts", object_column([word_starts(words) for words in self.words]))

    def __len__(self):
        return len(self.words)

    def select(self, indices) -> "TaggedSentences":
        """The sentences at `indices` (integers), in that order."""
        indices = np.asarray(indices, np.int64)
        columns = {name: getattr(self, name)[indices] for name in ("words", "tags", "texts", "starts")}
        return dataclasses.replace(self, **columns)


def load_tagging(source, *, entity_types=None, labels=None, repair=True) -> TaggedSentences:
    """Reads sentences with a tag for each word: IOB2 (BIO), IOB1, BIOES or BILOU; or names without such letters.

    Where no tag of the data has a letter, neighbouring words of one name are one entity, if there are words tagged O;
    else every word is one, as with parts of speech.

    Args:
        source: one source or several in a tuple or list. A `.tsv` or `.txt` file is in CoNLL's form: a line for each
            word, in columns between tabs or, in files without tabs, spaces. The first column is the word, the last one
            its tag. A sentence ends at an empty line, or at one that begins with -DOCSTART-. Everything else is what
            `read_records` takes, either records with `tokens` (or `words`) and `tags` (or `ner_tags`, `ner`), lists of
            one length, where tags are names, or numbers of the names that come with the source (`labels.json`,
            `ClassLabel`); or records with `text` and `entities`, a list of `{"start", "end", "label"}` in characters.
        entity_types: those of the training data; all others are then an error.
        labels: those of the training data, where it has any.
        repair: whether an entity may begin without B- (as IOB1 has it, and as `conlleval` reads it), or is an error.

    Raises:
        InputError: the source cannot be read or is empty, a line has one column or another number of them than the
            lines before, a tag is none, or a span is outside of its text or overlaps another; with the file and line.
    """
    sources = [source] if isinstance(source, str) or not isinstance(source, (list, tuple)) else list(source)
    found = [sentence for name in map(str, sources) for sentence in _read_sentences(name)]
    plain = _plain_names(found)
    joins = "O" in (labels or plain or ())
    entities, repaired, first_places = [], [], {}
    for _, tags, places, *_ in found:
        tags = [(letter or ("I" if joins else "S"), kind) for letter, kind in tags]
        entities.append(entities_of(tags))
        for begin, _, kind in entities[-1]:
            first_places.setdefault(kind, places[begin])
        if plain is None:
            repaired += [places[begin] for begin, _, _ in entities[-1] if tags[begin][0] not in "BS"]
    name = ", ".join(map(str, sources))
    if not found:
        raise InputError(f"{name}: expected at least one sentence. Received an empty data set.")
    if repaired and not repair:
        raise InputError(f"{repaired[0]}: an entity begins without B- ({len(repaired)} such positions in total).")
    if entity_types is None:
        entity_types = sorted({kind for spans in entities for _, _, kind in spans})
        if not entity_types:
            raise InputError(f"{name}: expected tags of entities, such as B-Disease. Received no tag but O.")
    numbers = {kind: number for number, kind in enumerate(entity_types)}
    for kind, place in first_places.items():
        if kind not in numbers:
            raise InputError(f"{place}: the entity type {kind!r} is not one of {list(entity_types)}.")
    tags = []
    for (words, *_), spans in zip(found, entities, strict=True):
        row = np.zeros(len(words), np.int32)
        for begin, end, kind in spans:
            row[begin:end] = 2 + 2 * numbers[kind]
            row[begin] -= 1
        tags.append(row)
    if plain is not None and labels is None:
        labels = [*sorted(plain & {"O"}), *entity_types]
    return TaggedSentences(
        object_column([tuple(words) for words, *_ in found]),
        object_column(tags),
        tuple(entity_types),
        len(repaired),
        name,
        labels and tuple(labels),
        texts=object_column([text for *_, text, _ in found]),
        starts=object_column([starts for *_, starts in found]),
    )


def _plain_names(sentences):
    """All tags of the data, a set, where they have no letters; else None."""
    tags = [(tag, places[number]) for _, tags, places, *_ in sentences for number, tag in enumerate(tags)]
    plain = [(kind, place) for (letter, kind), place in tags if not letter]
    if not plain:
        return None
    if any(letter in "BIES" for (letter, _), _ in tags if letter):
        tag, place = plain[0]
        raise InputError(f"{place}: expected a tag such as B-Disease, I-Disease or O. Received {tag[:40]!r}.")
    return {kind or "O" for (_, kind), _ in tags}


def tagging_batches(sentences, batch_size, *, shuffle_seed=None, epoch=0, skip_batches=0, length_pool=0):
    """One epoch of `sentences` as `({"text": [batch]}, {"tags": [batch, words], "word_starts": [batch, words]})`.

    `word_starts` int32 are where the words begin in the text, in bytes of UTF-8. Tags and starts are padded with -1.

    Args:
        sentences: what `load_tagging` returns.
        batch_size, shuffle_seed, epoch, skip_batches, length_pool: as in `batches`.
    """
    order = epoch_order(sentences, batch_size, shuffle_seed=shuffle_seed, epoch=epoch, length_pool=length_pool)
    chosen = sentences.select(order[skip_batches * batch_size :])
    columns = (
        tf.constant(chosen.texts, tf.string, shape=[len(chosen)]),
        _ragged(chosen.tags),
        _ragged(chosen.starts),
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
    """Yields `(words, tags as letter (or "") and type, places, text, where the words begin)` of one source."""
    if not (tfds.is_tfds(source) or huggingface.is_huggingface(source)):
        files = find_files(source)
        if all(file_ending(path) in (".tsv", ".txt") for path in files):
            for path in files:
                for words, tags, places in _read_conll(path):
                    yield words, tags, places, " ".join(words), word_starts(words)
            return
    names = _tag_names(source)
    for record, where in read_records(source):
        if find_field(record, "entities") is not None:
            words, tags, text, starts = _from_spans(record, where)
        else:
            words, tags = _fields(record, where)
            tags, text, starts = [_tag(tag, where, names) for tag in tags], " ".join(words), word_starts(words)
        if words:
            yield words, tags, [where] * len(words), text, starts


def _read_conll(path):
    words, tags, places = [], [], []
    separator = width = None
    for number, line in read_lines(path):
        where = f"{path}:{number}"
        is_boundary = line.startswith("-DOCSTART-")
        if is_boundary or not line.strip():
            if words:
                yield words, tags, places
                words, tags, places = [], [], []
            continue
        separator = separator or ("\t" if "\t" in line else " ")
        columns = line.split("\t") if separator == "\t" else re.split(" +", line.strip(" "))
        width = width or len(columns)
        if len(columns) < 2 or not columns[0].strip():
            raise InputError(f"{where}: expected columns, first a word and last its tag. Received {line[:60]!r}.")
        if len(columns) != width:
            raise InputError(
                f"{where}: expected {width} columns, as in the lines before. Received {len(columns)}: {line[:60]!r}."
            )
        words.append(columns[0])
        tags.append(_tag(columns[-1].strip(), where))
        places.append(where)
    if words:
        yield words, tags, places


def _fields(record, where):
    """Words and tags of a record."""
    found = [[find_field(record, name) for name in names] for names in (WORD_FIELDS, TAG_FIELDS)]
    fields = [next((name for name in names if name is not None), None) for names in found]
    if None in fields:
        raise InputError(
            f"{where}: expected the fields tokens and tags (or {', '.join(TAG_FIELDS[1:])}), or text and entities. "
            f"Received {', '.join(map(str, record)) or 'none'}."
        )
    words, tags = (record[name] for name in fields)
    if not isinstance(words, list) or not isinstance(tags, list) or len(words) != len(tags):
        raise InputError(f"{where}: expected a tag for each word, two lists of one length.")
    if not all(isinstance(word, str) and word.strip() for word in words):
        raise InputError(f"{where}: expected words that are not empty. Received {str(words)[:60]}.")
    whole_characters(" ".join(words), where, "a word")
    return words, tags


def _from_spans(record, where):
    """Words, tags, text and where the words begin, of a record with spans."""
    text, entities = record.get(find_field(record, "text")), record[find_field(record, "entities")]
    if not isinstance(text, str) or not isinstance(entities, list):
        raise InputError(f"{where}: expected a string as text and a list as entities. Received {str(record)[:60]}.")
    whole_characters(text, where, "the text")
    spans = sorted(_span(entity, text, where) for entity in entities)
    for (_, end, _), (start, *_) in itertools.pairwise(spans):
        if start < end:
            raise InputError(f"{where}: entities must not overlap. Received {text[start:end][:40]!r} in two of them.")
    # A word that a span cuts is two.
    borders = sorted({0, len(text), *(place for span in spans for place in span[:2])})
    words, tags, starts, number = [], [], [], 0
    for begin, end in itertools.pairwise(borders):
        is_entity = number < len(spans) and spans[number][0] == begin
        for place, found in enumerate(_WORD.finditer(text, begin, end)):
            words.append(found.group())
            starts.append(found.start())
            tags.append(("BI"[place > 0], spans[number][2]) if is_entity else ("O", ""))
        number += is_entity
    lengths = np.cumsum([0, *(len(character.encode()) for character in text)])
    return words, tags, text, lengths[starts].astype(np.int32)


def _span(entity, text, where):
    """`(start, end, label)` of an entity, without white space around it."""
    try:
        start, end, label = (entity[name] for name in ("start", "end", "label"))
        is_span = type(start) is type(end) is int and isinstance(label, str) and 0 <= start < end <= len(text)
    except (KeyError, TypeError):
        is_span = False
    content = text[start:end] if is_span else ""
    if not content.strip() or not label.strip():
        raise InputError(
            f"{where}: expected entities with start and end, characters of the text, and a label. Received "
            f"{str(entity)[:60]} for {len(text)} characters."
        )
    return start + len(content) - len(content.lstrip()), end - len(content) + len(content.rstrip()), label


def _tag_names(source):
    if tfds.is_tfds(source):
        return tfds.label_names(source, TAG_FIELDS)
    if huggingface.is_huggingface(source):
        return huggingface.label_names(source, TAG_FIELDS)
    return label_names_beside(find_files(source))


def _tag(tag, where, names=None):
    if isinstance(tag, int) and not isinstance(tag, bool):
        if names is None or not 0 <= tag < len(names):
            raise InputError(f"{where}: tag {tag} has no name; names of numbered tags are in labels.json.")
        tag = names[tag]
    try:
        return split_tag(tag)
    except (ValueError, AttributeError):
        # A name without a letter, unless its beginning is one.
        if isinstance(tag, str) and tag.strip() and not (len(tag) < 3 and tag.endswith("-")):
            return "", tag
        raise InputError(
            f"{where}: expected a tag such as B-Disease, I-Disease or O. Received {str(tag)[:40]!r}."
        ) from None
