"""Folders of checkpoints: each way in which they may differ, what is said of what is left over, and bad ones."""

import json
import shutil
import types
import warnings

import keras
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file
from test_google_bert import write_google
from test_tensors import state_dict, storage, tensor, write_torch
from tiny_checkpoint import (
    CONFIG,
    POSITIONS,
    TEXTS,
    VOCABULARY,
    W,
    as_keras_has_them,
    google_tensors,
    make_heads,
    make_tensors,
    straight,
    with_heads,
    write_folder,
)

from kerasformer.errors import InputError
from kerasformer.families import load_encoder, open_checkpoint, random_encoder
from kerasformer.layers import MaskedLanguageModelHead


def outputs_of(folder):
    encoder, tokenizer = load_encoder(folder)
    return {key: np.asarray(value) for key, value in encoder(tokenizer(TEXTS)).items()}


def test_a_folder(tmp_path):
    encoder, tokenizer = load_encoder(write_folder(tmp_path / "model"))
    inputs = tokenizer(TEXTS)
    assert inputs["token_ids"].numpy().tolist() == [[2, 8, 5, 3, 0, 0, 0], [2, 6, 7, 5, 4, 1, 3]]
    expected = straight(make_tensors(), inputs["token_ids"].numpy(), inputs["padding_mask"].numpy())
    for key, value in encoder(inputs).items():
        np.testing.assert_allclose(value, expected[key], rtol=1e-4, atol=1e-4)
    assert encoder.config.blocks[0].dropout == 0.2
    assert encoder.config.blocks[0].attention.dropout == 0.3


def prefixed(tensors):
    heads = {"cls.predictions.bias": np.zeros(len(VOCABULARY), "float32")}
    return {f"bert.{name}": value for name, value in tensors.items()} | heads


def old_names(tensors):
    def old(name):
        return name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")

    return {old(name): value for name, value in tensors.items()}


def with_buffer(tensors):
    return tensors | {"embeddings.position_ids": np.arange(POSITIONS, dtype="int64")[None]}


