"""`kf.explain.explain` of classifiers: properties that hold of any model, and what is refused."""

import json

import numpy as np
import pytest
from tiny_tasks import CASES

import kerasformer as kf

TEXTS = ["so good rome .", "", "Véry bad,  anna", "good", "so " * 30]
KINDS = ("one label", "several labels", "regression", "pairs by their mean")


def texts_of(task):
    return [(text, f"{text} bad") for text in TEXTS] if task.pairs else TEXTS


def logits(task, texts, target):
    """Of the target, straight from the task's model."""
    columns = list(zip(*texts, strict=True)) if task.pairs else [texts]
    features = dict(zip(task.feature_names, map(list, columns), strict=True))
    found = task.model(task.batch_inputs(features), training=False)["logits"].numpy()
    return found[:, target]


@pytest.fixture(scope="module", params=KINDS)
def task(request):
    return CASES[request.param].make()


@pytest.mark.parametrize("method", kf.explain.METHODS)
def test_words_are_cut_out_of_the_text(task, method):
    explanations = kf.explain.explain(task, texts_of(task), method, batch_size=3)
    assert len(explanations) == len(TEXTS)
    for given, found in zip(texts_of(task), explanations, strict=True):
        assert found.text == given
        assert found.method == method
        texts = given if task.pairs else (given,)
        fields = found.fields if task.pairs else [0] * len(found.words)
        for word, start, end, field in zip(found.words, found.starts, found.ends, fields, strict=True):
            assert texts[field].encode()[start:end].decode() == word == word.strip()
        assert len(found.attributions) == len(found.words)
        assert np.isfinite(found.attributions).all()
        json.dumps(found.to_dict())
        assert found._repr_html_().count("<span") == len(found.words)
    labels = {found.label for found in explanations} | {found.predicted for found in explanations}
    assert labels <= ({""} if task.is_regression else set(task.label_names))
    empty = explanations[1]
    assert empty.words == ([] if not task.pairs else ["bad"])


def test_scores_are_those_of_the_task(task):
    texts = texts_of(task)
    found = kf.explain.explain(task, texts, "gradient_x_input")
    answers = task.predict(*(list(map(list, zip(*texts, strict=True))) if task.pairs else [texts]))
    if task.is_regression:
        np.testing.assert_allclose([one.score for one in found], answers["score"], atol=1e-5)
        return
    np.testing.assert_allclose([one.score for one in found], answers["scores"].max(-1), atol=1e-5)
    other = task.label_names[1]
    found = kf.explain.explain(task, texts, "gradient_x_input", target=other)
    assert {one.label for one in found} == {other}
    np.testing.assert_allclose([one.score for one in found], answers["scores"][:, 1], atol=1e-5)


def test_a_cut_text_says_where_reading_stopped():
    task = CASES["one label"].make()
    cut, whole = kf.explain.explain(task, ["so " * 30, "so good"], "gradient_x_input")
    assert len(cut.words) == 14
    assert cut.read_until == cut.ends[-1] == 41
    assert whole.read_until is None
    first, second = kf.explain.explain(CASES["pairs by their mean"].make(), [("so " * 30, "bad"), ("so", "bad")])
    assert first.read_until[0] < 90
    assert first.read_until[1] is None
    assert second.read_until == (None, None)
