"""Folders of google-research/bert, written here as TensorFlow 1 wrote them: those that load, and those that cannot."""

import json
import shutil

import numpy as np
import pytest
import tensorflow as tf
from tiny_checkpoint import (
    CONFIG,
    TEXTS,
    VOCABULARY,
    W,
    google_tensors,
    make_tensors,
    straight,
    write_folder,
)

from kerasformer.errors import InputError
from kerasformer.families import describe, load_embedder, load_encoder, open_checkpoint

CONFIG = {key: value for key, value in CONFIG.items() if key not in ("model_type", "layer_norm_eps")}


def write_checkpoint(prefix, tensors):
    tensors = {name: tf.constant(tensor) for name, tensor in tensors.items()}
    tf.raw_ops.SaveV2(
        prefix=str(prefix),
        tensor_names=list(tensors),
        shape_and_slices=[""] * len(tensors),
        tensors=list(tensors.values()),
    )


def write_google(folder, tensors=None, name="bert_model.ckpt"):
    folder.mkdir(exist_ok=True)
    tensors = google_tensors() if tensors is None else tensors
    slots = {
        f"{tensor}/{slot}": np.full_like(value, np.nan)
        for tensor, value in tensors.items()
        for slot in ("adam_m", "adam_v")
    }
    write_checkpoint(folder / name, tensors | slots | {"global_step": np.int64(1000)})
    (folder / "bert_config.json").write_text(json.dumps(CONFIG))
    (folder / "vocab.txt").write_text("".join(f"{token}\n" for token in VOCABULARY))
    return folder


def weights_of(loaded):
    return [weight.numpy() for weight in loaded[0].weights]


