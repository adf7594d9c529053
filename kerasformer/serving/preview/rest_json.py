"""JSON to tensors and back, by the rules of TensorFlow Serving's REST interface.

Row form: `{"instances": [...]}` gives `{"predictions": [...]}`, one element an example.
Column form: `{"inputs": ...}` gives `{"outputs": ...}`, whole tensors.
https://www.tensorflow.org/tfx/serving/api_rest
"""

import base64
import binascii
import json
import re

import numpy as np
import tensorflow as tf

from kerasformer.serving.errors import ServingError
from kerasformer.serving.preview.loaded_model import numpy_dtype, shape_text

_FLOATS = (tf.float32, tf.float64)
_INTEGERS = (tf.int8, tf.int16, tf.int32, tf.int64, tf.uint8, tf.uint32, tf.uint64)


def _invalid(message):
    return ServingError("INVALID_ARGUMENT", message)


def parse(body):
    """The JSON object in the bytes `body`. Raises `ServingError`."""
    if not body:
        raise _invalid('The request has no body. Expected JSON such as {"instances": [...]}.')
    try:
        # Strings are bytes to TensorFlow: what is not UTF-8 passes through, as in TensorFlow Serving.
        document = json.loads(body.decode("utf-8-sig", "surrogateescape"))
    except (ValueError, RecursionError) as error:
        raise _invalid(f"The body is not JSON: {error or type(error).__name__}.") from error
    if not isinstance(document, dict):
        raise _invalid(f"The body must be a JSON object. Received: {_excerpt(document)}.")
    return document


def signature_name(document):
    name = document.get("signature_name", "")
    if not isinstance(name, str):
        raise _invalid(f"`signature_name` must be a string. Received: {_excerpt(name)}.")
    return name


def read_predict(document, inputs):
    """Reads a predict request.

    Args:
        document: the request as a dict.
        inputs: input name to `TensorInfo`, of the signature.

    Returns:
        Input name to NumPy array, and whether the request is in row form.

    Raises:
        ServingError: something in the request does not fit.
    """
    if ("instances" in document) == ("inputs" in document):
        raise _invalid('Expected one of the keys "instances" (rows) and "inputs" (columns), and not both.')
    if "instances" in document:
        return _read_rows(document["instances"], inputs), True
    return _read_columns(document["inputs"], inputs), False


def _read_rows(instances, inputs):
    if not isinstance(instances, list) or not instances:
        raise _invalid(f'"instances" must be a list with at least one element. Received: {_excerpt(instances)}.')
    named = _is_named(instances[0])
    if not named and len(inputs) > 1:
        raise _invalid(
            f'Each of the "instances" must be an object with the keys {sorted(inputs)}. '
            f"Received: {_excerpt(instances[0])}."
        )
    for number, instance in enumerate(instances):
        if _is_named(instance) != named:
            raise _invalid(f'"instances" must be all objects or all values; number {number} is not like the first.')
        if named and instance.keys() != inputs.keys():
            raise _invalid(f"Instance {number} must have the keys {sorted(inputs)}. Received: {sorted(instance)}.")
    if named:
        return {name: to_array([row[name] for row in instances], name, info) for name, info in inputs.items()}
    ((name, info),) = inputs.items()
    return {name: to_array(instances, name, info)}


def _read_columns(value, inputs):
    if not _is_named(value):
        if len(inputs) > 1:
            raise _invalid(f'"inputs" must be an object with the keys {sorted(inputs)}. Received: {_excerpt(value)}.')
        value = {next(iter(inputs)): value}
    missing = sorted(set(inputs) - set(value))
    if missing:
        raise _invalid(f'"inputs" must have the keys {sorted(inputs)}. Missing: {missing}. Received: {sorted(value)}.')
    # TensorFlow Serving looks up the inputs that it knows and passes over other keys.
    return {name: to_array(value[name], name, info) for name, info in inputs.items()}


def _is_base64(value):
    return isinstance(value, dict) and len(value) == 1 and isinstance(value.get("b64"), str)


def _is_named(value):
    return isinstance(value, dict) and not _is_base64(value)


def to_array(value, name, info):
    """Nested lists as the NumPy array that the `TensorInfo` of input `name` asks for. Raises `ServingError`."""
    dtype = tf.as_dtype(info.dtype)
    if dtype not in (*_FLOATS, *_INTEGERS, tf.bool, tf.string):
        raise ServingError("UNIMPLEMENTED", f"Input {name!r} is {dtype.name}, which JSON cannot carry; use gRPC.")
    shape = []
    first = value
    while isinstance(first, list):
        shape.append(len(first))
        first = first[0] if first else None
    if not info.tensor_shape.unknown_rank and len(shape) != len(info.tensor_shape.dim):
        raise _invalid(
            f"Input {name!r} has the shape {shape_text(info.tensor_shape)}. Received lists of the shape {shape}."
        )
    if len(shape) > 32:
        raise _invalid(f"Input {name!r} is nested {len(shape)} deep. At most 32 is possible.")
    leaves = [value]
    for size in shape:
        if any(not isinstance(part, list) or len(part) != size for part in leaves):
            raise _invalid(f"Input {name!r} is ragged: every list at one depth must have the same length, here {size}.")
        leaves = [leaf for part in leaves for leaf in part]
    array = np.empty(len(leaves), numpy_dtype(info))
    for position, leaf in enumerate(leaves):
        array[position] = to_value(leaf, f"Input {name!r}", dtype)
    return array.reshape(shape)


