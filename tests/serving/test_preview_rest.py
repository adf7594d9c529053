"""The REST interface, by the rules of https://www.tensorflow.org/tfx/serving/api_rest, over real sockets."""

import base64
import concurrent.futures
import gzip
import http.client
import json
import socket

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

PREDICT = "/v1/models/small:predict"
NUMBERS = {"token_ids": [1, 2], "scale": 0.5, "negate": True, "big": 1 << 53}


def test_row_form_takes_bare_values_and_objects(rest):
    expected = [
        {"label": "two:ab", "score": 2.0, "scores": [2.0, 4.0, 8.0]},
        {"label": "two:", "score": 0.0, "scores": [0.0, 0.0, 0.0]},
    ]
    assert rest(PREDICT, {"instances": ["ab", ""]}) == (200, {"predictions": expected})
    assert rest(PREDICT, {"instances": [{"text": "ab"}, {"text": ""}]}) == (200, {"predictions": expected})


def test_row_form_gives_a_single_output_bare(rest):
    body = {"signature_name": "label_only", "instances": ["a", "ü"]}
    assert rest(PREDICT, body) == (200, {"predictions": ["a", "ü"]})


def test_column_form(rest):
    outputs = {"label": ["two:ab"], "score": [2.0], "scores": [[2.0, 4.0, 8.0]]}
    assert rest(PREDICT, {"inputs": {"text": ["ab"]}}) == (200, {"outputs": outputs})
    assert rest(PREDICT, {"inputs": ["ab"]}) == (200, {"outputs": outputs})
    assert rest(PREDICT, {"inputs": ["a"], "signature_name": "label_only"}) == (200, {"outputs": ["a"]})
    # An output without a batch is possible in this form only.
    assert rest(PREDICT, {"inputs": ["a"], "signature_name": "scalar"}) == (
        200,
        {"outputs": {"count": 1, "text": ["a"]}},
    )


def test_an_empty_batch_answers_in_column_form_only(rest):
    outputs = {"label": [], "score": [], "scores": []}
    assert rest(PREDICT, {"inputs": {"text": []}}) == (200, {"outputs": outputs})
    assert rest(PREDICT, {"instances": []})[0] == 400


def test_several_inputs_of_every_type(rest):
    answer = {"total": -1.5, "token_ids": [2, 3], "big": 1 << 53, "negate": True}
    assert rest(PREDICT, {"signature_name": "numbers", "instances": [NUMBERS]}) == (200, {"predictions": [answer]})
    columns = {name: [value] for name, value in NUMBERS.items()}
    status, document = rest(PREDICT, {"signature_name": "numbers", "inputs": columns})
    assert (status, document["outputs"]) == (200, {name: [value] for name, value in answer.items()})


def test_bytes_travel_as_base64(rest):
    status, document = rest(PREDICT, {"signature_name": "raw", "inputs": {"text": [{"b64": "YWI="}, "c"]}})
    assert (status, document["outputs"]) == (
        200,
        {"text_bytes": [{"b64": "YWI="}, {"b64": "Yw=="}], "text": ["ab", "c"]},
    )
    # Base64 may come without its padding, and bare where there is one input.
    assert rest(PREDICT, {"signature_name": "label_only", "instances": [{"b64": "YQ"}]}) == (
        200,
        {"predictions": ["a"]},
    )


def test_strings_that_are_not_utf8_pass_through(server):
    data = bytes(range(128, 256))
    body = {"signature_name": "raw", "inputs": [{"b64": base64.b64encode(data).decode()}]}
    for posted in (json.dumps(body).encode(), b'{"signature_name": "raw", "inputs": ["' + data + b'"]}'):
        connection = http.client.HTTPConnection("127.0.0.1", server.rest_port)
        connection.request("POST", PREDICT, posted)
        answer = connection.getresponse().read()
        connection.close()
        assert data in answer
        assert base64.b64encode(data) in answer


