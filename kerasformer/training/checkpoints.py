"""Checkpoints of a training: everything that the next step depends on, written atomically.

A checkpoint is a folder `step-00001234` with `weights.safetensors`, the variables of model and optimizer (seeds of
dropout, moments, averages and the loss scale are among them), and `state.json`, the place in the data and the rest.
"""

import hashlib
import json
import os
import pathlib
import re
import shutil
import sys

import keras
import ml_dtypes
import numpy as np
import safetensors.numpy

from kerasformer.errors import InputError
from kerasformer.files import written_beside

_WEIGHTS, _STATE = "weights.safetensors", "state.json"


class DamagedCheckpoint(Exception):
    """A checkpoint's files are incomplete or were changed; the message names the file."""


def save_checkpoint(folder, step, variables, state, arrays=None, keep=3, passing=False):
    """Writes `folder/step-…` beside and renames it; then removes all but the last `keep` checkpoints.

    Args:
        folder: of all checkpoints of a run.
        step: updates made.
        variables: `{name: Keras variable}`.
        state: what else there is to know, as JSON takes it.
        arrays: `{name: NumPy array}`, likewise.
        keep: how many.
        passing: made where a training was stopped, at no place of its own: the next one replaces it, so that a training
            that was stopped leaves the checkpoints that another leaves.

    Returns:
        The checkpoint's folder.

    Raises:
        OSError: it cannot be written, for example because the disk is full; older checkpoints stay.
    """
    path = pathlib.Path(folder) / f"step-{step:08d}"
    values = {name: keras.ops.convert_to_numpy(variable) for name, variable in variables.items()}
    values |= arrays or {}
    content = safetensors.numpy.save({name: _storable(value) for name, value in values.items()})
    with written_beside(path, replaces=_STATE) as scratch:
        (scratch / _WEIGHTS).write_bytes(content)
        description = {
            "step": step,
            "sha256": hashlib.sha256(content).hexdigest(),
            "arrays": {name: [value.dtype.name, list(value.shape)] for name, value in values.items()},
            "state": state,
            "passing": passing,
        }
        (scratch / _STATE).write_text(json.dumps(description), encoding="utf-8")
    earlier = [old for old in list_checkpoints(folder) if old != path]
    passed = [old for old in earlier if _is_passing(old)]
    kept = [old for old in list_checkpoints(folder) if old not in passed][-keep:]
    for old in earlier:
        if old not in kept:
            # Renamed first: a kill in the middle of the removal must not leave half a checkpoint under its name.
            scratch = old.with_name(f".{old.name}.old")
            old.rename(scratch)
            shutil.rmtree(scratch, ignore_errors=True)
    for left in pathlib.Path(folder).glob(".step-*.old"):
        shutil.rmtree(left, ignore_errors=True)
    return path


def _is_passing(path):
    try:
        return bool(json.loads((path / _STATE).read_text(encoding="utf-8")).get("passing"))
    except (OSError, ValueError):
        return False  # damaged, which is told where it is read


def list_checkpoints(folder):
    """The checkpoints in a folder, oldest first; none where there is no such folder."""
    return sorted(path for path in pathlib.Path(folder).glob("step-*") if path.is_dir())


def restore_latest(folder, variables):
    """Restores the variables from the newest complete checkpoint, and returns its state.

    A damaged one is named on standard error and the one before it taken.

    Args:
        folder: of all checkpoints of a run.
        variables: `{name: Keras variable}`, as given to `save_checkpoint`.

    Returns:
        `(step, state, arrays)`, or None where there is no checkpoint.

    Raises:
        InputError: all checkpoints are damaged, or the newest is of another model; what differs is named.
    """
    for path, description, arrays in _whole_checkpoints(folder):
        _check_same_model(path, description["arrays"], variables, ("model/", "optimizer/"))
        for name, variable in variables.items():
            variable.assign(arrays.pop(name))
        return description["step"], description["state"], arrays
    if list_checkpoints(folder):
        raise InputError(f"All checkpoints in {folder} are damaged: delete the folder to start again.")
    return None


