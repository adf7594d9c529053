"""The model card of a published version: what was measured, and what was not.

    MODEL_CARD.md             for people
    assets.extra/card.json    the same for programs

TensorFlow Serving reads neither.
"""

import dataclasses
import datetime
import json
import pathlib
import platform

import numpy as np
import tensorflow as tf

from kerasformer import __version__
from kerasformer.data import Examples
from kerasformer.explain import Outcomes, calibration
from kerasformer.explain.outcomes import predicted
from kerasformer.serving.precision import metrics_in
from kerasformer.tasks import TextClassifier

CARD, PAGE = "assets.extra/card.json", "MODEL_CARD.md"


def measured_figures(task, precision, plan, data, metrics=None):
    """The metrics of a task in the precision that is published; of a classifier with intervals and calibration.

    Args:
        task, precision: as in `publish`; plan: of `plan_for`.
        data: batches of labelled examples.
        metrics: those of the data in this precision, or None where they are unknown.

    Returns:
        `{"texts": number of examples or None, "figures": {name: {"value", "low", "high"}}, "calibration": … or None}`;
        without "low" and "high" where no interval was computed.
    """
    if not isinstance(task, TextClassifier):
        found = metrics or metrics_in(task, precision, plan, data)
        return {
            "texts": None,
            "figures": {name: {"value": value} for name, value in found.items()},
            "calibration": None,
        }
    kept, listening = [], task.replace()

    def evaluate_outputs(targets, outputs):
        kept[:] = [targets["labels"] if isinstance(targets, dict) else targets, outputs["logits"]]
        return task.evaluate_outputs(targets, outputs)

    listening.evaluate_outputs = evaluate_outputs
    metrics = metrics_in(listening, precision, plan, data)
    targets, logits = kept
    answers = task.answer({"logits": tf.constant(logits)})
    scores = answers["score" if task.is_regression else "scores"].numpy()
    examples = Examples(np.full(len(scores), "", object), None, np.asarray(targets), task.label_names, "")
    found = Outcomes(examples, scores, predicted(task, scores), task.label_names)
    figures = {name: {"value": value} for name, value in metrics.items()}
    for name, figure in found.figures().items():
        bounds = {"low": figure.low, "high": figure.high} if len(found) > 1 else {}
        figures[name] = {"value": figure.value, **bounds}
    described = None
    if not task.is_regression:
        curve = calibration(found)
        described = {
            "expected_calibration_error": curve.error,
            "bins": [dataclasses.asdict(row) for row in curve.rows],
        }
    return {"texts": len(scores), "figures": figures, "calibration": described}


def card_of(task, folder, *, name, version, precision, report, figures, explanation, data_source, speed):
    """What is known of a version, as `card.json` has it; None for what was not measured.

    Args:
        task: what was exported.
        folder: with the export.
        name, version: of the model.
        precision: as in `publish`.
        report: what `check` returned.
        figures: of `measured_figures`, or None.
        explanation: of `measured_explanation`, or None where none is served.
        data_source: where the labelled examples are from, or None.
        speed: a `Measured`, or None.
    """
    settings = {key: value for key, value in dataclasses.asdict(task.settings).items() if _is_plain(value)}
    files = [path for path in pathlib.Path(folder).rglob("*") if path.is_file()]
    return {
        "model": name,
        "version": version,
        "published": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "made_with": {"kerasformer": __version__, "tensorflow": tf.__version__},
        "task": type(task).__name__,
        "settings": settings,
        "weights": int(sum(np.prod(weight.shape) for weight in task.model.weights)),
        "longest_input": getattr(task.tokenizer, "max_length", None),
        "precision": precision,
        "megabytes": round(sum(path.stat().st_size for path in files) / 1e6, 1),
        "oldest_server": report.oldest_server,
        "needs_onednn": report.needs_onednn,
        "signatures": report.signatures,
        "data": None if figures is None else {"source": data_source, "texts": figures["texts"]},
        "figures": None if figures is None else figures["figures"],
        "calibration": None if figures is None else figures["calibration"],
        "explanation": explanation,
        "speed": None
        if speed is None
        else {"one_text_ms": speed.single, "32_texts_ms": speed.batch, "machine": _processor()},
    }


