"""Classes of code points, as the regular expressions of the reference know them: letters, numbers, white space."""

import functools
import pathlib

import numpy as np
import tensorflow as tf

CLASSES_FILE = pathlib.Path(__file__).with_name("character_classes.npz")

# The class of a code point; EDGE is what a text ends at, and no code point.
EDGE, LETTER, NUMBER, SPACE, OTHER = range(5)
CLASS_MASK = 7
# Flags beside the class.
WORD, BREAK = 8, 16  # `\w`; carriage return and line feed

_BLOCK_BITS = 7


@functools.cache
def character_classes():
    """uint8 `[0x110000]`, the class and the flags of each code point."""
    with np.load(CLASSES_FILE) as file:
        lengths = np.diff(file["starts"], append=0x110000)
        classes = np.repeat(file["values"], lengths)
    classes[[10, 13]] |= BREAK
    return classes


@functools.cache
def _two_stage():
    rows = {}
    numbers = [
        rows.setdefault(block.tobytes(), len(rows)) for block in character_classes().reshape(-1, 1 << _BLOCK_BITS)
    ]
    offsets = (np.array(numbers, np.int32) - np.arange(len(numbers), dtype=np.int32)) << _BLOCK_BITS
    return offsets, np.frombuffer(b"".join(rows), np.uint8).astype(np.int32)


def look_up_classes(codes):
    """Classes and flags of code points, int32 of the same shape, in the graph."""
    offsets, blocks = _two_stage()
    return tf.gather(blocks, tf.gather(offsets, tf.bitwise.right_shift(codes, _BLOCK_BITS)) + codes)
