"""Registers the layers and models with Keras as soon as Keras is imported, so that `import kerasformer` stays light.

`keras.models.load_model` finds classes that were registered. Importing them takes the seconds that TensorFlow takes,
which a command line with a mistake in it, or a client, should not wait for.
"""

import importlib
import importlib.abc
import importlib.util
import sys

# Modules after whose import the models are imported too, and those of them that are being imported.
_WATCHED = {"keras", "kerasformer._compat", "kerasformer.layers"}
_in_progress: set[str] = set()


def register_with_keras():
    """Imports the models if Keras is there, else as soon as it is."""
    if "keras" in sys.modules:
        importlib.import_module("kerasformer.models")
    else:
        sys.meta_path.insert(0, _Finder())


class _Finder(importlib.abc.MetaPathFinder):
    """Finds the watched modules where others find them, and wraps their loader."""

    def __init__(self):
        self._left = set(_WATCHED)

    def find_spec(self, fullname, path=None, target=None):
        if fullname not in self._left:
            return None
        self._left.remove(fullname)
        spec = importlib.util.find_spec(fullname)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader)
        return spec


class _Loader(importlib.abc.Loader):
    """Loads a module as its own loader does, then the models, unless another watched module is still being imported."""

    def __init__(self, loader):
        self._loader = loader

    def create_module(self, spec):
        return self._loader.create_module(spec)

    def exec_module(self, module):
        name = module.__name__
        module.__spec__.loader = module.__loader__ = self._loader
        _in_progress.add(name)
        try:
            self._loader.exec_module(module)
        finally:
            _in_progress.discard(name)
        if not _in_progress:
            importlib.import_module("kerasformer.models")
