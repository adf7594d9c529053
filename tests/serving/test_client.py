"""The client against the preview server, the same over gRPC and REST, and against servers that fail it."""

import concurrent.futures
import socket
import subprocess
import sys
import threading

import numpy as np
import pytest

from kerasformer.errors import InputError
from kerasformer.serving.client import Client
from kerasformer.serving.errors import ServingError


@pytest.fixture(scope="module", params=["grpc", "rest"])
def address(request, server):
    if request.param == "grpc":
        return f"127.0.0.1:{server.grpc_port}"
    return f"http://127.0.0.1:{server.rest_port}"


@pytest.fixture(scope="module")
def client(address):
    with Client(address, model="small") as client:
        yield client


def test_texts_in_and_batches_out(client):
    outputs = client.predict(text=["ab", "ü"])
    assert outputs.keys() == {"label", "score", "scores"}
    assert outputs["label"].tolist() == ["two:ab", "two:ü"]
    assert outputs["scores"].dtype == np.float32
    np.testing.assert_array_equal(outputs["scores"], [[2, 4, 8], [2, 4, 8]])
    for text in ("ab", np.array("ab"), np.array(["ab"]), b"ab", [b"ab"]):
        assert client.predict(text=text)["label"].tolist() == ["two:ab"]


def test_two_inputs_another_signature_another_version(client):
    outputs = client.predict(text=["a"], text_pair=["bc"], signature="pair")
    assert outputs["joined"].tolist() == ["abc"]
    assert client.predict(text=["x"], version=1)["label"].tolist() == ["one:x"]
    assert client.predict(text=["x"], version="stable")["label"].tolist() == ["one:x"]
    assert client.predict({"text": ["x"]}, signature="label_only")["label"].tolist() == ["x"]


def test_numbers_take_the_type_of_the_signature(client):
    outputs = client.predict(
        signature="numbers", token_ids=[[1, 2], [3, 4]], scale=[0.5, 1], negate=[False, True], big=[1 << 60, 0]
    )
    assert outputs["total"].tolist() == [1.5, -7.0]
    assert {name: array.dtype.name for name, array in outputs.items()} == {
        "total": "float32",
        "token_ids": "int32",
        "big": "int64",
        "negate": "bool",
    }
    one = client.predict(signature="numbers", token_ids=np.array([[1]], np.int16), scale=1, negate=False, big=2)
    assert one["big"].tolist() == [2]


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"token_ids": [[1.5]]}, "int32"),
        ({"token_ids": [[1 << 31]]}, "int32"),
        ({"token_ids": [[1], [1, 2]]}, "ragged"),
        ({"token_ids": [["a", 1]]}, "int"),
        ({"negate": [1]}, "bool"),
        ({"scale": [True]}, "float"),
        ({"scale": [None]}, "NoneType"),
        ({"scale": ["\ud800"]}, "surrogate"),
    ],
)
def test_inputs_that_cannot_be_sent(client, wrong, told):
    inputs = {"token_ids": [[1]], "scale": [1.0], "negate": [True], "big": [0], **wrong}
    with pytest.raises(InputError, match=told):
        client.predict(signature="numbers", **inputs)


def test_an_empty_batch_keeps_shapes_and_types(client):
    outputs = client.predict(text=[])
    assert {name: array.shape for name, array in outputs.items()} == {"label": (0,), "score": (0,), "scores": (0, 3)}
    assert outputs["scores"].dtype == np.float32


def test_json_cannot_tell_the_inner_shape_of_an_empty_batch(address):
    inputs = {"token_ids": [], "scale": [], "negate": [], "big": []}
    with Client(address, model="small") as client:
        if address.startswith("http"):
            with pytest.raises(ServingError, match=r"shape \[0\]"):
                client.predict(inputs, signature="numbers")
        else:
            assert client.predict(inputs, signature="numbers")["token_ids"].shape == (0, 0)


def test_bytes_and_texts(client):
    outputs = client.predict(text=[b"\xff\x00", "a\x00"], signature="raw")
    assert outputs["text_bytes"].tolist() == [b"\xff\x00", b"a\x00"]
    assert outputs["text"].tolist() == ["\ufffd\x00", "a\x00"]


def test_a_single_output_has_its_name(client):
    assert client.predict(text=["a", "b"], signature="label_only")["label"].tolist() == ["a", "b"]
    outputs = client.predict(text=["a", "b"], signature="scalar")
    assert outputs["count"] == 2
    assert outputs["count"].shape == ()


def test_classify_and_regress(client):
    outputs = client.classify([{"text": "ab", "weight": 0.5}, {"text": [b"c"], "weight": 2}])
    assert outputs["classes"].tolist() == [["aba", "abb", "abc"], ["ca", "cb", "cc"]]
    np.testing.assert_array_equal(outputs["scores"], np.float32([[1, 2, 4], [2, 4, 8]]))
    values = client.regress([{"text": "ab", "times": 3}, {"text": "ab", "times": np.int32(2)}])
    assert values.dtype == np.float32
    assert values.tolist() == [6.0, 4.0]
    with pytest.raises(InputError, match="text"):
        client.classify({"text": None})


def test_metadata_and_status(client):
    metadata = client.metadata()
    assert metadata["model_spec"] == {"name": "small", "signature_name": "", "version": "2"}
    assert metadata["metadata"]["signature_def"]["signature_def"]["pair"]["inputs"]["text"]["dtype"] == "DT_STRING"
    (entry,) = client.status(version=2)["model_version_status"]
    assert entry == {"version": "2", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}


