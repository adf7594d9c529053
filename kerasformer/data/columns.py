"""Columns of examples in memory."""

import numpy as np

from kerasformer.errors import InputError


def object_column(values):
    """`values`, of any kind, as an array `[N]` of objects; NumPy alone makes a matrix of sequences of one length."""
    column = np.empty(len(values), object)
    for place, value in enumerate(values):
        column[place] = value
    return column


def whole_characters(text, where, name):
    """`text`, which is UTF-8 once it is encoded.

    Args:
        text: str.
        where: file and line, for the error.
        name: what to call the text there.

    Raises:
        InputError: it holds half of a surrogate pair, as JSON may.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InputError(f"{where}: {name} holds half of a surrogate pair, which is no character.") from None
    return text
