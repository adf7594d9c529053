"""The mean of several trained tasks."""

import dataclasses
import pathlib
from collections.abc import Sequence

import keras
import numpy as np

from kerasformer._compat import flatten_layers
from kerasformer.errors import InputError
from kerasformer.tasks.saving import load
from kerasformer.tasks.task import Task


def average_tasks(folders: Sequence[str | pathlib.Path]) -> Task:
    """One task whose weights are the mean of those of several, which were trained from the same encoder.

    A uniform "model soup" (Wortsman et al. 2022, arXiv:2203.05482): often better than each model, where they differ in
    seed or learning rate, and as small and fast as one. The mean of models with different random initializations is
    useless: check its metrics.

    Args:
        folders: list of folders that `task.save` wrote. Classes, layers, tokenizers and settings must be the same, but
            for thresholds and other settings that are floats, of which the mean is taken too; weights that are integers
            are those of the first.

    Raises:
        InputError: there are fewer than two folders, one cannot be loaded, or they do not fit together.
    """
    if isinstance(folders, (str, pathlib.Path)) or len(folders) < 2:
        raise InputError(f"Averaging needs a list of at least two saved tasks. Received: {folders!r}.")
    task = load(folders[0])
    variables = _weights(task)
    sums = [variable.numpy().astype(np.float64) for variable in variables]
    all_settings = [dataclasses.asdict(task.settings)]
    for folder in folders[1:]:
        other = load(folder)
        for difference, kind in (
            ("class", type),
            ("layers", _layers),
            ("vocabulary", _tokenizers),
            ("settings", _settings_without_floats),
        ):
            if kind(task) != kind(other):
                raise InputError(
                    f"Only tasks trained from the same encoder can be averaged: {folder} has other {difference} than "
                    f"{folders[0]}."
                )
        all_settings.append(dataclasses.asdict(other.settings))
        for total, variable in zip(sums, _weights(other), strict=True):
            total += variable.numpy()
    for variable, total in zip(variables, sums, strict=True):
        if keras.backend.is_float_dtype(variable.dtype):
            variable.assign(total / len(folders))
    means = {}
    for name, value in all_settings[0].items():
        mean = isinstance(value, float) and float(np.mean([settings[name] for settings in all_settings]))
        if isinstance(value, float) and mean != value:
            means[name] = mean
    return task.replace(**means)


def _weights(task):
    """All weights of the encoder and of what is on it, each once."""
    found = {id(weight): weight for weight in [*task.encoder.weights, *task.model.weights]}
    return list(found.values())


def _layers(task):
    """Classes, settings and shapes of all layers, without their names and precisions."""
    found = []
    for model in (task.encoder, task.model):
        for layer in flatten_layers(model):
            if not isinstance(layer, keras.Model):
                config = {key: value for key, value in layer.get_config().items() if key not in ("name", "dtype")}
                found.append((type(layer), config, [tuple(weight.shape) for weight in layer.weights]))
    return found


def _tokenizers(task):
    """Classes and settings of all tokenizers."""
    tokenizers = [task.tokenizer, *task.further_tokenizers().values()]
    return [(type(tokenizer), tokenizer.get_config()) for tokenizer in tokenizers]


def _settings_without_floats(task):
    settings = dataclasses.asdict(task.settings)
    return {name: float if isinstance(value, float) else value for name, value in settings.items()}
