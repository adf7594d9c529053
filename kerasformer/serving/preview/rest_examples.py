"""JSON examples of classify and regress requests to `tf.Example`s, and their results back to JSON."""

import tensorflow as tf

from kerasformer.serving.errors import ServingError
from kerasformer.serving.preview import rest_json


def read_examples(document, request):
    """Fills a `ClassificationRequest` or `RegressionRequest` from a JSON request.

    Args:
        document: `{"examples": [{feature: value or list}, ...]}` with optional `context` and `signature_name`.
        request: the message to fill.

    Raises:
        ServingError: something in the request does not fit.
    """
    request.model_spec.signature_name = rest_json.signature_name(document)
    examples = document.get("examples")
    if not isinstance(examples, list) or not examples:
        raise ServingError("INVALID_ARGUMENT", '"examples" must be a list with at least one object.')
    if "context" in document:
        request.input.example_list_with_context.context.CopyFrom(to_example(document["context"]))
        target = request.input.example_list_with_context
    else:
        target = request.input.example_list
    target.examples.extend(to_example(example) for example in examples)


def to_example(features):
    """A `tf.train.Example` of `{feature: value or list}`; strings, {"b64": ...}, whole numbers, booleans, floats."""
    if not isinstance(features, dict):
        raise ServingError("INVALID_ARGUMENT", "An example must be an object: feature name to value or list of values.")
    return tf.train.Example(
        features=tf.train.Features(feature={name: _to_feature(name, value) for name, value in features.items()})
    )


def _to_feature(name, value):
    values = value if isinstance(value, list) else [value]
    if not values:
        return tf.train.Feature()
    if all(isinstance(value, float) for value in values):
        return tf.train.Feature(float_list=tf.train.FloatList(value=_read(values, name, tf.float32)))
    if all(isinstance(value, int) for value in values):
        return tf.train.Feature(int64_list=tf.train.Int64List(value=_read(map(int, values), name, tf.int64)))
    if all(isinstance(value, (str, dict)) for value in values):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=_read(values, name, tf.string)))
    raise ServingError(
        "INVALID_ARGUMENT", f"Feature {name!r} must hold strings, or whole numbers, or numbers with a decimal point."
    )


def _read(values, name, dtype):
    return [rest_json.to_value(value, f"Feature {name!r}", dtype) for value in values]


def write_classification(response):
    """Bytes of `{"results": [[[label, score], ...], ...]}`."""
    classifications = response.result.classifications
    rows = [[[item.label, rest_json.short_float(item.score)] for item in row.classes] for row in classifications]
    return rest_json.write({"results": rows})


def write_regression(response):
    """Bytes of `{"results": [value, ...]}`."""
    return rest_json.write({"results": [rest_json.short_float(item.value) for item in response.result.regressions]})
