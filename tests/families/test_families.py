"""Every family against tiny checkpoints recorded from transformers: numbers, heads, and folders out and in."""

import importlib
import json
import pathlib
import types
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from recorded import FIXTURES, Recorded, loaded
from safetensors.numpy import load_file, save_file

from kerasformer.errors import InputError
from kerasformer.families import FAMILIES, family_of, open_checkpoint, write_checkpoint
from kerasformer.families.weights import collect
from kerasformer.models import encoder

ENCODERS = ["bert", "roberta", "distilbert", "mpnet", "electra", "albert", "deberta_v3", "deberta_v2", "modernbert"]
ENCODERS += ["nomic_bert"]
CLASSIFIERS = ["sequence_classification", "several_labels", "regression", "token_classification", "question_answering"]
# Heads that transformers does not have.
MISSING = {("nomic_bert", "question_answering")}
HIDDEN, LOGITS, GRADIENTS = 2e-5, 1e-4, 1e-4


@pytest.fixture(scope="module", params=ENCODERS)
def recorded(request):
    return Recorded(FIXTURES / f"encoder_{request.param}.npz")


@pytest.fixture(scope="module")
def gpt2():
    return Recorded(FIXTURES / "gpt2.npz")


def assert_gradients(backbone, expected, loss):
    """Gradients by their names in the family's files, through the reversed table."""
    with tf.GradientTape() as tape:
        value = loss()
    variables = backbone.trainable_variables
    gradients = tape.gradient(value, variables, unconnected_gradients="zero")
    for variable, gradient in zip(variables, gradients, strict=True):
        variable.assign(tf.convert_to_tensor(gradient))
    family = family_of(backbone.config)
    compared = 0
    for name, gradient in collect(family.names, backbone).items():
        if name in expected:
            np.testing.assert_allclose(gradient, expected[name], rtol=0, atol=GRADIENTS, err_msg=name)
            compared += 1
    assert compared == len(expected)


def test_hidden_states_and_pooler(recorded, tmp_path):
    has_pooler = "pooled" in recorded
    backbone = loaded(recorded.write(tmp_path / "model"), pooled=has_pooler)
    outputs = backbone(recorded.inputs)
    expected = recorded[f"hidden/{len(backbone.blocks)}"] * recorded.mask
    np.testing.assert_allclose(outputs["sequence_output"], expected, rtol=0, atol=HIDDEN)
    if has_pooler:
        np.testing.assert_allclose(outputs["pooled_output"], recorded["pooled"], rtol=0, atol=HIDDEN)


@pytest.mark.parametrize("name", ["roberta", "mpnet"])
def test_padding_on_the_left(name, tmp_path):
    """Their positions count tokens, and so do transformers': each row says the same, moved to the right."""
    recorded = Recorded(FIXTURES / f"encoder_{name}.npz")
    backbone = loaded(recorded.write(tmp_path / "model"))
    lengths = recorded.inputs["padding_mask"].sum(1)
    width = recorded.inputs["padding_mask"].shape[1]
    assert len(set(lengths)) > 1

    def moved(values):
        return np.stack([np.roll(row, width - length, 0) for row, length in zip(values, lengths, strict=True)])

    outputs = backbone({key: moved(value) for key, value in recorded.inputs.items()})
    expected = moved(recorded[f"hidden/{len(backbone.blocks)}"] * recorded.mask)
    np.testing.assert_allclose(outputs["sequence_output"], expected, rtol=0, atol=HIDDEN)


def test_a_packed_batch(recorded, tmp_path):
    """The second, third and fourth sequence in one row."""
    checkpoint = open_checkpoint(recorded.write(tmp_path / "model"))
    if checkpoint.config.convolution is not None:
        with pytest.raises(InputError, match="read over the ends of sequences"):
            encoder(checkpoint.config, packed_sequences=True)
        return
    backbone = encoder(checkpoint.config, packed_sequences=True)
    checkpoint.assign(backbone)
    lengths = recorded.inputs["padding_mask"].sum(1)[1:]
    inputs = {
        name: np.concatenate([row[:length] for row, length in zip(value[1:], lengths, strict=True)])[None]
        for name, value in recorded.inputs.items()
    }
    inputs["padding_mask"] = np.repeat([1, 2, 3], lengths)[None].astype(np.int32)
    last = recorded[f"hidden/{len(backbone.blocks)}"][1:]
    expected = np.concatenate([row[:length] for row, length in zip(last, lengths, strict=True)])
    np.testing.assert_allclose(backbone(inputs)["sequence_output"][0], expected, rtol=0, atol=HIDDEN)


def test_each_layer(recorded, tmp_path):
    backbone = loaded(recorded.write(tmp_path / "model"))
    states = backbone.expose()(recorded.inputs)["hidden_states"]
    assert len(states) == 1 + len(backbone.blocks) == len(recorded.below("hidden/"))
    for place, state in enumerate(states):
        np.testing.assert_allclose(state, recorded[f"hidden/{place}"] * recorded.mask, rtol=0, atol=HIDDEN)


