"""The heads that BERT is pretrained with, from both kinds of folders."""

import numpy as np
import pytest
from safetensors.numpy import save_file
from test_google_bert import write_google
from tiny_checkpoint import (
    as_keras_has_them,
    google_tensors,
    make_heads,
    make_tensors,
    with_heads,
    write_folder,
)

from kerasformer.errors import InputError
from kerasformer.interop import load_huggingface, load_pretraining_heads

BIAS, OTHER_BIAS = "cls.predictions.bias", "cls.predictions.decoder.bias"
TABLE, OTHER_TABLE = "bert.embeddings.word_embeddings.weight", "cls.predictions.decoder.weight"


def assert_heads(found, expected):
    assert list(found) == list(expected)
    for name, value in found.items():
        assert value.dtype == np.float32
        np.testing.assert_array_equal(value, expected[name])


def test_from_hugging_face(tmp_path):
    folder = write_folder(tmp_path / "model", with_heads(make_tensors()))
    assert_heads(load_pretraining_heads(folder), as_keras_has_them(make_heads()))
    load_huggingface(folder)


def test_from_google(tmp_path):
    assert_heads(load_pretraining_heads(write_google(tmp_path / "model")), as_keras_has_them(make_heads()))


def test_old_names_and_a_bias_at_the_decoder(tmp_path):
    tensors = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): tensor
        for name, tensor in with_heads(make_tensors()).items()
    }
    tensors[OTHER_BIAS] = tensors.pop(BIAS)
    folder = write_folder(tmp_path / "model", tensors)
    assert_heads(load_pretraining_heads(folder), as_keras_has_them(make_heads()))


def test_a_table_of_its_own(tmp_path):
    tensors = with_heads(make_tensors())
    folder = write_folder(tmp_path / "tied", tensors | {OTHER_TABLE: tensors[TABLE].copy()})
    assert_heads(load_pretraining_heads(folder), as_keras_has_them(make_heads()))
    save_file(tensors | {OTHER_TABLE: tensors[TABLE] + 1}, folder / "model.safetensors")
    with pytest.warns(UserWarning, match="has a table of its own: it is left out") as warned:
        heads = load_pretraining_heads(folder)
    assert warned[0].filename == __file__
    assert list(heads) == ["next_sentence.kernel", "next_sentence.bias"]


def test_what_is_absent_is_left_out(tmp_path):
    assert load_pretraining_heads(write_folder(tmp_path / "bare")) == {}
    assert load_pretraining_heads(write_google(tmp_path / "google", google_tensors(heads=False))) == {}
    tensors = with_heads(make_tensors())
    del tensors["cls.seq_relationship.weight"], tensors[BIAS]
    heads = load_pretraining_heads(write_folder(tmp_path / "some", tensors))
    assert list(heads) == ["transform.kernel", "transform.bias", "norm.gamma", "norm.beta", "next_sentence.bias"]


@pytest.mark.parametrize(
    ("name", "shape"), [("cls.seq_relationship.weight", (3, 4)), (BIAS, (8,)), ("cls.predictions.bias", (9, 1))]
)
def test_misshapen(tmp_path, name, shape):
    folder = write_folder(tmp_path / "model", with_heads(make_tensors()) | {name: np.zeros(shape, "float32")})
    with pytest.raises(InputError, match=f"'{name}'.*Received") as error:
        load_pretraining_heads(folder)
    assert "\n" not in str(error.value)


def test_misshapen_from_google(tmp_path):
    name = "cls/seq_relationship/output_weights"
    folder = write_google(tmp_path / "model", google_tensors() | {name: np.zeros((4, 2), "float32")})
    with pytest.raises(InputError, match=rf"'{name}'.*transposed.*\(4, 2\). Received: \(2, 4\)"):
        load_pretraining_heads(folder)


def test_no_folder(tmp_path):
    with pytest.raises(InputError, match="No folder"):
        load_pretraining_heads(tmp_path / "nowhere")