def test_floats_have_the_fewest_digits_that_give_them_back(server):
    connection = http.client.HTTPConnection("127.0.0.1", server.rest_port)
    body = {"signature_name": "numbers", "instances": [{**NUMBERS, "scale": 0.1, "negate": False, "token_ids": [1]}]}
    connection.request("POST", PREDICT, json.dumps(body))
    answer = connection.getresponse().read().decode()
    connection.close()
    assert '"total": 0.1' in answer


def test_versions_and_labels(rest):
    def label(path):
        status, document = rest(path, {"instances": ["x"]})
        return document["predictions"][0]["label"] if status == 200 else status

    assert label("/v1/models/small:predict") == "two:x"
    assert label("/v1/models/small/versions/2:predict") == "two:x"
    assert label("/v1/models/small/versions/1:predict") == "one:x"
    assert label("/v1/models/small/labels/stable:predict") == "one:x"
    assert label("/v1/models/small/versions/3:predict") == 404
    assert label("/v1/models/small/labels/canary:predict") == 400
    assert label("/v1/models/small/versions/99999999999999999999:predict") == 400
    assert label(f"/v1/models/small/versions/{'9' * 5000}:predict") == 400
    assert label("/v1/models/other:predict") == 404
    assert label("/V1/Models/small:Predict") == "two:x"


def test_classify_and_regress(rest):
    examples = [{"text": "ab"}, {"text": ["abc"], "weight": 0.5}]
    rows = [[["aba", 2.0], ["abb", 4.0], ["abc", 8.0]], [["abca", 1.5], ["abcb", 3.0], ["abcc", 6.0]]]
    body = {"signature_name": "classify", "examples": examples}
    assert rest("/v1/models/small:classify", body) == (200, {"results": rows})
    body = {"signature_name": "regress", "examples": [{"text": {"b64": "YWI="}, "times": 3}, {"text": "a"}]}
    assert rest("/v1/models/small:regress", body) == (200, {"results": [6.0, 1.0]})
    body = {"signature_name": "regress", "context": {"text": "abc"}, "examples": [{"times": 2}, {}]}
    assert rest("/v1/models/small:regress", body) == (200, {"results": [6.0, 3.0]})


@pytest.mark.parametrize(
    ("method", "body"),
    [
        ("classify", {"signature_name": "classify"}),
        ("classify", {"signature_name": "classify", "examples": []}),
        ("classify", {"signature_name": "classify", "examples": ["text"]}),
        ("classify", {"signature_name": "classify", "examples": [{"text": None}]}),
        ("classify", {"signature_name": "classify", "examples": [{"text": ["a", 1]}]}),
        ("classify", {"signature_name": "classify", "examples": [{"text": [["a"]]}]}),
        ("classify", {"signature_name": "classify", "examples": [{"text": "a", "weight": 1}]}),
        ("classify", {"signature_name": "classify", "examples": [{"text": "a", "times": 1 << 63}]}),
        ("classify", {"signature_name": "classify", "examples": [{}]}),
        ("classify", {"examples": [{"text": "a"}]}),
        ("classify", {"signature_name": "regress", "examples": [{"text": "a"}]}),
        ("regress", {"signature_name": "classify", "examples": [{"text": "a"}]}),
        ("regress", {"signature_name": "none", "examples": [{"text": "a"}]}),
    ],
)
def test_bad_examples_are_refused(rest, method, body):
    status, document = rest(f"/v1/models/small:{method}", body)
    assert status == 400
    assert document["error"]


