"""Folders written for Hugging Face Transformers: what is in them, that they read back, and what is refused."""

import dataclasses
import json

import keras
import numpy as np
import pytest
import safetensors
from safetensors.numpy import load_file
from tiny_checkpoint import (
    CONFIG,
    TEXTS,
    VOCABULARY,
    as_keras_has_them,
    make_heads,
    make_tensors,
    with_heads,
    write_folder,
)

import kerasformer as kf
from kerasformer._compat import flatten_layers
from kerasformer.errors import InputError
from kerasformer.interop import huggingface_saving, load_huggingface, load_pretraining_heads, save_huggingface
from kerasformer.interop.bert_settings import config_of
from kerasformer.layers import AttentionConfig, FeedForwardConfig, NormConfig, TransformerBlock
from kerasformer.models import BertConfig, bert, enable_lora, with_precision
from kerasformer.text import WordPieceTokenizer

BERT = BertConfig(
    vocabulary_size=12,
    hidden_dim=8,
    num_layers=3,
    num_heads=4,
    intermediate_dim=10,
    max_sequence_length=20,
    num_segments=3,
    activation="gelu_approximate",
    dropout=0.25,
    attention_dropout=0.5,
    epsilon=1e-6,
    initializer_range=0.5,
)
TOKENIZER = WordPieceTokenizer(VOCABULARY, False, max_length=9, additional_special_tokens=["so"], max_word_length=50)


def random_bert(config=BERT, **arguments):
    encoder = bert(config, **arguments)
    random = np.random.default_rng(2)
    encoder.set_weights([random.normal(size=weight.shape).astype("float32") for weight in encoder.weights])
    return encoder


def assert_same_weights(left, right):
    for one, other in zip(left.weights, right.weights, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())


def test_reads_back_to_the_last_bit(tmp_path):
    encoder = random_bert(pooled=True)
    save_huggingface(encoder, TOKENIZER, tmp_path / "model")
    again, tokenizer = load_huggingface(tmp_path / "model")
    assert_same_weights(again, encoder)
    assert config_of(again) == config_of(encoder) == BERT
    assert tokenizer.get_config() == TOKENIZER.get_config()
    inputs = tokenizer(TEXTS)
    for name, value in again(inputs).items():
        np.testing.assert_array_equal(value, encoder(inputs)[name])
    assert load_pretraining_heads(tmp_path / "model") == {}


def test_pooling_is_told_as_sentence_transformers_does(tmp_path):
    for pooling in ("mean", "first"):  # the second replaces the first
        save_huggingface(random_bert(), TOKENIZER, tmp_path / "bert", pooling=pooling)
        assert kf.interop.pooling_of(tmp_path / "bert") == pooling
    with pytest.raises(InputError, match="max"):
        save_huggingface(random_bert(), TOKENIZER, tmp_path / "bert", pooling="max")


def test_another_dropout(tmp_path):
    save_huggingface(random_bert(pooled=True), TOKENIZER, tmp_path / "model", dropout=0.1)
    again, _ = load_huggingface(tmp_path / "model")
    assert config_of(again) == dataclasses.replace(BERT, dropout=0.1, attention_dropout=0.1)
    with pytest.raises(InputError, match="dropout"):
        save_huggingface(random_bert(), TOKENIZER, tmp_path / "other", dropout=1.5)
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(("form", "architecture"), [(dict, "BertModel"), (with_heads, "BertForPreTraining")])
def test_writes_the_tensors_that_were_read(tmp_path, form, architecture):
    folder = write_folder(tmp_path / "first", form(make_tensors()))
    heads = load_pretraining_heads(folder)
    save_huggingface(*load_huggingface(folder), tmp_path / "second", heads)
    written, read = (load_file(tmp_path / name / "model.safetensors") for name in ("second", "first"))
    assert written.keys() == read.keys()
    for name, tensor in read.items():
        assert written[name].dtype == "float32"
        np.testing.assert_array_equal(written[name], tensor)
    settings = json.loads((tmp_path / "second" / "config.json").read_text(encoding="utf-8"))
    assert settings["architectures"] == [architecture]
    assert settings | CONFIG == settings
    with safetensors.safe_open(tmp_path / "second" / "model.safetensors", framework="np") as file:
        assert file.metadata() == {"format": "pt"}
    modes = {path.stat().st_mode for path in (tmp_path / "second").iterdir()}
    assert len(modes) == 1
    again = load_pretraining_heads(tmp_path / "second")
    assert again.keys() == heads.keys()
    for name, value in heads.items():
        np.testing.assert_array_equal(again[name], value)


