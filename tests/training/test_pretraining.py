"""Pretraining on two workers, one of which is killed on the way, gives the weights of one undisturbed device."""

import pathlib

import fresh
import numpy as np

PROGRAM = pathlib.Path(__file__).with_name("pretraining_program.py")
LAUNCH = pathlib.Path(fresh.__file__).with_name("forked_launch.py")


def test_killed_workers_end_as_one_undisturbed(tmp_path):
    random = np.random.default_rng(0)
    words = [f"w{n}" for n in range(50)]
    documents = [
        "\n".join(" ".join(random.choice(words, random.integers(3, 12))) + " ." for _ in range(6)) for _ in range(40)
    ]
    text = tmp_path / "text.txt"
    text.write_text("\n\n".join(documents))
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    one = fresh.run(PROGRAM, tmp_path / "one", text)
    assert one.returncode == 0, one.stderr[-3000:]
    workers = [LAUNCH, "--workers", "2", PROGRAM, tmp_path / "two", text]
    killed = fresh.run_script(*workers, "11")
    assert killed.returncode != 0
    assert not (tmp_path / "two" / "weights.npz").exists()
    steps = sorted(path.name for path in (tmp_path / "two" / "checkpoints").glob("step-*"))
    assert steps[-1:] == ["step-00000009"], (steps, killed.stderr[-3000:])
    finished = fresh.run_script(*workers)
    assert finished.returncode == 0, finished.stderr[-3000:]
    expected, found = (np.load(tmp_path / name / "weights.npz") for name in ("one", "two"))
    assert len(expected.files) > 20
    for name in expected.files:
        np.testing.assert_allclose(found[name], expected[name], rtol=0, atol=1e-5)
