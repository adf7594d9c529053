"""The classifier's folders: saved whole or not at all, damaged ones told in one line, cross-encoders of others.

What is loaded is asked in Python: `test_all_tasks` compares it with its graph.
"""

import json
import shutil

import numpy as np
import pytest
import tensorflow as tf
from safetensors.numpy import load_file
from tiny_classifier import NAMES, TEXTS, VOCABULARY, make

import kerasformer as kf
from kerasformer.errors import InputError
from kerasformer.tasks import TextClassifier, is_saved_task
from kerasformer.text import WordPieceTokenizer

pytestmark = pytest.mark.usefixtures("eagerly")


@pytest.mark.parametrize(("names", "pairs"), [(NAMES, False), (["no", "yes"], True), (None, False), (None, True)])
def test_save_and_load(names, pairs, tmp_path):
    task = make(names, pairs=pairs)
    task.save(tmp_path / "task")
    loaded = kf.load(tmp_path / "task")
    assert isinstance(loaded, TextClassifier)
    assert (loaded.label_names, loaded.pairs) == (task.label_names, task.pairs)
    columns = [TEXTS, TEXTS[::-1]] if pairs else [TEXTS]
    expected = task.predict(*columns)
    for key, value in loaded.predict(*columns).items():
        np.testing.assert_array_equal(value, expected[key])
    assert loaded.tokenizer.get_config() == task.tokenizer.get_config()
    loaded.save(tmp_path / "again")
    assert kf.load(tmp_path / "again").settings == task.settings


def test_a_save_that_fails_keeps_the_old_folder(tmp_path, monkeypatch):
    task = make()
    task.save(tmp_path / "task")
    files = {path: path.read_bytes() for path in (tmp_path / "task").rglob("*") if path.is_file()}
    scores = task.predict(TEXTS)["scores"]
    other = make(["no", "yes"])

    def full(tokenizer, folder):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(WordPieceTokenizer, "save", full)
    for folder in ("task", "new"):
        with pytest.raises(OSError, match="No space left"):
            other.save(tmp_path / folder)
    assert [path.name for path in tmp_path.iterdir()] == ["task"]
    assert {path: path.read_bytes() for path in (tmp_path / "task").rglob("*") if path.is_file()} == files
    np.testing.assert_array_equal(kf.load(tmp_path / "task").predict(TEXTS)["scores"], scores)


def test_a_save_replaces_an_older_task_and_leaves_nothing_else(tmp_path):
    make().save(tmp_path / "task")
    make(["no", "yes"]).save(tmp_path / "task")
    assert [path.name for path in tmp_path.iterdir()] == ["task"]
    assert kf.load(tmp_path / "task").label_names == ("no", "yes")


def test_a_save_does_not_wipe_a_folder_of_other_things(tmp_path):
    """`task.save("results")` must not delete a folder that never was a task."""
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError):
        make().save(tmp_path / "results")
    assert (tmp_path / "results" / "thesis.txt").read_text() == "years of work"


def rewritten(**changes):
    def spoil(folder):
        description = json.loads((folder / "kerasformer.json").read_text(encoding="utf-8"))
        model = description["model"] | changes.pop("encoder", {})
        (folder / "kerasformer.json").write_text(json.dumps(description | {"model": model} | changes))

    return spoil


def without(*names):
    return lambda folder: [(folder / name).unlink() for name in names]


def cut(name):
    def spoil(folder):
        (folder / name).write_bytes((folder / name).read_bytes()[:-200])

    return spoil


def filled(name, content):
    return lambda folder: (folder / name).write_bytes(content)


SETTINGS = {"label_names": NAMES, "pairs": False}
DAMAGES = {
    # Without the description the folder is another task's, or anybody's.
    "description cut": cut("kerasformer.json"),
    "description empty": filled("kerasformer.json", b""),
    "description no text": filled("kerasformer.json", b"\xff\xfe"),
    "description a list": filled("kerasformer.json", b"[]"),
    "description a number": filled("kerasformer.json", b"7"),
    "description of nothing": filled("kerasformer.json", b"{}"),
    "unknown task": rewritten(task="Oracle"),
    "task a list": rewritten(task=["TextClassifier"]),
    "newer format": rewritten(format=99),
    "format a name": rewritten(format="new"),
    "settings null": rewritten(settings=None),
    "settings a list": rewritten(settings=["pairs"]),
    "settings unknown": rewritten(settings=SETTINGS | {"wings": 2}),
    "too few labels": rewritten(settings=SETTINGS | {"label_names": NAMES[:2]}),
    "labels a number": rewritten(settings=SETTINGS | {"label_names": 3}),
    "threshold a name": rewritten(settings=SETTINGS | {"threshold": "high"}),
    "encoder null": rewritten(model=None),
    "encoder of nothing": rewritten(model={}),
    "encoder options unknown": rewritten(encoder={"options": {"wings": 2}}),
    "encoder options null": rewritten(encoder={"options": None}),
    "precision unknown": rewritten(encoder={"dtype": "float3"}),
    "head unknown": rewritten(encoder={"head": "wings"}),
    "head a list": rewritten(encoder={"head": ["sequence_classification"]}),
    "head of another kind": rewritten(encoder={"head": "question_answering"}),
    "tokenizer unknown": rewritten(tokenizer="Oracle"),
    "tokenizer a list": rewritten(tokenizer=["WordPieceTokenizer"]),
    "config missing": without("config.json"),
    "config cut": cut("config.json"),
    "weights missing": without("model.safetensors"),
    "weights cut": cut("model.safetensors"),
    "weights empty": filled("model.safetensors", b""),
    "tokenizer missing": without("vocab.txt", "tokenizer.json"),
    "tokenizer cut": cut("tokenizer_config.json"),
    "vocabulary longer": filled("vocab.txt", "\n".join([*VOCABULARY, "x"]).encode()),
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved") / "task"
    make().save(folder)
    return folder


@pytest.mark.parametrize("name", DAMAGES)
def test_damaged_folders_are_told_in_one_line(name, saved, tmp_path):
    folder = tmp_path / "task"
    shutil.copytree(saved, folder)
    DAMAGES[name](folder)
    with pytest.raises(InputError) as error:
        kf.load(folder)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) > 20