def assert_same(left, right):
    for one, other in zip(left, right, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_folder_against_its_own_numbers(tmp_path):
    encoder, tokenizer = load_encoder(write_google(tmp_path / "model"))
    inputs = tokenizer(TEXTS)
    assert inputs["token_ids"].numpy().tolist() == [[2, 8, 5, 3, 0, 0, 0], [2, 6, 7, 5, 4, 1, 3]]
    expected = straight(make_tensors(), inputs["token_ids"].numpy(), inputs["padding_mask"].numpy())
    for key, value in encoder(inputs).items():
        np.testing.assert_allclose(value, expected[key], rtol=1e-4, atol=1e-4)
    assert encoder.config.blocks[1].dropout == 0.2
    assert encoder.config.blocks[1].attention.dropout == 0.3
    assert tokenizer.max_length == 10


def test_the_same_weights_as_from_hugging_face(tmp_path):
    loaded = load_encoder(write_google(tmp_path / "google"))
    assert_same(weights_of(loaded), weights_of(load_encoder(write_folder(tmp_path / "huggingface"))))


def test_description(tmp_path):
    found = describe(write_google(tmp_path / "model"))
    assert (found["head"], found["tokenizer"], found["obstacles"]) == ("pretraining", "WordPiece", [])
    assert found["weight_files"] == ["bert_model.ckpt.data-00000-of-00001"]
    assert found["parameters"] == sum(tensor.size for tensor in google_tensors().values())
    assert "in_transformers" not in found


def test_several_shards_and_another_name(tmp_path):
    folder = write_google(tmp_path / "model")
    expected = weights_of(load_encoder(folder))
    for path in folder.glob("bert_model*"):
        path.unlink()
    tensors = list(google_tensors().items())
    parts = [folder / "part-0", folder / "part-1"]
    for part, some in zip(parts, (tensors[:9], tensors[9:]), strict=True):
        write_checkpoint(part, dict(some))
    tf.raw_ops.MergeV2Checkpoints(
        checkpoint_prefixes=[str(part) for part in parts], destination_prefix=str(folder / "model.ckpt-1000")
    )
    assert (folder / "model.ckpt-1000.data-00001-of-00002").is_file()
    assert_same(weights_of(load_encoder(folder)), expected)

    (folder / "model.ckpt-1000.data-00001-of-00002").unlink()
    with pytest.raises(InputError, match=r"ckpt-1000\.data-00001-of-00002.*No such file"):
        load_encoder(folder)


def test_the_published_name_comes_first(tmp_path):
    folder = write_google(tmp_path / "model")
    write_checkpoint(folder / "model.ckpt-1", {"global_step": np.int64(1)})
    load_encoder(folder)


def test_a_folder_of_a_name_with_patterns_in_it(tmp_path):
    load_encoder(write_google(tmp_path / "a * b? {c}"))
    with pytest.raises(InputError, match="rename the folder"):
        load_encoder(write_google(tmp_path / "a [b]"))


def test_half_precision(tmp_path):
    rounded = {name: tensor.astype("float16") for name, tensor in google_tensors().items()}
    expected = {name: tensor.astype("float32") for name, tensor in rounded.items()}
    loaded = load_encoder(write_google(tmp_path / "half", rounded))
    assert_same(weights_of(loaded), weights_of(load_encoder(write_google(tmp_path / "plain", expected))))


def test_without_a_pooler(tmp_path):
    folder = write_google(tmp_path / "model", google_tensors(pooler=False))
    with pytest.warns(UserWarning, match="has no pooler: it is randomly initialized") as warned:
        encoder, tokenizer = load_encoder(folder)
    assert warned[0].filename == __file__
    assert np.isfinite(encoder(tokenizer(TEXTS))["pooled_output"]).all()


@pytest.mark.parametrize(
    ("name", "said", "expected"),
    [
        ("uncased_L-2_H-4_A-2", None, True),
        ("cased_L-2_H-4_A-2", None, False),
        ("multi_cased_L-2_H-4_A-2", None, False),
        ("chinese_L-2_H-4_A-2", None, True),
        ("cased_L-2_H-4_A-2", {"do_lower_case": True}, True),
        ("uncased_L-2_H-4_A-2", {"do_lower_case": False}, False),
        ("cased_L-2_H-4_A-2", {"model_max_length": 7}, False),
    ],
)
def test_lower_casing(tmp_path, name, said, expected):
    folder = write_google(tmp_path / name)
    if said:
        (folder / "tokenizer_config.json").write_text(json.dumps(said))
    assert open_checkpoint(folder).tokenizer_json()["normalizer"]["lowercase"] is expected
    _, tokenizer = load_encoder(folder)
    assert tokenizer.lowercase is expected
    assert tokenizer.max_length == (said or {}).get("model_max_length", 10)


def test_long_words_as_google_cuts_them(tmp_path):
    folder = write_google(tmp_path / "model")
    assert open_checkpoint(folder).tokenizer_json()["model"]["max_input_chars_per_word"] == 200
    _, tokenizer = load_encoder(folder)
    assert tokenizer.tokenize(["good" + "ly" * 98, "good" + "ly" * 99]).to_list() == [[5] + [7] * 98, [1]]


def test_what_has_both_descriptions(tmp_path):
    folder = write_google(tmp_path / "model")
    expected = weights_of(load_encoder(folder))
    assert_same(weights_of(load_encoder(folder)), expected)
    encoder, tokenizer, settings = load_embedder(folder, dtype="mixed_bfloat16")
    assert (encoder(tokenizer(TEXTS))["pooled_output"].dtype, settings) == ("bfloat16", None)
    # What has both descriptions is a Hugging Face folder.
    write_folder(folder, {name: tensor * 2 for name, tensor in make_tensors().items()})
    assert_same([weight / 2 for weight in weights_of(load_encoder(folder))], expected)


def without(name):
    def change(folder):
        write_google(folder, {key: tensor for key, tensor in google_tensors().items() if key != name})

    return change


def reshaped(name, shape):
    return lambda folder: write_google(folder, google_tensors() | {name: np.zeros(shape, "float32")})


def unlinked(name):
    return lambda folder: (folder / name).unlink()


def overwritten(name, content):
    return lambda folder: (folder / name).write_bytes(content)


def cut(name):
    def change(folder):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: len(content) // 10])

    return change


def renamed(*prefixes):
    def change(folder):
        files = list(folder.glob("bert_model.ckpt.*"))
        for path in files:
            for prefix in prefixes:
                shutil.copy(path, folder / path.name.replace("bert_model.ckpt", prefix))
            path.unlink()

    return change


def changed_bit(folder):
    path = folder / DATA
    content = bytearray(path.read_bytes())
    content[10] ^= 1
    path.write_bytes(content)


def config_of(**changes):
    return lambda folder: (folder / "bert_config.json").write_text(json.dumps(CONFIG | changes))


INDEX, DATA = "bert_model.ckpt.index", "bert_model.ckpt.data-00000-of-00001"
QUERY = "bert/encoder/layer_1/attention/self/query/kernel"
THEIRS = "encoder.layer.1.attention.self.query.weight"
BAD = {
    "no folder": (shutil.rmtree, "No folder"),
    "no config": (unlinked("bert_config.json"), "holds config.json, .*Not found"),
    "config no JSON": (overwritten("bert_config.json", b"{oops"), "bert_config.json must be JSON"),
    "config a list": (overwritten("bert_config.json", b"[1]"), "bert_config.json must hold a JSON object"),
    "config empty": (overwritten("bert_config.json", b"{}"), "bert_config.json lacks the field"),
    "other activation": (config_of(hidden_act="mish"), "`hidden_act` must be one of.*'mish'"),
    "no vocabulary": (unlinked("vocab.txt"), "must hold .*vocab.txt"),
    "vocabulary empty": (overwritten("vocab.txt", b""), "vocabulary"),
    "vocabulary too large": (config_of(vocab_size=8), "has 9 tokens, more than `vocab_size`, 8, in bert_config.json"),
    "no index": (unlinked(INDEX), "must hold bert_model.ckpt.index.*none"),
    "two others": (renamed("a.ckpt-1", "a.ckpt-2"), "must hold bert_model.ckpt.index.*a.ckpt-1, a.ckpt-2"),
    "index no index": (overwritten(INDEX, b"hello" * 100), "bert_model.ckpt cannot be read.*not an sstable"),
    "index empty": (overwritten(INDEX, b""), "bert_model.ckpt cannot be read.*too short"),
    "index cut": (cut(INDEX), "bert_model.ckpt cannot be read"),
    "no data": (unlinked(DATA), f"bert_model.ckpt cannot be read.*{DATA}"),
    "data cut": (cut(DATA), "bert_model.ckpt cannot be read"),
    "data empty": (overwritten(DATA, b""), "bert_model.ckpt cannot be read"),
    "data changed": (changed_bit, "bert_model.ckpt cannot be read.*Checksum"),
    "tensor missing": (without(QUERY), f"lacks the tensor '{THEIRS}'"),
    "norm missing": (without("bert/embeddings/LayerNorm/beta"), "lacks.*'embeddings.LayerNorm.bias'"),
    "half a pooler": (without("bert/pooler/dense/bias"), "lacks the tensor 'pooler.dense.bias'"),
    "layers beyond": (config_of(num_hidden_layers=3), "lacks the tensor 'encoder.layer.2.attention.self.query"),
    "tensor misshapen": (reshaped(QUERY, (W, W + 1)), rf"'{THEIRS}'.*shape \(4, 4\). Received: \(5, 4\)"),
    "tensor of another rank": (reshaped("bert/pooler/dense/bias", (W, 1)), "'pooler.dense.bias'"),
    "scalar": (reshaped(QUERY, ()), f"'{THEIRS}'"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_folders_are_reported_in_one_line(tmp_path, name):
    spoil, words = BAD[name]
    folder = write_google(tmp_path / "model")
    spoil(folder)
    with pytest.raises(InputError, match=words) as error:
        load_encoder(folder)
    assert "\n" not in str(error.value)
