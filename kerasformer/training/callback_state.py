"""The state of Keras's callbacks, so that a resumed training stops, waits and restores as if it was never killed."""

import re

import numpy as np

# Given to a callback at the start of each training.
_SET_ANEW = {"params", "model", "_model", "validation_data"}

# Words in the names of metrics that are better when lower; all other metrics are better when higher.
_LOWER_IS_BETTER = {
    *("loss", "perplexity", "error", "bits", "seconds", "mse", "rmse", "mae", "mape", "ter", "wer", "cer"),
    *("brier", "ece", "nll"),
}


def resolve_modes(callbacks):
    """Gives callbacks with mode "auto" (`EarlyStopping`, `ModelCheckpoint`, `ReduceLROnPlateau`) "min" or "max", by the
    name of the metric that they monitor. Keras knows the direction of compiled metrics only."""
    for callback in callbacks:
        monitor = getattr(callback, "monitor", None)
        if getattr(callback, "mode", None) == "auto" and isinstance(monitor, str):
            words = re.split(r"[^a-z]+", monitor.lower())
            callback.mode = "min" if _LOWER_IS_BETTER.intersection(words) else "max"


def callback_states(callbacks):
    """What each callback remembers in its attributes.

    What is not a number, text or array (a file, a function, a progress bar) is made again by the callback.

    Returns:
        `(values, arrays)`: a list with `{"class": name, "values": {attribute: plain value}}` of each callback, and
        `{"callback/index/attribute/number": NumPy array}`.
    """
    values, arrays = [], {}
    for index, callback in enumerate(callbacks):
        plain = {}
        for name, value in vars(callback).items():
            if name in _SET_ANEW:
                continue
            if isinstance(value, np.generic):
                plain[name] = value.item()
            elif _is_plain(value):
                plain[name] = value
            elif isinstance(value, list) and all(isinstance(item, np.ndarray) for item in value):
                arrays |= {f"callback/{index}/{name}/{number:04d}": array for number, array in enumerate(value)}
        values.append({"class": type(callback).__name__, "values": plain})
    return values, arrays


def restore_callbacks(callbacks, values, arrays):
    """Gives callbacks back what `callback_states` read; those of other classes than then are left as they are."""
    for index, (callback, state) in enumerate(zip(callbacks, values, strict=False)):
        if state["class"] != type(callback).__name__:
            continue
        for name, value in state["values"].items():
            setattr(callback, name, value)
        lists = {}
        for name in sorted(name for name in arrays if name.startswith(f"callback/{index}/")):
            lists.setdefault(name.split("/")[2], []).append(arrays[name])
        for name, value in lists.items():
            setattr(callback, name, value)


def _is_plain(value):
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_plain(item) for key, item in value.items())
    if isinstance(value, list):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, (bool, int, float, str))
