"""Trainings that are killed, or told to end, go on as if nothing had been."""

import json
import os
import pathlib
import random
import signal
import time

import fresh
import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasformer as kf
from kerasformer.errors import InputError
from kerasformer.training import checkpoints
from kerasformer.training.checkpoints import list_checkpoints, save_checkpoint
from kerasformer.training.curves import read_metrics

PROGRAM = pathlib.Path(__file__).with_name("resume_program.py")
STEPS = 32


def start(folder):
    folder.mkdir(exist_ok=True)
    return fresh.Process(PROGRAM, folder)


def steps(folder):
    """The steps made so far, those of killed runs too: `(number, loss)`, in the order of their making."""
    path = folder / "steps.txt"
    lines = path.read_text().splitlines() if path.exists() else []
    return [(int(line.split()[0]), line.split()[1]) for line in lines]


def kill_at(folder, step, number, delay=0.0):
    """Runs until `step` is made, then, some seconds later, sends signal `number`; returns exit code and errors."""
    # A killed run may have come further.
    before = len(steps(folder))
    process = start(folder)
    while not any(made >= step for made, _ in steps(folder)[before:]) and process.poll() is None:
        time.sleep(0.005)
    time.sleep(delay)
    process.send_signal(number)
    _, errors = process.communicate(timeout=120)
    return process.returncode, errors


def finish(folder):
    process = start(folder)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors[-3000:]
    return dict(np.load(folder / "weights.npz"))


def equal_to_the_last_bit(one, two):
    return one.keys() == two.keys() and all(np.array_equal(one[name], two[name]) for name in one)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    return finish(folder), steps(folder), read_metrics(folder / "metrics.jsonl")


def check_against(undisturbed, folder, weights):
    expected, expected_steps, expected_metrics = undisturbed
    assert equal_to_the_last_bit(weights, expected)
    # The run that the final weights descend from: of each step the last time that it was made.
    assert sorted(dict(steps(folder)).items()) == expected_steps
    # Times differ.
    found = read_metrics(folder / "metrics.jsonl")
    for rows in (found, expected_metrics):
        for row in rows:
            row.pop("seconds", None)
            row.pop("tokens_per_second", None)
    assert found == expected_metrics
    assert (folder / "curves.png").stat().st_size > 1000


def check_files(folder):
    """Whole checkpoints of steps that were due, and at most a scratch folder that the kill left."""
    names = sorted(os.listdir(folder)) if folder.exists() else []
    whole = [name for name in names if name.startswith("step-")]
    assert all(name in whole or name.startswith(".step-") for name in names)
    for name in whole:
        description = json.loads((folder / name / "state.json").read_text())
        assert description["step"] % 3 == 0 or description["step"] % 8 == 0
        assert {name.split("/")[0] for name in description["arrays"]} >= {"model", "optimizer"}
        assert any("seed" in name for name in description["arrays"])


def test_the_undisturbed_run_makes_every_step_once(undisturbed):
    assert [number for number, _ in undisturbed[1]] == list(range(1, STEPS + 1))


def test_killed_runs_end_with_the_weights_of_the_undisturbed_one(undisturbed, tmp_path):
    """By SIGKILL twice here, ten times by `benchmarks/kill_and_resume.py`; then by SIGTERM, which is answered."""
    folder, chance = tmp_path / "run", random.Random(11)
    for low, high in ((2, 9), (12, 18)):
        code, errors = kill_at(folder, chance.randint(low, high), signal.SIGKILL, chance.random() * 0.02)
        assert code == -signal.SIGKILL, errors[-3000:]
        check_files(folder / "checkpoints")
    code, errors = kill_at(folder, 21, signal.SIGTERM)
    assert code == 143
    last = steps(folder)[-1][0]
    assert f"stopped by SIGTERM after step {last}: saved in {folder}/checkpoints" in errors
    assert "Traceback" not in errors
    assert json.loads((folder / "checkpoints" / f"step-{last:08d}" / "state.json").read_text())["passing"]

    # What was damaged meanwhile is named, and the checkpoint before it taken.
    path = folder / "checkpoints" / f"step-{last:08d}" / "weights.safetensors"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    process = start(folder)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors[-2000:]
    assert f"passed over: {path} is damaged" in errors
    check_against(undisturbed, folder, dict(np.load(folder / "weights.npz")))

    # A run that is over already is not made again, and gives the same.
    made = len(steps(folder))
    (folder / "weights.npz").unlink()
    assert equal_to_the_last_bit(finish(folder), undisturbed[0])
    assert len(steps(folder)) == made
    assert len(list((folder / "checkpoints").glob("step-*"))) == 3  # beside what a kill may have left


class Interrupted(Exception):
    pass


def recording(rates, interrupted_after=None):
    """A callback that notes the learning rate of each step in a list, and may interrupt the training."""

    class Recording(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            rates.append(float(self.model.optimizer.learning_rate))
            if len(rates) == interrupted_after:
                raise Interrupted

    return Recording()


def test_resumes_with_other_epochs_and_rate(tmp_path):
    def fit(epochs, rate, callback, **options):
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")])
        schedule = kf.training.linear_warmup(rate, 4 * epochs, warmup=0)
        trainer = kf.training.Trainer(
            (model, lambda y, p: (tf.reduce_sum((p[:, 0] - y) ** 2), 4.0)), keras.optimizers.SGD(schedule)
        )
        data = tf.data.Dataset.from_tensor_slices((np.eye(2, dtype="float32").repeat(8, 0), np.zeros(16, "float32")))
        trainer.fit(
            lambda epoch: data.batch(4),
            epochs=epochs,
            callbacks=[callback],
            checkpoint_folder=tmp_path / "checkpoints",
            checkpoint_every=1,
            settings={"epochs": epochs, "rate": rate},
            **options,
        )
        return schedule

    with pytest.raises(InputError, match="No checkpoints in"):
        fit(2, 0.1, recording([]), resume_with=["epochs"])
    with pytest.raises(Interrupted):
        fit(2, 0.1, recording([], 3))
    with pytest.raises(InputError, match=r"epochs was 2, now 3.*`resume_with`"):
        fit(3, 0.1, recording([]))
    with pytest.raises(InputError, match=r"rate was 0.1, now 0.2"):
        fit(3, 0.2, recording([]), resume_with=["epochs"])
    rates = []
    schedule = fit(3, 0.2, recording(rates), resume_with=["epochs", "rate"])
    # Of the twelve steps the last complete checkpoint has two or three.
    np.testing.assert_allclose(rates, [float(schedule(step)) for step in range(13 - len(rates), 13)], rtol=1e-6)
    assert len(rates) in (9, 10)
    # Fewer epochs than it already has end it at once.
    rates.clear()
    fit(1, 0.2, recording(rates), resume_with=["epochs"])
    assert rates == []


def test_an_old_checkpoint_is_never_left_half_removed(tmp_path, monkeypatch):
    variables = {"model/0000/v": keras.Variable(np.ones(2, "float32"))}

    def killed(path, ignore_errors=False):
        if os.path.exists(path):
            os.unlink(os.path.join(path, "state.json"))
            raise Interrupted

    save_checkpoint(tmp_path, 1, variables, {}, keep=1)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints.shutil, "rmtree", killed)
        with pytest.raises(Interrupted):
            save_checkpoint(tmp_path, 2, variables, {}, keep=1)
    assert [path.name for path in list_checkpoints(tmp_path)] == ["step-00000002"]
    save_checkpoint(tmp_path, 3, variables, {}, keep=1)
    assert os.listdir(tmp_path) == ["step-00000003"]
