"""Versions that come, go and fail while the server answers."""

import shutil
import threading
import time

import pytest
import small_models
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from kerasformer.errors import InputError
from kerasformer.serving.client import Client
from kerasformer.serving.errors import ServingError
from kerasformer.serving.preview import PreviewServer, inference
from kerasformer.serving.preview.folders import find_models
from kerasformer.serving.preview.registry import read_labels


def until(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "nothing happened in time"
        time.sleep(0.05)


def states(client):
    return {entry["version"]: entry["state"] for entry in client.status()["model_version_status"]}


def labelled(client, version):
    try:
        return client.predict(text=["x"], version=version)["label"][0]
    except ServingError:
        return None


def test_the_life_of_versions(saved, tmp_path):
    base = tmp_path / "models"
    small_models.publish_copy(saved / "small" / "1", base / "m" / "1")
    told = []
    with (
        PreviewServer(base, rest_port=0, grpc_port=0, tell=told.append) as server,
        Client(f"http://127.0.0.1:{server.rest_port}", model="m") as client,
    ):

        def label():
            return client.predict(text=["x"], signature="serving_default")["label"][0]

        assert label() == "one:x"
        assert states(client) == {"1": "AVAILABLE"}

        # A broken version is told, and the old one stays.
        (base / "m" / "3").mkdir()
        (base / "m" / "3" / "saved_model.pb").write_bytes(b"broken")
        until(lambda: any("m version 3 failed to load, version 1 stays" in line for line in told))
        assert label() == "one:x"
        assert states(client)["3"] == "END"
        assert client.status(version=3)["model_version_status"][0]["status"]["error_code"] != "OK"
        with pytest.raises(ServingError, match="failed to load") as caught:
            client.predict(text=["x"], version=3)
        assert caught.value.code == "NOT_FOUND"

        # Not one request fails while a new version takes over.
        answers, taken_over = [], threading.Event()
        asking = threading.Thread(target=lambda: [answers.append(label()) for _ in iter(taken_over.is_set, True)])
        asking.start()
        small_models.publish_copy(saved / "small" / "2", base / "m" / "20")
        until(lambda: answers and answers[-1] == "two:x")
        taken_over.set()
        asking.join()
        assert answers == sorted(answers)
        assert answers[0] == "one:x"
        assert any("m version 20 now answers instead of 1" in line for line in told)

        # The old one was let go, and still answers by its number.
        assert states(client)["1"] == "END"
        assert client.predict(text=["x"], version=1)["label"][0] == "one:x"
        assert states(client)["1"] == "AVAILABLE"

        # Labels are read again; those that cannot be read change nothing.
        config = base / "models.config"
        config.write_text('model_config_list { config { name: "m" version_labels { key: "old" value: 1 } } }')
        until(lambda: labelled(client, "old") == "one:x")
        config.write_text("model_config_list {")
        until(lambda: any(line.startswith("The labels stay") for line in told))
        assert labelled(client, "old") == "one:x"

        # Another model appears; a version that is removed gives way to the one before.
        small_models.publish_copy(saved / "small" / "1", base / "other" / "1")
        shutil.rmtree(base / "m" / "20")
        with Client(f"127.0.0.1:{server.grpc_port}", model="other") as other:
            until(lambda: "other" in server.models() and label() == "one:x")
            assert other.predict(text=["x"])["label"][0] == "one:x"
        with pytest.raises(ServingError, match="no version 20"):
            client.predict(text=["x"], version=20)

        # A version that was half-written is taken up once it is whole.
        shutil.copytree(saved / "small" / "2", base / "m" / "21", ignore=shutil.ignore_patterns("saved_model.pb"))
        until(lambda: any("m version 21 has no saved_model.pb" in line for line in told))
        shutil.copy(saved / "small" / "2" / "saved_model.pb", base / "m" / "21")
        until(lambda: label() == "two:x")

        shutil.rmtree(base / "m")
        until(lambda: any("m version 21 is gone" in line for line in told))
        with pytest.raises(ServingError) as caught:
            label()
        assert caught.value.code == "NOT_FOUND"
    assert not any("Traceback" in line or "\n" in line for line in told)


def test_a_newest_version_that_fails_leaves_the_one_before(saved, tmp_path):
    base = tmp_path / "models"
    small_models.publish_copy(saved / "small" / "1", base / "m" / "1")
    (base / "m" / "2").mkdir()
    (base / "m" / "2" / "saved_model.pb").write_bytes(b"broken")
    told = []
    with PreviewServer(base / "m", rest_port=0, grpc_port=0, tell=told.append) as server:
        with Client(f"http://127.0.0.1:{server.rest_port}", model="m") as client:
            assert client.predict(text=["x"])["label"][0] == "one:x"
    assert len(told) == 1
    assert "version 2 failed to load" in told[0]


def warmup(folder, *records):
    (folder / "assets.extra").mkdir()
    with tf.io.TFRecordWriter(str(folder / "assets.extra" / "tf_serving_warmup_requests")) as writer:
        for record in records:
            writer.write(record if isinstance(record, bytes) else record.SerializeToString())


def predict_log(signature, **inputs):
    request = predict_pb2.PredictRequest()
    request.model_spec.signature_name = signature
    for name, value in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=request))


def example_log(kind, signature):
    log = prediction_log_pb2.PredictionLog()
    request = getattr(log, f"{kind}_log").request
    request.model_spec.signature_name = signature
    example = request.input.example_list.examples.add()
    example.features.feature["text"].bytes_list.value.append(b"a")
    return log


def test_warmup_records_are_replayed(saved, tmp_path):
    folder = small_models.publish_copy(saved / "small" / "1", tmp_path / "1")
    good = [predict_log("", text=["a"]), example_log("classify", "classify"), example_log("regress", "regress")]
    warmup(folder, *good)
    assert "pair" in inference.load(folder).signatures
    for bad in (
        predict_log("refuse", text=["bad"]),
        predict_log("none", text=["a"]),
        example_log("classify", "regress"),
        prediction_log_pb2.PredictionLog(),
        b"\xff\xff",
    ):
        shutil.rmtree(folder / "assets.extra")
        warmup(folder, good[0], bad)
        with pytest.raises(ServingError, match="Warmup record 2"):
            inference.load(folder)


def test_what_counts_as_a_model(saved, tmp_path):
    assert find_models(saved) == {"small": saved / "small"}
    assert find_models(saved / "small") == {"small": saved / "small"}
    with pytest.raises(InputError, match="There is no folder"):
        find_models(tmp_path / "none")
    with pytest.raises(InputError, match="no model version"):
        find_models(tmp_path)
    with pytest.raises(InputError, match="a version itself"):
        find_models(saved / "small" / "1")


def test_nothing_to_serve(tmp_path):
    version = tmp_path / "m" / "1"
    version.mkdir(parents=True)
    with pytest.raises(InputError, match="half-written"):
        PreviewServer(tmp_path, rest_port=0, grpc_port=0)
    (version / "saved_model.pb").write_bytes(b"broken")
    server = PreviewServer(tmp_path, rest_port=0, grpc_port=0)
    with pytest.raises(InputError, match="m version 1 failed to load") as caught:
        server.start()
    assert "\n" not in str(caught.value)


def test_labels_that_cannot_be_read(saved, tmp_path):
    assert read_labels(saved) == {"small": {"stable": 1}}
    assert read_labels(tmp_path) == {}
    (tmp_path / "models.config").write_text("model_config_list {")
    with pytest.raises(InputError, match="ModelServerConfig"):
        read_labels(tmp_path)
