"""`kf.explain.explain` of classifiers: properties that hold of any model, and what is refused."""

import functools
import json

import numpy as np
import pytest
import tensorflow as tf
from tiny_tasks import CASES, encoder, tokenizer

import kerasformer as kf
from kerasformer.errors import InputError

# `test_served` has the graphs.
pytestmark = pytest.mark.usefixtures("eagerly")
TEXTS = ["so good rome .", "", "Véry bad,  anna", "good", "so " * 30]
KINDS = ("one label", "several labels", "regression", "pairs by their mean")


@functools.cache
def made(name):
    return CASES[name].make()


def texts_of(task):
    return [(text, f"{text} bad") for text in TEXTS] if task.pairs else TEXTS


@pytest.fixture(scope="module", params=KINDS)
def task(request):
    return made(request.param)


# Each method once, and each kind once.
@pytest.mark.parametrize(
    ("kind", "method"),
    [(KINDS[0], method) for method in kf.explain.METHODS] + [(kind, "gradient_x_input") for kind in KINDS[1:]],
)
def test_words_are_cut_out_of_the_text(kind, method):
    task = made(kind)
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
    task = made("one label")
    cut, whole = kf.explain.explain(task, ["so " * 30, "so good"], "gradient_x_input")
    assert len(cut.words) == 14
    assert cut.read_until == cut.ends[-1] == 41
    assert whole.read_until is None
    first, second = kf.explain.explain(made("pairs by their mean"), [("so " * 30, "bad"), ("so", "bad")])
    assert first.read_until[0] < 90
    assert first.read_until[1] is None
    assert second.read_until == (None, None)


def test_sums_of_words_are_the_difference_to_the_baseline(task):
    texts = [text for text in texts_of(task) if text != ""]
    target = None if task.is_regression else 1
    found = kf.explain.explain(task, texts, "integrated_gradients", target)
    target = 0 if task.is_regression else 1
    columns = [list(column) for column in zip(*texts, strict=True)] if task.pairs else [texts]
    inputs = task.batch_inputs(dict(zip(task.feature_names, columns, strict=True)))
    special = [task.tokenizer.start_id, task.tokenizer.end_id]
    ids = inputs["token_ids"].numpy()
    kept = np.where(np.isin(ids, special), ids, task.tokenizer.padding_id)
    empty = {**inputs, "token_ids": tf.constant(kept)}
    ends, starts = (task.model(given, training=False)["logits"].numpy()[:, target] for given in (inputs, empty))
    for one, difference in zip(found, ends - starts, strict=True):
        assert one.gap <= max(0.01 * abs(difference), 0.01)
        np.testing.assert_allclose(one.attributions.sum(), difference, atol=one.gap + 1e-4)


def test_a_words_occlusion_is_the_fall_of_its_logit():
    task = made("one label")
    (found,) = kf.explain.explain(task, ["so good rome"], "occlusion", target="maybe")
    hidden = [" ".join(["so", "good", "rome"][:i] + ["[MASK]"] + ["so", "good", "rome"][i + 1 :]) for i in range(3)]
    logits = task.model(task.batch_inputs({"text": ["so good rome", *hidden]}), training=False)["logits"].numpy()[:, 1]
    np.testing.assert_allclose(found.attributions, logits[0] - logits[1:], atol=1e-5)


def test_a_text_is_explained_alike_in_every_batch():
    task = made("one label")
    for method in ("smoothgrad", "integrated_gradients", "attention_x_gradient"):
        together = kf.explain.explain(task, TEXTS, method)
        alone = kf.explain.explain(task, TEXTS, method, batch_size=1)
        for one, other in zip(together, alone, strict=True):
            np.testing.assert_allclose(one.attributions, other.attributions, atol=1e-5)


def test_entities_and_answers():
    tagger = made("tagger")
    texts = ["so good rome anna", "", "bad anna"]
    entities = tagger.predict(texts)
    found = kf.explain.explain(tagger, texts, "occlusion")
    assert [(one.label, one.span) for one in found] == [
        (entity["label"], (entity["start"], entity["end"])) for row in entities for entity in row
    ]
    label = found[0].label
    assert {one.label for one in kf.explain.explain(tagger, texts, target=label)} == {label}
    answerer = made("question answerer")
    answers = answerer.predict(["good", "bad rome"], ["so good rome .", "anna very bad"])
    found = kf.explain.explain(answerer, [("good", "so good rome ."), ("bad rome", "anna very bad"), ("so", "")])
    assert [one.label for one in found] == answers["answer"].tolist()
    assert [one.span for one in found] == list(zip(answers["start"].tolist(), answers["end"].tolist(), strict=True))
    np.testing.assert_allclose([one.score for one in found], answers["score"], atol=1e-5)
    assert found[1].fields == [0, 0, 1, 1, 1]


def test_similar_words_add_up_to_the_cosine():
    embedder = made("embedder")
    found = kf.explain.explain_similarity(embedder, "so good", "very bad rome")
    first, second = embedder.embed(["so good", "very bad rome"])
    assert found.words == (["so", "good"], ["very", "bad", "rome"])
    assert found.matrix.shape == (2, 3)
    np.testing.assert_allclose(found.cosine, first @ second, atol=1e-5)
    np.testing.assert_allclose(found.matrix.sum() + found.rest, found.cosine, atol=1e-5)
    with pytest.raises(InputError, match="must be pooled by one of"):
        kf.explain.explain_similarity(kf.tasks.TextEmbedder(encoder(), tokenizer(), pooling="first"), "so", "bad")


def test_words_of_a_source():
    translator = made("translator")
    found = kf.explain.explain_translations(translator, ["the red cat", "", "a dog"])
    assert [one.words for one in found] == [["the", "red", "cat"], [], ["a", "dog"]]
    assert [one.label for one in found] == translator.translate(["the red cat", "", "a dog"])["translation"].tolist()
    assert all(0 < one.score <= 1 for one in found)


def test_masked_names_and_links_are_cut_out_of_the_callers_text():
    task = made("one label").replace(normalize_tweets=True)
    text = "so @béb_1 good  https://bad.so/x?y rome"
    (found,) = kf.explain.explain(task, [text], "occlusion")
    assert found.words == ["so", "@béb_1", "good", "https://bad.so/x?y", "rome"]
    assert [text.encode()[a:b].decode() for a, b in zip(found.starts, found.ends, strict=True)] == found.words


def refused(message, task, *arguments, **options):
    with pytest.raises(InputError, match=message):
        kf.explain.explain(task, *arguments, **options)


def test_what_is_refused():
    task = CASES["one label"].make()
    refused("labels.*Received: target='x'", task, TEXTS, target="x")
    refused("labels.*Received: target=3", task, TEXTS, target=3)
    refused("must be one of.*Received: method='lrp'", task, TEXTS, "lrp")
    refused("has the options.*Received: 'baseline'", task, TEXTS, "gradient_x_input", baseline="zero")
    refused("baseline='noise'", task, TEXTS, "integrated_gradients", baseline="noise")
    refused("`steps` must be", task, TEXTS, "integrated_gradients", steps=0)
    refused("Put it in a list", task, "so good")
    refused("list of pairs", made("pairs by their mean"), ["so good"])
    refused("leave `target` out", made("regression"), TEXTS, target=0)
    refused("windows=None", task.replace(windows="mean", overlap=2), TEXTS)
    refused("Received: a TextEmbedder", made("embedder"), TEXTS)
    assert kf.explain.explain(task, []) == []
    task.head.output.kernel.assign(np.full(task.head.output.kernel.shape, np.nan))
    refused("text 1 is not finite", task, TEXTS, "gradient_x_input")
