"""The mean of several trained tasks."""

import pathlib
import tempfile

import keras
import numpy as np

from kerasformer._compat import flatten_layers
from kerasformer.errors import InputError
from kerasformer.tasks.task import load


def average_tasks(folders):
    """One task whose weights are the mean of those of several, which were trained from the same encoder.

    "Model soup" (Wortsman et al. 2022, arXiv:2203.05482, uniform): often better than each of them, where they went
    other ways by their seed or rate, and as small and fast as one. The mean of networks that began with other random
    weights knows nothing: look at its metrics.

    Args:
        folders: list of folders that `task.save` wrote. Classes, layers, tokenizers and settings must be the same, but
            for thresholds and other settings that are floats, of which the mean is taken too; weights that are integers
            are those of the first.

    Raises:
        InputError: there are fewer than two folders, one cannot be loaded, or they do not fit together.
    """
    if isinstance(folders, (str, pathlib.Path)) or len(folders) < 2:
        raise InputError(f"A mean needs a list of at least two saved tasks. Received: {folders!r}.")
    task = load(folders[0])
    variables = task.whole_model().variables
    sums = [variable.numpy().astype(np.float64) for variable in variables]
    all_settings = [task.settings()]
    for folder in folders[1:]:
        other = load(folder)
        for difference, kind in (
            ("class", type),
            ("layers", _layers),
            ("vocabulary", _tokenizers),
            ("settings", lambda each: _without_floats(each.settings())),
        ):
            if kind(task) != kind(other):
                raise InputError(
                    f"Only tasks that began alike have a mean: {folder} has other {difference} than {folders[0]}."
                )
        all_settings.append(other.settings())
        for total, variable in zip(sums, other.whole_model().variables, strict=True):
            total += variable.numpy()
    for variable, total in zip(variables, sums, strict=True):
        if keras.backend.is_float_dtype(variable.dtype):
            variable.assign(total / len(folders))
    for name, value in task.settings().items():
        if isinstance(value, float):
            setattr(task, name, float(np.mean([settings[name] for settings in all_settings])))
    return task


def _layers(task):
    """Classes, settings and shapes of all layers, without their names and precisions."""
    found = []
    for layer in flatten_layers(task.whole_model()):
        if not isinstance(layer, keras.Model):
            config = {key: value for key, value in layer.get_config().items() if key not in ("name", "dtype")}
            found.append((type(layer), config, [tuple(weight.shape) for weight in layer.weights]))
    return found


def _tokenizers(task):
    """The files that each tokenizer would write, by their names."""
    with tempfile.TemporaryDirectory() as scratch:
        for name, tokenizer in {"tokenizer": task.tokenizer, **task.further_tokenizers()}.items():
            tokenizer.save(pathlib.Path(scratch) / name)
        paths = [path for path in sorted(pathlib.Path(scratch).rglob("*")) if path.is_file()]
        return {str(path.relative_to(scratch)): path.read_bytes() for path in paths}


def _without_floats(settings):
    return {name: float if isinstance(value, float) else value for name, value in settings.items()}
