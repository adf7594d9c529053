"""Warmup requests: what TensorFlow Serving replays before it takes a version into service."""

import pathlib

import numpy as np
import tensorflow as tf

WARMUP_FILE = pathlib.Path("assets.extra") / "tf_serving_warmup_requests"


def write_warmup(folder, requests):
    """Writes requests as a TFRecord of `PredictionLog`.

    Args:
        folder: of the SavedModel.
        requests: list of `(signature name, {input name: NumPy array})`; at most 1,000 are replayed.
    """
    from tensorflow_serving.apis import prediction_log_pb2

    path = pathlib.Path(folder) / WARMUP_FILE
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for signature, inputs in requests:
            log = prediction_log_pb2.PredictionLog()
            request = log.predict_log.request
            request.model_spec.signature_name = signature
            for name, value in inputs.items():
                request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
            writer.write(log.SerializeToString())


def read_warmup(folder):
    """The requests that `write_warmup` wrote, as `(signature name, {input name: NumPy array})`."""
    from tensorflow_serving.apis import prediction_log_pb2

    path = pathlib.Path(folder) / WARMUP_FILE
    if not path.is_file():
        return []
    requests = []
    for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
        request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
        inputs = {name: np.asarray(tf.make_ndarray(value)) for name, value in request.inputs.items()}
        requests.append((request.model_spec.signature_name, inputs))
    return requests