def some_heads(*prefixes):
    heads = as_keras_has_them(make_heads())
    return {name: value for name, value in heads.items() if name.startswith(prefixes)}


MASKED, NEXT = some_heads("transform", "norm", "bias"), some_heads("next_sentence")


@pytest.mark.parametrize(
    ("heads", "architecture"), [({}, "BertModel"), (MASKED, "BertForMaskedLM"), (NEXT, "BertForNextSentencePrediction")]
)
def test_some_heads(tmp_path, heads, architecture):
    encoder, tokenizer = load_huggingface(write_folder(tmp_path / "first"))
    save_huggingface(encoder, tokenizer, tmp_path / "second", heads)
    assert json.loads((tmp_path / "second" / "config.json").read_text())["architectures"] == [architecture]
    assert load_pretraining_heads(tmp_path / "second").keys() == heads.keys()


def test_without_a_pooler(tmp_path):
    encoder = random_bert()
    save_huggingface(encoder, TOKENIZER, tmp_path / "model")
    with pytest.warns(UserWarning, match="has no pooler; it starts fresh") as warned:
        again, _ = load_huggingface(tmp_path / "model")
    assert warned[0].filename == __file__
    for one, other in zip(again.weights[: len(encoder.weights)], encoder.weights, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())


def test_the_encoder_of_a_saved_task(tmp_path):
    encoder = random_bert(pooled=True)
    kf.tasks.TextClassifier(encoder, TOKENIZER, ["no", "yes"]).save(tmp_path / "task")
    task = kf.load(tmp_path / "task")
    save_huggingface(task.encoder, task.tokenizer, tmp_path / "model")
    assert_same_weights(load_huggingface(tmp_path / "model")[0], encoder)


def test_low_rank_updates_are_merged(tmp_path):
    encoder = random_bert(pooled=True)
    enable_lora(encoder, 2)
    for layer in flatten_layers(encoder):
        if getattr(layer, "lora_enabled", False):
            layer.lora_kernel_b.assign(keras.ops.ones_like(layer.lora_kernel_b))
    save_huggingface(encoder, TOKENIZER, tmp_path / "model")
    assert_same_weights(load_huggingface(tmp_path / "model")[0], with_precision(encoder, "float32"))


def test_half_precision_is_written_in_float32(tmp_path):
    encoder = random_bert(pooled=True)
    halved = with_precision(encoder, "bfloat16")
    save_huggingface(halved, TOKENIZER, tmp_path / "model")
    for one, other in zip(load_huggingface(tmp_path / "model")[0].weights, halved.weights, strict=True):
        np.testing.assert_array_equal(one.numpy(), np.asarray(other.numpy(), "float32"))


def test_a_tokenizer_of_longer_texts_is_cut_to_the_positions(tmp_path):
    save_huggingface(random_bert(), WordPieceTokenizer(VOCABULARY, max_length=512), tmp_path / "model")
    settings = json.loads((tmp_path / "model" / "tokenizer_config.json").read_text())
    assert settings["model_max_length"] == BERT.max_length


