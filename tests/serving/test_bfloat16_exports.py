"""Exports in bfloat16 of the tasks whose heads stay in float32: they say what the model says in Python."""

import keras
import numpy as np
import pytest

import kerasformer as kf
from kerasformer.models import BertConfig, bert
from kerasformer.serving.preview.loaded_model import LoadedModel

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *"abcdefghijklmnop", "."]
LENGTH = 24


def make(kind):
    keras.utils.set_random_seed(0)
    encoder = bert(BertConfig(len(WORDS), 32, 1, 4, 64, LENGTH, initializer_range=0.2), pooled=True)
    tokenizer = kf.text.WordPieceTokenizer(WORDS, max_length=LENGTH)
    tasks = {
        "tagger": lambda: kf.tasks.Tagger(encoder, tokenizer, ["x", "y"], window=12, overlap=4),
        "crf": lambda: kf.tasks.Tagger(encoder, tokenizer, ["x", "y"], crf=True),
        "answers": lambda: kf.tasks.QuestionAnswerer(encoder, tokenizer, window=16, overlap=4, max_question=4),
        "summaries": lambda: kf.tasks.ExtractiveSummarizer(encoder, tokenizer, num_heads=2, num_layers=1),
        "embeddings": lambda: kf.tasks.TextEmbedder(encoder, tokenizer, pooling="mean"),
    }
    task = tasks[kind]()
    # Weights that were learned are larger than new ones, and transitions are not zero.
    random = np.random.default_rng(1)
    for layer in task.model.layers:
        if layer.name in ("tagger", "transitions", "spans", "inter_sentence_encoder"):
            for weight in layer.weights:
                weight.assign(weight + random.normal(size=weight.shape, scale=0.3))
    return task


@pytest.mark.parametrize("kind", ["tagger", "crf", "answers", "summaries", "embeddings"])
def test_says_what_the_model_says(kind, tmp_path):
    task = make(kind)
    kf.serving.export(task, tmp_path / "1", precision="bfloat16")
    model = LoadedModel(tmp_path / "1")
    random = np.random.default_rng(2)
    length = task.window if kind in ("tagger", "answers") else LENGTH
    ids = random.integers(4, len(WORDS), [9, length]).astype("int32")
    # Rows of all lengths, so that attention is computed in groups of them.
    mask = (np.arange(length) < random.permutation(np.linspace(4, length, 9).astype(int))[:, None]).astype("int32")
    ids = np.where(mask > 0, ids, 0).astype("int32")
    ids[:, 0] = WORDS.index("[CLS]")
    if kind == "summaries":
        ids[mask[:, 7] > 0, 6] = WORDS.index("[CLS]")  # a second sentence
    inputs = {"token_ids": ids, "segment_ids": np.zeros_like(ids), "padding_mask": mask}
    served, expected = model.run("tokens", inputs), task.model(inputs)
    assert set(served) == set(expected)
    for name, value in expected.items():
        value, found = value.numpy(), np.asarray(served[name])
        assert found.dtype == value.dtype == np.float32, name
        if value.shape[:2] == mask.shape:
            value, found = value[mask > 0], found[mask > 0]
        # The summarizer's head is computed in bfloat16 too.
        tolerance = 0.06 if kind == "summaries" else 0.04
        np.testing.assert_allclose(found, value, atol=tolerance * np.abs(value).max(), err_msg=name)
        if name in ("logits", "embedding"):
            assert np.abs(found - value).max() > 0, "otherwise it is not bfloat16"
        else:
            np.testing.assert_array_equal(found, value)

    texts = ["a b c d . e f g .", "", "a " * 60 + ". " + "b c . " * 9]
    columns = {"question": ["a b"] * 3, "context": texts} if kind == "answers" else {"text": texts}
    served = model.run(
        "", {name: np.array([text.encode() for text in values], object) for name, values in columns.items()}
    )
    answers = task.answers(columns, 3)
    assert set(served) == set(answers)
    for name, value in answers.items():
        assert np.asarray(served[name]).ndim == value.ndim
        if value.dtype.kind == "f":
            assert np.isfinite(np.asarray(served[name])).all()
