"""Answers compared with labels: figures and their intervals, parts of the data, calibration, neighbours."""

import functools

import keras
import numpy as np
import pytest

import kerasformer as kf
from kerasformer.errors import InputError
from kerasformer.explain import Outcomes

TEXTS = ["good day", "bad day", "not good", "so bad", "good", "bad", "a good day", "never good 🙂"] * 4
NAMES = ("bad", "good")


@functools.cache
def encoder_and_tokenizer():
    keras.utils.set_random_seed(0)
    return kf.families.random_encoder(TEXTS, "tiny", vocabulary_size=60, max_length=16)


def make(names=NAMES, **settings):
    return kf.tasks.TextClassifier(*encoder_and_tokenizer(), label_names=names, **settings)


def labelled(labels, texts=TEXTS, **options):
    return kf.data.from_lists(texts, labels, **options)


def found(targets, scores, texts=None, **options):
    """Outcomes of given probabilities."""
    texts = [f"text {place}" for place in range(len(scores))] if texts is None else texts
    scores = np.asarray(scores, np.float32)
    predictions = scores >= 0.5 if options.get("multi_label") else scores.argmax(-1)
    examples = kf.data.from_lists(texts, targets, label_names=NAMES)
    return Outcomes(examples, scores, predictions, NAMES)


def test_figures_of_a_confusion_matrix_are_those_of_scikit_learn():
    pytest.importorskip("sklearn")
    rng = np.random.default_rng(0)
    targets, predictions = rng.integers(0, 3, 200), rng.integers(0, 3, 200)
    expected = kf.metrics.classification_metrics(targets, predictions, 4)
    figures = kf.explain.classification_figures(kf.metrics.confusion_matrix(targets, predictions, 4))
    for name, figure in figures.items():
        assert figure.value == pytest.approx(expected[name])
        assert figure.low < figure.value < figure.high


def test_an_interval_is_that_of_the_normal_distribution_and_the_same_each_time():
    values = np.random.default_rng(0).random(400) < 0.8
    figure = kf.explain.mean_figure(values)
    width = 1.96 * np.sqrt(values.mean() * (1 - values.mean()) / 400)
    assert (figure.low, figure.high) == pytest.approx((figure.value - width, figure.value + width), abs=0.01)
    assert kf.explain.mean_figure(values) == figure
    assert kf.explain.mean_figure(values, seed=1) != figure
    assert str(kf.explain.mean_figure([1.0])) == "1.000"


def test_outcomes_are_the_answers_of_the_task():
    task = make()
    told = []
    outcomes = kf.explain.outcomes(task, labelled([0, 1] * 16), advance=lambda *done: told.append(done), batch_size=2)
    answers = task.predict(TEXTS)
    np.testing.assert_allclose(outcomes.scores, answers["scores"], atol=1e-6)
    assert [NAMES[place] for place in outcomes.predictions] == list(answers["label"])
    assert outcomes.right.tolist() == [NAMES[i % 2] == label for i, label in enumerate(answers["label"])]
    np.testing.assert_allclose(outcomes.errors, [1 - row[i % 2] for i, row in enumerate(answers["scores"])], atol=1e-6)
    assert told == [(16, 32), (32, 32)]


def test_of_several_labels_and_of_numbers():
    several = kf.explain.outcomes(
        make(multi_label=True, threshold=0.4), labelled([["good"], []] * 16, label_names=NAMES)
    )
    assert several.right.shape == (32,)
    assert set(several.figures()) == {"accuracy", "micro_f1"}
    assert kf.explain.calibration(several).rows
    numbers = kf.explain.outcomes(make(None), labelled([0.5, 1.5] * 16, regression=True))
    assert numbers.right is None
    assert numbers.figures()["mae"].value == pytest.approx(numbers.errors.mean())
    with pytest.raises(InputError, match="no probabilities"):
        kf.explain.calibration(numbers)
    with pytest.raises(InputError, match="no probabilities"):
        kf.explain.calibrate(make(None), labelled([0.5, 1.5] * 16, regression=True))


