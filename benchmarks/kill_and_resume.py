"""Kills a training with SIGKILL again and again at random moments, resumes it, and compares the weights bit for bit.

python -m benchmarks.kill_and_resume --kills 10
"""

import random
import signal
import sys
import tempfile
from pathlib import Path

import numpy as np
import tyro

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "training"))

from test_resume import STEPS, finish, kill_at, steps


def main(kills: int = 10, seed: int = 0) -> None:
    """Prints each kill, and whether the final weights and the losses of all steps are those of the undisturbed run.

    Args:
        kills: how often, at growing random steps.
        seed: of the moments.
    """
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        undisturbed, killed = Path(folder) / "undisturbed", Path(folder) / "killed"
        expected = finish(undisturbed)
        for step in sorted(chance.sample(range(1, STEPS), kills)):
            kill_at(killed, step, signal.SIGKILL, chance.random() * 0.05)
            print(f"killed after step {steps(killed)[-1][0]}", flush=True)
        found = finish(killed)
        equal = all(np.array_equal(expected[name], found[name]) for name in expected)
        same_steps = sorted(dict(steps(killed)).items()) == steps(undisturbed)
        print(f"{len(steps(killed))} steps made for {STEPS}")
        print(f"weights equal bit for bit: {equal}; every step's loss that of the undisturbed run: {same_steps}")
    if not (equal and same_steps):
        raise SystemExit(1)


if __name__ == "__main__":
    tyro.cli(main)
