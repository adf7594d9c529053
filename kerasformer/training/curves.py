"""What a training went through, as lines of JSON and as a picture."""

import json
import pathlib
import sys

import keras

from kerasformer.errors import InputError
from kerasformer.extras import require
from kerasformer.files import local_path
from kerasformer.training.cluster import is_chief


class MetricsLog(keras.callbacks.Callback):
    """Writes `metrics.jsonl` while training, and `curves.png` from it at the end.

    A line every so many steps (`step`, `loss`, `learning_rate`), and one an epoch with all its metrics. A training that
    resumes after it was killed drops the lines of the steps that it repeats.

    Args:
        folder: where both go.
        every: steps between two lines.
    """

    def __init__(self, folder, every=50):
        super().__init__()
        self._path = local_path(folder, "folder") / "metrics.jsonl"
        self._every = every

    def on_train_begin(self, logs=None):
        self.steps_seen = int(keras.ops.convert_to_numpy(self.model.optimizer.iterations))
        if is_chief():
            self._path.parent.mkdir(parents=True, exist_ok=True)
            kept = [row for row in read_metrics(self._path) if row["step"] <= self.steps_seen]
            self._path.write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")

    def on_train_batch_begin(self, batch, logs=None):
        self._first = batch

    def on_train_batch_end(self, batch, logs=None):
        before = self.steps_seen
        # One call may make several steps.
        self.steps_seen += batch + 1 - self._first
        if self.steps_seen // self._every > before // self._every:
            self._write({"step": self.steps_seen, "loss": logs["loss"], "learning_rate": logs["learning_rate"]})

    def on_epoch_end(self, epoch, logs=None):
        numbers = {name: float(value) for name, value in (logs or {}).items()}
        self._write({"step": self.steps_seen, "epoch": epoch + 1, **numbers})

    def on_train_end(self, logs=None):
        if is_chief() and self._path.is_file():
            try:
                draw_curves(self._path.parent)
            except InputError as error:  # matplotlib is not installed; the training is not lost for it
                print(error, file=sys.stderr)

    def _write(self, row):
        if is_chief():
            with open(self._path, "a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")


def read_metrics(path):
    """The rows of a `metrics.jsonl`, except for an incomplete last one; none where there is no such file."""
    rows = []
    if pathlib.Path(path).is_file():
        for line in pathlib.Path(path).read_text(encoding="utf-8").splitlines():
            try:
                rows.append(json.loads(line))
            except ValueError:
                break
    return rows


def draw_curves(folder):
    """Draws `folder/curves.png` from `folder/metrics.jsonl`: losses, metrics of the validation, and learning rate.

    Metrics between -1 and 1, such as shares and correlations, have an axis in common. So have the others, such as
    perplexities, a logarithmic one if all of them are positive.

    Raises:
        InputError: matplotlib is not installed.
    """
    canvas = require("matplotlib.backends.backend_agg", "recipes", "Drawing curves.png").FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = read_metrics(pathlib.Path(folder) / "metrics.jsonl")
    steps, epochs = [row for row in rows if "epoch" not in row], [row for row in rows if "epoch" in row]
    metrics = sorted({name for row in epochs for name in row if name.startswith("val_") and name != "val_loss"})
    small = [name for name in metrics if all(-1 <= row.get(name, 0) <= 1 for row in epochs)]
    large = [name for name in metrics if name not in small]
    is_log = all(row.get(name, 1) > 0 for row in epochs for name in large)
    panels = {"loss": [(steps, "loss", "training"), (epochs, "loss", "training, epoch")]}
    panels["loss"].append((epochs, "val_loss", "validation"))
    for title, names in (("validation", small), ("validation, logarithmic" if is_log else "validation, large", large)):
        if names:
            panels[title] = [(epochs, name, name.removeprefix("val_")) for name in names]
    panels["learning rate"] = [(steps, "learning_rate", None)]
    figure = Figure(figsize=(4 * len(panels), 3.6), layout="constrained")
    canvas(figure)
    for axes, (title, lines) in zip(figure.subplots(1, len(panels)), panels.items(), strict=True):
        for line in lines:
            _plot(axes, *line, alpha=0.5 if line[2] == "training" else 1)
        if title.endswith("logarithmic"):
            axes.set_yscale("log")
        axes.set_title(title)
        axes.set_xlabel("step")
        axes.grid(alpha=0.3, which="both")
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize=8)
    figure.savefig(pathlib.Path(folder) / "curves.png", dpi=100)


def _plot(axes, rows, name, label, **style):
    points = [(row["step"], row[name]) for row in rows if name in row]
    if points:
        axes.plot(*zip(*points, strict=True), marker="o" if len(points) < 30 else None, ms=3, label=label, **style)
