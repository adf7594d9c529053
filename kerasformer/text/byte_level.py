"""Byte-level words: the alphabet that writes bytes as letters.

Radford et al. 2019, "Language Models are Unsupervised Multitask Learners", section 2.2.
"""

import functools


@functools.cache
def byte_letters():
    """The letter of each byte, list of 256 str: printable ones of Latin-1 are themselves, others from U+0100 on."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(0x100, 0x200))
    return [chr(byte if byte in printable else next(others)) for byte in range(256)]


@functools.cache
def letter_bytes():
    """The byte of each letter, dict from str to int."""
    return {letter: byte for byte, letter in enumerate(byte_letters())}


def to_bytes(token):
    """The bytes that a token is written for; None where it has letters out of the alphabet."""
    values = [letter_bytes().get(letter) for letter in token]
    return None if None in values else bytes(values)
