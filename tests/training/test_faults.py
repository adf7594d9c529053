"""What goes wrong in a training is told in a line, and nothing that was saved is lost."""

import csv
import json
import pathlib
import resource
import subprocess
import sys

import fresh
import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasformer as kf
from kerasformer.errors import InputError
from kerasformer.training.checkpoints import list_checkpoints, restore_latest, save_checkpoint


def make_model(width=3, seed=1):
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((2,))
    return keras.Model(inputs, keras.layers.Dense(1)(keras.layers.Dense(width, "tanh")(inputs)))


def loss(targets, outputs):
    return tf.reduce_sum(tf.square(outputs - targets)), tf.cast(tf.size(targets), tf.float32)


def data(count=12, bad=()):
    random = np.random.default_rng(0)
    inputs = random.normal(size=(count, 2)).astype("float32")
    targets = inputs.sum(1, keepdims=True)
    targets[list(bad)] = np.nan
    return tf.data.Dataset.from_tensor_slices((inputs, targets)).batch(4)


def make_trainer(model=None, rate=0.01, **options):
    return kf.training.Trainer((model or make_model(), loss), keras.optimizers.SGD(rate), **options)


def test_a_plain_model_and_its_loss():
    trainer = make_trainer(rate=0.1)
    history = trainer.fit(data(), data(), epochs=30).history
    assert history["val_loss"][-1] < 0.1 * history["val_loss"][0]
    inputs, targets = (np.concatenate(parts) for parts in zip(*data().as_numpy_iterator(), strict=True))
    outputs = trainer.model.predict(inputs, verbose=0)
    np.testing.assert_allclose(np.concatenate(list(trainer.predict(data()))), outputs, atol=1e-6)
    np.testing.assert_allclose(trainer.evaluate(data())["loss"], np.mean((outputs - targets) ** 2), rtol=1e-5)


@pytest.mark.parametrize("steps_per_call", [1, 3])
def test_a_loss_that_is_not_finite_is_told_with_its_batch(tmp_path, steps_per_call):
    trainer = make_trainer(steps_per_call=steps_per_call)
    with pytest.raises(FloatingPointError, match=r"The loss is nan in step 5 \(epoch 2, batch 2") as error:
        # The second epoch holds the bad one, as its sixth example.
        trainer.fit(lambda epoch: data(bad=[5] if epoch else []), epochs=3, checkpoint_folder=tmp_path)
    path = tmp_path / "not_finite_step_5.json"
    assert str(path) in str(error.value)
    inputs, targets = json.loads(path.read_text())
    expected = list(data(bad=[5]).as_numpy_iterator())[1]
    np.testing.assert_array_equal(inputs, expected[0])
    np.testing.assert_array_equal(targets, expected[1])
    # What was saved before is there, and whole.
    assert [path.name for path in list_checkpoints(tmp_path)] == ["step-00000003"]


def test_float16_leaves_out_steps_that_overflow():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((2,))
    model = keras.Model(inputs, keras.layers.Dense(1, dtype="mixed_float16")(inputs))
    before = keras.ops.convert_to_numpy(model.trainable_weights[0]).copy()
    trainer = kf.training.Trainer(
        (model, lambda targets, outputs: loss(targets, tf.cast(outputs, tf.float32))), keras.optimizers.SGD(0.1)
    )
    scale = float(trainer.optimizer.dynamic_scale)
    huge = tf.data.Dataset.from_tensors((np.full((1, 2), 6e4, "float32"), np.ones((1, 1), "float32")))
    trainer.fit(huge)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(model.trainable_weights[0]), before)
    assert float(trainer.optimizer.dynamic_scale) == scale / 2
    trainer.fit(data())
    assert np.abs(keras.ops.convert_to_numpy(model.trainable_weights[0]) - before).max() > 1e-4


def test_a_checkpoint_of_another_model_names_what_differs(tmp_path):
    make_trainer().fit(data(), checkpoint_folder=tmp_path)
    with pytest.raises(InputError, match=r"another model.*3 weights differ.*dense.*\[2, 3\] there and .*\[2, 5\] here"):
        make_trainer(make_model(5)).fit(data(), checkpoint_folder=tmp_path)
    with pytest.raises(InputError, match=r"another model or optimizer.*adam"):
        kf.training.Trainer((make_model(), loss), kf.training.adamw(0.1)).fit(data(), checkpoint_folder=tmp_path)
    assert len(list_checkpoints(tmp_path)) == 1


def test_other_settings_are_told(tmp_path):
    make_trainer().fit(data(), checkpoint_folder=tmp_path, settings={"seed": 1, "rate": 0.1})
    with pytest.raises(InputError, match=r"rate was 0.1, now 0.2"):
        make_trainer().fit(data(), checkpoint_folder=tmp_path, settings={"seed": 1, "rate": 0.2})
    # A setting that is newer than the checkpoint, and not made use of.
    make_trainer().fit(data(), checkpoint_folder=tmp_path, settings={"seed": 1, "rate": 0.1, "new": None})
    with pytest.raises(InputError, match=r"new was None, now 3"):
        make_trainer().fit(data(), checkpoint_folder=tmp_path, settings={"seed": 1, "rate": 0.1, "new": 3})


def test_another_vocabulary_is_told(tmp_path):
    """As when the text that it is learned from has changed: the tables would fit, the tokens would not."""

    def fit(words):
        vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *words]
        encoder = kf.models.bert(kf.models.BertConfig(len(vocabulary), 8, 1, 2, 8, 16), pooled=True)
        task = kf.tasks.TextClassifier(encoder, kf.text.WordPieceTokenizer(vocabulary, max_length=16), ["x", "y"])
        batch = {"text": tf.constant(["sun", "moon"])}, tf.constant([0, 1])
        trainer = kf.training.Trainer(task, kf.training.adamw(1e-3))
        trainer.fit(tf.data.Dataset.from_tensors(batch), epochs=1, checkpoint_folder=tmp_path)

    fit(["sun", "moon"])
    fit(["sun", "moon"])
    with pytest.raises(InputError, match="another vocabulary"):
        fit(["moon", "sun"])


