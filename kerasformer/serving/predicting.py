"""Answering the texts of a file."""

import json

import numpy as np

from kerasformer.errors import InputError
from kerasformer.files import local_path, read_locally, written_file


def predict_file(folder, source, target, batch_size, load_task, advance):
    """Answers a file of texts and writes a JSON object a line, in order.

    Args:
        folder: of a saved task, or of a version with `saved_model.pb`; may be a URL.
        source: file of texts, one a line (`.txt`), or of records with the fields of the inputs.
        target: file, written atomically.
        batch_size: texts computed at a time.
        load_task: function from a folder to a task.
        advance: called with `(rows done, rows in all)` after each batch.

    Returns:
        The number of answers.

    Raises:
        InputError: the file lacks a field, or `folder` holds neither.
    """
    if batch_size < 1:
        raise InputError(f"`batch_size` must be at least 1. Received: batch_size={batch_size}.")
    source, target = local_path(source, "--input"), local_path(target, "--output")
    with read_locally(folder) as local:
        ranks, answer = _version(local) if (local / "saved_model.pb").is_file() else _task(load_task(local))
    names = list(ranks)
    rows = read_rows(source, ranks)
    with written_file(target) as file:
        for start in range(0, len(rows), batch_size):
            batch = rows[start : start + batch_size]
            answers = answer({name: _column([row[name] for row in batch], ranks[name]) for name in names})
            for index in range(len(batch)):
                line = {key: _plain(value[index]) for key, value in answers.items()}
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
            advance(start + len(batch), len(rows))
    return len(rows)


def _task(task):
    """`{name: rank}` of a task's inputs, and a function from their columns to answers."""
    ranks = {name: np.ndim(values) for name, values in task.warmup_inputs(1).items()}
    return ranks, lambda columns: task.answers(columns, len(next(iter(columns.values()))))


def _column(values, rank):
    """An array of texts, or of lists of texts, padded with ""."""
    if rank == 1:
        return np.array(values, object)
    rows = np.full([len(values), max(map(len, values))], "", object)
    for place, row in enumerate(values):
        rows[place, : len(row)] = row
    return rows


def _version(folder):
    """The same for an export."""
    import tensorflow as tf

    from kerasformer.serving.session import open_session

    session, signatures = open_session(folder)
    signature = signatures["serving_default"]
    if others := sorted(name for name, info in signature.inputs.items() if info.dtype != tf.string.as_datatype_enum):
        raise InputError(f"`serving_default` must take texts alone. It also takes {others}.")
    fetches = {name: info.name for name, info in sorted(signature.outputs.items())}

    def answer(columns):
        feeds = {
            signature.inputs[name].name: np.vectorize(str.encode, otypes=[object])(texts)
            for name, texts in columns.items()
        }
        return session.run(fetches, feeds)

    return {name: len(signature.inputs[name].tensor_shape.dim) for name in sorted(signature.inputs)}, answer


def read_rows(path, ranks):
    """The records of a file as dictionaries of the fields in `{name: rank}`: str, or for rank 2 lists of str. Raises
    `InputError`, naming the record."""
    from kerasformer.data import read_records

    if not path.is_file():
        raise InputError(f"There is no file {path}")
    rows = []
    for record, where in read_records(path):
        fields = {key.lower(): value for key, value in record.items()}
        if missing := [name for name, rank in ranks.items() if not _is_text(fields.get(name), rank)]:
            kinds = [f"{name} (a list)" if rank == 2 else name for name, rank in ranks.items()]
            raise InputError(f"{where}: expected texts in the fields {kinds}. Missing: {missing}.")
        rows.append({name: fields[name] for name in ranks})
    return rows


def _is_text(value, rank):
    if rank == 2:
        return isinstance(value, list) and all(isinstance(part, str) for part in value)
    return isinstance(value, str)


def _plain(value):
    """A row of an output as JSON has it."""
    value = np.asarray(value)
    if value.dtype.kind in "OS":
        flat = [item.decode("utf-8", "replace") if isinstance(item, bytes) else item for item in value.ravel()]
        value = np.array(flat, object).reshape(value.shape)
    return value.tolist()
