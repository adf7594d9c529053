"""Records of data sets prepared by tensorflow-datasets."""

import os
import re
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from kerasformer.errors import InputError
from kerasformer.extras import require

_SOURCE = re.compile(r"tfds:(?P<name>[^:]+(?::\d+\.\d+\.\d+)?):(?P<split>.+)")
_BATCH = 512


def is_tfds(source: str) -> bool:
    """Whether `source` names a TFDS data set."""
    return source.startswith("tfds:")


def read_tfds(source: str) -> Iterator[tuple[dict, str]]:
    """Yields `(record, "tfds:...: record k")` of `tfds:NAME[/CONFIG][:VERSION]:SPLIT`; SPLIT may be `train[:10%]`.

    A data set that is not prepared yet is prepared (and so downloaded) first.

    Raises:
        InputError: unknown name or split, or the data set is neither prepared nor to be had.
    """
    tfds = require("tensorflow_datasets", "data", "A source tfds:")
    name, split = _parse(source)
    builder = _builder(source)
    if not builder.is_prepared():
        try:
            builder.download_and_prepare()
        except Exception as error:
            raise InputError(
                f"{source}: {name} is not prepared in {builder.data_path}, and cannot be downloaded "
                f"({_first_line(error)}); set TFDS_DATA_DIR to the folder where it is."
            ) from error
    try:
        # One file after the other, so that the order is that of the files; read once, so nothing is kept.
        reading = tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False)
        dataset = builder.as_dataset(split=split, read_config=reading)
    except Exception as error:
        splits = ", ".join(sorted(builder.info.splits))
        raise InputError(
            f"{source}: cannot read the split {split!r} ({_first_line(error)}). Those of {name}: {splits}."
        ) from error
    try:
        for index, record in enumerate(_records(dataset), start=1):
            yield record, f"{source}: record {index}"
    except tf.errors.OpError as error:
        raise InputError(f"{source}: damaged files in {builder.data_path} ({_first_line(error)}).") from error


def label_names(source: str, fields: tuple[str, ...] = ("label",)) -> tuple[str, ...] | None:
    """The names that the builder declares for the first feature of `fields`, or for what that is a list of."""
    features = _builder(source).info.features or {}
    found = next((features[name] for name in fields if name in features), None)
    names = getattr(found, "names", None) or getattr(getattr(found, "feature", None), "names", None)
    return tuple(names) if names else None


def _parse(source):
    match = _SOURCE.fullmatch(source)
    if match is None:
        raise InputError(f"Expected tfds:NAME[/CONFIG]:SPLIT, such as tfds:glue/sst2:train. Received: {source}.")
    return match["name"], match["split"]


def _builder(source):
    tfds = require("tensorflow_datasets", "data", "A source tfds:")
    name, _ = _parse(source)
    try:
        return tfds.builder(name, data_dir=os.environ.get("TFDS_DATA_DIR"))
    except Exception as error:
        raise InputError(f"{source}: tensorflow-datasets cannot load {name!r} ({_first_line(error)}).") from error


def _records(dataset):
    specs = tf.nest.flatten(dataset.element_spec)
    if not all(isinstance(spec, tf.TensorSpec) and spec.shape.rank == 0 for spec in specs):
        yield from (_plain(record) for record in dataset.as_numpy_iterator())
        return
    # A call for each batch instead of each record: several times faster.
    for batch in dataset.batch(_BATCH).as_numpy_iterator():
        names = list(batch)
        for values in zip(*(batch[name].tolist() for name in names), strict=True):
            yield _plain(dict(zip(names, values, strict=True)))


def _plain(value):
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError:
            return value  # an image, say
    if isinstance(value, (np.ndarray, np.generic)):
        return _plain(value.tolist())
    if isinstance(value, tf.compat.v1.ragged.RaggedTensorValue):
        return _plain(value.to_list())
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value


def _first_line(error):
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")[:200]