@pytest.mark.parametrize("damage", ["cut", "no_state", "not_json"])
def test_when_all_checkpoints_are_damaged(damage, tmp_path, capsys):
    make_trainer().fit(data(), checkpoint_folder=tmp_path)
    (path,) = list_checkpoints(tmp_path)
    weights, state = path / "weights.safetensors", path / "state.json"
    if damage == "cut":
        weights.write_bytes(weights.read_bytes()[:-3])
    elif damage == "no_state":
        state.unlink()
    else:
        state.write_text("{")
    with pytest.raises(InputError, match=r"All checkpoints in .* are damaged: delete the folder"):
        make_trainer().fit(data(), checkpoint_folder=tmp_path)
    assert f"passed over: {path}" in capsys.readouterr().err


def test_a_disk_that_is_full_loses_nothing(tmp_path):
    """The limit on a file's size stands for the disk; a process of its own, for the limit stays."""
    model = make_model()
    variables = {f"model/{v.path}": v for v in model.variables}
    save_checkpoint(tmp_path, 1, variables, {"place": 1})
    code = f"""
import resource, signal, sys
sys.path[:0] = {[str(pathlib.Path(file).parent) for file in (__file__, fresh.__file__)]!r}
import test_faults as t
from kerasformer.errors import one_line_errors
model = t.make_model(seed=2)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
with one_line_errors():
    t.save_checkpoint({str(tmp_path)!r}, 2, {{f"model/{{v.path}}": v for v in model.variables}}, {{}})
"""
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert process.returncode == 1
    assert process.stderr.strip().splitlines()[-1].startswith("error: ")
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]
    assert restore_latest(tmp_path, variables)[:2] == (1, {"place": 1})
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 100


def test_checkpoints_keep_every_dtype(tmp_path):
    values = [2.5, -0.0, 3e-30]
    variables = {
        f"model/{dtype}": keras.Variable(np.asarray(values), dtype=dtype, trainable=False)
        for dtype in ("float32", "float64", "float16", "bfloat16", "int64", "uint32", "bool")
    }
    expected = {name: keras.ops.convert_to_numpy(variable).copy() for name, variable in variables.items()}
    save_checkpoint(tmp_path, 7, variables, {})
    for variable in variables.values():
        variable.assign(keras.ops.zeros_like(variable))
    assert restore_latest(tmp_path, variables)[0] == 7
    for name, variable in variables.items():
        found = keras.ops.convert_to_numpy(variable)
        assert found.dtype == expected[name].dtype
        assert found.tobytes() == expected[name].tobytes(), name


def test_keras_callbacks_work_unchanged(tmp_path):
    class Stuck(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            logs["stuck"] = 1.0

    trainer = make_trainer(rate=0.08)
    callbacks = [
        Stuck(),
        keras.callbacks.CSVLogger(str(tmp_path / "log.csv")),
        keras.callbacks.ReduceLROnPlateau("stuck", mode="max", factor=0.5, patience=1),
        keras.callbacks.TensorBoard(str(tmp_path / "board")),
        keras.callbacks.ModelCheckpoint(str(tmp_path / "{epoch}.keras")),
        keras.callbacks.EarlyStopping("stuck", mode="max", patience=3),
        keras.callbacks.TerminateOnNaN(),
    ]
    history = trainer.fit(data(), data(), epochs=9, callbacks=callbacks)
    assert len(history.epoch) == 4
    rows = list(csv.DictReader(open(tmp_path / "log.csv")))  # noqa: SIM115
    assert [float(row["val_loss"]) for row in rows] == pytest.approx(history.history["val_loss"])
    assert float(trainer.optimizer.learning_rate) == pytest.approx(0.01)
    assert list((tmp_path / "board").rglob("events*"))
    again = keras.saving.load_model(tmp_path / "4.keras", compile=False)
    for one, two in zip(again.weights, trainer.model.weights, strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize(
    ("options", "told"),
    [({"microbatches": 0}, "microbatches=0"), ({"steps_per_call": 0}, "steps_per_call=0")],
)
def test_wrong_options_of_a_trainer(options, told):
    with pytest.raises(InputError, match=told):
        make_trainer(**options)


@pytest.mark.parametrize("how_long", [{"epochs": 0}, {"steps": 0}, {"checkpoint_every": 0}])
def test_wrong_lengths_of_a_training(how_long):
    with pytest.raises(InputError, match="must be 1 or more"):
        make_trainer().fit(data(), **how_long)


def test_steps_end_in_the_middle_of_an_epoch():
    trainer = make_trainer(steps_per_call=2)
    history = trainer.fit(data(), steps=7)
    assert int(trainer.optimizer.iterations) == 7
    assert history.epoch == [0, 1, 2]


def test_a_data_service_prepares_the_batches():
    process = fresh.Process("-m", "kerasformer.training.data_service", "--port", "0", piped=True)
    try:
        address = process.stdout.readline().split()[0]
        assert address.startswith("grpc://")
        expected, found = make_trainer(), make_trainer(data_service=address)
        expected.fit(data(), epochs=2)
        found.fit(data(), epochs=2)
        for one, two in zip(expected.model.weights, found.model.weights, strict=True):
            np.testing.assert_array_equal(one, two)
    finally:
        process.kill()
        process.wait()
