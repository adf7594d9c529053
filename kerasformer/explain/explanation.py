"""An explanation: which words of a text made a task answer as it does."""

import dataclasses
import html

import numpy as np

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

    def to_dict(self) -> dict:
        """The fields as a dictionary that `json` can write."""
        return {**dataclasses.asdict(self), "attributions": self.attributions.tolist()}

    def _repr_html_(self):
        title = f"{self.label} {self.score:.3f} ({self.method})".strip()
        texts = "".join(f"<p>{part}</p>" for part in coloured(self))
        return f"<div><strong>{html.escape(title)}</strong>{texts}</div>"
