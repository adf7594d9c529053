"""Labels and scores of records as numbers."""

import re

import numpy as np

from kerasformer.errors import InputError

_INTEGER = re.compile(r"-?[0-9]{1,18}")
_NUMBER = re.compile(r"-?[0-9]{1,18}(\.[0-9]+)?")


def are_scores(values, places, own_names):
    """Whether labels are fractions, as numbers or as a table's cells."""
    if any(isinstance(value, float) for value in values):
        return True
    if own_names or not all(isinstance(value, str) and _NUMBER.fullmatch(value) for value in values):
        return False
    fractions = [value for value in values if not _INTEGER.fullmatch(value)]
    if fractions and all(float(value).is_integer() for value in values):
        raise InputError(
            f"{places[0]}: labels like {fractions[0]} may be classes or scores: write classes as integers, or name "
            f"the field score."
        )
    return bool(fractions)


def score_of(value, where):
    """A score as a float."""
    try:
        if isinstance(value, bool):
            raise TypeError
        score = float(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{where}: expected a number as score. Received {value!r}.") from error
    if not abs(score) <= float(np.finfo(np.float32).max):  # NaN too
        raise InputError(f"{where}: expected a finite float32 number as score. Received {value!r}.")
    return score


def several_labels(values, places, own_names, wanted_names, separator):
    """Zeros and ones, float32 `[N, classes]`, and the names of the classes."""
    rows = []
    for value, where in zip(values, places, strict=True):
        if separator and isinstance(value, str):
            value = [label.strip() for label in value.split(separator) if label.strip()]
        if not isinstance(value, list):
            raise InputError(f"{where}: expected a list of labels, or --label-separator. Received {str(value)[:40]!r}.")
        rows.append(value)
    flat = [(label, where) for labels, where in zip(rows, places, strict=True) for label in labels]
    if not flat and not wanted_names and not own_names:
        raise InputError(f"{places[0]}: expected labels. Received none in all of the data.")
    numbers, names = one_label(*(zip(*flat, strict=True) if flat else ((), ())), own_names, wanted_names)
    targets = np.zeros((len(rows), len(names)), np.float32)
    targets[np.repeat(np.arange(len(rows)), [len(labels) for labels in rows]), numbers] = 1
    return targets, names


def one_label(values, places, own_names, wanted_names):
    """The labels as numbers into the names that are returned beside them: `wanted_names` where given."""
    given = {*(own_names or ()), *(wanted_names or ())}
    values = [_label(value, where, given) for value, where in zip(values, places, strict=True)]
    names = own_names or wanted_names or _names_from(values, places)
    numbers = {name: number for number, name in enumerate(names)}
    labels = []
    for value, where in zip(values, places, strict=True):
        label = numbers.get(value, -1) if isinstance(value, str) else value
        if not 0 <= label < len(names):
            raise InputError(f"{where}: label {value!r} is not one of {_spell(names)}.")
        labels.append(label)
    if wanted_names is None or wanted_names == names:
        return np.array(labels, np.int32), names
    # Training data without names: their labels are bare numbers, and so are these.
    nameless = wanted_names == tuple(str(number) for number in range(len(wanted_names)))
    numbers = {name: number for number, name in enumerate(wanted_names)}
    mapping = [number if nameless else numbers.get(name, -1) for number, name in enumerate(names)]
    for label, where in zip(labels, places, strict=True):
        if not 0 <= mapping[label] < len(wanted_names):
            raise InputError(f"{where}: label {names[label]!r} is not one of {_spell(wanted_names)}.")
    return np.array(mapping, np.int32)[labels], wanted_names


def _label(value, where, given):
    if isinstance(value, str):
        if value in given or not _INTEGER.fullmatch(value):
            return value
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise InputError(f"{where}: expected a label that is an integer or a name. Received {value!r}.")
    if value < 0:
        raise InputError(f"{where}: expected an integer label from 0, or a name. Received {value}.")
    return value


def _names_from(values, places):
    kind = type(values[0])
    for value, where in zip(values, places, strict=True):
        if type(value) is not kind:
            raise InputError(
                f"{where}: labels must be all integers or all names. Received {value!r} after {values[0]!r}."
            )
    distinct = sorted(set(values))
    if kind is str:
        return tuple(distinct)
    count = distinct[-1] + 1
    if count > max(1000, 2 * len(distinct)):
        where = places[values.index(count - 1)]
        raise InputError(
            f"{where}: expected labels numbered from 0. Received {count - 1}, though only {len(distinct)} labels occur."
        )
    return tuple(str(number) for number in range(count))


def _spell(names):
    return str(list(names[:20]))[:-1] + (", ...]" if len(names) > 20 else "]")
