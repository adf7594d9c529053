"""`tf_model.h5` of Transformers 4, against the outputs of the class that wrote it."""

import pathlib
import types
import warnings

import keras
import numpy as np
import pytest

from kerasformer.errors import InputError
from kerasformer.families import describe, open_checkpoint

RECORDED = dict(np.load(pathlib.Path(__file__).parents[1] / "fixtures" / "tf_classes.npz"))
CLASSES = sorted({key.split("/")[0] for key in RECORDED if "/" in key})
INPUTS = {key: RECORDED[key] for key in ("token_ids", "padding_mask")}


def write(folder, name):
    (folder / "tf_model.h5").write_bytes(RECORDED[f"{name}/file"].tobytes())
    (folder / "config.json").write_text(str(RECORDED[f"{name}/config"]))
    return folder


def outputs(checkpoint):
    """What the class gives, `[batch, ...]`, zero at padding."""
    is_sequence = checkpoint.kind == "sequence_classification"
    backbone = checkpoint.backbone(pooled=is_sequence)
    if checkpoint.kind == "causal_lm":
        checkpoint.assign(backbone)
        return backbone(INPUTS)["logits"] * INPUTS["padding_mask"][..., None]
    inputs = {name: INPUTS.get(name, np.zeros_like(INPUTS["token_ids"])) for name in backbone.input}
    if checkpoint.kind == "masked_lm":
        head = backbone.masked_head()
        head.build((None, None, checkpoint.config.hidden_dim))
        checkpoint.assign(backbone, head)
        positions = np.where(inputs["padding_mask"], np.arange(inputs["token_ids"].shape[1]), -1).astype(np.int32)
        logits = head(backbone(inputs)["sequence_output"], positions, backbone.embeddings.token.embeddings)
        found = np.zeros((*positions.shape, logits.shape[-1]), np.float32)
        found[positions >= 0] = logits
        return found
    vectors, transform = (backbone.output["pooled_output"], None) if is_sequence else backbone.token_vectors()
    head = types.SimpleNamespace(output=keras.layers.Dense(len(checkpoint.labels or "se")), transform=transform)
    head.output.build((None, checkpoint.config.hidden_dim))
    checkpoint.assign(backbone, head)
    logits = head.output(keras.Model(backbone.input, vectors)(inputs))
    return logits if is_sequence else logits * inputs["padding_mask"][..., None]


@pytest.mark.parametrize("name", CLASSES)
def test_outputs(name, tmp_path):
    checkpoint = open_checkpoint(write(tmp_path, name))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # no tensor is left over
        found = outputs(checkpoint)
    expected = RECORDED[f"{name}/output"]
    mask = 1 if expected.ndim == 2 else INPUTS["padding_mask"][..., None]
    np.testing.assert_allclose(found, expected * mask, rtol=0, atol=1e-4)
    described = describe(tmp_path)
    assert described["head"] == checkpoint.kind
    obstacles = [line for line in described["obstacles"] if not line.startswith("The head of GPT2LMHeadModel")]
    assert len(obstacles) == 1, "no tokenizer is there"


@pytest.mark.parametrize("content", [b"", b"no HDF5", None])
def test_other_files(content, tmp_path):
    write(tmp_path, CLASSES[0])
    path = tmp_path / "tf_model.h5"
    path.write_bytes(path.read_bytes()[:5000] if content is None else content)
    with pytest.raises(InputError, match=r"tf_model\.h5 cannot be read as weights of a TensorFlow class"):
        open_checkpoint(tmp_path)
