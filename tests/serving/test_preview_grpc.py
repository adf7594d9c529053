"""The gRPC interface, called through TensorFlow Serving's own stubs."""

import concurrent.futures

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

SERVICE = "/tensorflow.serving.PredictionService"


@pytest.fixture(scope="module")
def channel(server):
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        yield channel


@pytest.fixture(scope="module")
def stub(channel):
    return prediction_service_pb2_grpc.PredictionServiceStub(channel)


def predict_request(signature="", name="small", **inputs):
    request = predict_pb2.PredictRequest()
    request.model_spec.name = name
    request.model_spec.signature_name = signature
    for key, value in inputs.items():
        request.inputs[key].CopyFrom(tf.make_tensor_proto(value))
    return request


def arrays(response):
    return {name: tf.make_ndarray(proto) for name, proto in response.outputs.items()}


def refusal(call, request, **options):
    with pytest.raises(grpc.RpcError) as caught:
        call(request, **options)
    return caught.value.code().name, caught.value.details()


def test_predict(stub):
    response = stub.Predict(predict_request(text=["ab", ""]))
    outputs = arrays(response)
    assert outputs["label"].tolist() == [b"two:ab", b"two:"]
    np.testing.assert_array_equal(outputs["scores"], np.float32([[2, 4, 8], [0, 0, 0]]))
    spec = response.model_spec
    assert (spec.name, spec.version.value, spec.signature_name) == ("small", 2, "serving_default")


def test_values_lie_in_the_typed_fields(stub):
    response = stub.Predict(
        predict_request(
            "numbers",
            token_ids=np.int32([[1, 2]]),
            scale=np.float32([0.5]),
            negate=np.array([False]),
            big=np.int64([1 << 60]),
        )
    )
    assert list(response.outputs["total"].float_val) == [1.5]
    assert list(response.outputs["token_ids"].int_val) == [2, 3]
    assert list(response.outputs["big"].int64_val) == [1 << 60]
    assert list(response.outputs["negate"].bool_val) == [False]
    assert [dim.size for dim in response.outputs["token_ids"].tensor_shape.dim] == [1, 2]


def test_an_empty_batch(stub):
    outputs = arrays(stub.Predict(predict_request(text=np.array([], object).astype("S1"))))
    assert {name: array.shape for name, array in outputs.items()} == {"label": (0,), "score": (0,), "scores": (0, 3)}


def test_output_filter(stub):
    request = predict_request(text=["ab"])
    request.output_filter.append("score")
    assert {name: array.tolist() for name, array in arrays(stub.Predict(request)).items()} == {"score": [2.0]}
    request.output_filter.append("score")
    assert refusal(stub.Predict, request)[0] == "INVALID_ARGUMENT"
    request.output_filter[:] = ["logits"]
    code, details = refusal(stub.Predict, request)
    assert code == "INVALID_ARGUMENT"
    assert "logits" in details
    assert "scores" in details


def test_versions_and_labels(stub):
    request = predict_request(text=["x"])
    request.model_spec.version.value = 1
    response = stub.Predict(request)
    assert arrays(response)["label"].tolist() == [b"one:x"]
    assert response.model_spec.version.value == 1
    request.model_spec.version_label = "stable"
    assert arrays(stub.Predict(request))["label"].tolist() == [b"one:x"]
    request.model_spec.version_label = "canary"
    assert refusal(stub.Predict, request)[0] == "INVALID_ARGUMENT"
    request.model_spec.version.value = 3
    assert refusal(stub.Predict, request)[0] == "NOT_FOUND"
    request.model_spec.version.value = -1
    assert refusal(stub.Predict, request)[0] == "NOT_FOUND"


def malformed(**fields):
    request = predict_request()
    request.inputs["text"].CopyFrom(tf.make_tensor_proto(["a"]))
    for name, value in fields.items():
        setattr(request.inputs["text"], name, value)
    return request


def huge():
    request = malformed()
    request.inputs["text"].tensor_shape.dim[0].size = 1 << 40
    return request


@pytest.mark.parametrize(
    ("request_", "code", "told"),
    [
        (predict_request(text=["a"], name="other"), "NOT_FOUND", "other"),
        (predict_request(text=["a"], name=""), "INVALID_ARGUMENT", "names no model"),
        (predict_request("none", text=["a"]), "FAILED_PRECONDITION", "serving_default"),
        (predict_request(), "INVALID_ARGUMENT", "missing: ['text']"),
        (predict_request(txt=["a"]), "INVALID_ARGUMENT", "unknown: ['txt']"),
        (predict_request(text=["a"], more=["b"]), "INVALID_ARGUMENT", "unknown: ['more']"),
        (predict_request(text=[1]), "INVALID_ARGUMENT", "string"),
        (predict_request(text="a"), "INVALID_ARGUMENT", "[?]"),
        (predict_request(text=[["a"]]), "INVALID_ARGUMENT", "[1, 1]"),
        (predict_request("refuse", text=["bad"]), "INVALID_ARGUMENT", "only good texts"),
        (malformed(dtype=0), "INVALID_ARGUMENT", "tensor"),
        (malformed(dtype=tf.float32.as_datatype_enum, tensor_content=b"abc"), "INVALID_ARGUMENT", "tensor"),
        (huge(), "INVALID_ARGUMENT", "elements"),
    ],
)
def test_bad_requests_are_refused_and_explained(stub, request_, code, told):
    got, details = refusal(stub.Predict, request_)
    assert got == code
    assert told in details
    stub.Predict(predict_request(text=["still here"]))


