"""Searching for output sequences inside the graph: greedy, beam search, sampling.

All decode whatever has `start`, `step` and `reorder` as `kerasformer.models.transformer_steps` tells.
"""

from kerasformer.decoding.beam import beam_search, greedy_search
from kerasformer.decoding.recomputing import RecomputingSteps
from kerasformer.decoding.rules import Rules
from kerasformer.decoding.sampling import sample

__all__ = ["RecomputingSteps", "Rules", "beam_search", "greedy_search", "sample"]
