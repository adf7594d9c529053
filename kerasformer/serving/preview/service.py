"""TensorFlow Serving's calls on a folder of models, whichever way they come in."""

from tensorflow_serving.apis import get_model_metadata_pb2

from kerasformer.serving.errors import ServingError
from kerasformer.serving.preview import inference
from kerasformer.serving.preview.loaded_model import DEFAULT_SIGNATURE


class Service:
    """Answers requests with responses; every refusal is a `ServingError`.

    Args:
        registry: a `Registry` that is loaded.
    """

    def __init__(self, registry):
        self.registry = registry

    def predict(self, request, timeout=None):
        """`PredictRequest` → `PredictResponse`; `timeout` in seconds."""
        return self._answer(inference.predict, request, timeout)

    def classify(self, request, timeout=None):
        """`ClassificationRequest` → `ClassificationResponse`."""
        return self._answer(inference.classify, request, timeout)

    def regress(self, request, timeout=None):
        """`RegressionRequest` → `RegressionResponse`."""
        return self._answer(inference.regress, request, timeout)

    def _answer(self, method, request, timeout):
        model, version = self.registry.find(request.model_spec)
        response = method(model, request, timeout)
        response.model_spec.name = request.model_spec.name
        response.model_spec.signature_name = request.model_spec.signature_name or DEFAULT_SIGNATURE
        response.model_spec.version.value = version
        return response

    def metadata(self, request):
        """`GetModelMetadataRequest` → `GetModelMetadataResponse`."""
        fields = list(request.metadata_field)
        if not fields or set(fields) != {"signature_def"}:
            raise ServingError("INVALID_ARGUMENT", f"`metadata_field` must be ['signature_def']. Received: {fields}.")
        model, version = self.registry.find(request.model_spec)
        signatures = get_model_metadata_pb2.SignatureDefMap(signature_def=model.signatures)
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        response.model_spec.name = request.model_spec.name
        response.model_spec.version.value = version
        response.metadata["signature_def"].Pack(signatures)
        return response

    def status(self, request):
        """`GetModelStatusRequest` → `GetModelStatusResponse`."""
        return self.registry.status(request.model_spec)
