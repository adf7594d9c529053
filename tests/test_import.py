"""What `import kerasformer` brings: the layers by their saved names, and nothing that only an extra needs."""

import subprocess
import sys

import fresh
import keras
import numpy as np
import pytest

import kerasformer as kf

SIZES = {"vocabulary_size": 20, "max_sequence_length": 8, "num_layers": 1}


def run(code, *arguments):
    """What a new process prints."""
    done = subprocess.run([sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def bert():
    return kf.models.bert(kf.models.BertConfig.named("tiny", **SIZES), pooled=True)


def on_top_of_bert():
    backbone = bert()
    return keras.Model(backbone.input, keras.layers.Dense(3)(backbone.output["pooled_output"]))


def users_own():
    token_ids = keras.Input((None,), dtype="int32", name="token_ids")
    x = kf.layers.TokenEmbedding(20, 8)(token_ids)
    x = kf.layers.TransformerBlock(kf.layers.AttentionConfig(2), kf.layers.FeedForwardConfig(16), causal=True)(x)
    return keras.Model({"token_ids": token_ids}, keras.layers.Dense(2)(kf.layers.MeanPooling()(x)))


LOAD = """
import sys
ORDER
import keras
import numpy as np
for folder in sys.argv[1:]:
    model = keras.models.load_model(f"{folder}/model.keras")
    outputs = model.predict(dict(np.load(f"{folder}/inputs.npz")), verbose=0)
    np.savez(f"{folder}/outputs.npz", *keras.tree.flatten(outputs))
"""


@pytest.mark.parametrize(
    ("order", "models"),
    [
        ("import kerasformer", [bert, users_own]),
        ("import keras, kerasformer", [on_top_of_bert]),
        ("from kerasformer.layers import Dropout", [bert]),
    ],
)
def test_the_import_alone_lets_keras_load_models(order, models, tmp_path):
    expected = {}
    for make in models:
        model, folder = make(), tmp_path / make.__name__
        folder.mkdir()
        ids = np.array([[3, 4, 5, 0, 0], [6, 7, 8, 9, 10]], "int32")
        inputs = {"token_ids": ids, "segment_ids": ids % 2, "padding_mask": np.sign(ids)}
        inputs = {tensor.name: inputs[tensor.name] for tensor in model.inputs}
        expected[folder] = keras.tree.flatten(model.predict(inputs, verbose=0))
        model.save(folder / "model.keras")
        np.savez(folder / "inputs.npz", **inputs)
    program = tmp_path / "load.py"
    program.write_text(LOAD.replace("ORDER", order))
    done = fresh.run(program, *expected)
    assert done.returncode == 0, done.stderr[-2000:]
    for folder, outputs in expected.items():
        with np.load(folder / "outputs.npz") as found:
            assert len(found) == len(outputs)
            for name, value in zip(found, outputs, strict=True):
                np.testing.assert_allclose(found[name], value, atol=1e-6)


def test_the_import_brings_nothing_that_only_some_need():
    """Neither tensorflow-text nor a library of an extra: what Keras and TensorFlow import themselves is theirs."""
    code = """
import sys
import tensorflow, keras
before = set(sys.modules)
import kerasformer as kf
kf.__version__, dir(kf)
print(*(set(sys.modules) - before))
"""
    added = set(run(code).split())
    assert {name.partition(".")[0] for name in added} == {"kerasformer"}
    rooms = {name.split(".")[1] for name in added if "." in name}
    assert {"layers", "models"} <= rooms
    assert rooms.isdisjoint({"cli", "data", "explain", "families", "serving", "tasks", "text", "training"})


def test_a_client_loads_neither_tasks_nor_servers():
    loaded = set(run("import sys, kerasformer as kf; kf.serving.Client; print(*sys.modules)").split())
    assert "kerasformer.serving.client" in loaded
    others = {f"kerasformer.serving.{name}" for name in ("publishing", "exporting", "preview", "checking", "messages")}
    assert loaded.isdisjoint({"kerasformer.tasks", "kerasformer.text", "tensorflow_serving", *others})


def test_submodules_load_when_touched():
    assert set(kf.__all__) == set(dir(kf))
    submodules = {"data", "decoding", "errors", "explain", "families", "layers", "metrics", "models", "serving"}
    for name in submodules | {"tasks", "text", "training"}:
        assert getattr(kf, name).__name__ == f"kerasformer.{name}"
        for public in getattr(getattr(kf, name), "__all__", []):
            assert hasattr(getattr(kf, name), public)
    assert kf.load is kf.tasks.load
    assert kf.load_encoder is kf.families.load_encoder
    assert kf.publish is kf.serving.publish
    with pytest.raises(AttributeError, match="no attribute 'trainings'"):
        kf.trainings  # noqa: B018


def test_the_import_is_light():
    code = "import sys, kerasformer as kf; kf.__version__, dir(kf), kf.errors.InputError; print(*sys.modules)"
    loaded = {name.partition(".")[0] for name in run(code).split()}
    assert loaded.isdisjoint({"tensorflow", "keras", "numpy", "tensorflow_text", "rich", "grpc", "safetensors"})


def test_a_client_and_the_command_need_no_tensorflow():
    """`kf.serving` and the package's import are for programs that only call a server, too."""
    loaded = run("import sys, kerasformer as kf; kf.serving; import kerasformer.cli; print(*sys.modules)").split()
    assert "tensorflow" not in loaded
