"""Libraries that are installed with an extra, imported where they are used."""

import functools
import importlib
import sys

from kerasformer.errors import InputError


def require(module, extra, purpose):
    """The module, which `purpose` needs.

    Args:
        module: name as in `import`.
        extra: of `pip install 'kerasformer[extra]'`.
        purpose: subject of the message, such as "Reading tfds: sources".

    Raises:
        InputError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise InputError(
            f"{purpose} needs the package of the module {module!r}: pip install 'kerasformer[{extra}]' ({error})."
        ) from None


@functools.cache
def metric_library(module, metrics):
    """The module that computes some metrics, or None where it is not installed; one line then says so, once.

    Args:
        module: name as in `import`.
        metrics: their names, for the line.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        print(
            f"metrics left out: {metrics} ({error}); pip install 'kerasformer[recipes]' brings them.", file=sys.stderr
        )
        return None
