"""Normalizers of a `tokenizer.json`: one text in place of another.

A normalizer is called with a Stream and gives one, made with `take`, `keep` and `replace`, so that each code point
keeps the place that it came from. A run of code points between codes below 0 is one text. `NORMALIZERS` is the
registry, `{type: class}`, and a class takes the fields of its component.
"""

from kerasformer.text import registry
from kerasformer.text.precompiled import Precompiled

NORMALIZERS = {"Precompiled": Precompiled}


def read_normalizer(component, where):
    """The normalizers of a component, list."""
    return [
        registry.make(NORMALIZERS, "normalizer", part, where) for part in registry.flatten(component, "normalizers")
    ]
