"""Losses and gradients against those of transformers' BertForPreTraining, see fixtures/record_bert_pretraining.py."""

import pathlib
import types

import numpy as np
import pytest
import tensorflow as tf
from safetensors.numpy import save_file

import kerasformer as kf
from kerasformer.families import FAMILIES
from kerasformer.families.weights import collect

RECORDED = dict(np.load(pathlib.Path(__file__).parent.parent / "fixtures" / "bert_pretraining.npz"))


def recorded(kind):
    return {name.removeprefix(f"{kind}/"): value for name, value in RECORDED.items() if name.startswith(f"{kind}/")}


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bert")
    (folder / "config.json").write_text(str(RECORDED["config"]))
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    (folder / "vocab.txt").write_text("\n".join([*special, *[f"w{n}" for n in range(55)]]))
    save_file(recorded("weight"), folder / "model.safetensors")
    task = kf.load(folder)
    assert isinstance(task, kf.tasks.BertPretraining)
    return task


def batch():
    """Labels in slots, as our model reads them."""
    rows = [np.flatnonzero(row >= 0) for row in RECORDED["labels"]]
    width = max(map(len, rows))
    positions = np.array([np.pad(row, (0, width - len(row)), constant_values=-1) for row in rows], np.int32)
    labels = np.where(positions >= 0, np.take_along_axis(RECORDED["labels"], np.maximum(positions, 0), 1), -1)
    inputs = {name: RECORDED[name] for name in ("token_ids", "segment_ids", "padding_mask")}
    targets = {"labels": labels, "is_random": RECORDED["next_sentence_label"]}
    return tf.nest.map_structure(tf.constant, ({**inputs, "masked_positions": positions}, targets))


def test_losses(task):
    inputs, targets = batch()
    sums = task._sums(targets, task.model(inputs), task.model)
    counts = task.loss_totals(targets)
    np.testing.assert_allclose(sums["masked_loss"] / counts[0], RECORDED["masked_loss"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(sums["next_loss"] / counts[1], RECORDED["next_loss"], rtol=0, atol=1e-5)
    loss = task.loss(targets, task.model(inputs))[0]
    np.testing.assert_allclose(loss, RECORDED["masked_loss"] + RECORDED["next_loss"], rtol=0, atol=1e-5)


def test_gradients(task):
    inputs, targets = batch()
    with tf.GradientTape() as tape:
        loss = task.loss(targets, task.model(inputs))[0]
    variables = task.model.trainable_variables
    gradients = tape.gradient(loss, [variable.value for variable in variables])
    # Gradients by their names in the files, through the tables reversed.
    for variable, gradient in zip(variables, gradients, strict=True):
        variable.assign(tf.convert_to_tensor(gradient))
    family = FAMILIES["bert"]
    rows = family.names + family.pooler + family.heads["pretraining"]
    found = collect(rows, types.SimpleNamespace(**{"head": task.head, **parts_of(task.encoder)}))
    reference = {name.removeprefix("bert."): value for name, value in recorded("gradient").items()}
    compared = found.keys() & reference.keys()
    assert compared == reference.keys()
    assert sum(found[name].size for name in compared) == sum(np.size(variable) for variable in variables)
    for name in compared:
        np.testing.assert_allclose(found[name], reference[name], rtol=0, atol=1e-4, err_msg=name)


def parts_of(backbone):
    return {name: getattr(backbone, name) for name in ("embeddings", "blocks", "pooler")}
