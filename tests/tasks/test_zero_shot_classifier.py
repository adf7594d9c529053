"""Labels that come with each text, against the pairs computed one by one."""

import numpy as np
import pytest
from tiny_tasks import CONFIG, TEXTS, encoder, enlarged, tokenizer

import kerasformer as kf
from kerasformer.errors import InputError
from kerasformer.models import bert
from kerasformer.tasks import TextClassifier, ZeroShotClassifier

# `test_all_tasks` asks its graph.
pytestmark = pytest.mark.usefixtures("eagerly")
INFERENCE = ("contradiction", "neutral", "entailment")
LABELS = [["good", "bad", "so very"], ["rome"], ["anna", "bad"], [], ["good", "so"]]


def make(**settings):
    return enlarged(ZeroShotClassifier(encoder(), tokenizer(), INFERENCE, hypothesis_template="so {} .", **settings))


def logits(task, text, label):
    inputs = task.tokenizer([text], [f"so {label} ."], truncation="only_first")
    return np.asarray(task.model(inputs)["logits"][0], np.float64)


def softmax(values):
    return np.exp(values) / np.exp(values).sum()


@pytest.mark.parametrize("independent", [False, True])
def test_scores(independent):
    task = make(independent=independent)
    answers = task.predict(TEXTS, LABELS)
    assert answers["scores"].shape == (5, 3)
    for text, labels, label, scores in zip(TEXTS, LABELS, answers["label"], answers["scores"], strict=True):
        each = [logits(task, text, name) for name in labels]
        if independent or len(labels) == 1:  # as transformers scores a label that is alone
            expected = [softmax(values[[0, 2]])[1] for values in each]
        else:
            expected = softmax(np.array([values[2] for values in each]))
        np.testing.assert_allclose(scores, [*expected, *[0.0] * (3 - len(labels))], atol=1e-5)
        assert label == (labels[int(np.argmax(expected))] if labels else "")


def test_one_list_of_labels_is_for_all_texts():
    task = make()
    one = task.predict(TEXTS, ["good", "bad"])
    each = task.predict(TEXTS, [["good", "bad"]] * len(TEXTS))
    np.testing.assert_array_equal(one["scores"], each["scores"])


def test_long_texts_are_cut_and_hypotheses_are_not():
    task = make()
    long = "very " * 40
    np.testing.assert_allclose(
        task.predict([long], [["good", "bad"]])["scores"][0],
        softmax(np.array([logits(task, long, label)[2] for label in ("good", "bad")])),
        atol=1e-5,
    )


def test_a_classifier_of_inference_is_used_so(tmp_path):
    classifier = enlarged(TextClassifier(bert(CONFIG, pooled=True), tokenizer(), INFERENCE, pairs=True))
    classifier.save(tmp_path / "task")
    task = kf.load(tmp_path / "task", task="ZeroShotClassifier", hypothesis_template="{}", independent=True)
    scores = classifier.predict(["so good"], ["bad"])["scores"][0]
    found = task.predict(["so good"], [["bad"]])["scores"][0, 0]
    assert found == pytest.approx(scores[2] / (scores[0] + scores[2]), rel=1e-4)
    with pytest.raises(InputError, match=r"is of a TextClassifier.*task='Tagger'"):
        kf.load(tmp_path / "task", task="Tagger")
    with pytest.raises(InputError, match=r"`task` must be one of .*ZeroShotClassifier.*task='Oracle'"):
        kf.load(tmp_path / "task", task="Oracle")


@pytest.mark.parametrize(
    ("names", "settings", "told"),
    [
        (("yes", "no"), {}, "one of them an entailment"),
        (("entailment", "Entails"), {}, "one of them an entailment"),
        (INFERENCE, {"hypothesis_template": "{} {}"}, "hypothesis_template="),
    ],
)
def test_what_it_cannot_use(names, settings, told):
    with pytest.raises(InputError, match=told):
        ZeroShotClassifier(encoder(), tokenizer(), names, **settings)
