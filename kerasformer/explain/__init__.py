"""Why a task answers as it does: the words that count."""

from kerasformer.explain.explanation import Explanation

__all__ = ["Explanation"]
