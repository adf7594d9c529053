"""The report's tables and curves, in HTML."""

import html

import numpy as np

from kerasformer.explain.charts import lines_svg, reliability_svg

NOT_FOR_THIS = "<p>Not for this task.</p>"


def parts_of_data(report):
    if not report.parts:
        return "<p>The data have too few texts to be split.</p>"
    names = list(report.figures)
    whole = report.figures[names[0]]
    head = "".join(f"<th>{metric_name(name)}</th>" for name in names)
    ends = [_ends(part.figures[names[0]]) for part in report.parts]
    low, high = min(end[0] for end in ends), max(end[1] for end in ends)
    rows, kind = [], None
    for part in report.parts:
        if part.kind != kind:
            kind = part.kind
            rows.append(f'<tr class="kind"><th colspan="{len(names) + 3}">{kind}</th></tr>')
        figure = part.figures[names[0]]
        cells = "".join(f"<td>{figure_cell(part.figures[name]) if name in part.figures else ''}</td>" for name in names)
        line = _whisker(figure, whole, low, high)
        rows.append(f"<tr><td>{escaped(part.name)}</td><td>{part.count:,}</td><td>{line}</td>{cells}</tr>")
    return (
        f"<p>{metric_name(names[0]).capitalize()} by part of the data, with 95 % intervals. The dashed line is that of "
        "all texts. A part differs for sure only where its interval is far from that line.</p>"
        f'<div class="wide"><table><thead><tr><th>part</th><th>texts</th><th></th>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
        "<p><small>Length: quarters of the data, by characters. Script: that of most letters; languages are not "
        "recognized. Negation: one of the English words no, not, never, none, nothing and the like, or n't. Emoji: "
        "characters of Unicode's blocks of pictures; :-) is none. Label: what people say. Parts of fewer than 10 texts "
        "are left out.</small></p>"
    )


def _whisker(figure, whole, low, high):
    """The interval of a figure as a line, between the lowest and the highest of all; dashed that of all texts."""
    x = lambda value: 4 + 136 * (value - low) / max(high - low, 1e-9)  # noqa: E731
    first, last = _ends(figure)
    return (
        '<svg class="whisker" viewBox="0 0 144 12" aria-hidden="true">'
        f'<line class="even" x1="{x(whole.value):.1f}" y1="0" x2="{x(whole.value):.1f}" y2="12"/>'
        f'<line class="curve" x1="{x(first):.1f}" y1="6" x2="{x(last):.1f}" y2="6"/>'
        f'<circle class="dot" cx="{x(figure.value):.1f}" cy="6" r="3.5"/></svg>'
    )


def _ends(figure):
    return (figure.low, figure.high) if np.isfinite(figure.low) else (figure.value, figure.value)


def calibration_curve(report):
    found = report.calibration
    if found is None:
        return NOT_FOR_THIS
    svg = reliability_svg(found.rows, "reliability curve: how often answers of each probability are right")
    verdict = "surer than it should be" if found.temperature > 1 else "less sure than it could be"
    if 0.95 < found.temperature < 1.05:
        verdict = "about as sure as it should be"
    factor = found.temperature * report.task.temperature
    rows = "".join(
        f"<tr><td>{row.low:.2f} to {row.high:.2f}</td><td>{row.count:,}</td><td>{row.confidence:.3f}</td>"
        f"<td>{row.accuracy:.3f}</td></tr>"
        for row in found.rows
    )
    return (
        f'<div class="columns"><figure>{svg}<figcaption>Of the answers with some probability, the share that is right. '
        "On the dashed line both are equal. Circles are as large as their number of answers.</figcaption></figure><div>"
        f"<p>The model is <b>{verdict}</b>. Expected calibration error, in 15 bins: <b>{found.error:.3f}</b>. With a "
        f"temperature fitted on the other half of these texts it is <b>{found.calibrated:.3f}</b>.</p>"
        f"<p>The temperature that fits all of them is {factor:.2f}: <code>kerasformer publish … --setting "
        f"temperature={factor:.2f}</code>. Labels stay the same.</p><table><thead><tr><th>probability</th><th>answers"
        f"</th><th>mean</th><th>right</th></tr></thead><tbody>{rows}</tbody></table></div></div>"
    )