def test_is_saved_task(saved, tmp_path):
    assert is_saved_task(saved)
    assert not is_saved_task(tmp_path)
    assert not is_saved_task(tmp_path / "nowhere")


def test_a_saved_regression_gives_the_numbers_themselves(tmp_path):
    task = make(None, target_mean=50.0, target_scale=8.0, dropout=0.37)
    task.head.output.bias.assign([0.5])
    expected = task.predict(["good", "bad movie"])["score"]
    task.save(tmp_path)
    found = load_file(tmp_path / "model.safetensors")
    np.testing.assert_allclose(found["classifier.weight"], task.head.output.kernel.numpy().T * 8, rtol=1e-6)
    np.testing.assert_allclose(found["classifier.bias"], [54.0], rtol=1e-6)
    assert json.loads((tmp_path / "config.json").read_text())["classifier_dropout"] == 0.37

    loaded = kf.load(tmp_path)
    assert (loaded.target_mean, loaded.target_scale) == (50, 8)
    np.testing.assert_allclose(loaded.head.output.bias, [0.5], rtol=1e-6)
    np.testing.assert_allclose(loaded.predict(["good", "bad movie"])["score"], expected, rtol=1e-6)
    (tmp_path / "kerasformer.json").unlink()  # as others read it
    np.testing.assert_allclose(kf.load(tmp_path).predict(["good", "bad movie"])["score"], expected, rtol=1e-5)


def test_a_reranker(tmp_path):
    """Scores between 0 and 1 of pairs, as a cross-encoder of sentence-transformers has them."""
    task = make(None, pairs=True, activation="sigmoid")
    queries, texts = ["good", "so very"], ["bad", "rome anna"]
    logits = np.asarray(task.model(task.tokenizer(queries, texts))["logits"], np.float64)[:, 0]
    np.testing.assert_allclose(task.predict(queries, texts)["score"], 1 / (1 + np.exp(-logits)), atol=1e-6)
    loss, count = task.loss(tf.constant([0.25, 1.0]), {"logits": tf.constant(logits[:, None])})
    wanted = np.array([0.25, 1.0])
    expected = wanted * np.log1p(np.exp(-logits)) + (1 - wanted) * np.log1p(np.exp(logits))
    assert (float(loss), float(count)) == (pytest.approx(expected.sum(), rel=1e-5), 2.0)
    assert {"loss", "rmse"} <= task.evaluate_outputs(wanted, {"logits": logits[:, None].astype("float32")}).keys()
    task.save(tmp_path / "task")
    (tmp_path / "task" / "kerasformer.json").unlink()
    loaded = kf.load(tmp_path / "task")
    assert (loaded.pairs, loaded.activation) == (True, "sigmoid")
    np.testing.assert_array_equal(loaded.predict(queries, texts)["score"], task.predict(queries, texts)["score"])


@pytest.mark.parametrize(
    ("fields", "pairs", "activation"),
    [
        ({}, False, "linear"),
        ({"sbert_ce_default_activation_function": "torch.nn.modules.linear.Identity"}, True, "linear"),
        ({"sentence_transformers": {"activation_fn": "torch.nn.modules.activation.Sigmoid"}}, True, "sigmoid"),
        ({"sentence_transformers": {"activation_fn": "torch.nn.modules.activation.Tanh"}}, None, None),
    ],
)
def test_cross_encoders_are_recognized(fields, pairs, activation, tmp_path):
    folder = tmp_path / "task"
    make(None).save(folder)
    (folder / "kerasformer.json").unlink()
    settings = json.loads((folder / "config.json").read_text()) | fields
    (folder / "config.json").write_text(json.dumps(settings))
    if pairs is None:
        with pytest.raises(InputError, match=r"activation of a cross-encoder.*Tanh"):
            kf.load(folder)
    else:
        loaded = kf.load(folder)
        assert (loaded.pairs, loaded.activation) == (pairs, activation)
    with pytest.raises(InputError, match="activation='sigmoid'"):
        make(activation="sigmoid")


def test_normalized_tweets(tmp_path):
    task = make(pairs=True, normalize_tweets=True)
    tweets, masked = ["good @bad https://bad.so", "bad"], ["good @user http", "bad"]
    plain = make(pairs=True)
    expected = plain.predict(masked, masked[::-1])["scores"]
    assert not np.allclose(plain.predict(tweets, tweets[::-1])["scores"], expected)
    task.save(tmp_path / "task")
    for either in (task, kf.load(tmp_path / "task")):
        np.testing.assert_array_equal(either.predict(tweets, tweets[::-1])["scores"], expected)
