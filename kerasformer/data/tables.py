"""Rows of comma- and tab-separated files as records."""

import csv
import itertools
import re
from collections.abc import Iterator
from pathlib import Path

from kerasformer.data.files import read_lines
from kerasformer.errors import InputError

_INTEGER = re.compile(r"-?[0-9]{1,18}")
_ROWS_LOOKED_AT = 1000


def read_csv(path: Path) -> Iterator[tuple[dict, str]]:
    """Yields `(record, "file:line")` of a comma-separated file: quoted as in RFC 4180, its first row the header."""
    reader = csv.reader((line + "\n" for _, line in read_lines(path)), strict=True)

    def rows():
        while True:
            line = reader.line_num + 1
            try:
                row = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                raise InputError(f"{path}:{line}: expected comma-separated values ({error}).") from error
            if row:
                yield line, row

    rows = rows()
    yield from _records(path, next(rows, (1, []))[1], rows)


def read_tsv(path: Path) -> Iterator[tuple[dict, str]]:
    """Yields `(record, "file:line")` of a tab-separated file: a tab always divides, a quotation mark is text.

    That is how GLUE and the like are written; a field that a spreadsheet has quoted for its quotation marks
    (`"a ""b"" c"`) is unquoted. The first row is the header. Two columns without a header are taken for `label` and
    `text` where the rows leave no doubt which is which: one column is integers in every row, or a few words that come
    again and again beside phrases.
    """
    rows = ((number, [_unquote(cell) for cell in line.split("\t")]) for number, line in read_lines(path) if line)
    head = list(itertools.islice(rows, _ROWS_LOOKED_AT))
    header = _two_columns([row for _, row in head])
    if header is None:
        header = head.pop(0)[1] if head else []
    yield from _records(path, header, itertools.chain(head, rows))


def _records(path, header, rows):
    names = [name.strip() for name in header]
    if len(set(names)) < len(names):
        raise InputError(f"{path}:1: the columns must have different names. Received: {names}.")
    for line, row in rows:
        if len(row) != len(names):
            raise InputError(
                f"{path}:{line}: expected {len(names)} columns ({', '.join(names)[:80]}). Received {len(row)}."
            )
        yield dict(zip(names, row, strict=True)), f"{path}:{line}"


def _two_columns(rows) -> list[str] | None:
    """`["label", "text"]` or `["text", "label"]` for rows that have no header, `None` for all others."""
    if not rows or any(len(row) != 2 for row in rows):
        return None
    first, second = zip(*rows, strict=True)
    if _are_labels(first, second) and not _are_labels(second, first):
        return ["label", "text"]
    if _are_labels(second, first) and not _are_labels(first, second):
        return ["text", "label"]
    return None


def _are_labels(cells, others) -> bool:
    if all(_INTEGER.fullmatch(cell) for cell in cells):
        return not _INTEGER.fullmatch(others[0])  # pandas writes the header "0<TAB>1" for columns without names
    # A header's name does not come again among the labels below it, and labels are words where texts are phrases.
    are_words = all(cell and not re.search(r"\s", cell) for cell in cells)
    are_phrases = 2 * sum(" " in other.strip() for other in others) > len(others)
    return are_words and are_phrases and cells[0] in cells[1:] and 2 * len(set(cells)) <= len(cells)


def _unquote(cell: str) -> str:
    inside = cell[1:-1]
    if cell[:1] == '"' == cell[-1:] and '""' in inside and '"' not in inside.replace('""', ""):
        return inside.replace('""', '"')
    return cell
