"""The models and versions in a folder. Needs no TensorFlow, so that a wrong folder is reported at once."""

import os
import re
from pathlib import Path

from kerasformer.errors import InputError
from kerasformer.files import local_path

MAX_VERSION = (1 << 63) - 1
_VERSION = re.compile(r"\d+", re.ASCII)


def find_models(folder):
    """The models in a folder.

    Args:
        folder: a base folder `NAME/VERSION/saved_model.pb`, or one model's folder `VERSION/saved_model.pb`.

    Returns:
        Model name to model folder. As in TensorFlow Serving only directories named by an integer are versions.

    Raises:
        InputError: there is no such folder, or no version in it that could be loaded.
    """
    folder = Path(os.path.abspath(local_path(folder, "folder")))  # a link keeps its own name
    expected = "Expected NAME/VERSION/saved_model.pb, or VERSION/saved_model.pb, with a whole number as VERSION."
    if not folder.is_dir():
        raise InputError(f"There is no folder {str(folder)!r}. {expected}")
    candidates = [folder] if find_versions(folder) else sorted(child for child in folder.iterdir() if child.is_dir())
    models = {candidate.name: candidate for candidate in candidates if find_versions(candidate)}
    if not models:
        hint = f" This is a version itself: pass {str(folder.parent)!r}." if is_complete(folder) else ""
        raise InputError(f"There is no model version in {str(folder)!r}. {expected}{hint}")
    versions = [version for model in models.values() for version in find_versions(model).values()]
    if not any(is_complete(version) for version in versions):
        raise InputError(f"No version in {str(folder)!r} has a saved_model.pb (half-written?): {str(versions[0])!r}.")
    return models


def find_versions(model_folder):
    """Version number to folder, of one model's folder; empty where it cannot be read."""
    try:
        children = list(Path(model_folder).iterdir())
    except OSError:
        return {}
    return {
        int(child.name): child
        for child in children
        if _VERSION.fullmatch(child.name) and int(child.name) <= MAX_VERSION and child.is_dir()
    }


def is_complete(version_folder):
    return any((version_folder / name).exists() for name in ("saved_model.pb", "saved_model.pbtxt"))
