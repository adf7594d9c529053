"""Progress of a training on the terminal."""

import sys
import time
import types

import keras
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from kerasformer.training.cluster import is_chief

# Seconds between two lines where the output is no terminal.
_SECONDS_BETWEEN_LINES = 10.0


class ProgressBar(keras.callbacks.Callback):
    """Shows the step, loss, learning rate, tokens per second and the time left, from the first batch on.

    On a terminal it draws a moving bar. Elsewhere (a file, a pipe, a terminal without cursor control) it prints plain
    lines: one for the first batch, one every ten seconds, and one per epoch.

    Args:
        console: `rich.console.Console` to draw on; by default standard error. Of several workers only the chief draws.
    """

    def __init__(self, console=None):
        super().__init__()
        self.console = console or Console(file=sys.stderr, quiet=not is_chief())
        self._bar = None
        # Not among the plain attributes, which a checkpoint keeps: a resumed run may have another terminal and clock.
        self._now = types.SimpleNamespace(epoch=0, start=0.0, tokens=0.0, row=0, last_line=0.0, is_moving=False)

    def on_train_begin(self, logs=None):
        steps, epochs = self.params["steps"], self.params["epochs"]
        length = "of unknown length" if steps is None else f"of {steps:,} steps" if steps > 1 else "of 1 step"
        self._say(
            f"training: {epochs} {'epoch' if epochs == 1 else 'epochs'} {length}; the first step also builds the graph"
        )
        self._now.is_moving = self.console.is_terminal and not self.console.is_dumb_terminal
        self._now.last_line = -float("inf")

    def on_epoch_begin(self, epoch, logs=None):
        self._now.epoch, self._now.start, self._now.tokens = epoch + 1, time.perf_counter(), 0.0
        if not self._now.is_moving:
            return
        if self._bar is None:
            # Begun here and not with the training, so that an error in another callback leaves no live display behind.
            self._bar = Progress(
                TextColumn("epoch {task.fields[epoch]}"),
                BarColumn(),
                TextColumn("{task.description}"),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                console=self.console,
                transient=True,
            )
            self._now.row = self._bar.add_task("", total=None, epoch="")
            self._bar.start()
        # `reset` replaces all fields of the row: each of them is given again.
        self._bar.reset(
            self._now.row,
            total=self.params["steps"],
            description="starting",
            epoch=f"{epoch + 1}/{self.params['epochs']}",
        )

    def on_train_batch_end(self, batch, logs=None):
        logs = logs or {}
        self._now.tokens += logs.get("tokens", 0.0)
        now = time.perf_counter()
        steps = self.params["steps"]
        shown = f"{batch + 1}" if steps is None else f"{batch + 1}/{steps}"
        shown += f"  loss {logs.get('loss', float('nan')):.4f}  rate {logs.get('learning_rate', 0.0):.1e}"
        shown += f"  {self._now.tokens / max(now - self._now.start, 1e-9):,.0f} tokens/s"
        if self._bar is not None:
            # The first batch is drawn at once: an epoch may be over before the display's next turn.
            self._bar.update(self._now.row, completed=batch + 1, description=shown, refresh=batch == 0)
        elif now - self._now.last_line >= _SECONDS_BETWEEN_LINES:
            self._now.last_line = now
            self._say(f"epoch {self._now.epoch}/{self.params['epochs']}  step {shown}")

    def on_test_begin(self, logs=None):
        if self._bar is not None:
            self._bar.update(self._now.row, description="validation")

    def on_epoch_end(self, epoch, logs=None):
        shown = "  ".join(f"{name} {value:.4g}" for name, value in (logs or {}).items())
        self._say(f"epoch {epoch + 1}/{self.params['epochs']}  {shown}")

    def on_train_end(self, logs=None):
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _say(self, line):
        self.console.print(escape(line), highlight=False, soft_wrap=True)
