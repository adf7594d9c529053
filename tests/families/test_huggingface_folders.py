"""Hugging Face folders: those that load, each way in which they may differ, and each that cannot be used."""

import json
import shutil

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file
from tiny_checkpoint import CONFIG, POSITIONS, TEXTS, VOCABULARY, W, make_tensors, straight, write_folder
from tokenizers import BertWordPieceTokenizer

from kerasformer.errors import InputError
from kerasformer.interop import load_encoder, load_huggingface, random_encoder
from kerasformer.tasks import TextClassifier


def outputs_of(folder):
    encoder, tokenizer = load_huggingface(folder)
    return {key: np.asarray(value) for key, value in encoder(tokenizer(TEXTS)).items()}


def test_a_folder(tmp_path):
    encoder, tokenizer = load_huggingface(write_folder(tmp_path / "model"))
    inputs = tokenizer(TEXTS)
    assert inputs["token_ids"].numpy().tolist() == [[2, 8, 5, 3, 0, 0, 0], [2, 6, 7, 5, 4, 1, 3]]
    expected = straight(make_tensors(), inputs["token_ids"].numpy(), inputs["padding_mask"].numpy())
    for key, value in encoder(inputs).items():
        np.testing.assert_allclose(value, expected[key], rtol=1e-4, atol=1e-4)
    assert encoder.get_layer("block_0").dropout == 0.2
    assert encoder.get_layer("block_0").attention_dropout == 0.3


def prefixed(tensors):
    heads = {"cls.predictions.bias": np.zeros(len(VOCABULARY), "float32")}
    return {f"bert.{name}": tensor for name, tensor in tensors.items()} | heads


def old_names(tensors):
    def old(name):
        return name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")

    return {old(name): tensor for name, tensor in tensors.items()}


def with_buffer(tensors):
    return tensors | {"embeddings.position_ids": np.arange(POSITIONS, dtype="int64")[None]}


@pytest.mark.parametrize("form", [prefixed, old_names, with_buffer, lambda t: old_names(prefixed(t))])
def test_forms_of_one_checkpoint_are_alike(tmp_path, form):
    expected = outputs_of(write_folder(tmp_path / "plain"))
    for key, value in outputs_of(write_folder(tmp_path / "other", form(make_tensors()))).items():
        np.testing.assert_array_equal(value, expected[key])


@pytest.mark.parametrize("dtype", ["float16", ml_dtypes.bfloat16, "float64"])
def test_tensors_of_other_precisions(tmp_path, dtype):
    rounded = {name: tensor.astype(dtype) for name, tensor in make_tensors().items()}
    as_float32 = {name: tensor.astype("float32") for name, tensor in rounded.items()}
    expected = outputs_of(write_folder(tmp_path / "plain", as_float32))
    for key, value in outputs_of(write_folder(tmp_path / "other", rounded)).items():
        np.testing.assert_array_equal(value, expected[key])


def test_without_a_pooler(tmp_path):
    write_folder(tmp_path / "model", make_tensors(pooler=False))
    with pytest.warns(UserWarning, match="has no pooler; it starts fresh"):
        outputs = outputs_of(tmp_path / "model")
    expected = outputs_of(write_folder(tmp_path / "whole"))
    np.testing.assert_array_equal(outputs["sequence_output"], expected["sequence_output"])
    assert np.isfinite(outputs["pooled_output"]).all()


def test_tokenizer_json_alone(tmp_path):
    expected = outputs_of(write_folder(tmp_path / "plain"))
    folder = write_folder(tmp_path / "model")
    (folder / "vocab.txt").unlink()
    (folder / "tokenizer_config.json").unlink()
    tokenizer = BertWordPieceTokenizer({token: place for place, token in enumerate(VOCABULARY)})
    tokenizer.enable_truncation(3)
    tokenizer.save(str(folder / "tokenizer.json"))
    for key, value in outputs_of(folder).items():
        np.testing.assert_array_equal(value, expected[key])


@pytest.mark.parametrize(("said", "expected"), [(None, 10), (7, 7), (10, 10), (512, 10), (10**30, 10)])
def test_max_length_is_the_smaller_one(tmp_path, said, expected):
    settings = {} if said is None else {"model_max_length": said}
    encoder, tokenizer = load_huggingface(write_folder(tmp_path / "model", **settings))
    assert tokenizer.max_length == expected
    long = tokenizer(["good " * 50])
    assert long["token_ids"].shape == (1, expected)
    assert encoder(long)["sequence_output"].shape == (1, expected, W)


def test_precision(tmp_path):
    encoder, tokenizer = load_huggingface(write_folder(tmp_path / "model"), dtype="mixed_bfloat16")
    assert encoder(tokenizer(TEXTS))["pooled_output"].dtype == "bfloat16"
    assert encoder.get_layer("block_0").dtype_policy.name == "mixed_bfloat16"


def test_other_activations(tmp_path):
    plain = outputs_of(write_folder(tmp_path / "plain"))["pooled_output"]
    for name in ("gelu_new", "relu", "silu"):
        other = outputs_of(write_folder(tmp_path / name, config={"hidden_act": name}))["pooled_output"]
        assert not np.array_equal(plain, other)


def without(name):
    def change(folder):
        tensors = make_tensors()
        del tensors[name]
        save_file(tensors, folder / "model.safetensors")

    return change