def faithfulness_table(report):
    if not report.compared:
        return NOT_FOR_THIS
    counted = len(report.compared[0].faithfulness.texts)
    rows = []
    for row in report.compared:
        cells = [f"<b>{row.method}</b>" if row.method == report.method else row.method]
        for name in ("comprehensiveness", "sufficiency"):
            cells.append(figure_cell(row.faithfulness.figure(name)))
            cells.append("" if row.over_random is None else figure_cell(row.over_random[name], sign="+"))
        if row.stability is None:
            cells += ["", ""]
        else:
            cells += [
                f"{row.stability.repeated:.1e}",
                figure_cell(row.stability.changed) if row.stability.changed else "",
            ]
        cells.append("" if row.milliseconds is None else f"{row.milliseconds:.0f}")
        rows.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    left = "".join(f"<li>{escaped(method)} is left out: {escaped(why)}</li>" for method, why in report.left_out.items())
    return (
        "<p>The words with the highest attributions are taken out of a text, and the model is asked again. If they are "
        "what counts, the probability falls: <b>comprehensiveness</b>. Then nothing but them is kept. If they are "
        "enough, it stays: <b>sufficiency</b>. Both from 0 to 1, the mean over 1, 5, 10, 20 and 50 % of the words, "
        f"divided by the fall for the empty text. Over {counted} of {report.compared_texts} texts: those for which "
        "the empty text lowers the probability by at least 0.05. In brackets: 95 % intervals.</p>"
        '<div class="wide"><table><thead><tr><th>method</th><th>comprehensiveness</th><th>over random</th>'
        "<th>sufficiency</th><th>over random</th><th>repeated</th><th>word taken away</th><th>ms a text</th></tr>"
        f"</thead><tbody>{''.join(rows)}</tbody></table></div>{f'<ul>{left}</ul>' if left else ''}"
        "<p><small>Repeated: the largest difference between two explanations of the same text in other batches, over "
        "its largest attribution. Word taken away: the rank correlation of the other words' attributions when the "
        f"word that changes the answer least is gone, over {min(report.compared_texts, 50)} texts. Times are of this "
        f"machine and of explaining {report.compared_texts} texts in batches, without the first call.</small></p>"
    )


def layers_curve(report):
    if report.layers is None:
        return NOT_FOR_THIS
    if report.task.is_regression or report.task.multi_label:
        final = report.layers[-1]
        lines = {"mean distance from the last layer": np.abs(report.layers - final).mean((1, 2))}
        if report.task.is_regression:
            lines = {name: values / max(values.max(), 1e-9) for name, values in lines.items()}
        along = "distance"
    else:
        given = report.layers.argmax(-1)
        lines = {
            "right": (given == report.layer_targets).mean(1),
            "as the last layer": (given == given[-1]).mean(1),
        }
        along = "share of the texts"
    svg = lines_svg(lines, "layer", along, "the answer at each layer")
    keys = "".join(f'<span class="key c{number}"></span>{escaped(name)} ' for number, name in enumerate(lines))
    return (
        f"<figure>{svg}<figcaption>{keys}<br>The head of the classifier reads the hidden states before the first layer "
        f"(0) and after each (the logit lens), for {report.layers.shape[1]} texts. It was trained on the last layer "
        "alone: below it, take the curve as a hint.</figcaption></figure>"
    )


def figure_cell(figure, sign=""):
    shown = [f"{value:{sign}.3f}" for value in (figure.value, figure.low, figure.high)]
    if not np.isfinite(figure.value):
        return "not known"
    if not np.isfinite(figure.low):
        return shown[0]
    return f"{shown[0]} <small>({shown[1]} to {shown[2]})</small>"


def metric_name(name):
    return {"macro_f1": "macro F1", "micro_f1": "micro F1", "f1": "F1", "mae": "mean absolute error"}.get(name, name)


def escaped(text):
    return html.escape(str(text))
