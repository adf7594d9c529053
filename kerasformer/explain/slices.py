"""Where a classifier is wrong: its figures on parts of the data."""

import collections
import dataclasses
import re
import unicodedata
from collections.abc import Mapping

import numpy as np

from kerasformer.explain.outcomes import Figure, Outcomes

# Parts with fewer texts say nothing.
_FEWEST = 10

# Of English alone.
NEGATIONS = (
    *("no", "not", "never", "none", "nobody", "nothing", "nowhere", "neither", "nor", "cannot", "without", "hardly"),
    *("barely", "scarcely"),
)
_NEGATION = re.compile(rf"\b(?:{'|'.join(NEGATIONS)})\b|n['’]t\b", re.IGNORECASE)

# The blocks of pictures, dingbats and symbols, flags, and the sign that makes a character a picture.
_EMOJI = re.compile("[\U0001f000-\U0001faff\u2600-\u27bf\u2b00-\u2bff\ufe0f]")


@dataclasses.dataclass(frozen=True)
class Slice:
    """A part of the data and the figures on it.

    Attributes:
        kind: "length", "script", "negation", "emoji" or "label".
        name: of the part, such as "Latin".
        count: texts in it.
        figures: as `Outcomes.figures`; by label the accuracy alone, which is the label's recall.
    """

    kind: str
    name: str
    count: int
    figures: Mapping[str, Figure]


def slices(found: Outcomes) -> list[Slice]:
    """The figures by part of the data. Parts of fewer than 10 texts are left out, and kinds with a single part.

    - length: the quarters of the data by number of characters (of a pair, of both texts)
    - script: of most letters of a text, by their Unicode names; not the language, which nothing here knows
    - negation: whether one of the English `NEGATIONS` or a word that ends in n't is in the text
    - emoji: whether there is a character of Unicode's blocks of pictures and symbols; ":-)" is none
    - label: the label that people gave; only where a text has one label

    Args:
        found: what `outcomes` returns.
    """
    texts = whole_texts(found)
    kinds = {
        "length": _lengths(texts),
        "script": [script_of(text) for text in texts],
        "negation": _with("negation", [_NEGATION.search(text) for text in texts]),
        "emoji": _with("emoji", [_EMOJI.search(text) for text in texts]),
    }
    if found.label_names is not None and not found.examples.multi_label:
        kinds["label"] = [found.label_names[target] for target in found.targets]
    rows = []
    for kind, names in kinds.items():
        counts = collections.Counter(names)
        parts = [name for name in dict.fromkeys(sorted(names, key=_order)) if counts[name] >= _FEWEST]
        if len(parts) < 2:
            continue
        for name in parts:
            part = found.select(np.array([other == name for other in names]))
            figures = part.figures()
            # Of one label alone, the others are not what they are of all.
            figures = {"accuracy": figures["accuracy"]} if kind == "label" else figures
            rows.append(Slice(kind, str(name), len(part), figures))
    return rows


def whole_texts(found):
    """Of each row its text; of pairs both, a line each."""
    pairs = found.examples.pairs
    if pairs is None:
        return list(found.examples.texts)
    return [f"{first}\n{second}" for first, second in zip(found.examples.texts, pairs, strict=True)]


def script_of(text: str) -> str:
    """The first word of the Unicode names of most of a text's letters, such as "Latin"; "no letters" without any."""
    letters = collections.Counter(
        unicodedata.name(letter, "UNKNOWN").split()[0].partition("-")[0] for letter in text if letter.isalpha()
    )
    return letters.most_common(1)[0][0].capitalize() if letters else "no letters"


class _Between(str):
    """A range's name, ordered by where it begins."""

    place: int


def _order(name):
    return (name.place, "") if isinstance(name, _Between) else (0, name)


def _lengths(texts):
    lengths = np.array([len(text) for text in texts])
    ends = sorted({int(end) for end in np.quantile(lengths, [0.25, 0.5, 0.75], method="lower")} | {int(lengths.max())})
    names, first = [], int(lengths.min())
    for place, end in enumerate(ends):
        name = _Between(f"{first} to {end} characters" if end > first else f"{first} characters")
        name.place = place
        names.append(name)
        first = end + 1
    return [names[place] for place in np.searchsorted(ends, lengths)]


def _with(what, found):
    return [f"with {what}" if match else f"without {what}" for match in found]
