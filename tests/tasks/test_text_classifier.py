"""The classifier: what it predicts, its loss and metrics, saving whole or not at all, and what is wrong in one line."""

import functools
import json
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf
from safetensors.numpy import load_file

import kerasformer as kf
from kerasformer.errors import InputError
from kerasformer.models import BertConfig, bert
from kerasformer.tasks import TextClassifier, is_saved_task
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
    with pytest.raises(InputError, match=r"reads 1 lists of texts: text. Received: 2"):
        make().predict(["good"], ["bad"])
    with pytest.raises(InputError, match=r"reads 2 lists of texts: text, text_pair. Received: 1"):
        make(pairs=True).predict(["good"])
    with pytest.raises(InputError, match="same length"):
        make(pairs=True).predict(["good"], ["bad", "so"])
    with pytest.raises(InputError, match=r"must be a list of texts\. Received one text"):
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


def test_metrics_of_a_classification():
    logits = np.array([[3, 1, 0], [0, 2, 1], [1, 0, 0], [0, 0, 9]], "float32")
    metrics = make().evaluate_outputs(np.array([0, 1, 1, 2], "int32"), {"logits": logits})
    assert metrics["accuracy"] == 0.75
    assert metrics["macro_recall"] == pytest.approx((1 + 0.5 + 1) / 3)
    assert metrics["macro_f1"] == pytest.approx((2 / 3 + 2 / 3 + 1) / 3)
    losses = np.log(np.exp(logits).sum(-1)) - logits[np.arange(4), [0, 1, 1, 2]]
    assert metrics["loss"] == pytest.approx(losses.mean(), rel=1e-5)


# ---- several labels a text ----


LOGITS = np.array([[2.0, -1.0, 0.3], [-3.0, 0.5, -0.2], [-2.0, -0.1, -4.0], [1.0, 1.5, 40.0]], "float32")
SEVERAL = np.array([[1, 0, 1], [0, 1, 1], [0, 0, 0], [1, 0, 0]], "float32")


def several_losses():
    """float64, each text's mean over the classes of log(1 + exp(±logit))."""
    signs = np.where(SEVERAL > 0, -1.0, 1.0)
    return np.logaddexp(0, signs * LOGITS.astype(np.float64)).mean(-1)


def test_loss_of_several_labels():
    task, each = make(multi_label=True), several_losses()
    loss_sum, count = task.loss(tf.constant(SEVERAL), {"logits": LOGITS})
    assert (float(loss_sum), float(count)) == pytest.approx((each.sum(), 4), rel=1e-6)
    weights = [0.5, 2.0, 0.0, 1.0]
    loss_sum, count = task.loss({"labels": tf.constant(SEVERAL), "weights": tf.constant(weights)}, {"logits": LOGITS})
    assert (float(loss_sum), float(count)) == pytest.approx(((each * weights).sum(), 3.5), rel=1e-6)
    loss_sum, count = task.loss(tf.zeros([0, 3]), {"logits": tf.zeros([0, 3])})
    assert (float(loss_sum), float(count)) == (0, 0)


@pytest.mark.parametrize("threshold", [0.5, 0.2, 0.9])
def test_metrics_of_several_labels(threshold):
    sklearn_metrics = pytest.importorskip("sklearn.metrics")
    metrics = make(multi_label=True, threshold=threshold).evaluate_outputs(SEVERAL, {"logits": LOGITS})
    found = 1 / (1 + np.exp(-LOGITS.astype(np.float64))) >= threshold
    assert 0 < found.sum() < found.size
    for kind in ("micro", "macro"):
        expected = sklearn_metrics.f1_score(SEVERAL, found, average=kind, zero_division=0)
        assert metrics[f"{kind}_f1"] == pytest.approx(expected)
    assert metrics["accuracy"] == pytest.approx(sklearn_metrics.accuracy_score(SEVERAL, found))
    assert metrics["loss"] == pytest.approx(several_losses().mean(), rel=1e-6)
    assert metrics.keys() == {"loss", "accuracy", "micro_f1", "macro_f1"}