def test_gradients(recorded, tmp_path):
    backbone = loaded(recorded.write(tmp_path / "model"))
    expected = {name: value for name, value in recorded.below("gradient/").items() if "pooler" not in name}

    def loss():
        return tf.reduce_sum(backbone(recorded.inputs, training=True)["sequence_output"] * recorded["coefficients"])

    assert_gradients(backbone, expected, loss)


def dense(inputs, outputs):
    layer = keras.layers.Dense(outputs)
    layer.build((None, inputs))
    return layer


@pytest.mark.parametrize(
    ("recorded", "kind"),
    [(name, kind) for name in ENCODERS for kind in CLASSIFIERS if (name, kind) not in MISSING],
    indirect=["recorded"],
)
def test_classification_heads(recorded, kind, tmp_path):
    checkpoint = open_checkpoint(recorded.write(tmp_path / "model", kind))
    settings = json.loads(str(recorded[f"labels/{kind}"]))
    labels = list(settings.get("id2label", {}).values()) or ["start", "end"]
    if "id2label" in settings:
        assert checkpoint.labels == labels
    is_sequence = "SequenceClassification" in checkpoint.architecture
    assert checkpoint.kind == ("sequence_classification" if is_sequence else kind)
    if is_sequence:
        assert checkpoint.problem_type == settings.get("problem_type", "single_label_classification")
    backbone = checkpoint.backbone(pooled=is_sequence)
    vectors, transform = (backbone.output["pooled_output"], None) if is_sequence else backbone.token_vectors()
    head = types.SimpleNamespace(output=dense(32, len(labels)), transform=transform)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        checkpoint.assign(backbone, head)
    logits = head.output(keras.Model(backbone.input, vectors)(recorded.inputs))
    mask = 1 if is_sequence else recorded.mask
    np.testing.assert_allclose(logits * mask, recorded[f"logits/{kind}"] * mask, rtol=0, atol=LOGITS)

    target = tmp_path / "again"
    target.mkdir()
    write_checkpoint(target, backbone, checkpoint.kind, head, labels=settings.get("id2label") and labels)
    written, read = (load_file(tmp_path / name / "model.safetensors") for name in ("again", "model"))
    for name, value in written.items():
        np.testing.assert_array_equal(value, read[name])
    assert {name for name in read.keys() - written.keys() if ".pooler." not in name} == set()


def masked_head(backbone):
    head = backbone.masked_head()
    head.build((None, None, backbone.config.hidden_dim))
    return head


def test_masked_language_model_head(recorded, tmp_path):
    checkpoint = open_checkpoint(recorded.write(tmp_path / "model", "masked_lm"))
    backbone = checkpoint.backbone()
    head = masked_head(backbone)
    checkpoint.assign(backbone, head)
    batch, length = recorded.inputs["token_ids"].shape
    positions = np.where(recorded.inputs["padding_mask"], np.arange(length), -1).astype("int32")
    states = backbone(recorded.inputs)["sequence_output"]
    logits = head(states, positions, backbone.embeddings.token.embeddings)
    expected = recorded["logits/masked_lm"][recorded.inputs["padding_mask"] > 0]
    np.testing.assert_allclose(logits, expected, rtol=0, atol=LOGITS)
    assert batch == 4


def test_gpt2_logits_and_gradients(gpt2, tmp_path):
    backbone = loaded(gpt2.write(tmp_path / "model"))
    outputs = backbone(gpt2.inputs)
    np.testing.assert_allclose(outputs["logits"] * gpt2.mask, gpt2["logits"] * gpt2.mask, rtol=0, atol=HIDDEN)
    np.testing.assert_allclose(outputs["sequence_output"], gpt2["hidden"] * gpt2.mask, rtol=0, atol=HIDDEN)

    def loss():
        return tf.reduce_sum(backbone(gpt2.inputs, training=True)["logits"] * gpt2["coefficients"])

    expected = {name.removeprefix("transformer."): value for name, value in gpt2.below("gradient/").items()}
    assert_gradients(backbone, expected, loss)


