"""The mean of several trained tasks."""

import json
import pathlib

import keras
import numpy as np

from kerasformer.errors import InputError
from kerasformer.tasks.task import load


def average_tasks(folders):
    """One task whose weights are the mean of those of several, which were trained from the same start.

    "Model soup" (Wortsman et al. 2022, arXiv:2203.05482, uniform): better than each of them where they went other ways,
    by their seed or settings, and as small and fast as one.

    Args:
        folders: list of folders that `task.save` wrote. They must have one class, one architecture and the same
            tokenizers; settings of the task, and weights that are integers, are those of the first.

    Raises:
        InputError: there are fewer than two folders, one cannot be loaded, or they do not fit together.
    """
    folders = [pathlib.Path(folder) for folder in folders]
    if len(folders) < 2:
        raise InputError(f"A mean needs at least two saved tasks. Received: {len(folders)}.")
    task = load(folders[0])
    variables = task.whole_model().variables
    sums = [variable.numpy().astype(np.float64) for variable in variables]
    for folder in folders[1:]:
        others = load(folder).whole_model().variables
        for difference, mine, theirs in (
            ("class", _kind(folders[0]), _kind(folder)),
            ("tokenizers", _tokenizer_files(folders[0]), _tokenizer_files(folder)),
            ("shapes of weights", *([tuple(weight.shape) for weight in part] for part in (variables, others))),
        ):
            if mine != theirs:
                raise InputError(
                    f"Only tasks of one start have a mean: {folder} has other {difference} than {folders[0]}."
                )
        for total, other in zip(sums, others, strict=True):
            total += other.numpy()
    for variable, total in zip(variables, sums, strict=True):
        if keras.backend.is_float_dtype(variable.dtype):
            variable.assign(total / len(folders))
    return task


def _kind(folder):
    return json.loads((folder / "task.json").read_text(encoding="utf-8"))["task"]


def _tokenizer_files(folder):
    """The content of all files but those of the model and the settings, by their names."""
    paths = (path for path in folder.rglob("*") if path.is_file() and path.name not in ("task.json", "model.keras"))
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}