def test_status(rest):
    state = {"version": "2", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    assert rest("/v1/models/small/versions/2") == (200, {"model_version_status": [state]})
    status, document = rest("/v1/models/small")
    assert status == 200
    assert [entry["version"] for entry in document["model_version_status"]] == ["2", "1"]
    assert rest("/v1/models/small/versions/7")[0] == 404
    assert rest("/v1/models/other")[0] == 404


def test_metadata(rest):
    status, document = rest("/v1/models/small/metadata")
    assert status == 200
    assert document["model_spec"] == {"name": "small", "signature_name": "", "version": "2"}
    signature = document["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert signature["method_name"] == "tensorflow/serving/predict"
    text = signature["inputs"]["text"]
    assert text["dtype"] == "DT_STRING"
    assert text["tensor_shape"] == {"dim": [{"size": "-1", "name": ""}], "unknown_rank": False}
    assert rest("/v1/models/small/versions/1/metadata")[1]["model_spec"]["version"] == "1"
    assert rest("/v1/models/small/labels/stable/metadata")[1]["model_spec"]["version"] == "1"


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"", "no body"),
        (b"{", "not JSON"),
        (b'{"instances": ["\\ud800"]}', "surrogate"),
        (b"[" * 100_000, "not JSON"),
        (b'{"instances": [' + b"1" * 5000 + b"]}", "not JSON"),
        ([1], "object"),
        ({}, '"instances"'),
        ({"instances": ["a"], "inputs": ["a"]}, "not both"),
        ({"instances": "a"}, "list"),
        ({"instances": {"text": "a"}}, "list"),
        ({"instances": [1]}, "string"),
        ({"instances": [None]}, "string"),
        ({"instances": [["a"]]}, "shape [?]"),
        ({"instances": [{"txt": "a"}]}, "['text']"),
        ({"instances": [{"text": "a", "more": 1}]}, "['text']"),
        ({"instances": [{"text": "a"}, {}]}, "Instance 1"),
        ({"instances": [{"text": "a"}, "b"]}, "number 1"),
        ({"instances": [{"b64": "?"}]}, "base64"),
        ({"instances": ["a"], "signature_name": "none"}, "serving_default"),
        ({"instances": ["a"], "signature_name": 1}, "signature_name"),
        ({"instances": ["a"], "signature_name": "pair"}, "['text', 'text_pair']"),
        ({"instances": ["a"], "signature_name": "scalar"}, "dimension 0"),
        ({"inputs": {"txt": ["a"]}}, "Missing: ['text']"),
        ({"inputs": {"text": "a"}}, "shape [?]"),
        ({"inputs": {"text": ["a", ["b"]]}}, "Input 'text' takes string"),
        ({"inputs": {"text": ["a"] * 3, "text_pair": ["b", "c"]}, "signature_name": "pair"}, "ncompatible shapes"),
        ({"inputs": ["bad"], "signature_name": "refuse"}, "only good texts"),
        ({"instances": [{**NUMBERS, "token_ids": [1.0]}], "signature_name": "numbers"}, "int32"),
        ({"instances": [{**NUMBERS, "token_ids": [True]}], "signature_name": "numbers"}, "int32"),
        ({"instances": [{**NUMBERS, "token_ids": [1 << 31]}], "signature_name": "numbers"}, "int32"),
        ({"instances": [{**NUMBERS, "scale": 1e39}], "signature_name": "numbers"}, "float32"),
        ({"instances": [{**NUMBERS, "scale": (1 << 24) + 1}], "signature_name": "numbers"}, "float32"),
        ({"instances": [{**NUMBERS, "negate": 1}], "signature_name": "numbers"}, "bool"),
        ({"instances": [NUMBERS, {**NUMBERS, "token_ids": [1]}], "signature_name": "numbers"}, "ragged"),
    ],
)
def test_bad_requests_are_refused_and_explained(rest, body, told):
    status, document = rest(PREDICT, body)
    assert status == 400
    assert told in document["error"]
    assert rest(PREDICT, {"instances": ["still here"]})[0] == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("PUT", "/v1/models/small", 400),
        ("DELETE", "/v1/models/small:predict", 400),
        ("GET", "/v1/models/small:predict", 400),
        ("POST", "/v1/models/small", 400),
        ("POST", "/v1/models/small:explain", 400),
        ("GET", "/v1/models", 400),
        ("GET", "/", 404),
        ("GET", "/v2/models/small", 404),
    ],
)
def test_other_methods_and_paths(rest, method, path, status):
    body = {"instances": ["a"]} if method in ("POST", "PUT") else None
    got, document = rest(path, body, method=method)
    assert got == status
    assert document["error"]


