"""Rows of comma-, semicolon- and tab-separated files as records."""

import csv
import itertools
import re
from collections.abc import Iterator
from pathlib import Path

from kerasformer.data.files import read_lines
from kerasformer.errors import InputError

_INTEGER = re.compile(r"-?[0-9]{1,18}")
_ROWS_LOOKED_AT = 1000
_SEPARATORS = (",", ";", "\t")


def read_csv(path: Path) -> Iterator[tuple[dict, str]]:
    """Yields `(record, "file:line")` of a file of separated values: quoted as in RFC 4180, its first row the header.

    The separator is the comma, the semicolon or the tab: the one that cuts the first rows into the most columns of one
    number. A first line `sep=;`, as spreadsheets write it, names it.
    """
    lines = read_lines(path)
    head = list(itertools.islice(lines, _ROWS_LOOKED_AT))
    first = 1
    if head and (named := re.fullmatch(r'"?sep=(.)"?', head[0][1])):
        separator, head, first = named[1], head[1:], 2
    else:
        separator = _separator([line for _, line in head])
    yield from _read_quoted(path, itertools.chain(head, lines), separator, first)


def read_tsv(path: Path) -> Iterator[tuple[dict, str]]:
    """Yields `(record, "file:line")` of a tab-separated file: a tab always divides, a quotation mark is text.

    That is how GLUE and the like are written; a field that a spreadsheet has quoted for its quotation marks
    (`"a ""b"" c"`) is unquoted. The first row is the header. Two columns without a header are taken for `label` and
    `text` where the rows leave no doubt which is which: one column is integers in every row, or a few words that come
    again and again beside phrases.

    A file whose header is quoted, or holds no tab but other separators, is read as `read_csv` does.
    """
    lines = read_lines(path)
    head = list(itertools.islice(lines, _ROWS_LOOKED_AT))
    cells = head[0][1].split("\t") if head else []
    is_quoted = bool(cells) and all(re.fullmatch(r'"[^"]*"', cell) for cell in cells)
    separator = "\t" if len(cells) > 1 else _separator([line for _, line in head])
    # Without any separator in its header it is a table of one column, whose commas are text.
    if is_quoted or (separator != "\t" and head and separator in head[0][1]):
        yield from _read_quoted(path, itertools.chain(head, lines), separator, 1)
        return
    rows = (
        (number, [_unquote(cell) for cell in line.split("\t")]) for number, line in itertools.chain(head, lines) if line
    )
    head = list(itertools.islice(rows, _ROWS_LOOKED_AT))
    header = _two_columns([row for _, row in head])
    if header is None:
        header = head.pop(0)[1] if head else []
    yield from _records(path, header, itertools.chain(head, rows))


def _read_quoted(path, lines, separator, first):
    """Records of quoted rows; `first` is the number of the first line."""
    _take_long_fields()
    reader = csv.reader((line + "\n" for _, line in lines), strict=True, delimiter=separator)

    def rows():
        while True:
            line = reader.line_num + first
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


def _take_long_fields():
    """Python's limit, 131,072 characters a field, is one of the whole process."""
    csv.field_size_limit(max(csv.field_size_limit(), 2**31 - 1))


def _separator(lines) -> str:
    """The one that cuts the first rows into the most columns, all rows into as many as the header; else the one that
    cuts the header into most."""
    _take_long_fields()
    found = []
    for separator in _SEPARATORS:
        try:
            rows = [row for row in csv.reader((line + "\n" for line in lines), delimiter=separator) if row]
        except csv.Error:  # told with its line when it is read
            continue
        if rows and len(rows[0]) > 1:
            # The last one may be cut off in the middle of a quoted field.
            even = all(len(row) == len(rows[0]) for row in rows[1:-1] or rows[1:])
            found.append((even, len(rows[0]), separator))
    return max(found, key=lambda item: item[:2])[2] if found else ","


def _records(path, header, rows):
    names = [name.strip() for name in header]
    named = [name for name in names if name]
    if len(set(named)) < len(named):
        raise InputError(f"{path}:1: the columns must have different names. Received: {names}.")
    for line, row in rows:
        # Spreadsheets write separators after the last column.
        while len(row) > len(names) and not row[-1]:
            row.pop()
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
