"""Find data files and iterate over their lines: the one place that opens, decompresses and decodes."""

import codecs
import difflib
import glob
import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path

from kerasformer.errors import InputError

ENDINGS = (".jsonl", ".json", ".tsv", ".csv", ".txt")
LABELS_FILE = "labels.json"
# Byte order marks; that of UTF-32 begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_SPLIT_WORDS = {"train": "train", "validation": "validation", "valid": "validation", "val": "validation"}
_SPLIT_WORDS |= {"dev": "validation", "test": "test"}


def file_ending(path: Path) -> str | None:
    """The one of `ENDINGS` that is the format of `path` (`.gz` is ignored), or `None`."""
    ending = Path(path.name.lower().removesuffix(".gz")).suffix
    return ending if ending in ENDINGS else None


def find_files(source: str | Path) -> list[Path]:
    """Lists the data files that `source` names, sorted.

    Args:
        source: a file, a folder (its own files, not those of its subfolders) or a glob (`**` for subfolders). In a
            folder or a glob, `labels.json` and files of other endings than `ENDINGS` are ignored.

    Raises:
        InputError: nothing is there, the ending is not a known one, or a folder mixes the splits of a data set.
    """
    path = Path(source).expanduser()
    if path.is_file():
        if file_ending(path) is None:
            raise InputError(f"{path}: the file must end in one of {_spell(ENDINGS)}, each also with .gz.")
        return [path]
    is_folder = path.is_dir()
    if is_folder:
        found = path.iterdir()
    elif glob.has_magic(str(path)):
        found = map(Path, glob.glob(str(path), recursive=True))
    else:
        raise InputError(_no_such_file(path))
    found = sorted(file for file in found if file.is_file() and not file.name.startswith("."))
    files = [file for file in found if file_ending(file) and file.name.removesuffix(".gz") != LABELS_FILE]
    if is_folder and _looks_like_huggingface(path, files):
        raise InputError(f"{path} holds a Hugging Face data set: name it as hf:{path}:SPLIT.")
    if not files:
        raise InputError(f"{path}: no file here ends in one of {_spell(ENDINGS)}, each also with .gz.")
    splits = {_SPLIT_WORDS.get(file.name.replace("-", ".").replace("_", ".").split(".")[0].lower()) for file in files}
    if is_folder and len(splits - {None}) > 1:
        raise InputError(
            f"{path} holds several splits ({_spell(file.name for file in files)}): name one file, or a glob such as "
            f"{path / 'train*'}."
        )
    return files


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yields `(line number from 1, line)` of a text file, plain or `.gz`, without the line's end.

    The text is UTF-8, or UTF-16 or UTF-32 where a byte order mark says so; the mark is dropped. Lines end at `\\n` (or
    `\\r\\n`) alone, since texts may hold other Unicode line separators; at `\\r` in files that have no `\\n`.

    Raises:
        InputError: the file cannot be read, its gzip data are damaged or cut off, or a line is in another encoding.
    """
    number = 0
    try:
        with gzip.open(path, "rb") if path.name.lower().endswith(".gz") else open(path, "rb") as file:
            for line in _decoded_lines(file, path):
                number += 1
                yield number, line.removesuffix("\n").rstrip("\r")
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(f"{path}: damaged gzip data after line {number} ({error}); fetch the file again.") from error
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        raise InputError(
            f"{path}:{number + 1}: expected {error.encoding.upper()} text. Received byte 0x{byte:02x} ({error.reason}) "
            f"at position {error.start} of the line; convert the file to UTF-8."
        ) from error
    except OSError as error:
        raise InputError(f"{path}: the file cannot be read ({error.strerror or error}).") from error


def _decoded_lines(file, path) -> Iterator[str]:
    """The lines of a binary file, each with its end."""
    head = file.peek(4)[:4]
    encoding = next((name for mark, name in _MARKS if head.startswith(mark)), None)
    if encoding is None:
        if 0 in head[:2] and len(head) > 1:
            raise InputError(f"{path}:1: expected UTF-8 text. Received NUL bytes, as of UTF-16: convert it to UTF-8.")
        lines = (line.decode("utf-8") for line in file)
    elif encoding == "utf-8-sig":
        lines = (line.decode("utf-8-sig" if place == 0 else "utf-8") for place, line in enumerate(file))
    else:
        # Read whole: a byte of a line's end may be half of another character. Decoded line by line, for the error.
        lines = _wide_lines(file.read(), encoding)
    first = next(lines, None)
    if first is None:
        return
    if "\r" in first and not first.endswith("\n"):
        # The only line: a file of old Macs, or one line that holds carriage returns.
        yield from first.removesuffix("\r").split("\r")
        return
    yield first
    yield from lines


def _wide_lines(content, encoding):
    """The lines of UTF-16 or UTF-32 with a byte order mark."""
    width = 4 if encoding == "utf-32" else 2
    order = "little" if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF32_LE)) else "big"
    encoding += "-le" if order == "little" else "-be"
    newline, start = (10).to_bytes(width, order), width
    while start < len(content):
        end = content.find(newline, start)
        while end >= 0 and (end - start) % width:
            end = content.find(newline, end + 1)
        end = len(content) if end < 0 else end + width
        yield content[start:end].decode(encoding)
        start = end


def read_json(path: Path):
    """The value that a `.json` or `.json.gz` file holds.

    Raises:
        InputError: as `read_lines`, or the file is not JSON.
    """
    return parse_json("\n".join(line for _, line in read_lines(path)), path, first_line=1)


def parse_json(text: str, path: Path, first_line: int):
    """Parses `text`, which begins in line `first_line` of `path`; a mistake is reported as file:line."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:  # a number of 5,000 digits and 1,000 brackets are such mistakes too
        lines_before = getattr(error, "lineno", 1) - 1
        received, reason = _shorten(text.split("\n")[lines_before]), getattr(error, "msg", str(error))
        raise InputError(
            f"{path}:{first_line + lines_before}: expected JSON. Received {received} ({reason})."
        ) from error


