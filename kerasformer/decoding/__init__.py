"""Generation inside the graph: one search loop with greedy search, beam search and sampling as its methods.

The loop decodes any object with `start`, `step` and `reorder`: see `Steps`.
"""

from kerasformer.decoding.beams import Beam, TransformersBeam
from kerasformer.decoding.draws import Greedy, Sample
from kerasformer.decoding.loop import search
from kerasformer.decoding.processors import (
    ForbiddenTokens,
    ForcedTokens,
    MinLength,
    NoRepeatNgram,
    Processor,
    RepetitionPenalty,
)
from kerasformer.decoding.steps import RecomputingDecoderSteps, RecomputingSteps, Steps

__all__ = [
    "Beam",
    "ForbiddenTokens",
    "ForcedTokens",
    "Greedy",
    "MinLength",
    "NoRepeatNgram",
    "Processor",
    "RecomputingDecoderSteps",
    "RecomputingSteps",
    "RepetitionPenalty",
    "Sample",
    "Steps",
    "TransformersBeam",
    "search",
]
