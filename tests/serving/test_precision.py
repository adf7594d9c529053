"""Which precision is chosen, and exports in 8-bit integers."""

import dataclasses
import json
import platform

import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasformer as kf
from kerasformer.errors import InputError
from kerasformer.serving import check_process, publishing
from kerasformer.serving import precision as precisions
from kerasformer.serving.preview.loaded_model import LoadedModel

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "good", "bad", "fine", "day", "##ly"]
TEXTS = ["good day", "bad", "", "fine fine finely good bad day", "bad bad day", "finely"] * 6


@pytest.fixture(scope="module")
def task():
    keras.utils.set_random_seed(0)
    config = kf.models.BertConfig(len(WORDS), 64, 1, 4, 128, 16, initializer_range=0.3)
    tokenizer = kf.text.WordPieceTokenizer(WORDS, max_length=16)
    return kf.tasks.TextClassifier(kf.models.bert(config, pooled=True), tokenizer, ("no", "yes"))


@pytest.fixture(scope="module")
def data(task):
    """Labels are what the task says itself."""
    return kf.data.batches(
        kf.data.from_lists(TEXTS, list(task.predict(TEXTS)["label"]), label_names=task.label_names), 16
    )


def test_an_export_in_integers(task, data, tmp_path, monkeypatch):
    before = task.predict(TEXTS)
    # Explained, too: what is served as logits shows the steps of integers most.
    version = kf.serving.publish(
        task, tmp_path / "m", precision="int8", data=data, data_source="texts.jsonl", explain="occlusion"
    )
    found = json.loads((version / "assets.extra" / "card.json").read_text())
    assert found["needs_onednn"]
    assert "| processor | x86, and TensorFlow with oneDNN |" in (version / "MODEL_CARD.md").read_text()
    assert found["data"] == {"source": "texts.jsonl", "texts": len(TEXTS)}
    assert found["figures"]["accuracy"]["low"] <= found["figures"]["accuracy"]["value"]
    assert found["figures"].keys() >= {"loss", "macro_f1", "f1", "matthews"}
    assert 0 <= found["calibration"]["expected_calibration_error"] < 1
    page = (version / "MODEL_CARD.md").read_text()
    assert f"on {len(TEXTS)} texts of texts.jsonl, in the precision of this version" in page
    served = LoadedModel(version).run("", {"text": np.array([text.encode() for text in TEXTS], object)})
    difference = np.abs(served["scores"] - before["scores"]).max()
    assert 1e-6 < difference < 0.05
    explained = LoadedModel(version).run("explain", {"text": np.array([text.encode() for text in TEXTS], object)})
    for row, one in enumerate(kf.explain.explain(task, TEXTS, "occlusion")):
        np.testing.assert_allclose(explained["attributions"][row, : len(one.words)], one.attributions, atol=0.03)
    # The task itself stays as it was, and so does what it had traced.
    np.testing.assert_array_equal(task.predict(TEXTS)["scores"], before["scores"])
    np.testing.assert_array_equal(task.replace().predict(TEXTS)["scores"], before["scores"])
    kf.serving.export(task, tmp_path / "float32")
    sizes = [
        sum(file.stat().st_size for file in (folder / "variables").iterdir())
        for folder in (version, tmp_path / "float32")
    ]
    # Weights are a quarter, biases and what belongs to norms whole.
    assert sizes[0] < 0.45 * sizes[1]
    # A batch may differ from its texts alone by a step of the integers.
    allowed = []
    monkeypatch.setattr(check_process, "replay", lambda *arguments: allowed.append(arguments[-1]) or 0.0)
    for folder in (version, tmp_path / "float32"):
        check_process.main(folder, [("predict", "serving_default", {}, [])])
    assert allowed == [5e-2, 1e-4]


def test_an_export_stored_in_integers(task, tmp_path, monkeypatch):
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    version = kf.serving.publish(task, tmp_path / "m", precision="int8_storage")
    served = LoadedModel(version).run("", {"text": np.array([text.encode() for text in TEXTS], object)})
    assert 1e-6 < np.abs(served["scores"] - task.predict(TEXTS)["scores"]).max() < 0.02
    ops, _, _ = check_process.read_ops(version)
    assert "_QuantizedMatMul" not in ops
    stored = tf.train.load_checkpoint(str(version / "variables" / "variables"))
    dtypes, shapes = stored.get_variable_to_dtype_map(), stored.get_variable_to_shape_map()
    matrices = {
        dtype: {tuple(shape) for name, shape in shapes.items() if len(shape) == 2 and dtypes[name] == dtype}
        for dtype in (tf.int8, tf.float32)
    }
    assert matrices[tf.int8] == {(64, 128), (64, 64)}, "keys and values; queries, outputs, both halves of the network"
    assert matrices[tf.float32] == {(16, 64), (64, 64)}, "positions, and the pooler"


