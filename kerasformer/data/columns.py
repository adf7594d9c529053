"""Columns of examples in memory."""

import numpy as np


def object_column(values):
    """`values`, of any kind, as an array `[N]` of objects; NumPy alone makes a matrix of sequences of one length."""
    column = np.empty(len(values), object)
    for place, value in enumerate(values):
        column[place] = value
    return column
