"""Starting points: what a saved task gives to a new one."""

import keras
import numpy as np
import pytest

import kerasformer as kf
from kerasformer.errors import InputError

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "sun", "moon"]


@pytest.fixture(scope="module")
def parts():
    keras.utils.set_random_seed(0)
    tokenizer = kf.text.WordPieceTokenizer(WORDS, max_length=16)
    return kf.models.bert(kf.models.BertConfig(len(WORDS), 8, 1, 2, 8, 16), pooled=True), tokenizer


@pytest.mark.parametrize(
    ("make", "pooling"),
    [
        (lambda *parts: kf.tasks.TextClassifier(*parts, ["x", "y"], pooling="mean"), "mean"),
        (lambda *parts: kf.tasks.TextClassifier(*parts, ["x", "y"]), "first"),
        (lambda *parts: kf.tasks.TextEmbedder(*parts, pooling="mean"), "mean"),
        (lambda *parts: kf.tasks.TextEmbedder(*parts, pooling="cls"), "first"),
        (lambda *parts: kf.tasks.QuestionAnswerer(*parts, window=16, overlap=2), "first"),
    ],
)
def test_a_saved_task_gives_its_encoder_and_how_it_pools(make, pooling, parts, tmp_path):
    task = make(*parts)
    task.save(tmp_path / "task")
    assert kf.interop.pooling_of(tmp_path / "task") == pooling
    encoder, tokenizer = kf.interop.load_encoder(tmp_path / "task")
    assert tokenizer.vocabulary == WORDS
    inputs = tokenizer(["sun moon"])
    np.testing.assert_array_equal(encoder(inputs)["sequence_output"], parts[0](inputs)["sequence_output"])
    assert kf.load(tmp_path / "task").settings() == task.settings()


def test_a_translator_is_no_starting_point(tmp_path):
    model = kf.text.learn_sentencepiece(["the sun and the moon", "a sun"] * 5, 273)
    tokenizer = kf.text.SentencePieceTokenizer(model, max_length=16)
    config = kf.models.TransformerConfig.named(
        "tiny", vocabulary_size=tokenizer.vocabulary_size, max_sequence_length=16
    )
    kf.tasks.Translator(kf.models.transformer(config), tokenizer).save(tmp_path / "task")
    for load in (kf.interop.load_encoder, kf.interop.load_embedder):
        with pytest.raises(InputError, match="holds a Translator, which has no BERT"):
            load(tmp_path / "task")