def test_several_labels_are_served_padded():
    task = make(multi_label=True)
    answer = {key: value.numpy() for key, value in task.answer({"logits": tf.constant(LOGITS)}).items()}
    labels = [[label.decode() for label in row] for row in answer["labels"]]
    first, second, third = NAMES
    assert labels == [[first, third, ""], [second, "", ""], ["", "", ""], [first, second, third]]
    np.testing.assert_allclose(answer["scores"], 1 / (1 + np.exp(-LOGITS.astype(np.float64))), rtol=1e-5)
    few = task.answer({"logits": tf.constant(LOGITS[1:3])})["labels"].numpy()
    assert [[label.decode() for label in row] for row in few] == [[second], [""]], "as wide as the most labels"
    none = task.replace(threshold=0.999).answer({"logits": tf.constant(LOGITS[:3])})
    assert none["labels"].shape == (3, 0)
    nothing = task.answer({"logits": tf.zeros([0, 3])})
    assert {key: value.shape[0] for key, value in nothing.items()} == {"labels": 0, "scores": 0}


def test_several_labels_learn_from_batches():
    task = make(multi_label=True, dropout=0.0)
    trainer = kf.training.Trainer(task, keras.optimizers.Adam(0.02))
    data = tf.data.Dataset.from_tensors((TEXTS, [[1, 0, 0], [0, 1, 0], [0, 0, 0], [1, 1, 0], [0, 0, 1]]))
    before = trainer.evaluate(data)
    trainer.fit(data.repeat(20))
    assert trainer.evaluate(data)["loss"] < before["loss"]


def test_several_labels_need_names():
    with pytest.raises(InputError, match="`multi_label` needs `label_names`"):
        make(None, multi_label=True)
    assert make(["alone"], multi_label=True).predict(["good"])["scores"].shape == (1, 1)


# ---- saving and serving ----


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


def test_the_encoder_shares_its_weights():
    task = make()
    inputs = task.tokenizer(TEXTS)
    pooled = task.encoder(inputs)["pooled_output"].numpy()
    task.encoder.pooler.bias.assign_add(np.ones(8))
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
        raw = functions["tokens"](*task.model_inputs(task.tokenizer(*columns)).values())
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
    told = "a list of names" if names == "ab" else "at least 2 different names"
    with pytest.raises(InputError, match=f"`label_names` must be {told}") as error:
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


LONG = " ".join(["good so bad very rome anna"] * 6)


def window_scores(task, text, activation):
    """The scores of each window of 8 pieces with 3 in common."""
    words, rows = text.split(), []
    for start in range(0, max(len(words) - 3, 1), 5):
        rows.append(" ".join(words[start : start + 8]))
    return np.asarray(activation(task.model(task.tokenizer(rows))["logits"]))


@pytest.mark.parametrize("join", ["mean", "max"])
@pytest.mark.parametrize("kind", ["one label", "several labels", "number"])
def test_long_texts_in_windows(kind, join):
    task = make(None if kind == "number" else NAMES, multi_label=kind == "several labels", windows=join, overlap=3)
    texts = [LONG, "good", "", LONG + " so"]
    activation = {"one label": tf.nn.softmax, "several labels": tf.sigmoid, "number": tf.identity}[kind]
    expected = np.stack([getattr(np, join)(window_scores(task, text, activation), 0) for text in texts])
    if kind == "one label":
        expected /= expected.sum(-1, keepdims=True)
    answers = task.predict(texts)
    np.testing.assert_allclose(answers["score" if kind == "number" else "scores"].reshape(expected.shape), expected,
                               atol=2e-5)  # fmt: skip
    name = "scores" if "scores" in answers else "score"
    cut = task.replace(windows=None).predict(texts)
    np.testing.assert_allclose(cut[name][1], answers[name][1], atol=2e-5)
    assert not np.allclose(cut[name][0], answers[name][0])


def test_windows_of_pairs_and_without_room():
    with pytest.raises(InputError, match=r"`windows` is for single texts"):
        make(pairs=True, windows="mean")
    with pytest.raises(InputError, match="overlap"):
        make(windows="mean", overlap=8)
    with pytest.raises(InputError, match="windows='best'"):
        make(windows="best")


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
