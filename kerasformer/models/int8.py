"""Models whose projections compute in 8-bit integers, or store their weights in these."""

import dataclasses
from collections.abc import Callable, Mapping

import keras
import numpy as np

from kerasformer._compat import flatten_layers
from kerasformer.errors import InputError
from kerasformer.layers.embeddings import TokenEmbedding, TransformerEmbedding
from kerasformer.layers.feed_forward import FeedForward
from kerasformer.layers.int8 import Int8, StoredInt8
from kerasformer.layers.output_heads import LanguageModelHead
from kerasformer.layers.padding import PaddingLayout
from kerasformer.layers.projection import Projection

# Rows of each projection's inputs that are looked at.
_ROWS = 1024

# Units of each projection, at most, whose errors are looked at.
_UNITS = 8192

# Ranges that are tried, as parts of the largest absolute value: rare large values cost less when they are clipped than
# all others lose by a coarser grid.
_PARTS = np.linspace(0.2, 1, 17)

# Units of a feed-forward network that may be computed in floats, as a part of all.
_WIDE = 1 / 64

# Another form than the plain one has to lose so much less.
_WORTH = 0.8

# How much of the inputs' differences in width goes over to the weights, see `Int8.scales`.
_SMOOTHING = 0.7


@dataclasses.dataclass(frozen=True)
class Int8Plan:
    """How a model is computed in 8-bit integers, or stored in these.

    Attributes:
        forms: `{path of a projection: Int8 or StoredInt8}`.
        errors: `{path of a projection: error}`, the root mean square of what its outputs lose, relative to their
            standard deviation.
        kept: paths of those that lose too much and compute in floats.
    """

    forms: Mapping[str, Int8 | StoredInt8]
    errors: Mapping[str, float]
    kept: tuple[str, ...]


def int8_plan(model: keras.Model, run: Callable[[], object], *, largest_error: float = 0.1) -> Int8Plan:
    """Finds how a model is best computed in 8-bit integers, from what its projections are given.

    Args:
        model: a functional model.
        run: called once; it calls the model eagerly on typical inputs.
        largest_error: projections that lose more keep computing in floats.

    Raises:
        InputError: `run` reaches no projection, or two projections have the same path.
    """
    layers = flatten_layers(model)
    projections = {projection.path: projection for projection in _projections(layers)}
    if len(projections) < len(_projections(layers)):
        raise InputError(
            "Projections are told apart by their paths. Received: a model in which two have the same path."
        )
    samples = {path: _Sample() for path in projections}
    for path, projection in projections.items():
        projection.observer = samples[path].add
    try:
        run()
    finally:
        for projection in projections.values():
            projection.observer = None
    outer = {layer.outer.path for layer in layers if isinstance(layer, FeedForward) and not layer.gated}
    forms, errors = {}, {}
    for path, sample in samples.items():
        if sample.parts:
            rows, kernel = sample.rows(), np.asarray(projections[path].kernel, np.float32)
            kernel = kernel[:, :: -(-kernel.shape[1] // _UNITS)]
            plain, other = _plain(rows), _narrow(rows) if path in outer else _smooth(rows, kernel)
            # The plain form is the fastest: another one has to be better.
            is_better = _error(rows, kernel, other) < _WORTH * _error(rows, kernel, plain)
            forms[path] = other if is_better else plain
            errors[path] = _error(rows, kernel, forms[path])
    if not errors:
        raise InputError("An int8 plan needs inputs that reach the model's projections. Received: none.")
    kept = tuple(path for path, error in errors.items() if error > largest_error)
    return Int8Plan({path: form for path, form in forms.items() if path not in kept}, errors, kept)


def int8_storage_plan(model: keras.Model) -> Int8Plan:
    """Projections and embeddings of a model stored in 8-bit integers, with a scale for each column, and computed in
    floats: a quarter of the size, on every processor.

    Args:
        model: a functional model.
    """
    return Int8Plan({projection.path: StoredInt8() for projection in _projections(flatten_layers(model))}, {}, ())


def use_int8(model: keras.Model, plan: Int8Plan | None) -> None:
    """Switches the layers of a functional model to 8-bit integers, or back.

    Functions that were traced before do not change. Weights and gradients do not either: it is for inference.

    Args:
        model: the model of `int8_plan`, or a copy of it.
        plan: an `Int8Plan`, or None to store and compute in floats.

    Raises:
        InputError: the plan is of another model.
    """
    layers = flatten_layers(model)
    projections = _projections(layers)
    known = {projection.path for projection in projections}
    if plan and (unknown := sorted(set(plan.forms) - known)):
        raise InputError(f"The plan must be of this model. It has projections that the model lacks: {unknown[:5]}.")
    for projection in projections:
        projection.int8 = plan.forms.get(projection.path) if plan else None
    for layer in layers:
        if isinstance(layer, PaddingLayout):
            layer.round_number = plan is not None and any(isinstance(form, Int8) for form in plan.forms.values())
        elif isinstance(layer, TokenEmbedding):
            layer.int8 = plan is not None


def _projections(layers):
    """All that multiplies rows with weights."""
    found = [layer for layer in layers if isinstance(layer, Projection)]
    return found + [layer.scores for layer in layers if isinstance(layer, TransformerEmbedding | LanguageModelHead)]


def _plain(rows):
    return Int8(_best_range(rows))


def _smooth(rows, kernel):
    inputs, weights = np.abs(rows).max(0) + 1e-5, np.abs(kernel).max(1) + 1e-5
    scales = inputs**_SMOOTHING / weights ** (1 - _SMOOTHING)
    scales /= np.exp(np.log(scales).mean())
    return Int8(_best_range(rows / scales), scales)


def _narrow(rows):
    """Without the widest inputs."""
    width = np.abs(rows).max(0)
    wide = np.argsort(-width)[: max(1, int(len(width) * _WIDE))]
    return Int8(_best_range(np.delete(rows, wide, axis=1)), wide=tuple(sorted(wide.tolist())))


class _Sample:
    """Some rows of all that a projection is given."""

    def __init__(self):
        self.parts = []
        self._random = np.random.default_rng(0)

    def add(self, rows):
        rows = np.asarray(rows, np.float32)
        self.parts.append(rows[self._random.permutation(len(rows))[:_ROWS]])

    def rows(self):
        rows = np.concatenate(self.parts)
        return rows[self._random.permutation(len(rows))[:_ROWS]]


def _best_range(rows):
    """The range whose quantization has the smallest mean squared error."""
    ranges = np.abs(rows).max(initial=1e-6) * _PARTS
    return float(min(ranges, key=lambda largest: np.square(rows - _rounded(rows, largest)).sum()))


def _rounded(rows, largest):
    step = largest / 127
    return np.clip(np.round(rows / step), -127, 127) * step


def _error(rows, kernel, form):
    weights, steps = (np.asarray(x) for x in form.quantized_weights(kernel))
    scales = 1 if form.scales is None else form.scales
    lost = _rounded(rows / scales, form.largest) @ (weights * steps) - rows @ kernel
    if form.wide:
        lost += rows[:, form.wide] @ kernel[form.wide, :]
    return float(np.sqrt(np.square(lost).mean()) / ((rows @ kernel).std() + 1e-12))
