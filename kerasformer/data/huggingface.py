"""Records of saved Hugging Face data sets, Arrow or Parquet, read with `pyarrow` alone."""

import contextlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

from kerasformer.data.files import read_json
from kerasformer.errors import InputError
from kerasformer.extras import require

_BATCH = 1024
_SHARD = re.compile(r"(?P<split>.+?)(-\d{5}-of-(?P<count>\d{5})(-[0-9a-f]+)?)?\.parquet")


def is_huggingface(source: str) -> bool:
    """Whether `source` names a saved Hugging Face data set."""
    return source.startswith("hf:")


def read_huggingface(source: str) -> Iterator[tuple[dict, str]]:
    """Yields `(record, "file: record k")` of `hf:FOLDER:SPLIT`.

    FOLDER is what `DatasetDict.save_to_disk` or `Dataset.save_to_disk` wrote (Arrow streams), or holds Parquet files
    as the hub has them: `SPLIT.parquet`, `SPLIT-00000-of-00002.parquet`, the same in `data/`, or `SPLIT/*.parquet`.

    Raises:
        InputError: no such folder or split, a part of it is missing, or a file is damaged.
    """
    for path in _split_files(source):
        index = 0
        for records in _batches(path):
            for record in records:
                index += 1
                yield record, f"{path}: record {index}"


def label_names(source: str, fields: tuple[str, ...] = ("label",)) -> tuple[str, ...] | None:
    """The names of the first feature of `fields` that the data set declares as `ClassLabel`, or as a list of it.

    They are in the schema of each file, and beside Arrow files in `dataset_info.json`.
    """
    path = _split_files(source)[0]
    metadata = _schema(path).metadata or {}
    if b"huggingface" in metadata:
        features = json.loads(metadata[b"huggingface"]).get("info", {}).get("features")
    else:
        features = _json(path.parent / "dataset_info.json").get("features")
    found = next((features[name] for name in fields if name in (features or {})), None)
    if isinstance(found, list):  # how older versions write a list
        found = found[0]
    if isinstance(found, dict):
        names = found.get("names") or (found.get("feature") or {}).get("names")
        return tuple(names) if names else None
    return None


def _split_files(source) -> list[Path]:
    folder, split = _parse(source)
    if not folder.is_dir():
        raise InputError(f"{source}: no folder {folder}.")
    splits = _arrow_splits(folder) | _parquet_splits(folder)
    if not splits:
        raise InputError(f"{source}: {folder} holds neither Arrow nor Parquet files.")
    if split not in splits:
        raise InputError(f"{source}: no split {split!r}. Those of {folder}: {', '.join(sorted(splits))}.")
    _require_all(splits[split])
    return splits[split]


def _parse(source):
    folder, _, split = source.removeprefix("hf:").rpartition(":")
    if not folder or not split:
        raise InputError(f"Expected hf:FOLDER:SPLIT, such as hf:imdb:train. Received: {source}.")
    return Path(folder).expanduser(), split


def _arrow_splits(folder):
    splits = {path.name: _arrow_files(path) for path in folder.iterdir() if path.is_dir()}
    own = _arrow_files(folder)
    if own:
        # A single `Dataset`; where it does not know its split, Hugging Face calls it "train" as well.
        splits[_json(folder / "state.json").get("_split") or "train"] = own
    return {name: files for name, files in splits.items() if files}


def _arrow_files(folder):
    listed = _json(folder / "state.json").get("_data_files")
    return sorted(folder.glob("*.arrow")) if listed is None else [folder / entry["filename"] for entry in listed]


def _parquet_splits(folder):
    splits = {}
    for path in sorted(folder.glob("*.parquet")) or sorted(folder.glob("data/*.parquet")):
        splits.setdefault(_SHARD.fullmatch(path.name)["split"], []).append(path)
    folders = [path for path in folder.iterdir() if path.is_dir() and path.name != "data"]
    return splits | {path.name: files for path in folders if (files := sorted(path.glob("*.parquet")))}


def _require_all(files):
    missing = next((path for path in files if not path.is_file()), None)
    if missing:
        raise InputError(f"{missing}: no such file, though state.json beside it lists it.")
    shard = _SHARD.fullmatch(files[0].name)
    if shard and shard["count"] and len(files) != int(shard["count"]):
        raise InputError(f"{files[0]}: expected {int(shard['count'])} files of this split. Found {len(files)}.")


def _json(path):
    return read_json(path) if path.is_file() else {}


def _pyarrow():
    require("pyarrow.parquet", "data", "A source hf:")
    return require("pyarrow", "data", "A source hf:")


def _batches(path):
    pyarrow = _pyarrow()
    with _readable(path):
        if path.suffix == ".parquet":
            with pyarrow.parquet.ParquetFile(path) as file:
                yield from (batch.to_pylist() for batch in file.iter_batches(_BATCH))
        else:
            with pyarrow.memory_map(str(path)) as file, pyarrow.ipc.open_stream(file) as stream:
                yield from (batch.to_pylist() for batch in stream)


def _schema(path):
    pyarrow = _pyarrow()
    with _readable(path):
        if path.suffix == ".parquet":
            return pyarrow.parquet.read_schema(path)
        with pyarrow.memory_map(str(path)) as file, pyarrow.ipc.open_stream(file) as stream:
            return stream.schema


@contextlib.contextmanager
def _readable(path):
    pyarrow = _pyarrow()
    try:
        yield
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(f"{path}: the file is damaged or of another format ({reason}).") from error
