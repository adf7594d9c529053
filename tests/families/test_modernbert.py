"""ModernBERT: both forms of its config, what is refused, long texts, and the layouts and precisions of its blocks."""

import json
import warnings

import keras
import numpy as np
import pytest
from recorded import FIXTURES, Recorded, loaded

from kerasformer.errors import InputError
from kerasformer.families import describe, open_checkpoint
from kerasformer.families.family import Settings
from kerasformer.families.modernbert import FAMILY
from kerasformer.layers.serving_form import use_serving_form
from kerasformer.models import encoder, with_precision

FIELDS = {
    "vocab_size": 60,
    "hidden_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "initializer_range": 0.1,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "cls_token_id": 1,
    "sep_token_id": 2,
}
FULL, SLIDING = "full_attention", "sliding_attention"


@pytest.fixture(scope="module")
def recorded():
    return Recorded(FIXTURES / "encoder_modernbert.npz")


def config(**fields):
    return FAMILY.config(Settings(FIELDS | fields, "config.json"))


def test_both_forms_of_the_config():
    old = config(global_attn_every_n_layers=3, global_rope_theta=500.0, local_rope_theta=70.0, local_attention=10)
    rope = {FULL: {"rope_type": "default", "rope_theta": 500.0}, SLIDING: {"rope_type": "default", "rope_theta": 70.0}}
    kinds = [FULL, SLIDING, SLIDING, FULL]
    assert config(layer_types=kinds, rope_parameters=rope, local_attention=10) == old
    found = [(block.attention.window, block.attention.positions.max_wavelength) for block in old.blocks]
    assert found == [(None, 500.0), (5, 70.0), (5, 70.0), (None, 500.0)]
    defaults = [(block.attention.window, block.attention.positions.max_wavelength) for block in config().blocks[:2]]
    assert defaults == [(None, 160_000.0), (64, 10_000.0)]
    assert config(local_rope_theta=None).blocks[1].attention.positions.max_wavelength == 160_000.0
    for other in (old, config(layer_types=[SLIDING] * 4), config(layer_types=[FULL] * 4)):
        assert FAMILY.config(Settings(FAMILY.settings(other), "config.json")) == other


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"layer_types": [FULL]}, r"`layer_types` must be 4 of .* has \['full_attention'\]"),
        ({"layer_types": [FULL, SLIDING, "linear", FULL]}, "linear"),
        ({"rope_parameters": {FULL: {"rope_type": "yarn", "rope_theta": 1e4}}}, "`rope_type` .* has 'yarn'"),
        ({"rope_scaling": {"rope_type": "linear", "factor": 2}}, "`rope_scaling` must be None"),
        ({"sliding_window": 9}, "`sliding_window` must be 64"),
        ({"classifier_pooling": "max"}, "`classifier_pooling` must be 'cls' or 'mean'"),
        ({"hidden_activation": "mish"}, "`hidden_activation` must be one of"),
    ],
)
def test_what_is_refused(fields, match):
    with pytest.raises(InputError, match=match):
        config(**fields)


def test_long_texts(tmp_path):
    """2,048 tokens, 16 windows, beside transformers."""
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    torch.manual_seed(0)
    model = transformers.ModernBertModel(transformers.ModernBertConfig(**FIELDS, attn_implementation="eager")).eval()
    model.save_pretrained(tmp_path)
    mask = (np.arange(2048) < np.array([2048, 1500])[:, None]).astype(np.int32)
    ids = np.random.default_rng(0).integers(3, 60, mask.shape).astype(np.int32) * mask
    with torch.no_grad():
        expected = model(torch.tensor(ids).long(), torch.tensor(mask).long(), output_hidden_states=True).hidden_states
    found = loaded(tmp_path).expose()({"token_ids": ids, "padding_mask": mask})["hidden_states"]
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs.numpy() * mask[..., None], rtol=0, atol=2e-5)


@pytest.mark.filterwarnings("ignore:The checkpoint")  # of the classifier, which is not read
@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_forms_of_one_model(recorded, pooling, tmp_path):
    """Static shapes, a `.keras` file, the serving form and bfloat16; the vector of a text alone."""
    folder = recorded.write(tmp_path / "model", "sequence_classification", classifier_pooling=pooling)
    backbone = loaded(folder, pooled=True)
    outputs = backbone(recorded.inputs)
    vectors = backbone.expose()(recorded.inputs)["pooled_output"]
    np.testing.assert_allclose(outputs["pooled_output"], vectors, rtol=0, atol=2e-5)
    static = encoder(backbone.config, pooled=True, remove_padding=False)
    static.set_weights(backbone.get_weights())
    backbone.save(tmp_path / "model.keras")
    served = keras.models.load_model(tmp_path / "model.keras")
    use_serving_form(served)
    bfloat16 = with_precision(backbone, "mixed_bfloat16")
    for model, tolerance in ((static, 2e-5), (served, 2e-5), (bfloat16, 0.15)):
        found = model(recorded.inputs)
        for name, value in outputs.items():
            np.testing.assert_allclose(np.asarray(found[name], np.float32), value, rtol=0, atol=tolerance)
    for row, vector in enumerate(outputs["pooled_output"]):
        length = recorded.inputs["padding_mask"][row].sum()
        alone = {name: value[row : row + 1, :length] for name, value in recorded.inputs.items()}
        np.testing.assert_allclose(backbone(alone)["pooled_output"][0], vector, rtol=0, atol=2e-5)


def test_a_classifier_begins_with_the_head_for_masked_tokens(recorded, tmp_path):
    """As in transformers: the layer has the same names in both heads."""
    folder = recorded.write(tmp_path / "model", "masked_lm")
    checkpoint = open_checkpoint(folder)
    backbone = checkpoint.backbone(pooled=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        checkpoint.assign(backbone)
    np.testing.assert_array_equal(backbone.pooler.kernel, recorded["head/masked_lm/head.dense.weight"].T)
    (folder / "tokenizer.json").write_text(json.dumps({"model": {"type": "Neural", "vocab": {"a": 0}}}))
    found = describe(folder)
    assert (found["family"], found["head"], found["positions"]) == ("modernbert", "masked_lm", "rotary")
    [obstacle] = found["obstacles"]
    assert "must have a model that is known" in obstacle
    assert "'Neural'" in obstacle
