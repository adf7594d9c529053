"""Paths with a scheme go through `tf.io.gfile`, or are refused before anything is written."""

import pathlib

import pytest
import tensorflow as tf

import kerasformer as kf
from kerasformer.errors import InputError
from kerasformer.files import read_locally, written_beside


@pytest.fixture(scope="module")
def task():
    encoder, tokenizer = kf.families.random_encoder(
        ["good day", "bad day"] * 4, "tiny", vocabulary_size=60, max_length=32
    )
    return kf.tasks.TextClassifier(encoder, tokenizer, ["bad", "good"])


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    assert not list(tmp_path.iterdir()), "nothing is written into the working directory"


def test_a_task_is_saved_loaded_and_published_by_url(task, here):
    task.save("ram://bucket/task")
    again = kf.tasks.load("ram://bucket/task")
    expected = task.predict(["good day"])["scores"]
    assert again.predict(["good day"])["scores"] == pytest.approx(expected, abs=1e-6)
    task.save("ram://bucket/task")  # an older task gives way
    for number in (1, 2):
        version = kf.serving.publish(task, "ram://bucket/models/mine")
        assert version == f"ram://bucket/models/mine/{number}"
    assert kf.serving.check(version).requests > 5
    served = tf.saved_model.load(version).signatures["serving_default"](text=tf.constant(["good day"]))
    assert served["scores"].numpy() == pytest.approx(expected, abs=1e-5)


def test_the_file_that_completes_a_folder_is_copied_last(here, monkeypatch):
    copied = []
    copy = tf.io.gfile.copy
    monkeypatch.setattr(
        tf.io.gfile, "copy", lambda source, to, **_: (copied.append(to), copy(source, to, overwrite=True))
    )
    with written_beside("ram://order/1") as scratch:
        for name in ("saved_model.pb", "a.txt", "variables/variables.index"):
            (scratch / name).parent.mkdir(exist_ok=True)
            (scratch / name).write_text(name)
    assert len(copied) == 3
    assert copied[-1] == "ram://order/1/saved_model.pb"
    with read_locally("ram://order/1") as local:
        assert (local / "variables" / "variables.index").read_text() == "variables/variables.index"


def test_a_folder_of_something_else_stays(here):
    tf.io.gfile.makedirs("ram://others/notes")
    tf.io.gfile.GFile("ram://others/notes/a.txt", "w").write("mine")
    with (
        pytest.raises(InputError, match="not overwritten"),
        written_beside("ram://others/notes", replaces="kerasformer.json"),
    ):
        pass
    assert tf.io.gfile.exists("ram://others/notes/a.txt")


def test_a_failure_leaves_nothing(here):
    def fail():
        with written_beside("ram://failing/1") as scratch:
            (scratch / "saved_model.pb").write_text("x")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not tf.io.gfile.exists("ram://failing/1")


@pytest.mark.parametrize("scheme", ["s3", "hdfs", "abfs"])
def test_a_scheme_without_a_file_system_is_one_clear_error(task, here, scheme):
    url = f"{scheme}://a-bucket/models"
    calls = [
        lambda: task.save(url),
        lambda: kf.tasks.load(url),
        lambda: kf.serving.publish(task, url),
        lambda: kf.serving.export(task, url),
        lambda: kf.serving.check(url),
    ]
    for call in calls:
        with pytest.raises(InputError, match=f"no file system for {scheme}://") as error:
            call()
        assert "\n" not in str(error.value)


def test_what_takes_local_paths_only_says_so(task, here):
    calls = [
        lambda: kf.families.load_encoder("gs://bucket/model"),
        lambda: kf.training.MetricsLog("gs://bucket/run"),
        lambda: kf.serving.PreviewServer("gs://bucket/models", rest_port=0, grpc_port=0),
        lambda: task.save(pathlib.Path("gs://bucket/task")),  # which has lost a slash
    ]
    for call in calls:
        with pytest.raises(InputError, match="local"):
            call()
