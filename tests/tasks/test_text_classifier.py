"""The classifier: what it predicts, its loss and metrics, saving whole or not at all, and what is wrong in one line."""

import functools
import json
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasformer as kf
from kerasformer.errors import InputError
from kerasformer.models import BertConfig, bert
from kerasformer.tasks import TextClassifier
from kerasformer.tasks.task import is_saved_task
from kerasformer.text import WordPieceTokenizer

VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "good", "bad", "so", "very"]
CONFIG = BertConfig(len(VOCABULARY), 8, 1, 2, 12, 10, initializer_range=0.4)
TEXTS = ["so good", "bad", "", "very very bad good", "unknown words"]
NAMES = ["ärgerlich", "gut 👍", "中立"]


@functools.cache  # tracing its graph takes longer than what is tested with it
def tokenizer(max_length=10):
    return WordPieceTokenizer(VOCABULARY, max_length=max_length)


def make(label_names=NAMES, **arguments):
    keras.utils.set_random_seed(4)
    task = TextClassifier(bert(CONFIG, pooled=True), tokenizer(), label_names, **arguments)
    # Logits around 0 and far from each other, so that the texts get different labels.
    classifier = task.model.get_layer("classifier")
    classifier.kernel.assign(np.random.default_rng(0).normal(size=classifier.kernel.shape) * 9)
    classifier.bias.assign(-np.mean(task.model(task.tokenizer(TEXTS))["logits"], 0))
    return task


def test_predict():
    task = make()
    answers = task.predict(TEXTS, batch_size=2)
    logits = task.model(task.tokenizer(TEXTS))["logits"].numpy().astype(np.float64)
    probabilities = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    np.testing.assert_allclose(answers["scores"], probabilities, atol=1e-5)
    assert answers["label"].tolist() == [NAMES[best] for best in logits.argmax(-1)]
    np.testing.assert_allclose(answers["score"], probabilities.max(-1), atol=1e-5)
    assert len(set(answers["label"])) > 1


@pytest.mark.parametrize("texts", [[], ["good"], ("good", "bad"), np.array(["good", "bad"], object)])
def test_predict_of_any_number(texts):
    answers = make().predict(texts)
    assert answers["label"].shape == answers["score"].shape == (len(texts),)
    assert answers["scores"].shape == (len(texts), 3)


def test_predict_pairs():
    task = make(pairs=True)
    answers = task.predict(["good", "bad", ""], ["so bad", "very", ""])
    logits = task.model(task.tokenizer(["good", "bad", ""], ["so bad", "very", ""]))["logits"]
    np.testing.assert_allclose(answers["scores"], tf.nn.softmax(logits), atol=1e-5)
    swapped = task.predict(["so bad"], ["good"])["scores"]
    assert not np.allclose(answers["scores"][:1], swapped)


def test_predict_numbers():
    task = make(None)
    assert task.is_regression
    answers = task.predict(TEXTS)
    assert answers.keys() == {"score"}
    np.testing.assert_allclose(answers["score"], task.model(task.tokenizer(TEXTS))["logits"][:, 0], atol=1e-5)


def test_predict_of_what_it_cannot():
    with pytest.raises(InputError, match="must not be given"):
        make().predict(["good"], ["bad"])
    with pytest.raises(InputError, match="must be given"):
        make(pairs=True).predict(["good"])
    with pytest.raises(InputError, match="same length"):
        make(pairs=True).predict(["good"], ["bad", "so"])
    with pytest.raises(InputError, match="lists"):
        make().predict("good")


def test_normalized_tweets(tmp_path):
    task = make(pairs=True, normalize_tweets=True)
    tweets, masked = ["good @bad https://bad.so", "bad"], ["good @user http", "bad"]
    plain = make(pairs=True)
    expected = plain.predict(masked, masked[::-1])["scores"]
    assert not np.allclose(plain.predict(tweets, tweets[::-1])["scores"], expected)
    task.save(tmp_path / "task")
    for either in (task, kf.load(tmp_path / "task")):
        np.testing.assert_array_equal(either.predict(tweets, tweets[::-1])["scores"], expected)


