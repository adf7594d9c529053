"""TensorFlow Serving's gRPC interface, for the client: dicts and NumPy arrays in and out.

`tensorflow-serving-api` imports TensorFlow, so that nothing here is imported before gRPC is asked for.
"""

import grpc
import tensorflow as tf
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

from kerasformer.serving.errors import UNREACHABLE_HINT, ServingError, too_slow
from kerasformer.serving.messages import metadata_dict, status_dict


class GrpcTransport:
    """TensorFlow Serving's gRPC interface.

    Args:
        address: `host:port`.
        timeout: seconds for each call.
        secure: TLS, with the system's certificates.
    """

    def __init__(self, address, timeout, secure=False):
        self._address = address
        self._timeout = timeout
        options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
        if secure:
            self._channel = grpc.secure_channel(address, grpc.ssl_channel_credentials(), options)
        else:
            self._channel = grpc.insecure_channel(address, options)
        self._prediction = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)
        self._model = model_service_pb2_grpc.ModelServiceStub(self._channel)

    def predict(self, model, version, signature, inputs, outputs_of):
        request = predict_pb2.PredictRequest(model_spec=self._spec(model, version, signature))
        for name, array in inputs.items():
            request.inputs[name].CopyFrom(_to_tensor_proto(array))
        response = self._call(self._prediction.Predict, request)
        return {name: tf.make_ndarray(proto) for name, proto in response.outputs.items()}

    def classify(self, model, version, signature, examples):
        request = classification_pb2.ClassificationRequest(model_spec=self._spec(model, version, signature))
        request.input.example_list.examples.extend(map(_to_example, examples))
        response = self._call(self._prediction.Classify, request)
        return [[[item.label, item.score] for item in row.classes] for row in response.result.classifications]

    def regress(self, model, version, signature, examples):
        request = regression_pb2.RegressionRequest(model_spec=self._spec(model, version, signature))
        request.input.example_list.examples.extend(map(_to_example, examples))
        return [item.value for item in self._call(self._prediction.Regress, request).result.regressions]

    def metadata(self, model, version):
        request = get_model_metadata_pb2.GetModelMetadataRequest(
            model_spec=self._spec(model, version), metadata_field=["signature_def"]
        )
        return metadata_dict(self._call(self._prediction.GetModelMetadata, request))

    def status(self, model, version):
        request = get_model_status_pb2.GetModelStatusRequest(model_spec=self._spec(model, version))
        return status_dict(self._call(self._model.GetModelStatus, request))

    def close(self):
        self._channel.close()

    def _spec(self, model, version, signature=""):
        spec = model_pb2.ModelSpec(name=model, signature_name=signature)
        if isinstance(version, str):
            spec.version_label = version
        elif version is not None:
            spec.version.value = version
        return spec

    def _call(self, method, request):
        try:
            return method(request, timeout=self._timeout)
        except grpc.RpcError as error:
            code, details = error.code().name, error.details()
        except ValueError as error:  # what a closed channel raises
            raise ServingError("UNAVAILABLE", f"The client of {self._address} is closed.") from error
        if code == "UNAVAILABLE":
            raise ServingError(code, f"{self._address} cannot be reached over gRPC. {UNREACHABLE_HINT} ({details})")
        if code == "DEADLINE_EXCEEDED":
            raise ServingError(code, too_slow(self._address, self._timeout))
        raise ServingError(code, f"{request.model_spec.name!r} at {self._address}: {details}")


def _to_tensor_proto(array):
    return tf.make_tensor_proto(array, dtype=tf.string if array.dtype == object else None, shape=array.shape)


def _to_example(features):
    """A `tf.train.Example` of a dict from feature name to a list of bytes, or of int, or of float."""
    example = tf.train.Example()
    for name, values in features.items():
        feature = example.features.feature[name]
        if all(isinstance(value, bytes) for value in values):
            feature.bytes_list.value.extend(values)
        elif all(isinstance(value, int) for value in values):
            feature.int64_list.value.extend(values)
        else:
            feature.float_list.value.extend(values)
    return example
