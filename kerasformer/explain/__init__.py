"""Why a task answers as it does: the words that count; where it is wrong; how far its probabilities can be believed."""

from kerasformer.explain.calibration import (
    Bin,
    Calibration,
    calibrate,
    calibration,
    expected_calibration_error,
    fit_temperature,
    reliability,
    with_temperature,
)
from kerasformer.explain.explanation import Explanation
from kerasformer.explain.neighbours import nearest, nearest_examples, text_vectors
from kerasformer.explain.outcomes import Figure, Outcomes, classification_figures, mean_figure, outcomes
from kerasformer.explain.slices import Slice, script_of, slices

__all__ = [
    "Bin",
    "Calibration",
    "Explanation",
    "Figure",
    "Outcomes",
    "Slice",
    "calibrate",
    "calibration",
    "classification_figures",
    "expected_calibration_error",
    "fit_temperature",
    "mean_figure",
    "nearest",
    "nearest_examples",
    "outcomes",
    "reliability",
    "script_of",
    "slices",
    "text_vectors",
    "with_temperature",
]
