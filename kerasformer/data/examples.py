"""Texts with a label or a score each, in memory: classification, pair classification and regression."""

import dataclasses
import re

import numpy as np

from kerasformer.data.columns import find_field, object_column, whole_characters
from kerasformer.data.labels import are_scores, one_label, score_of, several_labels
from kerasformer.data.sources import read_label_names, read_records
from kerasformer.errors import InputError

TEXT_FIELDS = ("text", "sentence", "content", "review")
PAIR_FIELDS = (
    ("text_a", "text_b"),
    ("sentence1", "sentence2"),
    ("premise", "hypothesis"),
    ("question1", "question2"),
    ("question", "sentence"),
)


@dataclasses.dataclass(frozen=True, eq=False)
class Examples:
    """Columns of one length N.

    Attributes:
        texts: `[N]` objects, each a `str`.
        pairs: `[N]` objects, the second text of each pair, or `None` where there are only single texts.
        targets: `[N]` int32 labels, `[N, classes]` float32 zeros and ones of several labels a text, `[N]` float32
            scores of a regression, or `None` where nothing is labelled.
        label_names: the name of each label, or `None` for a regression and where nothing is labelled.
        source: where they were read.
    """

    texts: np.ndarray
    pairs: np.ndarray | None
    targets: np.ndarray | None
    label_names: tuple[str, ...] | None
    source: str

    @property
    def multi_label(self):
        """Whether a text has any number of labels."""
        return self.targets is not None and self.targets.ndim == 2

    def __len__(self):
        return len(self.texts)

    def select(self, indices) -> "Examples":
        """The examples at `indices` (integers, a slice or a boolean mask `[N]`), in that order."""
        indices = indices if isinstance(indices, slice) else np.asarray(indices)
        if not isinstance(indices, slice) and not indices.size:
            indices = indices.astype(np.int64)
        return dataclasses.replace(
            self,
            texts=self.texts[indices],
            pairs=None if self.pairs is None else self.pairs[indices],
            targets=None if self.targets is None else self.targets[indices],
        )


def stratified_sample(examples, count, seed=0):
    """Indices of about `count` random examples that hold each class in its share, int64.

    Of several labels a text the rarest one counts. The only example of a class is left out, unless every class has one.

    Args:
        examples: `Examples` with labels.
    """
    order = np.random.default_rng(seed).permutation(len(examples))
    targets = examples.targets
    if examples.multi_label:
        totals = targets.sum(0)
        targets = np.where(targets.any(1), np.where(targets > 0, totals, np.inf).argmin(1), -1)
    by_class = order[np.argsort(targets[order], kind="stable")]
    # Every so many in the order of the classes: each has its share, but for one example.
    chosen = by_class[((np.arange(count) + 0.5) * len(order) / count).astype(int)]
    classes, sizes = np.unique(targets, return_counts=True)
    several = np.isin(targets[chosen], classes[sizes > 1])
    return chosen[several] if several.any() else chosen


def load_classification(
    source,
    *,
    label_names: tuple[str, ...] | None = None,
    regression: bool | None = None,
    text_column: str | None = None,
    pair_column: str | None = None,
    label_column: str | None = None,
    multi_label: bool | None = None,
    label_separator: str | None = None,
) -> Examples:
    """Reads texts, or pairs of texts, with a label or a score each.

    The fields are `text`, `sentence`, `content` or `review`; for pairs `text_a` and `text_b`, `sentence1` and
    `sentence2`, `premise` and `hypothesis`, `question1` and `question2`, `question` and `sentence`; and `label`,
    `labels` or `score`, all in capitals or not. Several labels a text are a list, or a string in which
    `label_separator` is between them; none are an empty one.

    A label is a name or an integer from 0; a string of digits is an integer, unless it
    is one of the names. Integers mean the names that come with the source (see `read_label_names`). Without such names
    they are taken from the data: names in sorted order, or "0", "1", ... for integers.

    Args:
        source: what `read_records` takes, or a pandas `DataFrame`.
        label_names: the names of the training data, for validation and test data: their labels must be among them,
            and are numbered as they are.
        regression: `True` reads a score, `False` a label; by default a field `score` without a field `label`, or a
            `label` that is a fraction, makes a regression.
        text_column, pair_column, label_column: names of the fields, case ignored, where they are others. A
            `pair_column` needs a `text_column`; with a `text_column` alone there are no pairs.
        multi_label: whether a text has any number of labels; by default where they are lists, or with a
            `label_separator`.
        label_separator: between the labels of a text, such as "|" in "sports|politics".

    Returns:
        `Examples`. Its targets are `None` where no record has a label (for TFDS and Hugging Face: where all are -1).

    Raises:
        InputError: the source cannot be read or is empty, or a record lacks its text or has an unusable label.
    """
    columns = text_column, pair_column, label_column
    several = (True if label_separator and multi_label is None else multi_label), label_separator
    if hasattr(source, "columns") and hasattr(source, "itertuples"):
        return _examples(_frame_records(source), "DataFrame", None, label_names, regression, columns, several)
    source = str(source)
    own_names = None if regression else read_label_names(source)
    return _examples(read_records(source), source, own_names, label_names, regression, columns, several)


