"""One table of weight names for each family, read in both directions.

A table is a list of rows: a part of our model, by its attributes, and what holds its weights in the family's files.

    table("embeddings.token", "embeddings.word_embeddings"),
    dense("blocks.{i}.attention.query_key_value", "layer.{i}.query", "layer.{i}.key", "layer.{i}.value"),
    norm("blocks.{i}.attention_norm", "layer.{i}.norm"),

`{i}` counts through a list of our model. Several names on either side are side by side along the outputs: here three
tensors make one of our matrices. A part or weight that our model lacks (None) is skipped: no row says whether there
are biases or segments.
"""

import typing

import keras
import numpy as np

from kerasformer.errors import InputError

FLOATING = ("float16", "bfloat16", "float32", "float64")


class Row(typing.NamedTuple):
    """One row of a table of names.

    Attributes:
        ours: paths of attributes of our parts, with `{i}` for an index.
        theirs: names of the tensors, without the last word.
        weights: `(our attribute, their last word)` of each weight.
        transposed: whether their matrices are `[outputs, inputs]`; ours are `[inputs, outputs]`.
    """

    ours: tuple
    theirs: tuple
    weights: tuple
    transposed: bool = False


def table(ours, theirs):
    """An embedding, `[rows, dim]` on both sides."""
    return Row((ours,), (theirs,), ((".embeddings", ".weight"),))


def dense(ours, *theirs):
    """A dense layer, of which PyTorch's `Linear` has `[outputs, inputs]`. `ours` may be several paths."""
    ours = (ours,) if isinstance(ours, str) else tuple(ours)
    return Row(ours, theirs, ((".kernel", ".weight"), (".bias", ".bias")), transposed=True)


def conv1d(ours, *theirs):
    """A dense layer that they have as `[inputs, outputs]` too, as GPT-2's `Conv1D`."""
    return dense(ours, *theirs)._replace(transposed=False)


def norm(ours, theirs):
    """A normalization."""
    return Row((ours,), (theirs,), ((".gamma", ".weight"), (".beta", ".bias")))


def rms_norm(ours, theirs):
    """A root mean square normalization, which has no bias."""
    return Row((ours,), (theirs,), ((".gamma", ".weight"),))


def vector(ours, theirs):
    """One weight by itself, alike on both sides."""
    return Row((ours,), (theirs,), (("", ""),))


class Weight(typing.NamedTuple):
    """Our values and their tensors, which hold the same numbers.

    Attributes:
        ours: our values, Keras variables or arrays.
        names: their names.
        widths: number of outputs of each of theirs.
        transposed: see `Row`.
    """

    ours: list
    names: list
    widths: list
    transposed: bool


def weights_of(rows, model):
    """The weights that a table names in a model, or in anything that has the rows' attributes; yields `Weight`."""
    for row in rows:
        for index in _indices(row, model):
            paths = [path.format(i=index) for path in row.ours]
            for attribute, word in row.weights:
                values = [attribute_of(model, path + attribute) for path in paths]
                if any(value is None for value in values):
                    continue
                names = [name.format(i=index) + word for name in row.theirs]
                total = sum(value.shape[-1] for value in values)
                yield Weight(values, names, _widths(model, paths[0], len(names), total), row.transposed)


def names_in(rows):
    """The names of all tensors in rows without `{i}`."""
    return [name + word for row in rows for name in row.theirs for _, word in row.weights]


def is_of_pooler(row):
    """Whether a row names a part of the backbone's pooler."""
    return row.ours[0].split(".")[0] == "pooler"


def _indices(row, model):
    before, found, _ = row.ours[0].partition(".{i}")
    if not found:
        return (0,)
    return range(len(attribute_of(model, before) or ()))


def attribute_of(model, path):
    """The value at a path of attributes and indices, such as "blocks.0.norm.gamma"; None behind a part that is None."""
    for name in path.split("."):
        if model is not None:
            model = model[int(name)] if name.isdecimal() else getattr(model, name)
    return model


def _widths(model, path, count, total):
    """Outputs of each of `count` tensors side by side: of equal width, but that there may be fewer keys and values than
    queries, whose number of outputs is that of the inputs of attention's last projection."""
    if count != 3:
        return [total // count] * count
    attention = attribute_of(model, path.rpartition(".")[0])
    queries = attention.output_projection.kernel.shape[0]
    return [queries, (total - queries) // 2, (total - queries) // 2]


def assign(rows, model, tensors, source):
    """Puts tensors into a model, one at a time.

    Args:
        rows: table of names.
        model: with the attributes that the rows name.
        tensors: `{name: Tensor}`.
        source: what to call the checkpoint in messages.

    Returns:
        The names of the tensors that were read, a set.

    Raises:
        InputError: a tensor is missing, misshapen, or not of floating-point numbers.
    """
    used = set()
    for weight in weights_of(rows, model):
        parts = []
        for name, width in zip(weight.names, weight.widths, strict=True):
            shape = (*weight.ours[0].shape[:-1], width)
            parts.append(_read(name, tensors, shape, weight.transposed, source))
        ends = np.cumsum([variable.shape[-1] for variable in weight.ours])[:-1]
        joined = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=-1)
        for variable, value in zip(weight.ours, np.split(joined, ends, axis=-1), strict=True):
            variable.assign(value)
        used.update(weight.names)
    return used


def _read(name, tensors, shape, transposed, source):
    """A tensor as we have it, float32 `shape`."""
    if name not in tensors:
        raise InputError(f"The checkpoint in {source} lacks the tensor {name!r}.")
    tensor = tensors[name]
    theirs = shape[::-1] if transposed else shape
    if tensor.shape != theirs:
        raise InputError(f"The tensor {name!r} in {source} must be of shape {theirs}. Received: {tensor.shape}.")
    if tensor.dtype not in FLOATING:
        raise InputError(
            f"The tensor {name!r} in {source} must be of type {', '.join(FLOATING)}. Received: {tensor.dtype}."
        )
    value = tensor.read().astype(np.float32)
    return value.T if transposed else value


def collect(rows, model):
    """The tensors of a model by the names of a table, `{name: float32 array}`; the reverse of `assign`."""
    tensors = {}
    for weight in weights_of(rows, model):
        joined = np.concatenate([_as_float32(value) for value in weight.ours], axis=-1)
        for name, part in zip(weight.names, np.split(joined, np.cumsum(weight.widths)[:-1], axis=-1), strict=True):
            # In memory as written: safetensors takes an array's bytes in their order.
            tensors[name] = np.ascontiguousarray(part.T if weight.transposed else part)
    return tensors


def _as_float32(value):
    return np.asarray(keras.ops.convert_to_numpy(value)).astype(np.float32)