def test_loss_of_a_classification():
    task = make()
    logits = np.array([[1.0, 2.0, 3.0], [0.0, 0.0, 5.0]], "float32")
    each = [np.log(np.exp(logits[0]).sum()) - 1, np.log(np.exp(logits[1]).sum()) - 5]
    loss_sum, count = task.loss(tf.constant([0, 2]), {"logits": logits})
    assert (float(loss_sum), float(count)) == pytest.approx((sum(each), 2))
    loss_sum, count = task.loss(tf.constant([0, 2]), {"logits": logits}, [0.5, 2.0])
    assert (float(loss_sum), float(count)) == pytest.approx((0.5 * each[0] + 2 * each[1], 2.5), rel=1e-5)
    loss_sum, count = task.loss(tf.zeros([0], tf.int32), {"logits": tf.zeros([0, 3])})
    assert (float(loss_sum), float(count)) == (0, 0)


def test_loss_and_metrics_of_a_regression():
    task = make(None)
    numbers, targets = np.array([[1.0], [2.0], [4.0]], "float32"), np.array([1.5, 2.0, 2.0], "float32")
    loss_sum, count = task.loss(tf.constant(targets), {"logits": numbers})
    assert (float(loss_sum), float(count)) == pytest.approx((4.25, 3))
    metrics = task.evaluate_outputs(targets, {"logits": numbers})
    assert metrics["loss"] == pytest.approx(4.25 / 3)
    assert metrics["pearson"] == pytest.approx(np.corrcoef(targets, numbers[:, 0])[0, 1])
    assert metrics["spearman"] == pytest.approx(np.corrcoef([1, 2.5, 2.5], [1, 2, 3])[0, 1])


def test_numbers_of_any_scale():
    """The model computes standardized numbers; loss is of these, answers and metrics of the caller's."""
    task = make(None, target_mean=500.0, target_scale=100.0)
    logits, targets = np.array([[1.0], [-2.0]], "float32"), np.array([650.0, 300.0], "float32")
    loss_sum, count = task.loss(tf.constant(targets), {"logits": logits})
    assert (float(loss_sum), float(count)) == pytest.approx((0.25, 2))
    assert task.answer({"logits": logits})["score"].numpy().tolist() == [600.0, 300.0]
    metrics = task.evaluate_outputs(targets, {"logits": logits})
    assert metrics["mae"] == pytest.approx(25)
    assert metrics["rmse"] == pytest.approx(np.sqrt(1250))
    assert metrics["r2"] == pytest.approx(1 - 2500 / (2 * 175**2))
    with pytest.raises(InputError, match="target_scale"):
        make(None, target_scale=0.0)
    with pytest.raises(InputError, match="for a regression"):
        make(target_mean=1.0)


def test_metrics_of_a_classification():
    logits = np.array([[3, 1, 0], [0, 2, 1], [1, 0, 0], [0, 0, 9]], "float32")
    metrics = make().evaluate_outputs(np.array([0, 1, 1, 2], "int32"), {"logits": logits})
    assert metrics["accuracy"] == 0.75
    assert metrics["macro_recall"] == pytest.approx((1 + 0.5 + 1) / 3)
    assert metrics["macro_f1"] == pytest.approx((2 / 3 + 2 / 3 + 1) / 3)
    losses = np.log(np.exp(logits).sum(-1)) - logits[np.arange(4), [0, 1, 1, 2]]
    assert metrics["loss"] == pytest.approx(losses.mean(), rel=1e-5)


@pytest.mark.parametrize(("names", "pairs"), [(NAMES, False), (["no", "yes"], True), (None, False), (None, True)])
def test_save_and_load(names, pairs, tmp_path):
    task = make(names, pairs=pairs)
    task.save(tmp_path / "task")
    loaded = kf.load(tmp_path / "task")
    assert isinstance(loaded, TextClassifier)
    assert (loaded.label_names, loaded.pairs) == (task.label_names, task.pairs)
    seconds = TEXTS[::-1] if pairs else None
    expected = task.predict(TEXTS, seconds)
    for key, value in loaded.predict(TEXTS, seconds).items():
        np.testing.assert_array_equal(value, expected[key])
    assert loaded.tokenizer.get_config() == task.tokenizer.get_config()
    loaded.save(tmp_path / "again")
    assert kf.load(tmp_path / "again").settings() == task.settings()


def test_the_encoder_shares_its_weights():
    task = make()
    inputs = task.tokenizer(TEXTS)
    pooled = task.encoder(inputs)["pooled_output"].numpy()
    task.model.get_layer("pooler").bias.assign_add(np.ones(8))
    assert not np.allclose(task.encoder(inputs)["pooled_output"], pooled)


def test_mixed_precision_keeps_logits_in_float32():
    task = TextClassifier(bert(CONFIG, pooled=True, dtype="mixed_bfloat16"), tokenizer(), NAMES)
    outputs = task.model(task.tokenizer(TEXTS))
    assert outputs["logits"].dtype == tf.float32
    assert np.isfinite(task.predict(TEXTS)["scores"]).all()


