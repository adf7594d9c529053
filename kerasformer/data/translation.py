"""Sentences and their translations."""

from pathlib import Path

import numpy as np

from kerasformer.data.columns import find_field, object_column, whole_characters
from kerasformer.data.examples import Examples
from kerasformer.data.files import read_lines
from kerasformer.data.sources import read_records
from kerasformer.errors import InputError


def load_translation(source: str | Path, source_language: str, target_language: str) -> Examples:
    """Reads pairs of sentences.

    Args:
        source: what `read_records` takes, the languages being fields of each record, as in `{"en": …, "de": …}`, or of
            its field `translation`; or a prefix P of two files of lines, `P.en` and `P.de`, each also `.gz`.
        source_language, target_language: the names of the fields, or the endings of the files.

    Returns:
        Examples whose `texts` are the sources and whose `pairs` and `targets` are the translations, both str.

    Raises:
        InputError: the source cannot be read or is empty, a record lacks a language, or the files have unequal numbers
            of lines.
    """
    if source_language == target_language:
        raise InputError(f"Two languages are needed. Received: {source_language} twice.")
    files = [_file_of_lines(source, language) for language in (source_language, target_language)]
    if any(files):
        sources, targets = _read_files(files, source, (source_language, target_language))
    else:
        sources, targets = _read_fields(source, source_language, target_language)
    if not sources:
        raise InputError(f"{source}: expected at least one pair of sentences. Received none.")
    targets = object_column(targets)
    return Examples(object_column(sources), targets, targets, None, str(source))


def join_examples(parts: list[Examples]) -> Examples:
    """Examples of several sources, concatenated; all with pairs and targets."""
    columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in ("texts", "pairs", "targets")}
    return Examples(**columns, label_names=None, source=", ".join(dict.fromkeys(part.source for part in parts)))


def with_prefix(examples: Examples, prefix: str) -> Examples:
    """Examples whose texts begin with `prefix`, such as the tag of a target language, and a space."""
    texts = object_column([f"{prefix} {text}" for text in examples.texts])
    return Examples(texts, examples.pairs, examples.targets, examples.label_names, examples.source)


def _file_of_lines(prefix, language):
    paths = [Path(f"{prefix}.{language}{ending}") for ending in ("", ".gz")]
    return next((path for path in paths if path.is_file()), None)


def _read_files(files, prefix, languages):
    for path, language in zip(files, languages, strict=True):
        if path is None:
            raise InputError(f"Of two files, one a language, one is missing: {prefix}.{language} (or .gz).")
    columns = [[line for _, line in read_lines(path)] for path in files]
    if len(columns[0]) != len(columns[1]):
        raise InputError(
            f"Line n of {files[0]} must be translated by line n of {files[1]}. "
            f"Received: {len(columns[0])} and {len(columns[1])} lines."
        )
    return columns


def _read_fields(source, *languages):
    columns = [], []
    for record, where in read_records(source):
        fields = record.get("translation") if isinstance(record.get("translation"), dict) else record
        for language, column in zip(languages, columns, strict=True):
            text = fields.get(find_field(fields, language))
            if not isinstance(text, str):
                received = ", ".join(str(name)[:40] for name in fields) or "none"
                raise InputError(
                    f"{where}: expected a sentence in the field {language!r}. Received the fields {received}."
                )
            column.append(whole_characters(text, where, repr(language)))
    return columns