def to_value(leaf, name, dtype):
    """A JSON value as one of TensorFlow's `dtype`. Raises `ServingError` that begins with `name`."""
    if dtype == tf.string:
        if isinstance(leaf, str):
            return encode(leaf)
        if _is_base64(leaf):
            return _decode_base64(leaf["b64"])
    elif dtype == tf.bool:
        if isinstance(leaf, bool):
            return leaf
    elif isinstance(leaf, (int, float)) and not isinstance(leaf, bool):
        if dtype in _FLOATS and _fits_float(leaf, dtype):
            return leaf
        if dtype in _INTEGERS and isinstance(leaf, int) and dtype.min <= leaf <= dtype.max:
            return leaf
    raise _invalid(f"{name} takes {dtype.name} values. Received: {_excerpt(leaf)}.")


def _fits_float(value, dtype):
    # TensorFlow Serving refuses whole numbers that the type would round, and numbers beyond its range.
    if isinstance(value, int) and -(1 << 63) <= value < 1 << 64:
        return abs(value) < 1 << (24 if dtype == tf.float32 else 53)
    value = abs(value)
    return value != value or value == float("inf") or value <= float(dtype.max)


def encode(text):
    """UTF-8 bytes of a string out of JSON. Raises `ServingError` for half a surrogate pair."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise _invalid(f"A string has half a surrogate pair: {_excerpt(text)}.") from error


def _decode_base64(text):
    text = re.sub(r"\s", "", text)
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise _invalid(f'"b64" must hold base64 text. Received: {_excerpt(text)}.') from error


def write_predict(outputs, row_form):
    """Bytes of the JSON answer.

    Args:
        outputs: output name to NumPy array.
        row_form: rows (`predictions`) or columns (`outputs`).

    Raises:
        ServingError: in row form, where the outputs do not share a dimension 0 of at least 1.
    """
    lists = {name: to_lists(name, array) for name, array in outputs.items()}
    if not row_form:
        return write({"outputs": lists if len(lists) > 1 else next(iter(lists.values()))})
    sizes = {name: array.shape[0] if array.ndim else None for name, array in outputs.items()}
    if len(set(sizes.values())) > 1 or not next(iter(sizes.values())):
        raise _invalid(
            'Answers to "instances" need outputs that share a dimension 0 of at least 1. '
            f'Found: {sizes}. Send "inputs" instead.'
        )
    if len(lists) == 1:
        return write({"predictions": next(iter(lists.values()))})
    return write({"predictions": [dict(zip(lists, row, strict=True)) for row in zip(*lists.values(), strict=True)]})


def to_lists(name, array):
    """A tensor as nested lists of JSON values; strings whose name ends with `_bytes` as base64."""
    if array.dtype == object:
        values = array.ravel().tolist()
        if name.endswith("_bytes"):
            values = [{"b64": base64.b64encode(value).decode()} for value in values]
        else:
            values = [value.decode("utf-8", "surrogateescape") for value in values]
        converted = np.empty(len(values), object)
        converted[:] = values
        return converted.reshape(array.shape).tolist()
    if array.dtype == np.float32:
        # The shortest digits that give the same float32 back: 0.2, and not 0.20000000298023224.
        return array.astype("U32").astype(np.float64).tolist()
    if tf.as_dtype(array.dtype) in (tf.float64, tf.bool, *_INTEGERS):
        return array.tolist()
    raise _invalid(f"Output {name!r} is {array.dtype}, which JSON cannot carry; use gRPC.")


def short_float(value):
    """A float32 as the float with the fewest digits that gives it back."""
    return float(str(np.float32(value)))


def write(document):
    """Bytes of `{key: value}`, with a line for each element of a list at the top."""
    ((key, value),) = document.items()
    if isinstance(value, list) and value:
        text = "[\n        " + ",\n        ".join(map(_dumps, value)) + "\n    ]"
    else:
        text = _dumps(value)
    return f'{{\n    "{key}": {text}\n}}\n'.encode("utf-8", "surrogateescape")


def _dumps(value):
    return json.dumps(value, ensure_ascii=False)


def _excerpt(value):
    text = json.dumps(value)
    return text if len(text) <= 100 else text[:100] + "…"