def _whole_checkpoints(folder):
    """`(path, description, arrays)` of each checkpoint, newest first; damaged ones are named on standard error."""
    for path in reversed(list_checkpoints(folder)):
        try:
            yield path, *read_checkpoint(path)
        except DamagedCheckpoint as error:
            print(f"passed over: {error}", file=sys.stderr)


def read_checkpoint(path):
    """The description and the arrays, `{name: NumPy array}`, of one checkpoint.

    Raises:
        DamagedCheckpoint: a file is missing, cut short or changed.
    """
    path = pathlib.Path(path)
    try:
        description = json.loads((path / _STATE).read_text(encoding="utf-8"))
        content = (path / _WEIGHTS).read_bytes()
    except (OSError, ValueError) as error:
        raise DamagedCheckpoint(f"{path} is damaged: {error}") from None
    if hashlib.sha256(content).hexdigest() != description["sha256"]:
        raise DamagedCheckpoint(f"{path / _WEIGHTS} is damaged: its SHA-256 is not the one in {_STATE}")
    stored = safetensors.numpy.load(content)
    types = {name: dtype for name, (dtype, _) in description["arrays"].items()}
    return description, {name: _as_stored(array, types[name]) for name, array in stored.items()}


def average_checkpoints(model: keras.Model, folder: str | os.PathLike, last: int = 5) -> None:
    """Gives a model the mean of the weights of the last checkpoints of its training (Vaswani et al. 2017, section 6.1).

    Args:
        model: the one that was trained; its integer weights become those of the newest checkpoint.
        folder: `checkpoint_folder` of the training, which kept at least `last`.
        last: how many.

    Raises:
        InputError: there are fewer whole checkpoints, or they are of another model.
    """
    variables = model_variables(model)
    sums, count = {}, 0
    for path, description, arrays in _whole_checkpoints(folder):
        if description.get("passing"):
            continue
        _check_same_model(path, description["arrays"], variables, ("model/",))
        for name in variables:
            if not count:
                sums[name] = arrays[name]
            elif np.issubdtype(arrays[name].dtype, np.floating):
                sums[name] = sums[name].astype(np.float64) + arrays[name]
        count += 1
        if count == last:
            break
    if count < last:
        raise InputError(f"Expected {last} whole checkpoints in {folder}. Received: {count}. Keep more of them.")
    for name, variable in variables.items():
        is_float = keras.backend.is_float_dtype(variable.dtype)
        variable.assign(sums[name] / count if is_float else sums[name])


def model_variables(model):
    """`{name: variable}` of a model as checkpoints name them, states of random numbers among them."""
    return _numbered("model", model.variables)


def training_variables(model, optimizer):
    """`{name: variable}` of everything that training changes."""
    return model_variables(model) | _numbered("optimizer", optimizer.variables)


def _numbered(prefix, variables):
    # Paths alone are not unique: two models of one kind share them. The numbers that Keras gives to layers without a
    # name of their own count through the whole program and say nothing.
    paths = [re.sub(r"_\d+(?=/|$)", "", variable.path) for variable in variables]
    return {f"{prefix}/{i:04d}/{paths[i]}": variable for i, variable in enumerate(variables)}


def _check_same_model(path, arrays, variables, prefixes):
    stored = {name: described for name, described in arrays.items() if name.startswith(prefixes)}
    shapes = {name: [keras.backend.standardize_dtype(v.dtype), list(v.shape)] for name, v in variables.items()}
    if stored == shapes:
        return
    names = [name for name in [*shapes, *stored] if stored.get(name) != shapes.get(name)]
    name = names[0]
    raise InputError(
        f"{path} is a checkpoint of another model or optimizer: {len(set(names))} weights differ, the first is {name}, "
        f"{_shown(stored.get(name))} there and {_shown(shapes.get(name))} here. Name another folder, or delete it."
    )


def _shown(weight):
    return "missing" if weight is None else f"{weight[0]} {weight[1]}"


def _storable(array):
    # safetensors knows NumPy's own types only.
    return np.asarray(array.view(np.uint16) if array.dtype == ml_dtypes.bfloat16 else array, order="C")


def _as_stored(array, dtype):
    return array.view(ml_dtypes.bfloat16) if dtype == "bfloat16" else array