@pytest.mark.parametrize("form", [prefixed, old_names, with_buffer, lambda t: old_names(prefixed(t))])
def test_forms_of_one_checkpoint_are_alike(tmp_path, form):
    expected = outputs_of(write_folder(tmp_path / "plain"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for key, value in outputs_of(write_folder(tmp_path / "other", form(make_tensors()))).items():
            np.testing.assert_array_equal(value, expected[key])


@pytest.mark.parametrize("dtype", ["float16", ml_dtypes.bfloat16, "float64"])
def test_tensors_of_other_precisions(tmp_path, dtype):
    rounded = {name: value.astype(dtype) for name, value in make_tensors().items()}
    as_float32 = {name: value.astype("float32") for name, value in rounded.items()}
    expected = outputs_of(write_folder(tmp_path / "plain", as_float32))
    for key, value in outputs_of(write_folder(tmp_path / "other", rounded)).items():
        np.testing.assert_array_equal(value, expected[key])


def test_pytorch_model_bin(tmp_path):
    expected = outputs_of(write_folder(tmp_path / "plain"))
    folder = write_folder(tmp_path / "torch")
    (folder / "model.safetensors").unlink()
    tensors = make_tensors()
    views = {}
    for name, value in tensors.items():
        strides = [step // 4 for step in value.strides]
        views[name] = tensor(storage("Float", name, value.size), 0, value.shape, strides)
    write_torch(folder / "pytorch_model.bin", state_dict(**views), {n: value.tobytes() for n, value in tensors.items()})
    for key, value in outputs_of(folder).items():
        np.testing.assert_array_equal(value, expected[key])


def test_without_a_pooler(tmp_path):
    write_folder(tmp_path / "model", make_tensors(pooler=False))
    with pytest.warns(UserWarning, match="has no pooler: it is randomly initialized") as warned:
        encoder, tokenizer = load_encoder(tmp_path / "model")
    assert warned[0].filename == __file__
    expected = outputs_of(write_folder(tmp_path / "whole"))
    outputs = encoder(tokenizer(TEXTS))
    np.testing.assert_array_equal(outputs["sequence_output"], expected["sequence_output"])
    assert np.isfinite(outputs["pooled_output"]).all()


def classifier(labels=3):
    return {
        "classifier.weight": np.ones((labels, W), "float32"),
        "classifier.bias": np.arange(labels, dtype="float32"),
    }


def write_classifier(folder, labels=3, **config):
    tensors = {f"bert.{name}": value for name, value in make_tensors().items()} | classifier(labels)
    return write_folder(folder, tensors, {"architectures": ["BertForSequenceClassification"], **config})


def test_tensors_that_are_left_over_are_named(tmp_path):
    with pytest.warns(UserWarning, match=r"not used: classifier.bias, classifier.weight\. `kf.load`") as warned:
        load_encoder(write_classifier(tmp_path / "model"))
    assert warned[0].filename == __file__
    others = {f"more.{place}": np.zeros(1, "float32") for place in range(20)}
    with pytest.warns(UserWarning, match=r"not used: more.0, more.1, .* and 12 more\.$"):
        load_encoder(write_folder(tmp_path / "more", make_tensors() | others))


@pytest.mark.parametrize("dtype", [None, "mixed_bfloat16"])
def test_precision(tmp_path, dtype):
    encoder, tokenizer = load_encoder(write_folder(tmp_path / "model"), dtype=dtype)
    expected = "float32" if dtype is None else "bfloat16"
    assert encoder(tokenizer(TEXTS))["pooled_output"].dtype == expected


def test_other_activations(tmp_path):
    plain = outputs_of(write_folder(tmp_path / "plain"))["pooled_output"]
    for name in ("gelu_new", "relu", "silu"):
        other = outputs_of(write_folder(tmp_path / name, config={"hidden_act": name}))["pooled_output"]
        assert not np.array_equal(plain, other)


@pytest.mark.parametrize(("said", "expected"), [(None, 10), (7, 7), (10, 10), (512, 10), (10**30, 10)])
def test_max_length_is_the_smaller_one(tmp_path, said, expected):
    settings = {} if said is None else {"model_max_length": said}
    _, tokenizer = load_encoder(write_folder(tmp_path / "model", **settings))
    assert tokenizer.max_length == expected


LABELS = {
    "gaps": ({"id2label": {"0": "a", "2": "b", "3": "c"}}, r"from 0 without gaps. Received: \[0, 2, 3\]"),
    "fewer": ({"id2label": {"0": "a", "1": "b"}}, "names 2 labels, but the head has 3 outputs"),
    "more": ({"id2label": {str(n): "a" for n in range(4)}}, "names 4 labels, but the head has 3 outputs"),
    "no numbers": ({"id2label": {"a": "0"}}, "from numbers to names"),
    "a list": ({"id2label": ["a", "b", "c"]}, "from numbers to names"),
}


@pytest.mark.parametrize("case", LABELS)
def test_labels_that_do_not_fit(case, tmp_path):
    config, words = LABELS[case]
    checkpoint = open_checkpoint(write_classifier(tmp_path / "model", **config))
    with pytest.raises(InputError, match=words) as error:
        assert checkpoint.labels
    assert "\n" not in str(error.value)


def test_labels_and_problem_types(tmp_path):
    def of(name, **config):
        return open_checkpoint(write_classifier(tmp_path / name, **config))

    assert of("none").labels == ["LABEL_0", "LABEL_1", "LABEL_2"]
    assert of("numbers", id2label={"0": 1, "2": 3, "1": 2}).labels == ["1", "2", "3"]
    assert of("one", labels=1).problem_type == "regression"
    assert of("several", problem_type="multi_label_classification").problem_type == "multi_label_classification"
    other = of("other", problem_type="ranking")
    with pytest.raises(InputError, match=r"`problem_type` must be one of.*'ranking'"):
        assert other.problem_type


def pretraining_head():
    masked, next_sentence = MaskedLanguageModelHead(len(VOCABULARY)), keras.layers.Dense(2)
    masked.build((None, None, W))
    next_sentence.build((None, W))
    return types.SimpleNamespace(
        transform=masked.transform, norm=masked.norm, bias=masked.bias, next_sentence=next_sentence
    )


def values_of(head):
    parts = {"transform": head.transform, "norm": head.norm, "next_sentence": head.next_sentence}
    names = {"transform": ("kernel", "bias"), "norm": ("gamma", "beta"), "next_sentence": ("kernel", "bias")}
    values = {f"{part}.{name}": getattr(parts[part], name) for part in parts for name in names[part]}
    return {name: np.asarray(value) for name, value in (values | {"bias": head.bias}).items()}


def bias_at_the_decoder(tensors):
    return {name.replace("cls.predictions.bias", "cls.predictions.decoder.bias"): t for name, t in tensors.items()}


def table_twice(tensors):
    return tensors | {"cls.predictions.decoder.weight": tensors["bert.embeddings.word_embeddings.weight"].copy()}


@pytest.mark.parametrize("form", [dict, old_names, bias_at_the_decoder, table_twice, "google"])
def test_heads_of_pretraining(tmp_path, form):
    if form == "google":
        folder = write_google(tmp_path / "model")
    else:
        folder = write_folder(tmp_path / "model", form(with_heads(make_tensors())))
    checkpoint = open_checkpoint(folder)
    assert checkpoint.kinds == ["masked_lm", "next_sentence", "pretraining"]
    assert checkpoint.kind == "pretraining"
    encoder = checkpoint.backbone(pooled=True)
    head = pretraining_head()
    checkpoint.assign(encoder, head)
    expected = as_keras_has_them(make_heads())
    found = values_of(head)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value)


def test_some_heads(tmp_path):
    assert open_checkpoint(write_folder(tmp_path / "bare")).kinds == []
    assert open_checkpoint(write_google(tmp_path / "google", google_tensors(heads=False))).kinds == []
    tensors = with_heads(make_tensors())
    del tensors["cls.seq_relationship.weight"]
    checkpoint = open_checkpoint(write_folder(tmp_path / "some", tensors))
    assert (checkpoint.kinds, checkpoint.kind) == (["masked_lm"], "masked_lm")


def test_scores_with_a_table_of_their_own(tmp_path):
    tensors = table_twice(with_heads(make_tensors()))
    tensors["cls.predictions.decoder.weight"] += 1
    checkpoint = open_checkpoint(write_folder(tmp_path / "model", tensors))
    assert checkpoint.kinds == ["next_sentence"]
    encoder = checkpoint.backbone(pooled=True)
    with pytest.raises(InputError, match=r"scores with .*word_embeddings.*Received: 'cls.predictions.decoder.weight'"):
        checkpoint.assign(encoder, pretraining_head(), "pretraining")


def without(name):
    def change(folder):
        tensors = make_tensors()
        del tensors[name]
        save_file(tensors, folder / "model.safetensors")

    return change


def reshaped(name, shape, dtype="float32"):
    def change(folder):
        save_file(make_tensors() | {name: np.zeros(shape, dtype)}, folder / "model.safetensors")

    return change


def config_of(**changes):
    def change(folder):
        config = {key: value for key, value in (CONFIG | changes).items() if value is not ...}
        (folder / "config.json").write_text(json.dumps(config))

    return change


def text_in(name, text):
    return lambda folder: (folder / name).write_text(text)


def truncated(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def cut_header(folder):
    (folder / "model.safetensors").write_bytes(b"\x10\x00\x00\x00\x00\x00\x00\x00{ no")


QUERY = "encoder.layer.1.attention.self.query.weight"
REMOTE = {"AutoModel": "modeling_mine.MyModel"}
BAD = {
    "no folder": (lambda folder: shutil.rmtree(folder), "No folder"),
    "no config": (lambda folder: (folder / "config.json").unlink(), "holds config.json, .*Not found"),
    "an adapter": (
        lambda folder: (folder / "config.json").replace(folder / "adapter_config.json"),
        "adapter of PEFT.*Merge it",
    ),
    "config no JSON": (text_in("config.json", "{oops"), "must be JSON"),
    "config empty": (text_in("config.json", ""), "must be JSON"),
    "config a list": (text_in("config.json", "[1]"), "config.json must hold a JSON object"),
    "unknown family": (config_of(model_type="xlnet"), "`model_type` must be one of bert, roberta.*'xlnet'"),
    "code of its own": (config_of(auto_map=REMOTE), "code of its own .`auto_map`., which is never run"),
    "another architecture": (config_of(model_type="gpt2"), "'wte.weight' of `model_type` 'gpt2'.*those of 'bert'"),
    "other positions": (config_of(position_embedding_type="relative_key"), "relative_key"),
    "a decoder": (config_of(is_decoder=True), "`is_decoder` must be False"),
    "other activation": (config_of(hidden_act="mish"), "`hidden_act` must be one of.*'mish'"),
    "field missing": (config_of(hidden_size=...), "lacks the field 'hidden_size'"),
    "field of a bad type": (config_of(hidden_size="4"), "hidden_dim"),
    "layers of a bad type": (config_of(num_hidden_layers="2"), "num_hidden_layers"),
    "positions of a bad type": (config_of(max_position_embeddings=None), "max_position_embeddings"),
    "rate null": (config_of(hidden_dropout_prob=None), "dropout"),
    "epsilon of a bad type": (config_of(layer_norm_eps="1e-12"), "`layer_norm_eps` must be a number.*'1e-12'"),
    "activation of a bad type": (config_of(hidden_act=["gelu"]), "`hidden_act` must be one of"),
    "family of a bad type": (config_of(model_type=["bert"]), "`model_type` must be one of.*'bert'"),
    "architecture of a bad type": (config_of(architectures="BertModel"), "`architectures` must be a list.*BertModel"),
    "heads": (config_of(num_attention_heads=3), "must divide `hidden_dim`"),
    "no weights": (
        lambda folder: (folder / "model.safetensors").unlink(),
        "must hold model.safetensors or pytorch",
    ),
    "tensor missing": (without(QUERY), f"lacks the tensor '{QUERY}'"),
    "norm missing": (without("embeddings.LayerNorm.bias"), "lacks the tensor 'embeddings.LayerNorm.bias'"),
    "half a pooler": (without("pooler.dense.bias"), "lacks the tensor 'pooler.dense.bias'"),
    "tensor misshapen": (reshaped(QUERY, (W, W + 1)), f"'{QUERY}'.*Received"),
    "table misshapen": (reshaped("embeddings.word_embeddings.weight", (99, W)), "word_embeddings.weight'.*99"),
    "tensor of another rank": (reshaped("pooler.dense.bias", (W, 1)), "'pooler.dense.bias'"),
    "scalar": (reshaped(QUERY, ()), f"'{QUERY}'"),
    "integers": (reshaped(QUERY, (W, W), "int8"), f"'{QUERY}'.*must be of type float16.*Received: int8"),
    "layers beyond": (config_of(num_hidden_layers=3), "lacks the tensor 'encoder.layer.2"),
    "weights truncated": (truncated, "cannot be read as safetensors"),
    "weights no safetensors": (cut_header, "cannot be read as safetensors"),
    "a pointer": (
        text_in("model.safetensors", "version https://git-lfs.github.com/spec/v1\noid"),
        "Git LFS.*git lfs pull",
    ),
    "weights empty": (text_in("model.safetensors", ""), "cannot be read as safetensors"),
    "no vocabulary": (
        lambda folder: (folder / "vocab.txt").unlink(),
        "must hold tokenizer.json, or vocab.txt, .*Found: none",
    ),
    "vocabulary empty": (text_in("vocab.txt", ""), "vocabulary"),
    "vocabulary too large": (text_in("vocab.txt", "\n".join([*VOCABULARY, "one", "more"])), "vocabulary.*11.*9"),
    "tokenizer config no JSON": (text_in("tokenizer_config.json", "{"), "tokenizer_config.json must be JSON"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_folders_are_reported_in_one_line(tmp_path, name):
    spoil, words = BAD[name]
    folder = write_folder(tmp_path / "model")
    spoil(folder)
    with pytest.raises(InputError, match=words) as error:
        load_encoder(folder)
    assert "\n" not in str(error.value)


def test_a_smaller_vocabulary_than_the_table_is_usual(tmp_path):
    load_encoder(write_folder(tmp_path / "model", vocabulary=VOCABULARY[:-1]))


def test_a_random_encoder():
    encoder, tokenizer = random_encoder(["good day", "bad day"] * 20, "tiny", vocabulary_size=60, max_length=16)
    assert tokenizer.max_length == 16
    assert encoder(tokenizer(["good day " * 20]))["pooled_output"].shape == (1, 128)
    assert encoder.config.vocabulary_size == tokenizer.vocabulary_size <= 60