def test_an_older_folder_is_replaced_and_kept_when_writing_fails(tmp_path, monkeypatch):
    encoder = random_bert(pooled=True)
    (tmp_path / "model").mkdir()
    save_huggingface(encoder, TOKENIZER, tmp_path / "model")
    encoder.get_layer("pooler").bias.assign(np.arange(8.0))
    save_huggingface(encoder, TOKENIZER, tmp_path / "model")
    assert_same_weights(load_huggingface(tmp_path / "model")[0], encoder)

    def fails(*arguments, **keywords):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(huggingface_saving, "save_file", fails)
    with pytest.raises(OSError, match="No space left"):
        save_huggingface(random_bert(), TOKENIZER, tmp_path / "model")
    assert_same_weights(load_huggingface(tmp_path / "model")[0], encoder)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize("others", [["notes.txt"], ["vocab.txt"], ["config.json", "pytorch_model.bin"]])
def test_a_folder_of_something_else_is_left_alone(tmp_path, others):
    for name in others:
        (tmp_path / name).write_text("mine")
    with pytest.raises(InputError, match="not overwritten") as error:
        save_huggingface(random_bert(), TOKENIZER, tmp_path)
    assert "\n" not in str(error.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(others)


def pre_norm():
    inputs = keras.Input((None, 8))
    norm = NormConfig(placement="pre")
    block = TransformerBlock(AttentionConfig(2), FeedForwardConfig(16), norm, name="block_0")
    return keras.Model(inputs, block(inputs))


def with_one_layer_more():
    encoder = bert(BERT)
    return keras.Model(encoder.input, keras.layers.Dense(3)(encoder.output["sequence_output"]))


ENCODERS = {
    "no model": lambda: "bert",
    "pre-norm": pre_norm,
    "one layer more": with_one_layer_more,
    "a transformer": lambda: kf.models.transformer(
        kf.models.TransformerConfig(
            vocabulary_size=9, hidden_dim=8, num_encoder_layers=1, num_decoder_layers=1, num_heads=2, intermediate_dim=8
        )
    ),
    "unfit vocabulary": lambda: bert(BertConfig(8, 8, 1, 2, 8, 10)),
    "activation": lambda: bert(BertConfig(9, 8, 1, 2, 8, 10, activation="tanh")),
    "activation of one's own": lambda: bert(BertConfig(9, 8, 1, 2, 8, 10, activation=keras.ops.tanh)),
}
WORDS = {
    "unfit vocabulary": "vocabulary of 9 tokens does not fit the encoder's table of 8",
    "activation": "activation must be one of.*'tanh'",
    "activation of one's own": "activation must be one of",
}


@pytest.mark.parametrize("name", ENCODERS)
def test_other_models_are_refused(tmp_path, name):
    with pytest.raises(InputError, match=WORDS.get(name, "`encoder` must be a model that `bert")) as error:
        save_huggingface(ENCODERS[name](), TOKENIZER, tmp_path / "model")
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


HEADS = {
    "unknown": ({"decoder": np.zeros(3)}, "must have names among.*'decoder'"),
    "misshapen": (NEXT | {"next_sentence.kernel": np.zeros((2, 4))}, r"shape \(4, 2\). Received: \(2, 4\)"),
    "half": ({"bias": np.zeros(9), "norm.gamma": np.zeros(4)}, "a head as a whole.*without 'transform.kernel'"),
    "no pooler": (NEXT, "next-sentence head stands on a pooler"),
}


@pytest.mark.parametrize("name", HEADS)
def test_heads_that_cannot_be(tmp_path, name):
    heads, words = HEADS[name]
    encoder = bert(BertConfig(9, 4, 1, 2, 6, 10), pooled=name != "no pooler")
    with pytest.raises(InputError, match=words) as error:
        save_huggingface(encoder, TOKENIZER, tmp_path / "model", heads)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


def test_another_tokenizer(tmp_path):
    with pytest.raises(InputError, match=r"must be a WordPieceTokenizer\. Received: a dict"):
        save_huggingface(random_bert(), {}, tmp_path / "model")
