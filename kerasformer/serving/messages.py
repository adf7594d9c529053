"""TensorFlow Serving's descriptions of a model as the JSON of its REST interface."""

from google.protobuf import json_format
from tensorflow_serving.apis import get_model_metadata_pb2


def _to_dict(message):
    return json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )


def metadata_dict(response):
    """`{"model_spec": ..., "metadata": {"signature_def": {"signature_def": ...}}}` of a `GetModelMetadataResponse`."""
    signatures = get_model_metadata_pb2.SignatureDefMap()
    response.metadata["signature_def"].Unpack(signatures)
    return {"model_spec": _to_dict(response.model_spec), "metadata": {"signature_def": _to_dict(signatures)}}


def status_dict(response):
    """`{"model_version_status": [{"version": "1", "state": ..., "status": ...}]}` of a `GetModelStatusResponse`."""
    return _to_dict(response)
