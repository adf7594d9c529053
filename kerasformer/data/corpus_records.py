"""A corpus written once as TFRecords in many files: read in the graph, also by a `tf.data` service elsewhere."""

import json
import pathlib

import tensorflow as tf

from kerasformer.errors import InputError
from kerasformer.files import written_beside

_DESCRIPTION = "corpus.json"
_FEATURES = {"document": tf.io.FixedLenFeature([], tf.int64), "text": tf.io.FixedLenFeature([], tf.string)}
_FILES_AT_ONCE = 16


def write_corpus(corpus, folder, shards=16):
    """Writes a corpus into `folder`, atomically, for `Corpus(folder)`.

    Args:
        corpus: a `Corpus`; what it holds out is left out.
        folder: an older one of the same kind is replaced.
        shards: number of files. Parts of a document stay in one.

    Raises:
        InputError: `folder` holds something else, or the text is damaged.
        OSError: it cannot be written.
    """
    with written_beside(folder, replaces=_DESCRIPTION) as scratch:
        names = [f"part-{index:05d}-of-{shards:05d}.tfrecord" for index in range(shards)]
        writers = [tf.io.TFRecordWriter(str(scratch / name)) for name in names]
        for number, text in corpus.parts():
            feature = {
                "document": tf.train.Feature(int64_list=tf.train.Int64List(value=[number])),
                "text": tf.train.Feature(bytes_list=tf.train.BytesList(value=[text.encode()])),
            }
            example = tf.train.Example(features=tf.train.Features(feature=feature))
            writers[number % shards].write(example.SerializeToString())
        for writer in writers:
            writer.close()
        description = {"files": names, "source": corpus.fingerprint()}
        (scratch / _DESCRIPTION).write_text(json.dumps(description) + "\n", encoding="utf-8")


def is_written_corpus(source):
    """Whether `source` is a folder that `write_corpus` wrote."""
    return (pathlib.Path(str(source)) / _DESCRIPTION).is_file()


def written_source(folder):
    """The `fingerprint` of the corpus that was written to `folder`."""
    return _described(folder)["source"]


def _described(folder):
    path = pathlib.Path(folder) / _DESCRIPTION
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
        return {"files": description["files"], "source": description["source"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} does not describe a corpus: {error!r}. Write it again.") from None


def read_corpus(folder):
    """The parts as a data set of `{"document": int64, "text": string}`, the files by turns.

    Raises:
        InputError: a file is missing.
    """
    folder, names = pathlib.Path(folder), _described(folder)["files"]
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise InputError(f"{folder} lacks {missing[0]}, which {_DESCRIPTION} names. Write the corpus again.")
    files = tf.data.Dataset.from_tensor_slices([str(folder / name) for name in names])
    records = files.interleave(tf.data.TFRecordDataset, cycle_length=min(len(names), _FILES_AT_ONCE))
    return records.map(lambda record: tf.io.parse_single_example(record, _FEATURES))
