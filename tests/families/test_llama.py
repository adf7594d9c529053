"""Llama: the real weights of a model of stories, against what transformers made of them."""

import os
import pathlib
import shutil

import numpy as np
import pytest
import tensorflow as tf
from recorded import FIXTURES, loaded

from kerasformer.decoding import search
from kerasformer.errors import InputError
from kerasformer.families import describe, family_of, open_checkpoint, write_checkpoint
from kerasformer.families.family import Settings
from kerasformer.families.llama import FAMILY
from kerasformer.models import DecoderSteps

FOLDER = pathlib.Path(os.environ.get("KF_DATA", "")) / "tokenizers" / "stories260k-llama"
FIELDS = {
    "vocab_size": 20,
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 12,
    "tie_word_embeddings": True,
}
needs_data = pytest.mark.skipif(not FOLDER.is_dir(), reason="needs $KF_DATA")


@pytest.fixture(scope="module")
def backbone():
    return loaded(FOLDER)


@pytest.fixture(scope="module")
def recorded():
    return dict(np.load(FIXTURES / "llama.npz"))


@needs_data
def test_logits_of_transformers(backbone, recorded):
    mask = recorded["padding_mask"]
    logits = backbone({"token_ids": recorded["token_ids"], "padding_mask": mask})["logits"]
    np.testing.assert_allclose(logits, recorded["logits"] * mask[..., None], rtol=0, atol=5e-5)


@needs_data
def test_a_story(backbone, recorded):
    """Greedy search from the start token, through a cache that grows several times."""
    tokenizers = pytest.importorskip("tokenizers")
    prompts = {"token_ids": tf.constant([[1]]), "padding_mask": tf.constant([[1]])}
    steps = DecoderSteps(backbone)
    found = tf.function(lambda prompts: search(steps, prompts, end_id=2, max_length=60))(prompts)
    found = found["token_ids"].numpy()[0, 0]
    np.testing.assert_array_equal(found, recorded["story"])
    text = tokenizers.Tokenizer.from_file(str(FOLDER / "tokenizer.json")).decode(found.tolist())
    assert text.startswith("Once upon a time, there was a little girl named Lily.")


@needs_data
def test_written_and_read_again(backbone, recorded, tmp_path):
    assert family_of(backbone.config) is FAMILY
    write_checkpoint(tmp_path, backbone, "causal_lm")
    assert open_checkpoint(tmp_path).config == backbone.config
    inputs = {key: recorded[key] for key in ("token_ids", "padding_mask")}
    np.testing.assert_array_equal(loaded(tmp_path)(inputs)["logits"], backbone(inputs)["logits"])
    shutil.copy(FOLDER / "tokenizer.json", tmp_path)
    found = describe(tmp_path)
    assert (found["parameters"], found["positions"], found["tokenizer"]) == (260_032, "rotary", "BPE")
    assert found["head"] == "causal_lm"
    assert found["obstacles"] == ["The head of LlamaForCausalLM is no task here. `kf.load_encoder` reads the rest."]


@needs_data
def test_transformers_reads_what_is_written(backbone, recorded, tmp_path):
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    write_checkpoint(tmp_path, backbone, "causal_lm")
    model, report = transformers.LlamaForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report.values())
    ids, mask = (torch.tensor(recorded[key]).long() for key in ("token_ids", "padding_mask"))
    with torch.no_grad():
        logits = model(ids, attention_mask=mask).logits.numpy()
    real = recorded["padding_mask"] > 0
    np.testing.assert_allclose(logits[real], recorded["logits"][real], rtol=0, atol=5e-5)


def test_theta_of_old_and_new_files():
    new = {"rope_parameters": {"rope_type": "default", "rope_theta": 5e5}}
    for further in (new, {"rope_theta": 5e5}, {"rope_theta": 5e5, "rope_scaling": None}):
        config = FAMILY.config(Settings(FIELDS | further, "config.json"))
        assert config.blocks[0].attention.positions.max_wavelength == 5e5
        assert FAMILY.config(Settings(FAMILY.settings(config), "config.json")) == config


@pytest.mark.parametrize(
    ("further", "message"),
    [
        ({"tie_word_embeddings": False}, "`tie_word_embeddings` must be true"),
        ({"rope_scaling": {"type": "linear", "factor": 2.0}}, "`rope_type` must be \"default\" .* has 'linear'"),
        ({"rope_parameters": {"rope_type": "llama3"}}, "has 'llama3'"),
        ({"hidden_act": "mish"}, "`hidden_act` must be one of"),
    ],
)
def test_what_is_not_read(further, message):
    with pytest.raises(InputError, match=message):
        FAMILY.config(Settings(FIELDS | further, "config.json"))