def test_auto_measures_and_publishes(task, data, tmp_path, monkeypatch):
    choices, told = [], []

    def choose(*arguments, **options):
        choices.append(choose_precision(*arguments, **options))
        return choices[0]

    choose_precision = kf.serving.choose_precision
    monkeypatch.setattr(publishing, "choose_precision", choose)
    version = kf.serving.publish(task, tmp_path / "m", precision="auto", data=data, max_loss=0.1, tell=told.append)
    [(chosen, _, measured)] = choices
    assert [found.precision for found in measured] == ["float32", "bfloat16", "int8"]
    assert all(min(found.single, found.batch, found.megabytes) > 0 for found in measured)
    assert measured[0].lost == 0
    assert measured[0].metrics["accuracy"] == 1
    assert told == [kf.serving.describe_choice(measured, chosen, 0.1)]
    lines = told[0].splitlines()
    assert lines[0].split()[0] == "precision"
    assert lines[-1] == f"chosen: {chosen}"
    card = json.loads((version / "assets.extra" / "card.json").read_text())
    assert card["speed"]["one_text_ms"] == next(each.single for each in measured if each.precision == chosen)
    assert "ms for one text" in (version / "MODEL_CARD.md").read_text()


def found(precision, single, batch, lost=0.0):
    return precisions.Measured(precision, single, batch, 1.0, {"accuracy": 0.9 - lost}, lost)


@pytest.mark.parametrize(
    ("times", "lost", "expected"),
    [
        ({"float32": (10, 100), "bfloat16": (8, 60), "int8": (7, 50)}, {}, "int8"),
        ({"float32": (10, 100), "bfloat16": (8, 60), "int8": (7, 50)}, {"int8": 0.006}, "bfloat16"),
        ({"float32": (10, 100), "bfloat16": (8, 60), "int8": (7, 50)}, {"int8": 0.006, "bfloat16": 0.006}, "float32"),
        ({"float32": (10, 100), "bfloat16": (13, 130), "int8": (20, 60)}, {}, "float32"),
        # Too little to give up exactness for.
        ({"float32": (10, 100), "bfloat16": (9.8, 98), "int8": (9.9, 97)}, {}, "float32"),
    ],
)
def test_the_fastest_that_is_good_enough(task, data, monkeypatch, times, lost, expected):
    monkeypatch.setattr(precisions, "_times", lambda *_: (times, dict.fromkeys(times, 1.0)))
    monkeypatch.setattr(precisions, "metrics_in", lambda _, name, *__: {"loss": 0.3, "f1": 0.9 - lost.get(name, 0)})
    monkeypatch.setattr(precisions, "plan_for", lambda task, name, data: (name == "int8" and _Plan()) or None)
    monkeypatch.setattr(precisions, "_has", lambda feature: False)
    chosen, plan, measured = kf.serving.choose_precision(task, data)
    assert chosen == expected
    assert (plan is not None) == (chosen == "int8")
    assert "1 projections in floats: block_0/outer" in kf.serving.describe_choice(measured, chosen)


@dataclasses.dataclass
class _Plan:
    kept: tuple = ("block_0/outer",)


def test_a_choice_says_why():
    measured = [found("float32", 10, 100), found("bfloat16", 13, 130), found("int8", 5, 50, lost=0.02)]
    measured = [dataclasses.replace(each, examples=150) for each in measured]
    *_, slow, lossy, few, chosen = kf.serving.describe_choice(measured, "float32").splitlines()
    assert slow == "bfloat16 is slower than float32 here"
    assert lossy == "int8 is left out: it loses 0.0200 of accuracy, more than 0.005"
    assert few == "The data have 150 examples, too few to see a loss of 0.005"
    assert chosen == "chosen: float32"
    assert "an x86 processor" in kf.serving.describe_choice(measured[:2], "float32")
    assert "limited to AVX2" in kf.serving.describe_choice(measured[::2], "float32")
    assert "too few" not in kf.serving.describe_choice(measured, "float32", 0.01)


def test_without_data_integers_are_left_out(task, monkeypatch):
    monkeypatch.setattr(
        precisions,
        "_times",
        lambda task, data, plans, machine: (dict.fromkeys(plans, (1, 2)), dict.fromkeys(plans, 1.0)),
    )
    chosen, plan, measured = kf.serving.choose_precision(task, None)
    assert chosen == "float32"
    assert plan is None
    assert [found.precision for found in measured] == ["float32", "bfloat16"]
    assert "int8 is left out: it needs labelled examples" in kf.serving.describe_choice(measured, chosen)


def test_bad_arguments_are_named(task, data, tmp_path, monkeypatch):
    with pytest.raises(InputError, match="int8 needs `data`"):
        kf.serving.publish(task, tmp_path / "m", precision="int8")
    with pytest.raises(InputError, match="precision='int4'"):
        kf.serving.publish(task, tmp_path / "m", precision="int4")
    with pytest.raises(InputError, match="max_loss=-1"):
        kf.serving.publish(task, tmp_path / "m", precision="auto", data=data, max_loss=-1)
    with pytest.raises(InputError, match="machine='m1'"):
        kf.serving.publish(task, tmp_path / "m", precision="auto", data=data, machine="m1")
    with pytest.raises(InputError, match="reach the model"):
        kf.serving.publish(task, tmp_path / "m", precision="int8", data=data.take(0))
    monkeypatch.setattr(precisions, "_has", lambda feature: False)
    with pytest.raises(InputError, match="no AVX512-BF16"):
        kf.serving.publish(task, tmp_path / "m", precision="auto", data=data, machine="avx512_bf16")
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    with pytest.raises(InputError, match="Received: aarch64"):
        kf.serving.publish(task, tmp_path / "m", precision="int8", data=data)
    assert not list(tmp_path.rglob("saved_model.pb"))
