"""Explanations are those of Captum and PyTorch with the same weights; one way for all families."""

import json
import types

import keras
import numpy as np
import pytest
import tensorflow as tf
from recorded import FIXTURES, Recorded

from kerasformer.explain.classification import classifier_score
from kerasformer.explain.explaining import make_method
from kerasformer.explain.problem import Problem
from kerasformer.explain.vectors import model_functions
from kerasformer.explain.words import Words
from kerasformer.families import open_checkpoint

NAMES = (
    *("albert", "bert", "deberta_v2", "deberta_v3", "distilbert", "electra", "modernbert", "mpnet", "nomic_bert"),
    "roberta",
)
KIND = "sequence_classification"
METHODS = ("gradient_x_input", "integrated_gradients", "occlusion", "attention_x_gradient")
# Of BERT all fifty, of others a few.
ROWS = {"bert": 50}


class Tokenizer:
    """What methods read of a tokenizer: the padding token is what integrated gradients begin at."""

    def __init__(self, padding_id):
        self.padding_id, self.mask_id = padding_id, 4


@pytest.fixture(scope="module")
def recorded():
    return dict(np.load(FIXTURES / "explanations.npz"))


def words_of(slots):
    """The `Words` of numbered tokens; their texts do not matter."""
    count = slots.max() + 1
    starts = np.where(np.arange(count) <= slots.max(1, keepdims=True), 0, -1).astype("int32")
    return Words({}, tf.constant(slots), tf.fill(starts.shape, ""), tf.constant(starts), *[tf.constant(starts)] * 3)


@pytest.fixture(params=NAMES)
def name(request):
    return request.param


def classifier(folder):
    """A functional model from token ids to logits, as `TextClassifier` makes it."""
    checkpoint = open_checkpoint(folder)
    backbone = checkpoint.backbone(pooled=True)
    dense = keras.layers.Dense(len(checkpoint.labels))
    logits = dense(backbone.output["pooled_output"])
    checkpoint.assign(backbone, types.SimpleNamespace(output=dense))
    return keras.Model(backbone.input, {"logits": logits}), json.loads((folder / "config.json").read_text())


def test_attributions_are_those_of_captum_and_pytorch(name, recorded, tmp_path):
    model, config = classifier(Recorded(FIXTURES / f"encoder_{name}.npz").write(tmp_path / "model", KIND))
    rows = slice(ROWS.get(name, 6))
    given, slots = recorded["token_ids"][rows], recorded["slots"][rows]
    inputs = {"token_ids": tf.constant(np.where(given < 0, config["pad_token_id"], given))}
    inputs["padding_mask"] = tf.constant(recorded["padding_mask"][rows])
    if "segment_ids" in model.input:
        inputs["segment_ids"] = tf.zeros_like(inputs["token_ids"])
    score = classifier_score(types.SimpleNamespace(is_regression=False))
    functions, target = model_functions(model, score), tf.constant(recorded[f"{name}/target"][rows])
    problem = Problem(functions, score, inputs, words_of(slots), target, score(functions.outputs(inputs), target))
    for method in METHODS:
        options = {"steps": 64} if method == "integrated_gradients" else {}
        found, _ = make_method(method, **options).attribute(problem, Tokenizer(int(recorded[f"{name}/baseline"])))
        expected = recorded[f"{name}/{method}"][rows, : slots.max() + 1]
        # Where nothing but a normalization reads a token's vector, its gradient is at right angles to it: 0, rounded.
        assert np.abs(found - expected).max() <= max(1e-3 * np.ptp(expected), 1e-5), method
        if np.ptp(expected) > 1e-3:
            assert np.corrcoef(found.numpy().ravel(), expected.ravel())[0, 1] >= 0.999, method