@pytest.mark.parametrize(
    ("examples", "expected"),
    [(lambda: labelled(None), "must have a label"), (lambda: labelled([0] * 32, pairs=TEXTS), "single texts")],
)
def test_examples_that_do_not_fit(examples, expected):
    with pytest.raises(InputError, match=expected):
        kf.explain.outcomes(make(), examples())


def test_parts_of_the_data():
    texts = [*["so good"] * 10, *["не плохо и не хорошо"] * 10, *["I don’t 🙂"] * 10, *["nothing"] * 9, "note"]
    parts = kf.explain.slices(found([1] * 30 + [0] * 10, [[0.2, 0.8]] * 40, texts))
    rows = {(part.kind, part.name): (part.count, part.figures["accuracy"].value) for part in parts}
    assert rows == {
        ("length", "4 to 7 characters"): (20, 0.5),
        ("length", "8 to 9 characters"): (10, 1),
        ("length", "10 to 20 characters"): (10, 1),
        ("script", "Cyrillic"): (10, 1),
        ("script", "Latin"): (30, 2 / 3),
        ("negation", "with negation"): (19, pytest.approx(10 / 19)),
        ("negation", "without negation"): (21, pytest.approx(20 / 21)),
        ("emoji", "with emoji"): (10, 1),
        ("emoji", "without emoji"): (30, 2 / 3),
        ("label", "bad"): (10, 0),
        ("label", "good"): (30, 1),
    }
    assert [part.name for part in parts][:3] == ["4 to 7 characters", "8 to 9 characters", "10 to 20 characters"]


@pytest.mark.parametrize(
    ("text", "script"),
    [("Grüße 1", "Latin"), ("漢字かな", "Cjk"), ("hi мир", "Cyrillic"), ("12 !", "no letters"), ("", "no letters")],
)
def test_the_script_of_a_text(text, script):
    assert kf.explain.script_of(text) == script


def test_calibration_error_by_hand():
    # In tenths: (0.9, 1]: 2 texts, confidence 0.95, 1 right; (0.6, 0.7]: 1 text; (0.7, 0.8]: 1 text on the edge.
    confidence, right = [0.92, 0.98, 0.65, 0.8], [True, False, True, True]
    rows = kf.explain.reliability(confidence, right, bins=10)
    assert [(row.low, row.count, row.accuracy) for row in rows] == [(0.6, 1, 1), (0.7, 1, 1), (0.9, 2, 0.5)]
    assert rows[-1].confidence == pytest.approx(0.95)
    error = kf.explain.expected_calibration_error(confidence, right, bins=10)
    assert error == pytest.approx((2 * 0.45 + 0.35 + 0.2) / 4)
    assert kf.explain.expected_calibration_error([0.0, 1.0], [False, True]) == 0


