"""Export, publish, check, preview and client. A submodule is imported when it is first used, so that a client loads no
tasks and no server."""

import importlib

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