def test_serving_functions():
    for task in (make(), make(["a", "b"], pairs=True), make(None)):
        functions = task.serving_functions(lambda inputs, task=task: task.model(inputs, training=False))
        last = "regress" if task.is_regression else "classify"
        assert functions.keys() == {"serving_default", "tokens", last}
        columns = [TEXTS, TEXTS[::-1]] if task.pairs else [TEXTS]
        texts = [tf.constant(column) for column in columns]
        expected = task.predict(*columns)
        served = functions["serving_default"](*texts)
        assert served.keys() == expected.keys()
        np.testing.assert_allclose(served["score"], expected["score"], rtol=1e-4, atol=1e-5)
        raw = functions["tokens"](**task.tokenizer(*columns))
        np.testing.assert_allclose(raw["logits"], task.model(task.tokenizer(*columns))["logits"], rtol=1e-4, atol=1e-5)

        def feature(text):
            return tf.train.Feature(bytes_list=tf.train.BytesList(value=[text.encode()]))

        names = ("text", "text_pair") if task.pairs else ("text",)
        serialized = [
            tf.train.Example(
                features=tf.train.Features(feature=dict(zip(names, map(feature, row), strict=True)))
            ).SerializeToString()
            for row in zip(*columns, strict=True)
        ]
        answers = functions[last](tf.constant(serialized))
        if task.is_regression:
            np.testing.assert_allclose(answers["outputs"], expected["score"], rtol=1e-4, atol=1e-5)
        else:
            np.testing.assert_allclose(answers["scores"], expected["scores"], rtol=1e-4, atol=1e-5)
            labels = [[name.decode() for name in row] for row in answers["classes"].numpy()]
            assert labels == [list(task.label_names)] * len(TEXTS)
        for name, width in (("serving_default", len(columns)), (last, 1)):
            for value in functions[name](*[tf.constant([], tf.string)] * width).values():
                assert value.shape[0] == 0


@pytest.mark.parametrize("names", [[], ["one"], ["same", "same"], "ab", ("x", "y", "x")])
def test_bad_label_names(names):
    with pytest.raises(InputError, match="at least two different names") as error:
        TextClassifier(bert(CONFIG, pooled=True), tokenizer(), names)
    assert "\n" not in str(error.value)


def test_an_encoder_or_tokenizer_that_does_not_fit():
    with pytest.raises(InputError, match="pooled=True"):
        TextClassifier(bert(CONFIG), tokenizer(), NAMES)
    with pytest.raises(InputError, match="max_length=11 is beyond the model's 10 positions"):
        TextClassifier(bert(CONFIG, pooled=True), tokenizer(11), NAMES)
    large = WordPieceTokenizer([*VOCABULARY, "more"], max_length=10)
    with pytest.raises(InputError, match=r"vocabulary of 9 tokens does not fit.*of 8"):
        TextClassifier(bert(CONFIG, pooled=True), large, NAMES)


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
        description = json.loads((folder / "task.json").read_text(encoding="utf-8"))
        (folder / "task.json").write_text(json.dumps(description | changes))

    return spoil


def cut(name):
    def spoil(folder):
        (folder / name).write_bytes((folder / name).read_bytes()[:-200])

    return spoil


DAMAGES = {
    "no description": lambda folder: (folder / "task.json").unlink(),
    "description cut": cut("task.json"),
    "description empty": lambda folder: (folder / "task.json").write_text(""),
    "description no text": lambda folder: (folder / "task.json").write_bytes(b"\xff\xfe"),
    "description a list": lambda folder: (folder / "task.json").write_text("[]"),
    "unknown task": rewritten(task="Oracle"),
    "task a list": rewritten(task=["TextClassifier"]),
    "settings null": rewritten(settings=None),
    "settings unknown": rewritten(settings={"label_names": NAMES, "pairs": False, "wings": 2}),
    "too few labels": rewritten(settings={"label_names": NAMES[:2], "pairs": False}),
    "model missing": lambda folder: (folder / "model.keras").unlink(),
    "model cut": cut("model.keras"),
    "model empty": lambda folder: (folder / "model.keras").write_bytes(b""),
    "tokenizer missing": lambda folder: (folder / "tokenizer" / "vocab.txt").unlink(),
    "tokenizer cut": cut("tokenizer/tokenizer_config.json"),
    "vocabulary longer": lambda folder: (folder / "tokenizer" / "vocab.txt").write_text("\n".join([*VOCABULARY, "x"])),
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
