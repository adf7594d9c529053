"""Documents of plain text, streamed: for learning a language model from more text than fits in memory."""

import pathlib
from collections.abc import Iterator

import tensorflow as tf

from kerasformer.data.corpus_records import is_written_corpus, read_corpus
from kerasformer.data.documents import TEXT_FIELDS
from kerasformer.data.files import file_ending, find_files, read_lines
from kerasformer.data.huggingface import is_huggingface
from kerasformer.data.sources import read_records
from kerasformer.data.tfds import is_tfds
from kerasformer.errors import InputError

# Characters. A longer document comes in parts, so that no element of a pipeline is large, whatever the files are like.
PART_SIZE = 1 << 16


class Corpus:
    """Documents of text files, JSON lines, TFDS and Hugging Face data sets.

    In `.txt` files a document is a run of lines, each a sentence or a paragraph, and ends at a blank line or with the
    file. Elsewhere each record is a document, its text in the field `text`, `document` or `article`.

    Args:
        source: what `kf.data.read_records` takes, or a list of such; or a folder that `write_corpus` wrote.
        held_out: of so many documents one is left out of `documents()`, and is what `documents(held_out=True)` returns;
            0 holds none out.

    Raises:
        InputError: a source is not there, or holds no text.
    """

    def __init__(self, source, *, held_out=0):
        self.sources = [source] if isinstance(source, (str, pathlib.Path)) else list(source)
        if held_out < 0 or held_out == 1:
            raise InputError(f"`held_out` must be 0 or at least 2. Received: {held_out}.")
        self._held_out = held_out
        if next(self.parts(), None) is None:
            kind = "" if not held_out else " that is not held out"
            raise InputError(f"Expected text to learn from. Received none{kind}: {', '.join(map(str, self.sources))}.")

    @property
    def is_written(self):
        """Whether it is stored in TFRecords, which other processes can read too."""
        return len(self.sources) == 1 and is_written_corpus(self.sources[0])

    def parts(self, *, held_out=False) -> Iterator[tuple[int, str]]:
        """Yields `(number of the document, lines joined by newlines)`; a long document in several parts in turn.

        Raises:
            InputError: a source is damaged; the message names the line.
        """
        if self.is_written:
            elements = self.documents(held_out=held_out).as_numpy_iterator()
            return ((int(element["document"]), element["text"].decode()) for element in elements)
        return (
            part
            for part in _numbered(document for source in self.sources for document in _documents(source))
            if self._is_wanted(part[0], held_out)
        )

    def documents(self, *, held_out=False) -> tf.data.Dataset:
        """The same as a data set of `{"document": int64, "text": string}`."""
        if self.is_written:
            written = read_corpus(self.sources[0])
            return written.filter(lambda element: self._is_wanted(element["document"], held_out))
        signature = {"document": tf.TensorSpec([], tf.int64), "text": tf.TensorSpec([], tf.string)}

        def elements():
            for number, text in self.parts(held_out=held_out):
                yield {"document": number, "text": text}

        return tf.data.Dataset.from_generator(elements, output_signature=signature)

    def fingerprint(self):
        """What identifies this text: names and sizes of its files, or of the data sets."""
        found = []
        for source in map(str, self.sources):
            is_set = is_tfds(source) or is_huggingface(source) or is_written_corpus(source)
            found += [source] if is_set else [[str(path.resolve()), path.stat().st_size] for path in find_files(source)]
        return found

    def lines(self) -> Iterator[str]:
        """All lines but those of documents held out, for learning a vocabulary."""
        return (line for _, text in self.parts() for line in text.split("\n"))

    def _is_wanted(self, number, held_out):
        """For a number, or in the graph for a tensor."""
        if not self._held_out:
            return number < 0 if held_out else number >= 0
        return (number % self._held_out == self._held_out - 1) == held_out


def smoothed_lines(corpora, smoothing) -> Iterator[str]:
    """Lines of several corpora for learning one vocabulary, those of small ones again and again.

    Each contributes text by its size to the power of `smoothing`, the largest all of its own once (Devlin et
    al., multilingual BERT: 0.7).
    """
    if smoothing == 1 or len(corpora) == 1:
        for corpus in corpora:
            yield from corpus.lines()
        return
    sizes = [sum(len(text) for _, text in corpus.parts()) for corpus in corpora]
    for corpus, size in zip(corpora, sizes, strict=True):
        owed, factor = 0.0, (size / max(sizes)) ** (smoothing - 1)
        for line in corpus.lines():
            owed += factor
            times = int(owed)
            owed -= times
            yield from [line] * times


def _documents(source):
    """For each document of a source an iterator of its lines, to be used up before the next."""
    if is_tfds(str(source)) or is_huggingface(str(source)):
        yield from (text.split("\n") for text in _texts(source))
        return
    for path in find_files(source):
        if file_ending(path) == ".txt":
            yield from _blocks(line for _, line in read_lines(path))
        else:
            yield from (text.split("\n") for text in _texts(path))


def _texts(source):
    for record, where in read_records(source):
        field = next((name for name in TEXT_FIELDS if name in record), None)
        if field is None or not isinstance(record[field], str):
            raise InputError(
                f"{where}: expected a document, a string in a field {', '.join(TEXT_FIELDS)}. Received the fields "
                f"{', '.join(map(str, record))[:80] or 'none'}."
            )
        yield record[field]


def _blocks(lines):
    """Runs of lines between blank ones, each an iterator."""
    for line in lines:
        if not line.strip():
            continue

        def block(first=line):
            yield first
            for following in lines:
                if not following.strip():
                    return
                yield following

        rest = block()
        yield rest
        for _ in rest:  # what the caller left
            pass


def _numbered(documents):
    for number, lines in enumerate(documents):
        part, size = [], 0
        for line in (piece for whole in lines if whole.strip() for piece in _short(whole)):
            if size + len(line) > PART_SIZE and part:
                yield number, "\n".join(part)
                part, size = [], 0
            part.append(line)
            size += len(line) + 1
        if part:
            yield number, "\n".join(part)


def _short(line):
    """A line in pieces of at most `PART_SIZE` characters, cut at spaces where there are any."""
    start = 0
    while len(line) - start > PART_SIZE:
        cut = line.rfind(" ", start + 1, start + PART_SIZE) + 1 or start + PART_SIZE
        yield line[start:cut]
        start = cut
    yield line[start:]
