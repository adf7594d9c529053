"""Texts with labels in the forms in which Keras's `fit` takes them, as one form."""

import tensorflow as tf

from kerasformer.errors import InputError


def labelled_form(spec, num_classes, multi_label=False):
    """A function from a batch of a data set to the form that a classifier's loss takes.

    | part | forms that are taken |
    | --- | --- |
    | texts | `{"text": string [N]}`, for pairs also `"text_pair"`; or one string tensor, or two; `[N, 1]` as well |
    | labels | integers `[N]` or `[N, 1]`, also as floats or booleans; one-hot `[N, num_classes]` |
    | scores, for a regression | numbers `[N]` or `[N, 1]` |
    | weights | numbers `[N]` or `[N, 1]`, or absent |

    Args:
        spec: the data set's `element_spec`.
        num_classes: of the labels, or None for a regression.
        multi_label: whether a text has any number of labels: these are zeros and ones, `[N, num_classes]`.

    Returns:
        A function from the parts of a batch to `(texts, labels)`, where the labels are int32 or, as scores, float32
        `[N]`; with weights they are `{"labels": [N], "weights": float32 [N]}`.

    Raises:
        InputError: another form, by name.
    """
    if not isinstance(spec, (tuple, list)) or len(spec) not in (2, 3):
        raise InputError(
            "A batch must be `(texts, labels)` or `(texts, labels, sample_weights)`. Received: "
            f"{_shown(spec) if isinstance(spec, (tuple, list)) else type(spec).__name__} alone."
        )
    texts, labels, *weights = spec
    texts_form = _texts_form(texts)
    labels_form = _several_form(labels, num_classes) if multi_label else _labels_form(labels, num_classes)
    if not weights:
        return lambda texts, labels: (texts_form(texts), labels_form(labels))
    weights_form = _numbers_form(weights[0], "sample weights")

    def form(texts, labels, weights):
        targets = {"labels": labels_form(labels), "weights": tf.cast(weights_form(weights), tf.float32)}
        return texts_form(texts), targets

    return form


def _texts_form(spec):
    names = ("text", "text_pair")
    if isinstance(spec, dict):
        if "text" not in spec:
            raise InputError(f"The texts of a batch must be in 'text' and 'text_pair'. Received: {list(spec)}.")
        columns = {name: spec[name] for name in names if name in spec}
        forms = {name: _text_form(column) for name, column in columns.items()}
        return lambda texts: {name: form(texts[name]) for name, form in forms.items()}
    if isinstance(spec, (tuple, list)):
        if len(spec) != 2:
            raise InputError(f"The texts of a batch must be one tensor, or two for pairs. Received: {len(spec)}.")
        forms = [_text_form(column) for column in spec]
        return lambda texts: {name: form(text) for name, form, text in zip(names, forms, texts, strict=True)}
    form = _text_form(spec)
    return lambda texts: {"text": form(texts)}


def _text_form(spec):
    if not isinstance(spec, tf.TensorSpec) or spec.dtype != tf.string:
        raise InputError(f"The texts of a batch must be strings [N]. Received: {_shown(spec)}.")
    return _column_form(spec, "texts")


def _labels_form(spec, num_classes):
    if num_classes is None:
        form = _numbers_form(spec, "scores")
        return lambda scores: tf.cast(form(scores), tf.float32)
    if isinstance(spec, tf.TensorSpec) and spec.shape.rank == 2 and spec.shape[1] == num_classes:
        if spec.dtype == tf.string:
            raise InputError(f"Labels must be numbers, see `label_names`. Received: {_shown(spec)}.")
        return _from_one_hot
    form = _numbers_form(spec, "labels", f" or one-hot [N, {num_classes}]")

    def labels_form(labels):
        labels = form(labels)
        if not labels.dtype.is_floating:
            return tf.cast(labels, tf.int32)
        numbers = tf.cast(tf.round(labels), tf.int32)
        message = "InputError: Labels must be whole numbers, or `label_names` None for a regression."
        with tf.control_dependencies([tf.debugging.assert_equal(tf.cast(numbers, labels.dtype), labels, message)]):
            return tf.identity(numbers)

    return labels_form


def _several_form(spec, num_classes):
    is_number = isinstance(spec, tf.TensorSpec) and spec.dtype != tf.string
    if not is_number or spec.shape.rank != 2 or spec.shape[1] not in (None, num_classes):
        raise InputError(
            f"Several labels per text must be zeros and ones, [N, {num_classes}]. Received: {_shown(spec)}."
        )
    return lambda labels: tf.cast(labels, tf.float32)


def _from_one_hot(labels):
    labels = tf.cast(labels, tf.float32)
    message = "InputError: One-hot labels must have a single 1 in each row."
    is_one = tf.cast(tf.equal(labels, 1.0), tf.float32)
    checks = [
        tf.debugging.assert_equal(tf.reduce_sum(is_one, 1), 1.0, message),
        tf.debugging.assert_equal(tf.reduce_sum(tf.abs(labels), 1), 1.0, message),
    ]
    with tf.control_dependencies(checks):
        return tf.argmax(labels, 1, output_type=tf.int32)


def _numbers_form(spec, name, otherwise=""):
    if not isinstance(spec, tf.TensorSpec) or not (
        spec.dtype.is_integer or spec.dtype.is_floating or spec.dtype.is_bool
    ):
        raise InputError(f"The {name} of a batch must be numbers [N]{otherwise}. Received: {_shown(spec)}.")
    return _column_form(spec, name, otherwise)


def _column_form(spec, name, otherwise=""):
    """A function from `[N]` or `[N, 1]` to `[N]`."""
    rank = spec.shape.rank
    if rank == 0:
        raise InputError(f"The {name} must come in batches: use `data.batch(32)`. Received: a scalar.")
    if rank == 2 and spec.shape[1] == 1:
        return lambda column: tf.squeeze(column, 1)
    if rank not in (None, 1):
        raise InputError(
            f"The {name} of a batch must have the shape [N] or [N, 1]{otherwise}. Received: {_shown(spec)}."
        )
    return lambda column: column


def _shown(spec):
    if isinstance(spec, tf.TensorSpec):
        return f"{spec.dtype.name} {spec.shape}"
    if isinstance(spec, dict):
        return f"a dictionary of {', '.join(map(str, spec))}"
    if isinstance(spec, (tuple, list)):
        return f"{len(spec)} parts"
    return type(spec).__name__
