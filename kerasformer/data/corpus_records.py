"""A corpus written once as TFRecords in many files: read in the graph, also by a `tf.data` service elsewhere."""

import json
import pathlib

import tensorflow as tf

from kerasformer.errors import InputError
from kerasformer.files import written_beside

_DESCRIPTION = "corpus.json"
_FEATURES = {"document": tf.io.FixedLenFeature([], tf.int64), "text": tf.io.FixedLenFeature([], tf.string)}
_FILES_AT_ONCE = 16


def write_corpus(parts, folder, shards=16):
    """Writes a corpus into `folder`, whole or not at all, for `Corpus(folder)`.

    Args:
        parts: `(number of the document, text)` pairs, as `Corpus.parts` gives them.
        folder: an older one of the same kind is replaced.
        shards: number of files. Parts of a document stay in one.

    Raises:
        InputError: `folder` holds something else, or there are no parts.
        OSError: it cannot be written.
    """
    count = 0
    with written_beside(folder, replaces=_DESCRIPTION) as scratch:
        names = [f"part-{index:05d}-of-{shards:05d}.tfrecord" for index in range(shards)]
        writers = [tf.io.TFRecordWriter(str(scratch / name)) for name in names]
        for number, text in parts:
            feature = {
                "document": tf.train.Feature(int64_list=tf.train.Int64List(value=[number])),
                "text": tf.train.Feature(bytes_list=tf.train.BytesList(value=[text.encode()])),
            }
            example = tf.train.Example(features=tf.train.Features(feature=feature))
            writers[number % shards].write(example.SerializeToString())
            count += 1
        for writer in writers:
            writer.close()
        if not count:
            raise InputError("There is no text to write.")
        (scratch / _DESCRIPTION).write_text(json.dumps({"parts": count, "files": names}) + "\n", encoding="utf-8")


def is_written_corpus(source):
    """Whether `source` is a folder that `write_corpus` wrote."""
    return (pathlib.Path(str(source)) / _DESCRIPTION).is_file()


def read_corpus(folder):
    """The parts as a data set of `{"document": int64, "text": string}`, the files by turns.

    Raises:
        InputError: a file is missing.
    """
    folder = pathlib.Path(folder)
    try:
        names = json.loads((folder / _DESCRIPTION).read_text(encoding="utf-8"))["files"]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{folder / _DESCRIPTION} does not describe a corpus: {error!r}. Write it again.") from None
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise InputError(f"{folder} lacks {missing[0]}, which {_DESCRIPTION} names. Write the corpus again.")
    files = tf.data.Dataset.from_tensor_slices([str(folder / name) for name in names])
    records = files.interleave(tf.data.TFRecordDataset, cycle_length=min(len(names), _FILES_AT_ONCE))
    return records.map(lambda record: tf.io.parse_single_example(record, _FEATURES))