def from_lists(
    texts, labels=None, *, pairs=None, label_names: tuple[str, ...] | None = None, regression: bool | None = None
) -> Examples:
    """`Examples` of lists, NumPy arrays or pandas `Series`.

    Args:
        texts: N str; `pairs` the second texts, if any.
        labels: N labels, lists of labels or scores as `load_classification` reads them, or None.
        label_names, regression: as there; integers mean `label_names` where these are given.

    Raises:
        InputError: the lists are of different lengths, or hold anything else; the message names the place.
    """
    columns = {"text": texts, "text_pair": pairs, "label": labels}
    columns = {name: _as_list(column, name) for name, column in columns.items() if column is not None}
    if len({len(column) for column in columns.values()}) > 1:
        sizes = ", ".join(f"{len(column)} of {name}" for name, column in columns.items())
        raise InputError(f"Texts, pairs and labels must be lists of one length. Received: {sizes}.")
    records = (
        (dict(zip(columns, row, strict=True)), f"item {place}")
        for place, row in enumerate(zip(*columns.values(), strict=True))
    )
    named = ("text", "text_pair" if pairs is not None else None, "label" if labels is not None else None)
    return _examples(records, "lists", None, label_names, regression, named)


def _as_list(column, name):
    if isinstance(column, (str, bytes)) or not hasattr(column, "__len__") or isinstance(column, dict):
        raise InputError(f"The {name} column must be a list. Received: {str(column)[:40]!r}.")
    return column.tolist() if hasattr(column, "tolist") else list(column)


def _frame_records(frame):
    """`(record, place)` of the rows of a pandas `DataFrame`; missing values are None."""
    names = [str(name) for name in frame.columns]
    if len(set(names)) < len(names):
        raise InputError(f"DataFrame: the columns must have different names. Received: {names}.")
    columns = {str(name): frame[name].tolist() for name in frame.columns}
    missing = {str(name): frame[name].isna().tolist() for name in frame.columns}
    for place in range(len(frame)):
        record = {name: None if missing[name][place] else values[place] for name, values in columns.items()}
        yield record, f"DataFrame: row {place}"


def _examples(records, source, own_names, label_names, regression, columns, several=(None, None)):
    if label_names is not None:
        label_names = tuple(label_names)
        if regression:
            raise InputError("`label_names` cannot be given for a regression. Received: regression=True.")
    if regression is None and label_names is not None:
        regression = False
    text_column, pair_column, label_column = columns
    if pair_column is not None and text_column is None:
        raise InputError(f"A pair column needs a text column. Received: pair_column={pair_column!r} alone.")
    multi_label, separator = several
    if multi_label and regression:
        raise InputError("Several labels a text and a regression exclude each other.")
    unlabelled_class = -1 if source.startswith(("tfds:", "hf:")) and not regression else None
    texts, pairs, values, places = [], [], [], []
    fields = target_field = None
    for record, where in records:
        if fields is None:
            fields = _text_fields(record, where, text_column, pair_column)
            target_field = label_column and _named_field(record, label_column, where)
        first, *second = (_text(record, field, where) for field in fields)
        texts.append(first)
        pairs.extend(second)
        target_field = target_field or _target_field(record, regression)
        value = record.get(target_field)
        is_empty = value == "" and not separator
        values.append(None if is_empty or (value == unlabelled_class and type(value) is int) else value)
        places.append(where)
    if not texts:
        raise InputError(f"{source}: expected at least one record. Received an empty data set.")

    targets, names = None, None
    unlabelled = [where for value, where in zip(values, places, strict=True) if value is None]
    if unlabelled and len(unlabelled) < len(values):
        raise InputError(f"{unlabelled[0]}: no label or score, though other records of {source} have one.")
    if multi_label is None and values[0] is not None:
        multi_label = isinstance(values[0], list) and not regression
    if multi_label and not unlabelled:
        targets, names = several_labels(values, places, own_names, label_names, separator)
    elif not unlabelled:
        if regression is None:
            is_score = target_field.strip().casefold() == "score" and not label_column
            regression = is_score or are_scores(values, places, own_names)
        if regression:
            targets = np.array([score_of(*item) for item in zip(values, places, strict=True)], np.float32)
        else:
            targets, names = one_label(values, places, own_names, label_names)
    return Examples(object_column(texts), object_column(pairs) if pairs else None, targets, names, source)


def _text_fields(record, where, text_column, pair_column):
    if text_column is not None:
        return tuple(_named_field(record, name, where) for name in (text_column, pair_column) if name is not None)
    for names in (*PAIR_FIELDS, *((field,) for field in TEXT_FIELDS)):
        fields = tuple(find_field(record, name) for name in names)
        if None not in fields:
            return fields
    pairs = ", ".join("+".join(pair) for pair in PAIR_FIELDS)
    raise InputError(
        f"{where}: expected a field {', '.join(TEXT_FIELDS)} or {pairs}, or one that --text-column names. "
        f"Received the fields {_received(record, where)}."
    )


def _named_field(record, name, where):
    field = find_field(record, name)
    if field is None:
        raise InputError(f"{where}: expected one field {name!r}. Received the fields {_received(record, where)}.")
    return field


def _received(record, where):
    received = ", ".join(str(name)[:40] for name in record) or "none"
    return received + (" (its first row names them)" if re.search(r"\.[ct]sv(\.gz)?:\d+$", where) else "")


def _text(record, field, where):
    text = record.get(field)
    if not isinstance(text, str):
        kind = "no such field" if field not in record else f"{text!r}"[:60]
        raise InputError(f"{where}: expected a string in the field {field!r}. Received {kind}.")
    return whole_characters(text, where, repr(field))


def _target_field(record, regression):
    preferred = (
        ("score", "label")
        if regression
        else ("label", "labels")
        if regression is False
        else ("label", "labels", "score")
    )
    return next((field for name in preferred if (field := find_field(record, name)) is not None), None)
