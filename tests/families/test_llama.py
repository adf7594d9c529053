"""Llama: the real weights of a model of stories, against transformers."""

import os
import pathlib
import shutil

import numpy as np
import pytest
import tensorflow as tf
from recorded import loaded

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
def reference():
    pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    return transformers.LlamaForCausalLM.from_pretrained(FOLDER, attn_implementation="eager").eval()


@needs_data
def test_logits_of_transformers(backbone, reference):
    import torch

    random = np.random.default_rng(0)
    mask = (np.arange(40) < np.array([40, 13, 1])[:, None]).astype(np.int32)
    ids = random.integers(3, 512, mask.shape).astype(np.int32)
    with torch.no_grad():
        expected = reference(torch.tensor(ids).long(), attention_mask=torch.tensor(mask).long()).logits.numpy()
    logits = backbone({"token_ids": ids, "padding_mask": mask})["logits"]
    np.testing.assert_allclose(logits * mask[..., None], expected * mask[..., None], rtol=0, atol=5e-5)


@needs_data
def test_a_story(backbone, reference):
    """Greedy search from the start token, through a cache that grows several times."""
    import torch

    tokenizers = pytest.importorskip("tokenizers")
    with torch.no_grad():
        expected = reference.generate(torch.tensor([[1]]), do_sample=False, max_new_tokens=60, pad_token_id=0)
    prompts = {"token_ids": tf.constant([[1]]), "padding_mask": tf.constant([[1]])}
    steps = DecoderSteps(backbone)
    found = tf.function(lambda prompts: search(steps, prompts, end_id=2, max_length=60))(prompts)
    found = found["token_ids"].numpy()[0, 0]
    np.testing.assert_array_equal(found, expected.numpy()[0, 1:])
    text = tokenizers.Tokenizer.from_file(str(FOLDER / "tokenizer.json")).decode(found.tolist())
    assert text.startswith("Once upon a time, there was a little girl named Lily.")


@needs_data
def test_written_and_read_again(backbone, reference, tmp_path):
    import torch
    import transformers

    assert family_of(backbone.config) is FAMILY
    write_checkpoint(tmp_path, backbone, "causal_lm")
    assert open_checkpoint(tmp_path).config == backbone.config
    model, report = transformers.LlamaForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report.values())
    ids = torch.arange(3, 30)[None]
    with torch.no_grad():
        torch.testing.assert_close(model(ids).logits, reference(ids).logits)
    shutil.copy(FOLDER / "tokenizer.json", tmp_path)
    found = describe(tmp_path)
    assert (found["parameters"], found["positions"], found["tokenizer"]) == (260_032, "rotary", "BPE")
    assert (found["head"], found["obstacles"]) == ("causal_lm", [])


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
        ({"hidden_act": "tanh"}, "`hidden_act` must be one of"),
    ],
)
def test_what_is_not_read(further, message):
    with pytest.raises(InputError, match=message):
        FAMILY.config(Settings(FIELDS | further, "config.json"))
