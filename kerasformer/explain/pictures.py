"""PNG pictures of an explanation and of a report's curves, by matplotlib."""

import os

import numpy as np

from kerasformer.explain.coloring import AGAINST, FOR, STRONGEST
from kerasformer.extras import require
from kerasformer.files import local_path


def draw_explanation(explanation, path: str | os.PathLike) -> None:
    """Writes a picture of an explanation: a bar a word, blue for what speaks for the answer, orange for what speaks
    against it.

    Args:
        explanation: an `Explanation`.
        path: of the file, `.png`.

    Raises:
        InputError: matplotlib is not installed.
    """
    figure = _figure("Drawing an explanation", 6, 1 + 0.26 * max(len(explanation.words), 1))
    axes = figure.subplots()
    values, places = np.asarray(explanation.attributions), np.arange(len(explanation.words))
    axes.barh(places, values, color=[_colour(FOR if value >= 0 else AGAINST) for value in values])
    # Words are no formulas.
    axes.set_yticks(places, [word.replace("$", r"\$") for word in explanation.words])
    axes.invert_yaxis()
    axes.axvline(0, color="gray", linewidth=0.8)
    axes.set_title(f"{explanation.label} {explanation.score:.3f} ({explanation.method})".strip().replace("$", r"\$"))
    axes.set_xlabel("speaks against it ← attribution → speaks for it")
    figure.savefig(local_path(path, "path"), format="png", dpi=120)


def draw_curves(report, path: str | os.PathLike) -> None:
    """Writes a picture of the calibration and of the faithfulness of a report.

    Args:
        report: what `make_report` returned.
        path: of the file, `.png`.

    Raises:
        InputError: matplotlib is not installed.
    """
    figure = _figure("Drawing the curves of a report", 9, 4)
    curve, bars = figure.subplots(1, 2)
    curve.plot([0, 1], [0, 1], color="gray", linestyle="--", linewidth=1)
    if report.calibration is not None:
        rows = report.calibration.rows
        curve.plot([row.confidence for row in rows], [row.accuracy for row in rows], marker="o", color=_colour(FOR))
        curve.set_title(f"calibration error {report.calibration.error:.3f}")
    curve.set(xlabel="probability", ylabel="right", xlim=(0, 1), ylim=(0, 1.02))
    names = [row.method for row in report.compared]
    for number, (name, colour) in enumerate([("comprehensiveness", FOR), ("sufficiency", AGAINST)]):
        figures = [row.faithfulness.figure(name) for row in report.compared]
        values = np.array([each.value for each in figures])
        errors = np.array([[each.value - each.low, each.high - each.value] for each in figures]).reshape(-1, 2).T
        places = np.arange(len(names)) + 0.4 * number
        bars.barh(places, values, 0.38, xerr=errors, color=_colour(colour), label=name, ecolor="gray")
    bars.set_yticks(np.arange(len(names)) + 0.2, names)
    bars.invert_yaxis()
    bars.set(xlim=(0, 1), title="faithfulness, normalized")
    if names:
        bars.legend(loc="upper center", bbox_to_anchor=(0.5, -0.1), ncol=2, frameon=False)
    figure.savefig(local_path(path, "path"), format="png", dpi=120)


def _figure(purpose, width, height):
    # No global state, and no window: a figure of its own.
    return require("matplotlib.figure", "explain", purpose).Figure(figsize=(width, height), layout="constrained")


def _colour(parts):
    return (*[int(part) / 255 for part in parts.split(",")], STRONGEST + 0.25)
