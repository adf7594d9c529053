"""Raw records of everything that a recipe's `--train`, `--validation` and `--test` may name."""

from collections.abc import Iterator
from pathlib import Path

from kerasformer.data import huggingface, tfds
from kerasformer.data.files import file_ending, find_files, label_names_beside, parse_json, read_json, read_lines
from kerasformer.data.tables import read_csv, read_tsv
from kerasformer.errors import InputError

LABEL_FIELDS = ("label", "labels")


def read_records(source: str | Path) -> Iterator[tuple[dict, str]]:
    """Streams the records of `source` as they are, with the location of each for error messages.

    Args:
        source: one of
            - a file that ends in `.jsonl` (one JSON object a line), `.json` (a list of objects, an object with such a
              list as `data`, or lines as in `.jsonl`), `.csv` or `.tsv` (see `tables`), `.txt` (one text a line; the
              record is `{"text": line}`), each also with `.gz`; empty lines are passed over
            - a folder or a glob of such files, read in sorted order
            - `tfds:NAME[/CONFIG][:VERSION]:SPLIT` of tensorflow-datasets, in `TFDS_DATA_DIR` where that is set
            - `hf:FOLDER:SPLIT` of a saved Hugging Face data set, Arrow or Parquet

    Yields:
        `(record, where)`: a dict of plain Python values, and `"file:line"` or `"file: record k"` (from 1).

    Raises:
        InputError: the source is missing or damaged; the message names the line.
    """
    source = str(source)
    if tfds.is_tfds(source):
        yield from tfds.read_tfds(source)
    elif huggingface.is_huggingface(source):
        yield from huggingface.read_huggingface(source)
    else:
        for path in find_files(source):
            yield from _READERS[file_ending(path)](path)


def read_label_names(source: str | Path) -> tuple[str, ...] | None:
    """The names of the integer labels that come with `source`, `None` where it has none.

    They are in `labels.json` beside a file, and in the features of a TFDS or Hugging Face data set (`ClassLabel`).
    """
    source = str(source)
    if tfds.is_tfds(source):
        return tfds.label_names(source, LABEL_FIELDS)
    if huggingface.is_huggingface(source):
        return huggingface.label_names(source, LABEL_FIELDS)
    return label_names_beside(find_files(source))


def _read_jsonl(path):
    for number, line in read_lines(path):
        if line.strip():
            where = f"{path}:{number}"
            yield _checked_record(parse_json(line, path, number), where), where


def _read_json(path):
    try:
        value = read_json(path)
    except InputError as error:
        # Many write JSON lines under this ending.
        if getattr(error.__cause__, "msg", None) != "Extra data":
            raise
        yield from _read_jsonl(path)
        return
    if isinstance(value, dict):
        value = value["data"] if isinstance(value.get("data"), list) else [value]
    if not isinstance(value, list):
        raise InputError(f"{path}: expected a JSON list of objects. Received a value of type {type(value).__name__}.")
    for index, record in enumerate(value, start=1):
        where = f"{path}: record {index}"
        yield _checked_record(record, where), where


def _read_txt(path):
    for number, line in read_lines(path):
        if line.strip():
            yield {"text": line}, f"{path}:{number}"


def _checked_record(record, where):
    if not isinstance(record, dict):
        raise InputError(f"{where}: expected a JSON object with named fields. Received {str(record)[:60]!r}.")
    return record


_READERS = {".jsonl": _read_jsonl, ".json": _read_json, ".csv": read_csv, ".tsv": read_tsv, ".txt": _read_txt}
