"""Export, publish, check, preview and client. A submodule is imported when it is first used, so that a client loads no
tasks and no server."""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # what `__getattr__` imports, for editors and type checkers
    from kerasformer.serving.checking import check
    from kerasformer.serving.client import Client
    from kerasformer.serving.errors import ServingError
    from kerasformer.serving.exporting import export
    from kerasformer.serving.measuring import speed
    from kerasformer.serving.precision import choose_precision, describe_choice
    from kerasformer.serving.preview import PreviewServer
    from kerasformer.serving.publishing import publish

_EXPORTS = {
    "Client": "client",
    "PreviewServer": "preview",
    "ServingError": "errors",
    "check": "checking",
    "choose_precision": "precision",
    "describe_choice": "precision",
    "export": "exporting",
    "publish": "publishing",
    "speed": "measuring",
}

__all__ = sorted(_EXPORTS)


def __getattr__(name):
    if name in _EXPORTS:
        return getattr(importlib.import_module(f"{__name__}.{_EXPORTS[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