def label_names_beside(files: list[Path]) -> tuple[str, ...] | None:
    """The names in the `labels.json` beside the files or in the folder above: a list in the order of the label numbers.

    Returns:
        A tuple, or `None` where no file has a `labels.json`.

    Raises:
        InputError: a `labels.json` is not a list of distinct strings, or two of them differ.
    """
    found = {}
    for folder in dict.fromkeys(file.absolute().parent for file in files):
        path = next((place / LABELS_FILE for place in (folder, folder.parent) if (place / LABELS_FILE).is_file()), None)
        if path is None or path in found:
            continue
        names = read_json(path)
        if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
            raise InputError(f'{path}: expected a JSON list of label names, such as ["negative", "positive"].')
        if len(set(names)) < len(names):
            raise InputError(f"{path}: each label name must occur once. Received: {names}.")
        found[path] = tuple(names)
    if len(set(found.values())) > 1:
        (first, names), (second, others) = list(found.items())[:2]
        raise InputError(f"The label names must be the same. Received: {first} {list(names)}, {second} {list(others)}.")
    return next(iter(found.values()), None)


def _no_such_file(path: Path) -> str:
    if not path.parent.is_dir():
        return f"{path}: no such file, and no folder {path.parent}."
    names = sorted(other.name for other in path.parent.iterdir())
    longer = [name for name in names if name.startswith(f"{path.name}.")]
    close = longer or difflib.get_close_matches(path.name, names, n=1, cutoff=0.75)
    return f"{path}: no such file or folder." + (f" Did you mean {path.parent / close[0]}?" if close else "")


def _looks_like_huggingface(folder: Path, files: list[Path]) -> bool:
    if files and not any((folder / name).is_file() for name in ("state.json", "dataset_dict.json")):
        return False
    return any(next(folder.glob(pattern), None) for pattern in ("*.arrow", "*/*.arrow", "*.parquet", "*/*.parquet"))


def _shorten(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")


def _spell(names) -> str:
    names = list(names)
    return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
