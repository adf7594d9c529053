"""The signature `explain` of an export is what Python says."""

import json
import sys

import numpy as np
import pytest
import tensorflow as tf
from tiny_tasks import CASES

import kerasformer as kf
from kerasformer.errors import InputError
from kerasformer.serving.explanations import EXPLANATIONS, measured_explanation

TEXTS = ["so good rome .", "", "Véry bad,  anna", "good", "so " * 30]


def explained(version, *columns):
    signature = tf.saved_model.load(str(version)).signatures["explain"]
    names = ("text", "text_pair")
    found = signature(**{name: tf.constant(column, tf.string) for name, column in zip(names, columns, strict=False)})
    return {name: value.numpy() for name, value in found.items()}


def assert_as_in_python(found, explanations):
    for row, one in enumerate(explanations):
        count = len(one.words)
        np.testing.assert_allclose(found["attributions"][row, :count], one.attributions, rtol=0, atol=1e-4)
        assert [word.decode() for word in found["words"][row, :count]] == one.words
        assert found["word_starts"][row, :count].tolist() == one.starts
        assert found["word_ends"][row, :count].tolist() == one.ends
        assert not found["attributions"][row, count:].any()
        assert set(found["words"][row, count:]) <= {b""}
        assert set(found["word_starts"][row, count:]) | set(found["word_ends"][row, count:]) <= {-1}


def test_a_published_version_explains_as_python_does(tmp_path, monkeypatch):
    task = CASES["one label"].make()
    # The words of this model move nothing by 0.05.
    monkeypatch.setattr(sys.modules["kerasformer.explain.faithfulness"], "_LEAST_EFFECT", 1e-6)
    labels = [row % len(task.label_names) for row in range(len(TEXTS))]
    data = tf.data.Dataset.from_tensor_slices((TEXTS, labels)).batch(2)
    # Its check replays the signature, alone, in batches and of no text.
    version = kf.publish(task, tmp_path / "model", explain="integrated_gradients", data=data)
    found, explanations = explained(version, TEXTS), kf.explain.explain(task, TEXTS, "integrated_gradients")
    assert set(found) == {"label", "score", "words", "word_starts", "word_ends", "attributions", "gap"}
    assert_as_in_python(found, explanations)
    np.testing.assert_allclose(found["score"], [one.score for one in explanations], atol=1e-5)
    np.testing.assert_allclose(found["gap"], [one.gap for one in explanations], atol=1e-4)
    assert [label.decode() for label in found["label"]] == [one.label for one in explanations]

    card = json.loads((version / "assets.extra" / "card.json").read_text())["explanation"]
    assert card["method"] == "integrated_gradients"
    assert card["answers"] > 1
    assert card["words"] == np.mean([len(one.words) for one in explanations])
    true = kf.explain.faithfulness(task, explanations)
    assert card["faithfulness"]["texts"] == len(true.texts)
    assert card["faithfulness"]["sufficiency"]["value"] == pytest.approx(true.sufficiency.mean())
    assert f"| sufficiency | {true.sufficiency.mean():.3f} |" in (version / "MODEL_CARD.md").read_text()


def test_without_data_a_card_says_what_explanations_cost():
    for name in ("one label", "pairs by their mean", "regression"):
        found = measured_explanation(CASES[name].make(), "occlusion", None)
        assert found["answers"] > 0
        assert found["words"] > 1
        assert found["faithfulness"] is None


def test_pairs_and_numbers(tmp_path):
    task = CASES["pairs by their mean"].make()
    kf.serving.export(task, tmp_path / "pairs", explain="occlusion")
    pairs = [(text, "so bad") for text in TEXTS]
    found = explained(tmp_path / "pairs", TEXTS, ["so bad"] * len(TEXTS))
    explanations = kf.explain.explain(task, pairs, "occlusion")
    assert_as_in_python(found, explanations)
    assert [row[row >= 0].tolist() for row in found["word_fields"]] == [one.fields for one in explanations]
    assert "gap" not in found
    task = CASES["regression"].make()
    kf.serving.export(task, tmp_path / "numbers", explain="gradient_x_input")
    found = explained(tmp_path / "numbers", TEXTS)
    assert_as_in_python(found, kf.explain.explain(task, TEXTS, "gradient_x_input"))
    assert "label" not in found


def test_weights_that_overflow_are_served_as_zeros(tmp_path):
    task = CASES["one label"].make()
    task.head.output.kernel.assign(tf.fill(task.head.output.kernel.shape, np.nan))
    kf.serving.export(task, tmp_path / "model", explain="gradient_x_input")
    assert not explained(tmp_path / "model", TEXTS)["attributions"].any()


def test_what_cannot_be_served_is_refused(tmp_path):
    task = CASES["one label"].make()
    for precision in ("int8", "bfloat16", "auto"):
        with pytest.raises(InputError, match=r"needs the gradients of a float32 export.*explain='occlusion'"):
            kf.publish(task, tmp_path, explain="integrated_gradients", precision=precision)
    with pytest.raises(InputError, match="must be one of") as refused:
        kf.publish(task, tmp_path, explain="gradient")
    assert all(name in str(refused.value) for name in EXPLANATIONS)
    with pytest.raises(InputError, match=r"served of a TextClassifier\. Received: a Tagger"):
        kf.publish(CASES["tagger"].make(), tmp_path, explain="occlusion")
    with pytest.raises(InputError, match="windows=None"):
        kf.publish(task.replace(windows="mean", overlap=2), tmp_path, explain="occlusion")
    assert not list(tmp_path.iterdir())