def reshaped(name, shape):
    def change(folder):
        save_file(make_tensors() | {name: np.zeros(shape, "float32")}, folder / "model.safetensors")

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
BAD = {
    "no folder": (lambda folder: shutil.rmtree(folder), "No folder"),
    "no config": (lambda folder: (folder / "config.json").unlink(), "holds config.json. Not found"),
    "config no JSON": (text_in("config.json", "{oops"), "is not JSON"),
    "config empty": (text_in("config.json", ""), "is not JSON"),
    "config a list": (text_in("config.json", "[1]"), "config.json"),
    "other model": (config_of(model_type="gpt2"), "model_type 'bert' can be read.*'gpt2'"),
    "other positions": (config_of(position_embedding_type="relative_key"), "relative_key"),
    "other activation": (config_of(hidden_act="mish"), "`hidden_act` must be one of.*'mish'"),
    "field missing": (config_of(hidden_size=...), "lacks the field 'hidden_size'"),
    "field of a bad type": (config_of(hidden_size="4"), "width"),
    "rate null": (config_of(hidden_dropout_prob=None), "dropout"),
    "heads": (config_of(num_attention_heads=3), "must divide `width`"),
    "no weights": (lambda folder: (folder / "model.safetensors").unlink(), "model.safetensors. Not found"),
    "tensor missing": (without(QUERY), f"lacks the tensor '{QUERY}'"),
    "norm missing": (without("embeddings.LayerNorm.bias"), "lacks the tensor 'embeddings.LayerNorm.bias'"),
    "half a pooler": (without("pooler.dense.bias"), "lacks the tensor 'pooler.dense.bias'"),
    "tensor misshapen": (reshaped(QUERY, (W, W + 1)), f"'{QUERY}'.*Received"),
    "table misshapen": (reshaped("embeddings.word_embeddings.weight", (99, W)), "word_embeddings.weight'.*99"),
    "tensor of another rank": (reshaped("pooler.dense.bias", (W, 1)), "'pooler.dense.bias'"),
    "scalar": (reshaped(QUERY, ()), f"'{QUERY}'"),
    "layers beyond": (config_of(num_hidden_layers=3), "lacks the tensor 'encoder.layer.2"),
    "weights truncated": (truncated, "cannot be read as safetensors"),
    "weights no safetensors": (cut_header, "cannot be read as safetensors"),
    "weights empty": (text_in("model.safetensors", ""), "cannot be read as safetensors"),
    "no vocabulary": (lambda folder: (folder / "vocab.txt").unlink(), "must hold vocab.txt or tokenizer.json"),
    "vocabulary empty": (text_in("vocab.txt", ""), "vocabulary"),
    "vocabulary too large": (text_in("vocab.txt", "\n".join([*VOCABULARY, "one", "more"])), "vocabulary.*11.*9"),
    "tokenizer config no JSON": (text_in("tokenizer_config.json", "{"), "tokenizer_config.json must be JSON"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_folders_are_told_in_one_line(tmp_path, name):
    spoil, words = BAD[name]
    folder = write_folder(tmp_path / "model")
    spoil(folder)
    with pytest.raises(InputError, match=words) as error:
        load_huggingface(folder)
    assert "\n" not in str(error.value)


def test_a_smaller_vocabulary_than_the_table_is_usual(tmp_path):
    load_huggingface(write_folder(tmp_path / "model", vocabulary=VOCABULARY[:-1]))


def test_load_encoder_from_a_folder_and_from_a_task(tmp_path):
    encoder, tokenizer = load_encoder(write_folder(tmp_path / "model"))
    task = TextClassifier(encoder, tokenizer, ["no", "yes"])
    task.save(tmp_path / "task")
    again, same_tokenizer = load_encoder(tmp_path / "task")
    assert same_tokenizer.get_config() == tokenizer.get_config()
    inputs = tokenizer(TEXTS)
    np.testing.assert_array_equal(again(inputs)["pooled_output"], encoder(inputs)["pooled_output"])
    in_bfloat16, _ = load_encoder(tmp_path / "task", dtype="mixed_bfloat16")
    assert in_bfloat16(inputs)["pooled_output"].dtype == "bfloat16"


def test_load_encoder_gives_both_outputs_from_either(tmp_path):
    """As its docstring says: from a saved task the same as `load_huggingface` gives."""
    encoder, tokenizer = load_encoder(write_folder(tmp_path / "model"))
    TextClassifier(encoder, tokenizer, ["no", "yes"]).save(tmp_path / "task")
    again, _ = load_encoder(tmp_path / "task")
    assert again.output.keys() == encoder.output.keys() == {"sequence_output", "pooled_output"}


def test_load_encoder_from_nothing(tmp_path):
    with pytest.raises(InputError) as error:
        load_encoder(tmp_path / "nowhere")
    assert "\n" not in str(error.value)


def test_a_random_encoder():
    encoder, tokenizer = random_encoder(["good day", "bad day"] * 20, "tiny", vocabulary_size=60, max_length=16)
    assert tokenizer.max_length == 16
    inputs = tokenizer(["good day " * 20])
    assert encoder(inputs)["pooled_output"].shape == (1, 128)
    assert encoder.get_layer("embedding").token.vocabulary_size == tokenizer.vocabulary_size <= 60


def test_a_random_encoder_of_an_unknown_size():
    with pytest.raises(InputError, match="must be one of"):
        random_encoder(["good"], "enormous")
