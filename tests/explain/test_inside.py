"""What is inside of a classifier, and small pictures."""

import base64
import functools

import numpy as np
import pytest

import kerasformer as kf
from kerasformer.errors import InputError
from kerasformer.explain.charts import lines_svg, reliability_svg, weights_png

TEXTS = ["good day", "a bad day", "so good"] * 4


@functools.cache
def encoder_and_tokenizer(pooled=True):
    return kf.families.random_encoder(TEXTS, "tiny", vocabulary_size=60, max_length=16)


@pytest.mark.parametrize(
    ("names", "settings"),
    [(["bad", "good"], {}), (["bad", "good"], {"pooling": "mean", "temperature": 2.0}), (None, {})],
)
def test_the_last_layer_gives_the_answer(names, settings):
    task = kf.tasks.TextClassifier(*encoder_and_tokenizer(), label_names=names, **settings)
    layers = kf.explain.layer_scores(task, TEXTS, batch_size=5)
    assert layers.shape == (len(task.encoder.blocks) + 1, len(TEXTS), 2 if names else 1)
    answers = task.predict(TEXTS)
    np.testing.assert_allclose(layers[-1], answers["scores"] if names else answers["score"][:, None], atol=1e-5)
    assert np.abs(layers[0] - layers[-1]).max() > 1e-4
    assert kf.explain.layer_scores(task, []).shape == (layers.shape[0], 0, layers.shape[2])


def test_attention_of_pairs_adds_up():
    task = kf.tasks.TextClassifier(*encoder_and_tokenizer(), label_names=["bad", "good"], pairs=True)
    tokens, weights = kf.explain.attention(task, "good day", "bad")
    assert tokens[0] == "[CLS]"
    assert tokens.count("[SEP]") == 2
    assert weights.shape[2:] == (len(tokens), len(tokens))
    np.testing.assert_allclose(weights.sum(-1), 1, atol=1e-5)


def test_what_has_no_layers():
    with pytest.raises(InputError, match="with a Backbone"):
        kf.explain.attention(kf.tasks.TextEmbedder(*encoder_and_tokenizer()), "good")


def test_a_picture_of_weights_is_a_png():
    tf = pytest.importorskip("tensorflow")
    url = weights_png([[0, 1], [0.25, 0.0], [1, 1]])
    pixels = tf.io.decode_png(base64.b64decode(url.partition(",")[2]), channels=4).numpy()
    assert pixels[..., 3].tolist() == [[0, 255], [128, 0], [255, 255]]
    assert pixels[0, 1].tolist() == [37, 120, 200, 255]


def test_curves_are_escaped_and_described():
    rows = kf.explain.reliability([0.9, 0.6], [True, False])
    assert 'aria-label="a &lt;b&gt;"' in reliability_svg(rows, "a <b>")
    assert "&lt;b&gt;, layer 1: 0.500" in lines_svg({"<b>": [0, 0.5]}, "layer", "right", "x")
