"""The report's texts, words and attention, in HTML."""

from kerasformer.explain.charts import weights_png
from kerasformer.explain.coloring import coloured
from kerasformer.explain.report_tables import NOT_FOR_THIS, escaped

# Shades of a colour, with none.
_STEPS = 6


def wrong_answers(report):
    if not report.wrong:
        return "<p>No answer is wrong.</p>"
    kind = "The answers furthest from the number" if report.task.is_regression else "The wrong answers it is surest of"
    near = ""
    if report.training:
        near = " Below each: the nearest training texts, by the vectors that its last layer reads."
    return f"<p>{kind}, {len(report.wrong)} of them.{near}</p>" + "".join(
        _card(report, shown) for shown in report.wrong
    )


def other_texts(report):
    return "<p>Drawn at random.</p>" + "".join(_card(report, shown) for shown in report.others)


def legend():
    scale = "".join(f'<span class="a{step}"> </span>' for step in range(_STEPS - 1, 0, -1))
    scale += "<span> </span>" + "".join(f'<span class="f{step}"> </span>' for step in range(1, _STEPS))
    return (
        f'<p class="legend">speaks against the answer <span class="scale" aria-hidden="true">{scale}</span> speaks for '
        "it. Point at a word, or go to a text with Tab and to its words with ← and →, for the number.</p>"
    )


def _card(report, shown):
    one = shown.explanation
    if report.task.is_regression:
        said = f"answers <b>{one.score:.3g}</b>, people <b>{escaped(shown.target)}</b>"
    elif report.task.multi_label:
        said = f"explained: <b>{escaped(one.label)}</b> {one.score:.2f}; people say <b>{escaped(shown.target)}</b>"
    else:
        said = f"answers <b>{escaped(one.predicted)}</b> {one.score:.2f}"
        said += ", right" if shown.right else f"; people say <b>{escaped(shown.target)}</b>"
    if one.gap is not None:
        said += f' <small title="by how much the attributions miss their sum, in logits">gap {one.gap:+.3f}</small>'
    near = "".join(
        f"<li><b>{escaped(label)}</b> {cosine:.2f} {escaped(text)}</li>" for text, label, cosine in shown.near
    )
    words = "".join(f'<p class="text" lang="">{part}</p>' for part in coloured(one, _marked))
    return f'<article><p class="said">{said}</p>{words}{f"<ul>{near}</ul>" if near else ""}</article>'


def _marked(word, value, strength):
    step = min(int(abs(strength) * _STEPS), _STEPS - 1)
    kind = f' class="{"f" if value > 0 else "a"}{step}"' if step else ""
    return f'<i{kind} data-s="{value:+.3f}">{word}</i>'


def words_by_label(report):
    tables = []
    for label, words in report.words.items():
        most = max((count * share for _, count, share in words), default=1.0)
        rows = "".join(
            f'<tr><td lang="">{escaped(word)}</td><td class="bar">'
            f'<span style="width:{100 * count * share / most:.0f}%"></span></td>'
            f"<td>{count:,}</td><td>{share:.2f}</td></tr>"
            for word, count, share in words
        )
        title = escaped(label) if label else "the number"
        tables.append(
            f"<div><h3>{title}</h3><table><thead><tr><th>word</th><th></th><th>texts</th><th>share</th></tr></thead>"
            f"<tbody>{rows}</tbody></table></div>"
        )
    return (
        f"<p>The words that speak most for each answer over {report.explained:,} texts. The share is what a word "
        "contributes to the explanation of a text that has it, in the mean; the bar is the share times the texts. "
        f'Upper and lower case are one.</p><div class="columns">{"".join(tables)}</div>'
    )


def attention_by_head(report):
    if not report.attention:
        return NOT_FOR_THIS if report.layers is None else "<p>No text is short enough.</p>"
    parts = [
        "<p>A square for each head of each layer: of each token (a line) how much it takes from each (a column), "
        "stronger for more. Attention shows what a head reads, not why the model answers.</p>"
    ]
    for text, tokens, weights in report.attention:
        rows = []
        for layer, heads in enumerate(weights, start=1):
            cells = []
            for head, map_ in enumerate(heads, start=1):
                most = int(map_.mean(0).argmax())
                told = f"layer {layer}, head {head}: most to {tokens[most]}, {100 * map_.mean(0)[most]:.0f} %"
                cells.append(f'<td><img src="{weights_png(map_)}" alt="{escaped(told)}" title="{escaped(told)}"></td>')
            rows.append(f"<tr><th>{layer}</th>{''.join(cells)}</tr>")
        head = "".join(f"<th>{number}</th>" for number in range(1, weights.shape[1] + 1))
        listed = " ".join(f"<code>{escaped(token)}</code>" for token in tokens)
        parts.append(
            f'<article><p class="text" lang="">{escaped(text)}</p><p class="tokens">{listed}</p><div class="wide">'
            f'<table class="heads"><thead><tr><th>layer, head</th>{head}</tr></thead><tbody>{"".join(rows)}</tbody>'
            "</table></div></article>"
        )
    return "".join(parts)