def test_a_body_too_large_and_a_gzip_body(rest):
    assert rest(PREDICT, {"instances": ["x" * (1 << 20)]})[0] == 413
    bomb = gzip.compress(b" " * (2 << 20))
    assert rest(PREDICT, bomb, headers={"Content-Encoding": "gzip"})[0] == 413
    packed = gzip.compress(b'{"instances": ["ab"], "signature_name": "label_only"}')
    assert rest(PREDICT, packed, headers={"Content-Encoding": "gzip"}) == (200, {"predictions": ["ab"]})
    assert rest(PREDICT, packed[:-9], headers={"Content-Encoding": "gzip"})[0] == 400
    assert rest(PREDICT, b"plain", headers={"Content-Encoding": "gzip"})[0] == 400


@pytest.mark.parametrize(
    "raw",
    [
        b"\r\n\r\n",
        b"nonsense\r\n\r\n",
        b"POST /v1/models/small:predict HTTP/1.1\r\nContent-Length: many\r\n\r\n{}",
        b"POST /v1/models/small:predict HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST /v1/models/small:predict HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET /v1/models/%ff%00 HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"X: " + b"y" * 300_000 + b"\r\n\r\n",
    ],
)
def test_malformed_http_does_no_harm(server, rest, raw):
    with socket.create_connection(("127.0.0.1", server.rest_port), timeout=10) as connection:
        connection.sendall(raw)
        connection.shutdown(socket.SHUT_WR)
        try:
            answer = connection.recv(100)
        except ConnectionResetError:
            answer = b""
    assert not answer or answer.startswith((b"HTTP/1.0 4", b"HTTP/1.1 4"))
    assert rest(PREDICT, {"instances": ["still here"]})[0] == 200


def test_a_connection_is_kept_and_chunked_bodies_are_read(server):
    connection = http.client.HTTPConnection("127.0.0.1", server.rest_port)
    for text in ("a", "b"):
        body = [b'{"signature_name": "label_only", "inst', f'ances": ["{text}"]}}'.encode()]
        connection.request("POST", PREDICT, iter(body), {"Transfer-Encoding": "chunked"}, encode_chunked=True)
        response = connection.getresponse()
        assert json.loads(response.read()) == {"predictions": [text]}
        assert not response.will_close
    connection.close()


def test_concurrent_requests_get_their_own_answers(rest):
    def ask(number):
        return rest(PREDICT, {"instances": [f"text {number}"] * 3, "signature_name": "label_only"})

    with concurrent.futures.ThreadPoolExecutor(24) as pool:
        answers = list(pool.map(ask, range(120)))
    assert answers == [(200, {"predictions": [f"text {number}"] * 3}) for number in range(120)]


def test_a_status_is_answered_while_a_model_computes(rest):
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        slow = pool.submit(rest, PREDICT, {"instances": [300], "signature_name": "slow"})
        assert rest("/v1/models/small")[0] == 200
        assert not slow.done()
        assert slow.result()[0] == 200


LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just({"b64": "YQ=="})
NESTED = st.recursive(
    LEAVES, lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["text", "b64", "x"]), inner)
)
KEYS = st.sampled_from(["instances", "inputs", "signature_name", "examples", "context"])
NAMES = st.sampled_from(["serving_default", "pair", "numbers", "label_only", "scalar", "classify", "regress"])


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(KEYS, NESTED),
    NAMES | st.none(),
    st.sampled_from(["predict", "classify", "regress"]),
    st.sampled_from([None, "instances", "inputs", "examples"]),
    NESTED,
)
def test_no_json_makes_the_server_fail(rest, body, name, method, key, value):
    if name:
        body["signature_name"] = name
    if key:
        body[key] = value
    status, document = rest(f"/v1/models/small:{method}", body)
    assert status in (200, 400), document
