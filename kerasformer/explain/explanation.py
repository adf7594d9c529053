"""An explanation: which words of a text made a task answer as it does."""

import dataclasses
import html

import numpy as np

from kerasformer.errors import InputError
from kerasformer.explain.coloring import coloured


@dataclasses.dataclass(frozen=True)
class Explanation:
    """How much each word of a text counts for an answer.

    Attributes:
        text: the caller's str; of a pair a tuple of two.
        words: list of W str, cut out of the text: `text.encode()[starts[i]:ends[i]].decode() == words[i]`.
        starts, ends: lists of W int, in bytes of the text's UTF-8.
        attributions: float32 `[W]`; above 0 for words that speak for `label`, below 0 for those against it. In logits
            of the label, of a regression in its unit; of attention rollout and "random" only their order means
            something.
        label: what is explained: the name of a label; of a regression "".
        score: probability of `label`; of a regression the number.
        predicted: the name of the label that the task answers with; of a regression "".
        method: one of `kf.explain.METHODS`.
        gap: by how much the attributions of all tokens fail to add up to the difference between the text's logit and
            the baseline's (completeness); None where a method promises no such sum.
        fields: of a pair, list of W int: 0 for a word of the first text, 1 for one of the second; else None.
        read_until: the byte where reading stopped because the text is too long; None where it was read to its end. Of
            a pair a tuple of two.
        span: of an entity or an answer, its first byte and the one behind its last, in the text or the context; else
            None.
    """

    text: str | tuple[str, ...]
    words: list[str]
    starts: list[int]
    ends: list[int]
    attributions: np.ndarray
    label: str
    score: float
    predicted: str
    method: str
    gap: float | None = None
    fields: list[int] | None = None
    read_until: int | tuple[int | None, ...] | None = None
    span: tuple[int, int] | None = None

    def to_dict(self) -> dict:
        """The fields as a dictionary that `json` can write."""
        return {**dataclasses.asdict(self), "attributions": self.attributions.tolist()}

    def _repr_html_(self):
        title = f"{self.label} {self.score:.3f} ({self.method})".strip()
        texts = "".join(f"<p>{part}</p>" for part in coloured(self))
        return f"<div><strong>{html.escape(title)}</strong>{texts}</div>"


def made(columns, words, attributions, gap, *, number, **named):
    """An `Explanation` of what a graph found, W words.

    Args:
        columns: the text, or the texts of a pair, str or bytes.
        words: `(words, starts, ends, fields, read_until)`, the first four arrays `[W]`, with -1 for starts where there
            is no word, at the end; `read_until` of each text, -1 for its end.
        attributions: array `[W]`.
        gap: or None.
        number: of the text, from 1.
        named: further fields.

    Raises:
        InputError: a number is not finite.
    """
    words, starts, ends, fields, read_until = words
    count = (starts >= 0).sum()
    attributions = attributions[:count]
    columns = tuple(text.decode("utf-8", "replace") if isinstance(text, bytes) else text for text in columns)
    gap = None if gap is None else float(gap)
    if not (np.isfinite(attributions).all() and np.isfinite([gap or 0.0, named["score"]]).all()):
        raise InputError(
            f"The explanation of text {number} is not finite: the model's weights or gradients overflow. The text: "
            f"{columns[0]!r:.40}"
        )
    until = tuple(None if place < 0 else int(place) for place in read_until)
    is_pair = len(columns) > 1
    return Explanation(
        text=columns if is_pair else columns[0],
        words=[word.decode("utf-8", "replace") for word in words[:count]],
        starts=starts[:count].tolist(),
        ends=ends[:count].tolist(),
        attributions=attributions,
        gap=gap,
        fields=fields[:count].tolist() if is_pair else None,
        read_until=until if is_pair else until[0],
        **named,
    )
