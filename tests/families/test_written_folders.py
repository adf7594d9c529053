"""Folders that are written: read back to the last bit, with the tensors that were read, by the families' names."""

import json
import types

import keras
import numpy as np
import pytest
from safetensors.numpy import load_file
from test_folders import pretraining_head
from tiny_checkpoint import CONFIG, make_tensors, with_heads, write_folder

from kerasformer.errors import InputError
from kerasformer.families import open_checkpoint, write_checkpoint
from kerasformer.models import BertConfig, bert, enable_lora, with_precision

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


def random_bert(config=BERT, **arguments):
    encoder = bert(config, **arguments)
    random = np.random.default_rng(2)
    encoder.set_weights([random.normal(size=weight.shape).astype("float32") for weight in encoder.weights])
    return encoder


def written(folder, encoder, *arguments, **keywords):
    folder.mkdir()
    write_checkpoint(folder, encoder, *arguments, **keywords)
    return folder


def read_back(folder):
    checkpoint = open_checkpoint(folder)
    encoder = checkpoint.backbone(pooled=bool(checkpoint.pooler))
    checkpoint.assign(encoder)
    return encoder


def assert_same_weights(left, right):
    for one, other in zip(left.weights, right.weights, strict=True):
        np.testing.assert_array_equal(one.numpy(), np.asarray(other.numpy(), "float32"))


@pytest.mark.parametrize("pooled", [False, True])
def test_reads_back_to_the_last_bit(tmp_path, pooled):
    encoder = random_bert(pooled=pooled)
    again = read_back(written(tmp_path / "model", encoder))
    assert_same_weights(again, encoder)
    assert again.config == encoder.config


@pytest.mark.parametrize(("form", "architecture"), [(dict, "BertModel"), (with_heads, "BertForPreTraining")])
def test_writes_the_tensors_that_were_read(tmp_path, form, architecture):
    checkpoint = open_checkpoint(write_folder(tmp_path / "first", form(make_tensors())))
    encoder = checkpoint.backbone(pooled=True)
    head = None if checkpoint.kind is None else pretraining_head()
    checkpoint.assign(encoder, head)
    folder = written(tmp_path / "second", encoder, checkpoint.kind, head, pad_token_id=0)
    found, expected = (load_file(tmp_path / name / "model.safetensors") for name in ("second", "first"))
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].dtype == "float32"
        np.testing.assert_array_equal(found[name], value)
    settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert settings["architectures"] == [architecture]
    assert settings | CONFIG | {"pad_token_id": 0} == settings
    assert len({path.stat().st_mode for path in folder.iterdir()}) == 1


def test_low_rank_updates_are_merged(tmp_path):
    encoder = random_bert(pooled=True)
    enable_lora(encoder, 2)
    for weight in encoder.weights:
        if "lora_kernel_b" in weight.path:
            weight.assign(keras.ops.ones_like(weight))
    merged = with_precision(encoder, "float32")
    assert_same_weights(read_back(written(tmp_path / "model", encoder)), merged)


def test_half_precision_is_written_in_float32(tmp_path):
    halved = with_precision(random_bert(pooled=True), "bfloat16")
    assert_same_weights(read_back(written(tmp_path / "model", halved)), halved)


def test_labels_are_written(tmp_path):
    head = types.SimpleNamespace(output=keras.layers.Dense(2))
    head.output.build((None, 8))
    folder = written(
        tmp_path / "model",
        random_bert(pooled=True),
        "sequence_classification",
        head,
        labels=["no", "yes"],
        problem_type="multi_label_classification",
    )
    checkpoint = open_checkpoint(folder)
    assert (checkpoint.labels, checkpoint.problem_type) == (["no", "yes"], "multi_label_classification")
    assert json.loads((folder / "config.json").read_text())["label2id"] == {"no": 0, "yes": 1}


@pytest.mark.parametrize(
    ("encoder", "kind", "words"),
    [
        (lambda: bert(BertConfig(9, 8, 1, 2, 8, 10, activation="mish")), None, "must be of one of the families"),
        (lambda: bert(BERT), "causal_lm", "`kind` must be one of.*'causal_lm'"),
    ],
)
def test_models_that_no_family_describes(tmp_path, encoder, kind, words):
    (tmp_path / "model").mkdir()
    with pytest.raises(InputError, match=words) as error:
        write_checkpoint(tmp_path / "model", encoder(), kind)
    assert "\n" not in str(error.value)
    assert not list((tmp_path / "model").iterdir())
