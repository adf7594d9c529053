"""The progress of a training, on a terminal and elsewhere."""

import pathlib
import re

import fresh
import pytest
from rich.console import Console
from terminal import run_in_terminal

from kerasformer.training import ProgressBar

PROGRAM = pathlib.Path(__file__).with_name("progress_program.py")


@pytest.mark.parametrize("length", ["known", "unknown"])
def test_the_bar_moves_on_a_terminal_from_the_first_batch_on(length):
    code, shown, _ = run_in_terminal(PROGRAM, length)
    assert code == 0, shown[-2000:]
    assert "Traceback" not in shown
    # Epochs of 2, 3 and 4 steps, each with its own total.
    for epoch, steps in ((1, 2), (2, 3), (3, 4)):
        total = f"/{steps}" if length == "known" else ""
        of_epoch = shown[shown.index(f"epoch {epoch}/3") :]
        assert re.search(rf"(?<![\d/.])1{total}  loss", of_epoch), "the first batch"
        assert len(re.findall(rf"epoch {epoch}/3  loss \d.*val_loss", shown)) == 1
    assert "\x1b[2K" in shown, "a line that is drawn again"
    # Labels in brackets are text, not markup.
    assert all(label in shown for label in ("[/b] results", "[/i]", "[red]"))


@pytest.mark.parametrize("where", ["file", "dumb terminal"])
def test_plain_lines_without_cursor_control(where):
    if where == "file":
        done = fresh.run(PROGRAM)
        code, shown = done.returncode, done.stderr
    else:
        code, shown, _ = run_in_terminal(PROGRAM, env={"TERM": "dumb"})
    assert code == 0, shown[-2000:]
    assert "\x1b[" not in shown
    lines = [line for line in shown.splitlines() if "epoch" in line]
    assert lines[0].startswith("training: 3 epochs of 2 steps")
    assert re.match(r"epoch 1/3  step 1/2  loss \d", lines[1])
    assert [line[:9] for line in lines[2:] if "val_loss" in line] == ["epoch 1/3", "epoch 2/3", "epoch 3/3"]


def test_what_is_drawn_is_no_state_of_a_checkpoint():
    from kerasformer.training.callback_state import callback_states

    bar = ProgressBar(Console(force_terminal=False, quiet=True))
    bar.set_params({"epochs": 1, "steps": 2})
    bar.on_train_begin()
    bar.on_epoch_begin(0)
    bar.on_train_batch_end(0, {"loss": 1.0})
    assert callback_states([bar])[0] == [{"class": "ProgressBar", "values": {"_bar": None}}]
