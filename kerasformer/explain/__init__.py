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
from kerasformer.explain.explaining import METHODS, Explainer, explain
from kerasformer.explain.explanation import Explanation
from kerasformer.explain.faithfulness import (
    SHARES,
    Faithfulness,
    Stability,
    faithfulness,
    plausibility,
    stability,
    with_words,
)
from kerasformer.explain.inside import attention, layer_scores
from kerasformer.explain.neighbours import nearest, nearest_examples, text_vectors
from kerasformer.explain.outcomes import Figure, Outcomes, classification_figures, mean_figure, outcomes
from kerasformer.explain.pictures import draw_curves, draw_explanation
from kerasformer.explain.report import Report, make_report
from kerasformer.explain.report_page import write_report
from kerasformer.explain.similarity import Similarity, explain_similarity
from kerasformer.explain.slices import NEGATIONS, Slice, script_of, slices
from kerasformer.explain.translation import explain_translations

__all__ = [
    "METHODS",
    "NEGATIONS",
    "SHARES",
    "Bin",
    "Calibration",
    "Explainer",
    "Explanation",
    "Faithfulness",
    "Figure",
    "Outcomes",
    "Report",
    "Similarity",
    "Slice",
    "Stability",
    "attention",
    "calibrate",
    "calibration",
    "classification_figures",
    "draw_curves",
    "draw_explanation",
    "expected_calibration_error",
    "explain",
    "explain_similarity",
    "explain_translations",
    "faithfulness",
    "fit_temperature",
    "layer_scores",
    "make_report",
    "mean_figure",
    "nearest",
    "nearest_examples",
    "outcomes",
    "plausibility",
    "reliability",
    "script_of",
    "slices",
    "stability",
    "text_vectors",
    "with_temperature",
    "with_words",
    "write_report",
]
