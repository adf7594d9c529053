"""Opening a SavedModel as TensorFlow Serving does. Imports nothing but TensorFlow and tensorflow-text.

TensorFlow Serving loads a SavedModel into a `Session` and runs the tensors that a signature names; it never builds
Python objects from it. `tf.compat.v1.saved_model.load` takes the same way, and finds what the server would find:
missing initializers, unknown ops, wrong shapes.
"""

import tensorflow as tf
import tensorflow_text  # noqa: F401  registers the text ops that TensorFlow Serving links


def open_session(folder, config=None):
    """Loads a SavedModel.

    Args:
        folder: with `saved_model.pb`.
        config: `tf.compat.v1.ConfigProto`, or None.

    Returns:
        `(session, {signature name: SignatureDef})`. The graph is finalized: threads may share it. Names that begin with
        `__` are TensorFlow's own.

    Raises:
        tf.errors.OpError: TensorFlow cannot load it. Other errors come from a damaged file. The session is closed.
    """
    graph = tf.Graph()
    session = tf.compat.v1.Session(graph=graph, config=config)
    try:
        with graph.as_default():
            meta_graph = tf.compat.v1.saved_model.load(session, ["serve"], str(folder))
        graph.finalize()
    except BaseException:
        session.close()
        raise
    return session, {name: _own(signature) for name, signature in meta_graph.signature_def.items()}


def describe(signature):
    """A signature as `{"inputs": {name: "dtype [shape]"}, "outputs": …}`."""

    def text(info):
        return f"{tf.as_dtype(info.dtype).name} {[dim.size for dim in info.tensor_shape.dim]}"

    return {
        "inputs": {key: text(info) for key, info in sorted(signature.inputs.items())},
        "outputs": {key: text(info) for key, info in sorted(signature.outputs.items())},
    }


def _own(signature):
    # A submessage keeps its whole MetaGraphDef alive, weights held as constants included.
    copy = type(signature)()
    copy.CopyFrom(signature)
    return copy
