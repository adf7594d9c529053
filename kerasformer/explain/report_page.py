"""The report as one HTML file: no server, no other files, light and dark."""

import datetime
import os
import pathlib

from kerasformer import __version__
from kerasformer.explain.report import RANDOM, Report
from kerasformer.explain.report_style import SCRIPT, STYLE
from kerasformer.explain.report_tables import (
    calibration_curve,
    escaped,
    faithfulness_table,
    layers_curve,
    metric_name,
    parts_of_data,
)
from kerasformer.explain.report_texts import attention_by_head, legend, other_texts, words_by_label, wrong_answers
from kerasformer.files import local_path, written_file


def write_report(report: Report, path: str | os.PathLike) -> pathlib.Path:
    """Writes the page of a report, atomically.

    Args:
        report: what `make_report` returned.
        path: of a file, `.html`; an older one is replaced.

    Raises:
        OSError: it cannot be written.
    """
    target = local_path(path, "path")
    with written_file(target) as file:
        file.write(page_of(report))
    return target


def page_of(report: Report) -> str:
    """The page of a report, HTML."""
    sections = {
        "Most wrong": wrong_answers(report),
        "Words": words_by_label(report),
        "Where": parts_of_data(report),
        "Probabilities": calibration_curve(report),
        "Is it true?": faithfulness_table(report),
        "Layers": layers_curve(report),
        "Attention": attention_by_head(report),
        "More texts": other_texts(report),
        "How it was made": _made(report),
    }
    links = "".join(f'<a href="#s{place}">{title}</a>' for place, title in enumerate(sections))
    bodies = "".join(
        f'<section id="s{place}"><h2>{title}</h2>{body}</section>'
        for place, (title, body) in enumerate(sections.items())
    )
    title = f"{escaped(report.name)}: why it answers as it does"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{STYLE}</style></head><body>"
        f"<header><h1>{title}</h1><p>{_summary(report)}</p>{legend()}<nav>{links}</nav></header>"
        f"<main>{bodies}</main><script>{SCRIPT}</script></body></html>\n"
    )


def _summary(report):
    figures = ", ".join(f"{metric_name(name)} <b>{figure}</b>" for name, figure in report.figures.items())
    source = escaped(pathlib.Path(report.found.examples.source).name)
    return f"{len(report.found):,} labelled texts of {source}: {figures}. In brackets: 95 % intervals."


def _made(report):
    settings = [
        f"{len(report.found):,} texts of {escaped(pathlib.Path(report.found.examples.source).name)} were answered.",
        f"{report.explained:,} of them, drawn at random with the same seed each time, were explained by "
        f"{report.method}, and the wrong answers that are shown.",
        *(
            [f"Methods were compared on {report.compared_texts} of these, {RANDOM} attributions among them."]
            if report.compared
            else []
        ),
        *([f"Nearest training texts are of {escaped(pathlib.Path(report.training).name)}."] if report.training else []),
        "Intervals are of the percentile bootstrap, of 1,000 samples.",
        f"Made by kerasformer {__version__} on {datetime.datetime.now(datetime.UTC).date().isoformat()} in "
        f"{report.seconds:.0f} seconds.",
    ]
    return f"<ul>{''.join(f'<li>{line}</li>' for line in settings)}</ul>"
