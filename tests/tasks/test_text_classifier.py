"""The classifier: what it predicts, its loss and metrics, what it serves, and what is wrong in one line."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tiny_classifier import CONFIG, NAMES, TEXTS, VOCABULARY, make, tokenizer

import kerasformer as kf
from kerasformer.errors import InputError
from kerasformer.models import bert
from kerasformer.tasks import TextClassifier
from kerasformer.text import WordPieceTokenizer

eagerly = pytest.mark.usefixtures("eagerly")


def test_predict():
    task = make()
    answers = task.predict(TEXTS, batch_size=2)
    logits = task.model(task.tokenizer(TEXTS))["logits"].numpy().astype(np.float64)
    probabilities = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    np.testing.assert_allclose(answers["scores"], probabilities, atol=1e-5)
    assert answers["label"].tolist() == [NAMES[best] for best in logits.argmax(-1)]
    np.testing.assert_allclose(answers["score"], probabilities.max(-1), atol=1e-5)
    assert len(set(answers["label"])) > 1


@eagerly
@pytest.mark.parametrize("texts", [[], ["good"], ("good", "bad"), np.array(["good", "bad"], object)])
def test_predict_of_any_number(texts):
    answers = make().predict(texts)
    assert answers["label"].shape == answers["score"].shape == (len(texts),)
    assert answers["scores"].shape == (len(texts), 3)


@eagerly
def test_predict_pairs():
    task = make(pairs=True)
    answers = task.predict(["good", "bad", ""], ["so bad", "very", ""])
    logits = task.model(task.tokenizer(["good", "bad", ""], ["so bad", "very", ""]))["logits"]
    np.testing.assert_allclose(answers["scores"], tf.nn.softmax(logits), atol=1e-5)
    swapped = task.predict(["so bad"], ["good"])["scores"]
    assert not np.allclose(answers["scores"][:1], swapped)


@eagerly
def test_predict_numbers():
    task = make(None)
    assert task.is_regression
    answers = task.predict(TEXTS)
    assert answers.keys() == {"score"}
    np.testing.assert_allclose(answers["score"], task.model(task.tokenizer(TEXTS))["logits"][:, 0], atol=1e-5)


@eagerly
def test_predict_of_what_it_cannot():
    with pytest.raises(InputError, match=r"reads 1 lists of texts: text. Received: 2"):
        make().predict(["good"], ["bad"])
    with pytest.raises(InputError, match=r"reads 2 lists of texts: text, text_pair. Received: 1"):
        make(pairs=True).predict(["good"])
    with pytest.raises(InputError, match="same length"):
        make(pairs=True).predict(["good"], ["bad", "so"])
    with pytest.raises(InputError, match=r"must be a list of texts\. Received one text"):
        make().predict("good")


@eagerly
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


@eagerly
def test_loss_and_metrics_of_a_regression():
    task = make(None)
    numbers, targets = np.array([[1.0], [2.0], [4.0]], "float32"), np.array([1.5, 2.0, 2.0], "float32")
    loss_sum, count = task.loss(tf.constant(targets), {"logits": numbers})
    assert (float(loss_sum), float(count)) == pytest.approx((4.25, 3))
    metrics = task.evaluate_outputs(targets, {"logits": numbers})
    assert metrics["loss"] == pytest.approx(4.25 / 3)
    assert metrics["pearson"] == pytest.approx(np.corrcoef(targets, numbers[:, 0])[0, 1])
    assert metrics["spearman"] == pytest.approx(np.corrcoef([1, 2.5, 2.5], [1, 2, 3])[0, 1])


@eagerly
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


@eagerly
def test_several_labels_need_names():
    with pytest.raises(InputError, match="`multi_label` needs `label_names`"):
        make(None, multi_label=True)
    assert make(["alone"], multi_label=True).predict(["good"])["scores"].shape == (1, 1)


# ---- in windows, served, refused ----


LONG = " ".join(["good so bad very rome anna"] * 6)


def window_scores(task, text, activation):
    """The scores of each window of 8 pieces with 3 in common."""
    words, rows = text.split(), []
    for start in range(0, max(len(words) - 3, 1), 5):
        rows.append(" ".join(words[start : start + 8]))
    return np.asarray(activation(task.model(task.tokenizer(rows))["logits"]))


WINDOWED = [("one label", "mean"), ("several labels", "max"), ("number", "mean")]
OTHERS = [("one label", "max"), ("several labels", "mean"), ("number", "max")]


@pytest.mark.parametrize(
    ("kind", "join"), [*WINDOWED, *(pytest.param(*row, marks=pytest.mark.exhaustive) for row in OTHERS)]
)
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
    # As those who look for a mistake of their own run it.
    tf.config.run_functions_eagerly(True)
    try:
        found = task.replace().predict(texts)[name]
    finally:
        tf.config.run_functions_eagerly(False)
    np.testing.assert_allclose(found, answers[name], atol=2e-5)


def test_windows_of_pairs_and_without_room():
    with pytest.raises(InputError, match=r"`windows` is for single texts"):
        make(pairs=True, windows="mean")
    with pytest.raises(InputError, match="overlap"):
        make(windows="mean", overlap=8)
    with pytest.raises(InputError, match="windows='best'"):
        make(windows="best")


def test_the_encoder_shares_its_weights():
    task = make()
    inputs = task.tokenizer(TEXTS)
    pooled = task.encoder(inputs)["pooled_output"].numpy()
    task.encoder.pooler.bias.assign_add(np.ones(8))
    assert not np.allclose(task.encoder(inputs)["pooled_output"], pooled)


@eagerly
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
