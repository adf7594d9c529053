"""A progress bar for the terminal."""

import sys
import time

import keras
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from kerasformer.training.cluster import is_chief


class ProgressBar(keras.callbacks.Callback):
    """Shows loss, learning rate, tokens a second and the time left; one line an epoch where there is no terminal."""

    def __init__(self, console=None):
        super().__init__()
        # Of several workers one is enough.
        self.console = console or Console(file=sys.stderr, quiet=not is_chief())
        self._bar = None

    def on_train_begin(self, logs=None):
        self._bar = Progress(
            TextColumn("epoch {task.fields[epoch]}/{task.fields[epochs]}"),
            BarColumn(),
            TextColumn("{task.completed:.0f}/{task.total:.0f}  loss {task.fields[loss]:.4f}"),
            TextColumn("rate {task.fields[rate]:.1e}  {task.fields[speed]:.0f} tokens/s"),
            TimeRemainingColumn(),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        )
        self._row = self._bar.add_task(
            "", total=self.params["steps"], epoch=0, epochs=self.params["epochs"], loss=0.0, rate=0.0, speed=0.0
        )
        self._bar.start()

    def on_epoch_begin(self, epoch, logs=None):
        self._start, self._tokens = time.perf_counter(), 0.0
        self._bar.reset(self._row, epoch=epoch + 1)

    def on_train_batch_end(self, batch, logs=None):
        self._tokens += logs.get("tokens", 0.0)
        speed = self._tokens / max(time.perf_counter() - self._start, 1e-9)
        self._bar.update(
            self._row, completed=batch + 1, loss=logs["loss"], rate=logs.get("learning_rate", 0.0), speed=speed
        )

    def on_epoch_end(self, epoch, logs=None):
        shown = "  ".join(f"{name} {value:.4g}" for name, value in logs.items())
        self.console.print(f"epoch {epoch + 1}/{self.params['epochs']}  {shown}", highlight=False, soft_wrap=True)

    def on_train_end(self, logs=None):
        self._bar.stop()
