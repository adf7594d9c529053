"""The picture of a training: which panels it has."""

import json

import matplotlib.figure
import pytest

from kerasformer.training.curves import draw_curves

ROWS = [{"step": step, "loss": 3.0 - step / 10, "learning_rate": 0.1} for step in (1, 2)]
EPOCHS = [{"step": 2, "epoch": 1, "loss": 2.9, "val_loss": 2.8}, {"step": 4, "epoch": 2, "loss": 2.7, "val_loss": 2.6}]


@pytest.mark.parametrize(
    ("metrics", "panels"),
    [
        ({}, ["loss", "learning rate"]),
        ({"val_accuracy": [0.5, 1.0]}, ["loss", "validation", "learning rate"]),
        ({"val_perplexity": [30.0, 4.0]}, ["loss", "validation, logarithmic", "learning rate"]),
        ({"val_spearman": [-0.2, 0.4]}, ["loss", "validation", "learning rate"]),
        ({"val_rouge1": [0.0, 30.0]}, ["loss", "validation, large", "learning rate"]),
        (
            {"val_perplexity": [30.0, 0.9], "val_accuracy": [0, 1], "val_f1": [0.1, 0.2]},
            ["loss", "validation", "validation, logarithmic", "learning rate"],
        ),
    ],
)
def test_a_panel_for_each_kind_of_metric(metrics, panels, tmp_path, monkeypatch):
    figures = []
    saved = matplotlib.figure.Figure.savefig
    monkeypatch.setattr(
        matplotlib.figure.Figure,
        "savefig",
        lambda figure, *rest, **more: figures.append(figure) or saved(figure, *rest, **more),
    )
    epochs = [row | {name: values[place] for name, values in metrics.items()} for place, row in enumerate(EPOCHS)]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in [*ROWS, *epochs]))
    draw_curves(tmp_path)
    (figure,) = figures
    assert [axes.get_title() for axes in figure.axes] == panels
    drawn = {line.get_label(): list(line.get_ydata()) for axes in figure.axes for line in axes.lines}
    assert drawn["training"] == [2.9, 2.8]
    assert drawn["validation"] == [2.8, 2.6]
    for name, values in metrics.items():
        assert drawn[name.removeprefix("val_")] == values
    assert [axes.get_yscale() for axes in figure.axes] == ["log" if "log" in title else "linear" for title in panels]
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
