"""Names of classes, entity types and languages."""

import numpy as np

from kerasformer.errors import InputError


def checked_names(names, argument, at_least=0):
    """`names` as a tuple of str, which is what a server can answer.

    Args:
        names: iterable of str, UTF-8 bytes, or whole numbers, which become their digits.
        argument: its name in an error.
        at_least: how many there must be.

    Raises:
        InputError: a name of another type, too few, or two that are equal as str.
    """
    if isinstance(names, (str, bytes)):
        raise InputError(f"`{argument}` must be a list of names. Received one: {names!r}.")
    found = tuple(_as_str(name, argument) for name in names)
    if len(found) < at_least or len(set(found)) < len(found):
        least = f"at least {at_least} " if at_least else ""
        raise InputError(f"`{argument}` must be {least}different names. Received: {list(found)}.")
    return found


def _as_str(name, argument):
    try:
        if isinstance(name, str):
            name.encode()  # no lone surrogates
            return str(name)
        if isinstance(name, bytes):
            return name.decode()
        if isinstance(name, (int, np.integer, np.bool_)):
            return str(name)
    except UnicodeError:
        raise InputError(f"`{argument}` must be names in UTF-8. Received in it: {name!r}.") from None
    raise InputError(f"`{argument}` must be strings. Received in it: {name!r}, of type {type(name).__name__}.")