@pytest.mark.parametrize(
    ("model", "call", "code", "told"),
    [
        ("other", {"text": ["a"]}, "NOT_FOUND", "other"),
        ("small", {"text": ["a"], "version": 9}, "NOT_FOUND", "version 9"),
        ("small", {"text": ["a"], "version": "canary"}, "INVALID_ARGUMENT", "canary"),
        ("small", {"texts": ["a"]}, "INVALID_ARGUMENT", "text"),
        ("small", {"text": ["bad"], "signature": "refuse"}, "INVALID_ARGUMENT", "only good texts"),
        ("small", {"text": [["a"]]}, "INVALID_ARGUMENT", "shape"),
    ],
)
def test_refusals_name_address_and_model(address, model, call, code, told):
    with Client(address, model=model) as client, pytest.raises(ServingError) as caught:
        client.predict(**call)
    assert caught.value.code == code
    assert told in caught.value.message
    assert model in caught.value.message
    assert address.removeprefix("http://") in caught.value.message


def test_an_unknown_signature(address):
    with Client(address, model="small") as client, pytest.raises(ServingError, match="serving_default") as caught:
        client.predict(text=["a"], signature="none")
    # REST has one status for both.
    assert caught.value.code == ("INVALID_ARGUMENT" if address.startswith("http") else "FAILED_PRECONDITION")


def test_threads_share_a_client(client):
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        answers = pool.map(lambda n: client.predict(text=[str(n)], signature="label_only")["label"].tolist(), range(80))
    assert list(answers) == [[str(number)] for number in range(80)]


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


@pytest.mark.parametrize("scheme", ["", "http://"])
def test_nobody_listens(scheme):
    address = f"{scheme}127.0.0.1:{free_port()}"
    with Client(address, model="small", timeout=5) as client, pytest.raises(ServingError) as caught:
        client.status()
    assert caught.value.code == "UNAVAILABLE"
    assert address in caught.value.message
    assert "kerasformer serve" in caught.value.message


@pytest.mark.parametrize("scheme", ["", "http://"])
def test_a_server_that_never_answers(scheme):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"{scheme}127.0.0.1:{silent.getsockname()[1]}"
        with Client(address, model="small", timeout=0.3) as client, pytest.raises(ServingError) as caught:
            client.predict(text=["a"])
    assert caught.value.code in ("DEADLINE_EXCEEDED", "UNAVAILABLE")
    assert address in caught.value.message


def test_the_other_protocols_port(server):
    with Client(f"http://127.0.0.1:{server.grpc_port}", model="small", timeout=5) as client:
        with pytest.raises(ServingError, match="gRPC is usually port 8500"):
            client.status()
    with Client(f"127.0.0.1:{server.rest_port}", model="small", timeout=5) as client:
        with pytest.raises(ServingError, match="http://"):
            client.status()


def answer_once(listener, payload):
    connection, _ = listener.accept()
    with connection:
        connection.recv(65536)
        connection.sendall(payload)


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        ("503 Service Unavailable", b'{"error": "queue full"}', "UNAVAILABLE"),
        ("429 Too Many Requests", b'{"error": "queue full"}', "RESOURCE_EXHAUSTED"),
        ("504 Gateway Timeout", b"", "DEADLINE_EXCEEDED"),
        ("500 Internal Server Error", b"<html>", "INTERNAL"),
        ("302 Found", b"", "UNKNOWN"),
        ("200 OK", b"no json", "UNKNOWN"),
    ],
)
def test_what_other_servers_say(status, body, code):
    payload = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=answer_once, args=(listener, payload))
        thread.start()
        with Client(f"http://127.0.0.1:{listener.getsockname()[1]}", model="m") as client:
            with pytest.raises(ServingError) as caught:
                client.status()
        thread.join()
    assert caught.value.code == code


def test_a_kept_connection_that_the_server_closed_is_replaced():
    body = b'{"model_version_status": []}'
    payload = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    with socket.create_server(("127.0.0.1", 0)) as listener:
        with Client(f"http://127.0.0.1:{listener.getsockname()[1]}", model="m", timeout=5) as client:
            for _ in range(2):
                thread = threading.Thread(target=answer_once, args=(listener, payload))
                thread.start()
                assert client.status() == {"model_version_status": []}
                thread.join()


@pytest.mark.parametrize(
    ("address", "options"),
    [
        ("ftp://localhost:1", {}),
        ("localhost", {}),
        ("grpc://localhost", {}),
        ("localhost:port", {}),
        ("", {}),
        ("http://", {}),
        ("http://localhost:8501/v1/models/small", {}),
        ("http://localhost:8501", {"protocol": "grpc"}),
        ("localhost:8500", {"protocol": "thrift"}),
    ],
)
def test_addresses_that_are_none(address, options):
    with pytest.raises(InputError, match="address"):
        Client(address, model="small", **options)


def test_protocol_decides_where_the_address_does_not(server):
    with Client(f"127.0.0.1:{server.rest_port}", model="small", protocol="rest") as client:
        assert client.predict(text="a")["label"].tolist() == ["two:a"]


def test_what_every_call_needs(client, address):
    with pytest.raises(InputError, match="inputs"):
        client.predict()
    with Client(address) as nameless, pytest.raises(InputError, match="model"):
        nameless.predict(text=["a"])


def test_a_closed_client_says_so(server):
    client = Client(f"127.0.0.1:{server.grpc_port}", model="small")
    client.close()
    with pytest.raises(ServingError, match="closed"):
        client.status()


def test_rest_needs_no_tensorflow(server):
    code = (
        "import sys; from kerasformer.serving.client import Client\n"
        f"with Client('http://127.0.0.1:{server.rest_port}', model='small') as client:\n"
        "    print(client.predict(text=['ab'])['label'].tolist(), 'tensorflow' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert result.stdout.strip() == "['two:ab'] False", result.stderr