def test_bytes_that_are_no_request(channel, stub):
    call = channel.unary_unary(f"{SERVICE}/Predict")
    assert refusal(call, b"\xff\xff\xff")[0] == "INTERNAL"
    stub.Predict(predict_request(text=["still here"]))


def test_classify_and_regress(stub):
    def example(**features):
        message = tf.train.Example()
        for name, value in features.items():
            message.features.feature[name].bytes_list.value.append(value)
        return message

    request = classification_pb2.ClassificationRequest()
    request.model_spec.name = "small"
    request.model_spec.signature_name = "classify"
    code, details = refusal(stub.Classify, request)
    assert code == "INVALID_ARGUMENT"
    assert "no examples" in details
    request.input.example_list.examples.extend([example(text=b"ab"), example(text=b"")])
    response = stub.Classify(request)
    rows = [[(item.label, item.score) for item in row.classes] for row in response.result.classifications]
    assert rows == [[("aba", 2.0), ("abb", 4.0), ("abc", 8.0)], [("a", 0.0), ("b", 0.0), ("c", 0.0)]]
    assert response.model_spec.version.value == 2
    request.model_spec.signature_name = "serving_default"
    assert refusal(stub.Classify, request)[0] == "INVALID_ARGUMENT"
    request.model_spec.signature_name = "regress"
    assert refusal(stub.Classify, request)[0] == "FAILED_PRECONDITION"
    request.model_spec.signature_name = "none"
    assert refusal(stub.Classify, request)[0] == "INVALID_ARGUMENT"

    request = regression_pb2.RegressionRequest()
    request.model_spec.name = "small"
    request.model_spec.signature_name = "regress"
    request.input.example_list_with_context.context.CopyFrom(example(text=b"abc"))
    request.input.example_list_with_context.examples.add()
    assert [item.value for item in stub.Regress(request).result.regressions] == [3.0]


def test_metadata(stub):
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = "small"
    response = stub.GetModelMetadata(request)
    assert response.model_spec.version.value == 2
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(signatures)
    assert set(signatures.signature_def["pair"].inputs) == {"text", "text_pair"}
    request.metadata_field[:] = []
    assert refusal(stub.GetModelMetadata, request)[0] == "INVALID_ARGUMENT"
    request.metadata_field[:] = ["weights"]
    assert refusal(stub.GetModelMetadata, request)[0] == "INVALID_ARGUMENT"


def test_status(channel):
    stub = model_service_pb2_grpc.ModelServiceStub(channel)
    request = get_model_status_pb2.GetModelStatusRequest()
    assert refusal(stub.GetModelStatus, request)[0] == "INVALID_ARGUMENT"
    request.model_spec.name = "small"
    request.model_spec.version.value = 2
    (entry,) = stub.GetModelStatus(request).model_version_status
    assert (entry.version, entry.state, entry.status.error_code) == (2, entry.AVAILABLE, 0)
    request.model_spec.version.value = 9
    assert refusal(stub.GetModelStatus, request)[0] == "NOT_FOUND"


def test_what_the_preview_does_not_do_says_so(stub):
    assert refusal(stub.MultiInference, inference_pb2.MultiInferenceRequest())[0] == "UNIMPLEMENTED"


def test_a_deadline_ends_the_computation(stub):
    request = predict_request("slow", steps=np.int32([2_000_000]))
    assert refusal(stub.Predict, request, timeout=0.3)[0] == "DEADLINE_EXCEEDED"
    stub.Predict(predict_request(text=["still here"]), timeout=10)


def test_concurrent_requests_get_their_own_answers(stub):
    def ask(number):
        return arrays(stub.Predict(predict_request("label_only", text=[f"text {number}"])))["label"].tolist()

    with concurrent.futures.ThreadPoolExecutor(24) as pool:
        answers = list(pool.map(ask, range(120)))
    assert answers == [[f"text {number}".encode()] for number in range(120)]


def test_messages_beyond_grpc_usual_limit(stub):
    text = "x" * (5 << 20)
    with pytest.raises(grpc.RpcError, match="RESOURCE_EXHAUSTED"):  # the client's own limit, on the answer
        stub.Predict(predict_request("label_only", text=[text]))
    request = predict_request(text=[text])
    request.output_filter.append("score")
    assert arrays(stub.Predict(request))["score"].tolist() == [5 << 20]
