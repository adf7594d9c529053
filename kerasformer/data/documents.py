"""Documents with summaries, or with labels of their sentences, in memory."""

import dataclasses
from pathlib import Path

import numpy as np
import tensorflow as tf

from kerasformer.data.batching import epoch_order
from kerasformer.data.columns import object_column, whole_characters
from kerasformer.data.sources import read_records
from kerasformer.errors import InputError
from kerasformer.text import split_sentences

TEXT_FIELDS = ("text", "document", "article", "dialogue")
SUMMARY_FIELDS = ("summaries", "summary", "highlights", "target")
_TEXTS_AT_ONCE = 256


@dataclasses.dataclass(frozen=True, eq=False)
class Documents:
    """Columns of one length N.

    Attributes:
        sentences: `[N]` objects, each a tuple of at least one `str`, none of them empty.
        labels: `[N]` objects, each float32 `[sentences]`, 1 for those of the summary, or `None`.
        summaries: `[N]` objects, each a tuple of at least one `str`, any of which will do, or `None`.
        source: where they were read.
    """

    sentences: np.ndarray
    labels: np.ndarray | None
    summaries: np.ndarray | None
    source: str

    def __len__(self):
        return len(self.sentences)

    def select(self, indices) -> "Documents":
        """The documents at `indices` (integers), in that order."""
        columns = {name: getattr(self, name) for name in ("sentences", "labels", "summaries")}
        chosen = {name: column if column is None else column[indices] for name, column in columns.items()}
        return dataclasses.replace(self, **chosen)


def load_documents(source: str | Path) -> Documents:
    """Reads documents.

    A record has `sentences`, a list of strings, or `text`, `document`, `article` or `dialogue`, which is split into
    sentences; and `labels`, a 0 or 1 for each of `sentences`, and, or, `summaries` (a list), `summary`, `highlights` or
    `target`. Empty sentences are left out.

    Args:
        source: what `read_records` takes.

    Raises:
        InputError: the source cannot be read or is empty, a record lacks a field that others have or has an unusable
            one, or a document without sentences; the message names the line.
    """
    records = [
        ({str(name).strip().casefold(): value for name, value in record.items()}, where)
        for record, where in read_records(source)
    ]
    if not records:
        raise InputError(f"{source}: expected at least one record. Received an empty data set.")
    first = records[0][0]
    summary_field = next((name for name in SUMMARY_FIELDS if name in first), None)
    if "sentences" in first:
        sentences = [_strings(record, "sentences", where) for record, where in records]
    else:
        sentences = _split(_texts(records, source))
    labels = [_labels(record, texts, where) for (record, where), texts in zip(records, sentences, strict=True)]
    keep = [[bool(text.strip()) for text in texts] for texts in sentences]
    for (_, where), kept in zip(records, keep, strict=True):
        if not any(kept):
            raise InputError(f"{where}: expected a document with at least one sentence. Received none.")
    missing = next(
        (where for (_, where), row in zip(records, labels, strict=True) if (row is None) != (labels[0] is None)), None
    )
    if missing:
        raise InputError(f"{missing}: all records of {source} must have `labels`, or none.")
    return Documents(
        object_column(
            [tuple(t for t, ok in zip(*row, strict=True) if ok) for row in zip(sentences, keep, strict=True)]
        ),
        None if labels[0] is None else object_column([row[kept] for row, kept in zip(labels, keep, strict=True)]),
        None if summary_field is None else object_column([_summaries(*record, summary_field) for record in records]),
        str(source),
    )


def document_batches(
    documents: Documents, batch_size: int, *, shuffle_seed: int | None = None, epoch: int = 0
) -> tf.data.Dataset:
    """One epoch of `documents` as `({"sentences": [batch, S]}, {"labels": [batch, S], "summaries": [batch, R]})`.

    Strings are padded with "", labels with 0, to the most in the batch; targets that the documents lack are omitted.
    The order is that of `batches`.
    """
    chosen = documents.select(epoch_order(documents, batch_size, shuffle_seed=shuffle_seed, epoch=epoch))

    def ragged(rows, dtype):
        values = [value for row in rows for value in row]
        return tf.RaggedTensor.from_row_lengths(
            tf.constant(values, dtype, shape=[len(values)]), [len(row) for row in rows]
        )

    targets = {}
    if chosen.labels is not None:
        targets["labels"] = ragged(chosen.labels, tf.float32)
    if chosen.summaries is not None:
        targets["summaries"] = ragged(chosen.summaries, tf.string)
    data = tf.data.Dataset.from_tensor_slices(({"sentences": ragged(chosen.sentences, tf.string)}, targets))

    def padded(features, targets):
        return tf.nest.map_structure(lambda rows: rows.to_tensor(), (features, targets))

    return data.batch(batch_size).map(padded)


def _texts(records, source):
    field = next((name for name in TEXT_FIELDS if name in records[0][0]), None)
    if field is None:
        raise InputError(
            f"{records[0][1]}: expected a field sentences, {', '.join(TEXT_FIELDS)}. "
            f"Received the fields {', '.join(map(str, records[0][0]))[:80] or 'none'}."
        )
    return [_string(record.get(field), field, where) for record, where in records]


def _split(texts):
    parts = [
        split_sentences(texts[start : start + _TEXTS_AT_ONCE])[0].to_list()
        for start in range(0, len(texts), _TEXTS_AT_ONCE)
    ]
    return [[sentence.decode() for sentence in row] for part in parts for row in part]


def _labels(record, sentences, where):
    labels = record.get("labels")
    if labels is None or "sentences" not in record:
        return None
    if (
        not isinstance(labels, list)
        or len(labels) != len(sentences)
        or not set(map(repr, labels)) <= {"0", "1", "True", "False"}
    ):
        raise InputError(
            f"{where}: expected `labels` with a 0 or 1 for each of the {len(sentences)} sentences. "
            f"Received {str(labels)[:60]}."
        )
    return np.array(labels, np.float32)


def _summaries(record, where, field):
    if isinstance(record.get(field), str):
        texts = [_string(record[field], field, where)]
    else:
        texts = _strings(record, field, where)
    summaries = tuple(text for text in texts if text.strip())
    if not summaries:
        raise InputError(f"{where}: expected at least one summary in {field!r}. Received none.")
    return summaries


def _strings(record, field, where):
    values = record.get(field)
    if not isinstance(values, list):
        raise InputError(f"{where}: expected a list of strings in the field {field!r}. Received {str(values)[:60]!r}.")
    return [_string(value, field, where) for value in values]


def _string(value, field, where):
    if not isinstance(value, str):
        raise InputError(f"{where}: expected a string in the field {field!r}. Received {str(value)[:60]!r}.")
    return whole_characters(value, where, repr(field))