def write_card(folder, card):
    """Writes both files into the folder of a version."""
    folder = pathlib.Path(folder)
    (folder / CARD).parent.mkdir(exist_ok=True)
    (folder / CARD).write_text(json.dumps(card, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    (folder / PAGE).write_text(page_of(card), encoding="utf-8")


def page_of(card) -> str:
    """A card as Markdown."""
    lines = [
        f"# {escaped(card['model'])}, version {card['version']}",
        "",
        f"A `{card['task']}` in {card['precision']}, published on {card['published']} with kerasformer "
        f"{card['made_with']['kerasformer']} and TensorFlow {card['made_with']['tensorflow']}.",
        "",
        *_table(
            ["", ""],
            [
                *[
                    [key, _shown(value)]
                    for key, value in card["settings"].items()
                    if value not in (None, False, "", [])
                ],
                ["weights", f"{card['weights']:,}"],
                ["longest input", f"{card['longest_input']} tokens" if card["longest_input"] else "not known"],
                ["size", f"{card['megabytes']} MB"],
                ["oldest TensorFlow Serving", card["oldest_server"]],
                ["processor", "x86, and TensorFlow with oneDNN" if card["needs_onednn"] else "any"],
            ],
        ),
        "",
        "## How good is it?",
        "",
        *_figures(card),
        "",
        "## How far can its probabilities be believed?",
        "",
        *_calibration(card),
        "",
        "## How fast is it?",
        "",
        *_speed(card),
        "",
        *_explanation(card),
        "## How to ask",
        "",
        "```sh",
        _curl(card),
        "```",
        "",
        *_table(
            ["signature", "in", "out"],
            [
                [
                    name,
                    *[
                        ", ".join(f"{key} {kind}" for key, kind in found[side].items())
                        for side in ("inputs", "outputs")
                    ],
                ]
                for name, found in sorted(card["signatures"].items())
            ],
        ),
    ]
    return "\n".join(lines) + "\n"


def _figures(card):
    if card["figures"] is None:
        return ["Not known: it was published without labelled examples (`--data F`)."]
    source, texts = card["data"]["source"], card["data"]["texts"]
    on = " ".join(
        filter(None, [f"on {texts:,} texts" if texts else "on labelled examples", f"of {source}" * bool(source)])
    )
    rows = [[name, f"{found['value']:.4f}", _interval(found)] for name, found in sorted(card["figures"].items())]
    return [
        f"Measured {escaped(on)}, in the precision of this version. Intervals are of the percentile bootstrap.",
        "",
        *_table(["", "value", "95 % interval"], rows),
        "",
        "Nothing is known of other texts than these.",
    ]


def _interval(found):
    return f"{found['low']:.4f} to {found['high']:.4f}" if "low" in found else "not computed"


def _calibration(card):
    if card["calibration"] is None:
        return ["Not known."]
    temperature = card["settings"].get("temperature", 1.0)
    rows = [
        [
            f"{row['low']:.2f} to {row['high']:.2f}",
            f"{row['count']:,}",
            f"{row['confidence']:.3f}",
            f"{row['accuracy']:.3f}",
        ]
        for row in card["calibration"]["bins"]
    ]
    return [
        f"Expected calibration error {card['calibration']['expected_calibration_error']:.4f} on the same texts, with a "
        f"temperature of {temperature:.3g}. The last two columns should be equal.",
        "",
        *_table(["probability", "answers", "mean probability", "right"], rows),
    ]


def _speed(card):
    if card["speed"] is None:
        return ["Not measured. `--precision auto` measures it."]
    speed = card["speed"]
    return [
        f"{speed['one_text_ms']:.1f} ms for one text and {speed['32_texts_ms']:.0f} ms for 32, the fastest of 7 calls "
        f"in one process, on {escaped(speed['machine'])}."
    ]


def _explanation(card):
    found = card["explanation"]
    if found is None:
        return []
    lines = [
        "## How are its answers explained?",
        "",
        f"The signature `explain` uses {found['method'].replace('_', ' ')}. An explanation takes as long as "
        f"{found['answers']:,.1f} answers, for texts of {found['words']:.0f} words.",
        "",
    ]
    if found["faithfulness"] is None:
        return [*lines, "Whether the explanations are true is not known.", ""]
    rows = [
        [
            name,
            f"{found['faithfulness'][name]['value']:.3f}",
            _interval(found["faithfulness"][name]),
            f"{above['value']:+.3f}",
            _interval(above),
        ]
        for name, above in found["faithfulness"]["over_random"].items()
    ]
    return [
        *lines,
        f"Are they true? Measured in float32 on the beginnings of {found['faithfulness']['texts']} texts of the same "
        "data, normalized: 1 is the best.",
        "",
        *_table(["", "value", "95 % interval", "above random words", "95 % interval"], rows),
        "",
    ]


def _curl(card):
    inputs = card["signatures"]["serving_default"]["inputs"]
    example = {name: ["A text."] if "," in kind else "A text." for name, kind in inputs.items()}
    instance = example if len(example) != 1 else next(iter(example.values()))
    body = json.dumps({"instances": [instance]})
    return f"curl -d '{body}' http://127.0.0.1:8501/v1/models/{card['model']}:predict"


def _table(head, rows):
    cells = [[escaped(str(cell)) for cell in row] for row in rows]
    return [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}", *[f"| {' | '.join(row)} |" for row in cells]]


def escaped(text):
    """A text within a line or a cell of Markdown, that starts no markup of its own."""
    text = " ".join(text.split())
    for sign in "\\|<>`[]*":
        text = text.replace(sign, f"\\{sign}")
    return text


def _shown(value):
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def _is_plain(value):
    try:
        json.dumps(value)
    except TypeError:
        return False
    return True


def _processor():
    """The name of this machine's processor, as far as the system says it."""
    try:
        for line in pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
