"""Words in colours: blue for what speaks for an answer, orange for what speaks against it.

Blue and orange are told apart with any kind of colour vision, on white and on black. Against is underlined too.
"""

import html

import numpy as np

# Parts of red, green and blue; and how much covers the page's own colour for the strongest word.
FOR, AGAINST, STRONGEST = "37,120,200", "230,120,20", 0.65


def coloured(explanation, marked=None) -> list[str]:
    """Of each of an explanation's texts (of a pair two) HTML with its words marked; all else is escaped.

    Args:
        explanation: an `Explanation`.
        marked: function from a word in HTML, its attribution, and that divided by the largest one of the texts, from -1
            to 1, to HTML; by default with the colour in a `style` and the attribution in a `title`.
    """
    marked = _styled if marked is None else marked
    largest = float(np.abs(explanation.attributions).max(initial=0.0)) or 1.0
    texts = explanation.text if isinstance(explanation.text, tuple) else (explanation.text,)
    fields = explanation.fields or [0] * len(explanation.words)
    until = (
        explanation.read_until if isinstance(explanation.read_until, tuple) else [explanation.read_until] * len(texts)
    )
    found = []
    for place, text in enumerate(texts):
        data, at, parts = text.encode(), 0, []
        spans = zip(fields, explanation.starts, explanation.ends, explanation.attributions, strict=True)
        for field, start, end, value in spans:
            if field == place and start >= at:
                parts += [_plain(data[at:start]), marked(_plain(data[start:end]), float(value), float(value) / largest)]
                at = end
        read = len(data) if until[place] is None else max(until[place], at)
        rest = f'<s title="not read: the text is too long">{_plain(data[read:])}</s>' if read < len(data) else ""
        found.append("".join(parts) + _plain(data[at:read]) + rest)
    return found


def _plain(data):
    return html.escape(data.decode("utf-8", "replace"))


def _styled(word, value, strength):
    colour = f"rgba({FOR if value >= 0 else AGAINST},{STRONGEST * abs(strength):.2f})"
    line = "" if value >= 0 else ";text-decoration:underline dotted"
    return f'<span style="background:{colour}{line}" title="{value:+.3f}">{word}</span>'