@pytest.mark.parametrize("name", [*ENCODERS, "gpt2"])
def test_transformers_loads_what_we_write(name, tmp_path):
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    recorded = Recorded(FIXTURES / (f"encoder_{name}.npz" if name in ENCODERS else "gpt2.npz"))
    kind = None if name in ENCODERS else "causal_lm"
    has_pooler = "pooled" in recorded
    backbone = loaded(recorded.write(tmp_path / "model"), pooled=has_pooler)
    target = tmp_path / "again"
    target.mkdir()
    write_checkpoint(target, backbone, kind, pad_token_id=0)
    family = family_of(backbone.config)
    assert family.model_type == recorded.model_type
    model = getattr(transformers, family.architecture(kind))
    arguments = {"add_pooling_layer": True} if has_pooler else {}  # not the default of NomicBERT
    model, report = model.from_pretrained(target, output_loading_info=True, attn_implementation="eager", **arguments)
    assert not any(report.values())
    names = {"token_ids": "input_ids", "padding_mask": "attention_mask", "segment_ids": "token_type_ids"}
    with torch.no_grad():
        outputs = model.eval()(**{names[key]: torch.tensor(value).long() for key, value in recorded.inputs.items()})
    ours = backbone(recorded.inputs)
    if kind is None:
        found, expected = ours["sequence_output"], outputs.last_hidden_state.numpy()
        if has_pooler:
            np.testing.assert_allclose(ours["pooled_output"], outputs.pooler_output.numpy(), rtol=0, atol=HIDDEN)
    else:
        found, expected = ours["logits"], outputs.logits.numpy()
    np.testing.assert_allclose(found * recorded.mask, expected * recorded.mask, rtol=0, atol=HIDDEN)
    assert open_checkpoint(target).config == backbone.config


@pytest.mark.parametrize("name", [*ENCODERS, "gpt2"])
def test_the_table_names_every_weight(name, tmp_path):
    recorded = Recorded(FIXTURES / (f"encoder_{name}.npz" if name in ENCODERS else "gpt2.npz"))
    family = FAMILIES[recorded.model_type]
    backbone = open_checkpoint(recorded.write(tmp_path / "model")).backbone(pooled=bool(family.pooler))
    named = collect(family.names + (family.pooler if backbone.pooler is not None else []), backbone)
    assert sum(value.size for value in named.values()) == backbone.count_params()


@pytest.mark.parametrize(("name", "changes"), [
    ("albert", {"num_hidden_groups": 2}),
    ("albert", {"inner_group_num": 2}),
    ("mpnet", {"relative_attention_num_buckets": 64}),
    ("mpnet", {"pad_token_id": 0}),
    ("electra", {"position_embedding_type": "relative_key"}),
    ("distilbert", {"activation": "mish"}),
])  # fmt: skip
def test_what_a_family_does_not_have_is_refused(name, changes, tmp_path):
    recorded = Recorded(FIXTURES / f"encoder_{name}.npz")
    ((field, value),) = changes.items()
    with pytest.raises(InputError, match=f"`{field}` must be .*{value}"):
        _ = open_checkpoint(recorded.write(tmp_path / "model", **changes)).config


@pytest.mark.parametrize("name", ["roberta", "mpnet", "electra"])
def test_heads_for_masked_tokens_that_are_exact_whatever_the_activation(name, tmp_path):
    """`gelu` is in the code of these heads in transformers, not in their configs."""
    recorded = Recorded(FIXTURES / f"encoder_{name}.npz")
    config = open_checkpoint(recorded.write(tmp_path / "model", hidden_act="relu")).config
    assert (config.blocks[0].feed_forward.activation, config.masked_head.activation) == ("relu", "gelu")
    assert family_of(config).model_type == name


def test_tables_of_the_model_s_width(tmp_path):
    """ELECTRA's have no projection then, ALBERT's have one."""
    for name in ("electra", "albert"):
        recorded = Recorded(FIXTURES / f"encoder_{name}.npz")
        config = open_checkpoint(recorded.write(tmp_path / name, embedding_size=32)).config
        assert (encoder(config).embeddings.projection is None) == (name == "electra")
        assert FAMILIES[name].settings(config)["embedding_size"] == 32
        assert family_of(config).model_type == name


def test_a_discriminator_is_an_encoder(tmp_path):
    recorded = Recorded(FIXTURES / "encoder_electra.npz")
    folder = recorded.write(tmp_path / "model", architectures=["ElectraForPreTraining"])
    tensors = {f"electra.{name}": value for name, value in recorded.below("weight/").items()}
    for part, shape in (("dense", (32, 32)), ("dense_prediction", (1, 32))):
        name = f"discriminator_predictions.{part}"
        tensors |= {f"{name}.weight": np.ones(shape, "float32"), f"{name}.bias": np.ones(shape[:1], "float32")}
    save_file(tensors, folder / "model.safetensors")
    checkpoint = open_checkpoint(folder)
    assert checkpoint.kind == "replaced_tokens"
    backbone = checkpoint.backbone()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        checkpoint.assign(backbone)


@pytest.mark.parametrize(("name", "field", "rate"), [
    ("bert", "classifier_dropout", 0.3),
    ("bert", "hidden_dropout_prob", 0.4),
    ("albert", "classifier_dropout_prob", 0.3),
    ("distilbert", "seq_classif_dropout", 0.3),
])  # fmt: skip
def test_the_dropout_of_a_head(name, field, rate, tmp_path):
    recorded = Recorded(FIXTURES / f"encoder_{name}.npz")
    folder = recorded.write(tmp_path / "model", "sequence_classification", **{field: rate})
    assert open_checkpoint(folder).head_dropout == rate


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_a_family_is_a_small_file(family):
    path = pathlib.Path(importlib.import_module(family.config.__module__).__file__)
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 150
