"""What DeBERTa has beside the rows of `test_families.py`: other names, its model in Keras's hands, fields refused."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from recorded import FIXTURES, Recorded, loaded

from kerasformer.errors import InputError
from kerasformer.families import open_checkpoint, write_checkpoint
from kerasformer.layers.serving_form import use_serving_form
from kerasformer.models import encoder, with_precision


@pytest.fixture(scope="module", params=["deberta_v3", "deberta_v2"])
def recorded(request):
    return Recorded(FIXTURES / f"encoder_{request.param}.npz")


def test_the_masked_head_by_either_name_loads_in_transformers(recorded, tmp_path):
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    checkpoint = open_checkpoint(recorded.write(tmp_path / "model", "masked_lm"))
    backbone = checkpoint.backbone()
    head = backbone.masked_head()
    head.build((None, None, 32))
    checkpoint.assign(backbone, head)
    (tmp_path / "again").mkdir()
    write_checkpoint(tmp_path / "again", backbone, "masked_lm", head)
    model, report = transformers.DebertaV2ForMaskedLM.from_pretrained(tmp_path / "again", output_loading_info=True)
    assert not any(report.values())
    names = {"token_ids": "input_ids", "padding_mask": "attention_mask", "segment_ids": "token_type_ids"}
    with torch.no_grad():
        logits = model.eval()(
            **{names[key]: torch.tensor(value).long() for key, value in recorded.inputs.items()}
        ).logits
    np.testing.assert_allclose(
        logits.numpy() * recorded.mask, recorded["logits/masked_lm"] * recorded.mask, rtol=0, atol=1e-4
    )


@pytest.mark.filterwarnings("ignore:The checkpoint:UserWarning")
def test_in_other_forms(recorded, tmp_path):
    """Static shapes under XLA, a `.keras` file, bfloat16, the serving form; the first token's last block alone."""
    backbone = loaded(recorded.write(tmp_path / "model", "regression"), pooled=True)
    expected = recorded["hidden/2"] * recorded.mask
    exposed = backbone.expose(attention_scores=True)(recorded.inputs)
    outputs = backbone(recorded.inputs)
    np.testing.assert_allclose(outputs["pooled_output"], exposed["pooled_output"], rtol=0, atol=2e-5)
    for scores in exposed["attention_scores"]:
        np.testing.assert_allclose(tf.reduce_sum(scores, -1), np.ones(scores.shape[:-1]), atol=1e-5)

    static = encoder(backbone.config, remove_padding=False)
    for new, old in zip(static.weights, loaded(tmp_path / "model").weights, strict=True):
        new.assign(old)
    compiled = tf.function(static, jit_compile=True)(recorded.inputs)["sequence_output"]
    np.testing.assert_allclose(compiled, expected, rtol=0, atol=2e-5)

    backbone.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again(recorded.inputs)["sequence_output"], outputs["sequence_output"])
    low = with_precision(backbone, "bfloat16")(recorded.inputs)["sequence_output"]
    assert np.abs(np.asarray(low, np.float32) - expected).mean() < 0.05
    mixed = with_precision(backbone, "mixed_bfloat16")
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.cast(mixed(recorded.inputs, training=True)["sequence_output"], tf.float32) ** 2)
    gradients = [found for found in tape.gradient(loss, mixed.trainable_variables) if found is not None]
    assert len(gradients) == len(mixed.trainable_variables) - len(mixed.pooler.weights)
    assert all(np.isfinite(tf.convert_to_tensor(gradient)).all() for gradient in gradients)

    use_serving_form(again, row_groups=2)
    found = tf.function(again)(recorded.inputs)
    np.testing.assert_allclose(found["sequence_output"], expected, rtol=0, atol=2e-5)
    np.testing.assert_allclose(found["pooled_output"], outputs["pooled_output"], rtol=0, atol=2e-5)


@pytest.mark.parametrize("length", [1, 40, 60])
def test_lengths(recorded, length, tmp_path):
    """One token, all positions, and more than the table knows where positions are relative alone."""
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    folder = recorded.write(tmp_path / "model")
    model, backbone = transformers.DebertaV2Model.from_pretrained(folder).eval(), loaded(folder)
    if length > 40 and backbone.config.max_sequence_length is not None:
        pytest.skip("positions are learned")
    ids = np.random.default_rng(0).integers(5, 120, (2, length)).astype("int32")
    inputs = {"token_ids": ids, "padding_mask": np.ones_like(ids), "segment_ids": np.zeros_like(ids)}
    with torch.no_grad():
        expected = model(torch.tensor(ids).long()).last_hidden_state.numpy()
    found = backbone({name: inputs[name] for name in recorded.inputs})["sequence_output"]
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5)


def test_one_block_with_a_convolution_and_dropout(tmp_path):
    recorded = Recorded(FIXTURES / "encoder_deberta_v2.npz")
    config = open_checkpoint(recorded.write(tmp_path / "model")).config
    config = config.replace(blocks=config.blocks[:1])
    backbone = encoder(config, pooled=True)
    outputs, exposed = backbone(recorded.inputs), backbone.expose()(recorded.inputs)
    np.testing.assert_allclose(outputs["pooled_output"], exposed["pooled_output"], rtol=0, atol=1e-5)
    dropped = config.with_dropout(0.3)
    assert dropped.blocks[0].attention.positions.dropout == dropped.convolution.dropout == 0.3
    noisy = encoder(dropped)
    first, second = (np.asarray(noisy(recorded.inputs, training=True)["sequence_output"]) for _ in range(2))
    assert np.abs(first - second).max() > 0.01
    with pytest.raises(InputError, match="ends of sequences"):
        encoder(config, packed_sequences=True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "deberta"}, "'deberta'"),
        ({"pos_att_type": "c2p|p2p"}, "pos_att_type"),
        ({"pos_att_type": None}, "pos_att_type"),
        ({"relative_attention": False}, "relative_attention"),
        ({"norm_rel_ebd": "rms"}, "norm_rel_ebd"),
        ({"conv_kernel_size": 2}, "kernel_size=2"),
        ({"conv_kernel_size": 3, "conv_groups": 2}, "conv_groups"),
        ({"conv_kernel_size": 3, "conv_act": "mish"}, "conv_act"),
        ({"embedding_size": 16}, "embedding_size"),
        ({"attention_head_size": 16}, "attention_head_size"),
        ({"pooler_hidden_size": 16}, "pooler_hidden_size"),
        ({"pooler_dropout": 0.1}, "pooler_dropout"),
        ({"position_buckets": 12, "max_relative_positions": 5}, "max_distance=5"),
    ],
)
def test_a_setting_that_is_not_read(changes, message, tmp_path):
    recorded = Recorded(FIXTURES / "encoder_deberta_v3.npz")
    folder = recorded.write(tmp_path / "model", **changes)
    assert json.loads((folder / "config.json").read_text())["vocab_size"] == 120
    with pytest.raises(InputError, match=message):
        open_checkpoint(folder).config  # noqa: B018