@pytest.mark.parametrize("several", [False, True])
def test_a_temperature_is_found_again(several):
    """Labels drawn from the probabilities; then the logits are made three times as large."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 1.2, (20000, 3))
    if several:
        scores, sharp = (1 / (1 + np.exp(-factor * logits)) for factor in (1, 3))
        targets = rng.random(scores.shape) < scores
    else:
        scores, sharp = (kf.explain.with_temperature(np.exp(factor * logits - 20), 1.0) for factor in (1, 3))
        targets = (scores.cumsum(1) < rng.random((20000, 1))).sum(1)
    assert kf.explain.fit_temperature(sharp, targets) == pytest.approx(3, rel=0.05)
    cooled = kf.explain.with_temperature(sharp, 3.0, multi_label=several)
    np.testing.assert_allclose(cooled, scores, atol=2e-3)


def test_calibration_reports_what_a_temperature_brings():
    rng = np.random.default_rng(0)
    true = rng.beta(2, 2, 2000)
    targets = (rng.random(2000) < true).astype(int)
    sharp = kf.explain.with_temperature(np.stack([1 - true, true], 1), 1 / 3)
    report = kf.explain.calibration(found(targets, sharp))
    assert report.temperature == pytest.approx(3, rel=0.1)
    assert report.calibrated < 0.03 < 0.15 < report.error
    right = kf.explain.fit_temperature([[0.4, 0.6], [0.7, 0.3]], [1, 0])
    assert right == pytest.approx(0.05, rel=0.01)


@pytest.mark.parametrize("settings", [{}, {"multi_label": True, "threshold": 0.3}])
def test_a_calibrated_task_keeps_its_labels_and_is_saved(settings, tmp_path):
    task = make(**settings)
    # Logits of both signs, around 0.
    vectors = kf.explain.text_vectors(task, TEXTS)
    centred = vectors - vectors.mean(0)
    direction = np.linalg.svd(centred, full_matrices=False)[2][0]
    logits = centred @ direction
    kernel = np.outer(direction, [1, -1]) * 2 / logits.std()
    task.head.output.kernel.assign(kernel)
    task.head.output.bias.assign(-vectors.mean(0) @ kernel)
    answers = task.predict(TEXTS)
    labels = [[label for label in row if label] for row in answers["labels"]] if settings else answers["label"].tolist()
    # Every fourth label is another than the answer.
    labels[::4] = [[n for n in NAMES if n not in row] if settings else NAMES[row == "bad"] for row in labels[::4]]
    examples = labelled(labels, label_names=NAMES)
    calibrated = kf.explain.calibrate(task, examples)
    assert 0.06 < calibrated.temperature < 19
    before, after = task.predict(TEXTS), calibrated.predict(TEXTS)
    key = "labels" if settings else "label"
    assert before[key].tolist() == after[key].tolist()
    expected = kf.explain.with_temperature(before["scores"], calibrated.temperature, multi_label=bool(settings))
    np.testing.assert_allclose(after["scores"], expected, atol=1e-5)
    assert kf.explain.calibrate(calibrated, examples).temperature == pytest.approx(calibrated.temperature, rel=1e-3)
    calibrated.save(tmp_path / "task")
    np.testing.assert_allclose(kf.load(tmp_path / "task").predict(TEXTS)["scores"], after["scores"], atol=1e-6)
    targets = examples.targets
    logits = task.model(task.tokenizer(TEXTS))["logits"].numpy()
    figures = kf.explain.outcomes(calibrated, examples).figures()
    assert calibrated.evaluate_outputs(targets, {"logits": logits})["accuracy"] == figures["accuracy"].value


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_temperatures_that_cannot_be(value):
    with pytest.raises(InputError, match="`temperature` must be"):
        make(temperature=value)
    with pytest.raises(InputError, match="a regression"):
        make(None, temperature=2.0)
    with pytest.raises(InputError, match="Received: none"):
        kf.explain.fit_temperature(np.zeros([0, 2]), [])


def test_nearest_examples():
    places, cosines = kf.explain.nearest([[2, 0], [1, 1]], [[0, 3], [1, 0], [1, 0.9]], 2)
    assert places.tolist() == [[1, 2], [2, 0]]
    assert cosines[0].tolist() == pytest.approx([1, 1 / np.sqrt(1.81)])
    task = make()
    training = labelled(["bad", "good", "bad"], ["so bad", "good day", "not good"], label_names=NAMES)
    near = kf.explain.nearest_examples(task, training, labelled(["good"], ["good day"], label_names=NAMES), 2)
    assert near[0][0][:2] == ("good day", "good")
    assert near[0][0][2] == pytest.approx(1, abs=1e-5)
    assert len(near[0]) == 2
    vectors = kf.explain.text_vectors(task, TEXTS[:3], batch_size=2)
    logits = task.model(task.tokenizer(TEXTS[:3]))["logits"].numpy()
    np.testing.assert_allclose(
        vectors @ task.head.output.kernel.numpy() + task.head.output.bias.numpy(), logits, atol=1e-5
    )
    assert kf.explain.text_vectors(task, []).shape == (0, vectors.shape[1])
