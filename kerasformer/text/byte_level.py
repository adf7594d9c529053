"""Byte-level words: GPT-2's split of a stream of code points, and the alphabet that writes bytes as letters.

Radford et al. 2019, "Language Models are Unsupervised Multitask Learners", section 2.2. The split is the regular
expression `'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+`. TensorFlow's regular
expressions know no lookahead. But where a match begins is seen from the classes of a code point and its neighbours, so
every boundary of a batch is found at once.
"""

import functools

import tensorflow as tf

from kerasformer.text.character_classes import CLASS_MASK, EDGE, LETTER, SPACE


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


def add_prefix_space(stream, classes):
    """Puts a space before whatever follows an edge and is none.

    Args:
        stream: a Stream.
        classes: int32 `[chars]`, EDGE at edges and inside of added tokens.

    Returns:
        places: int32 `[new chars]`, the code points of the stream, those with a new space twice.
        is_space: bool `[new chars]`, the new spaces.
    """
    after_edge = tf.equal(tf.concat([[EDGE], classes[:-1]], 0), EDGE)
    needs = after_edge & tf.not_equal(classes, EDGE) & tf.not_equal(stream.codes, ord(" "))
    places = tf.repeat(tf.range(tf.size(classes)), 1 + tf.cast(needs, tf.int32))
    is_space = tf.concat([tf.equal(places[:-1], places[1:]), [False]], 0)
    return places, is_space


def split_gpt2(codes, classes):
    """Where GPT-2's words begin.

    Args:
        codes: int32 `[chars]`.
        classes: int32 `[chars]`, EDGE at edges and inside of added tokens.

    Returns:
        bool `[chars]`.
    """
    classes = tf.bitwise.bitwise_and(classes, CLASS_MASK)
    before, after = tf.concat([[EDGE], classes[:-1]], 0), tf.concat([classes[1:], [EDGE]], 0)
    is_space = tf.equal(classes, SPACE)
    is_text = tf.not_equal(classes, EDGE)
    changes = tf.not_equal(before, classes)
    # One space goes with the word after it, and so the last of several white spaces is divided from the others.
    is_last = is_space & tf.not_equal(after, SPACE) & tf.not_equal(after, EDGE)
    blank = is_space & tf.equal(codes, ord(" "))
    after_blank = tf.concat([[False], blank[:-1]], 0)
    begins = is_text & ((changes & (is_space | ~after_blank)) | is_last)
    quotes = begins & tf.equal(codes, ord("'"))
    return tf.cond(tf.reduce_any(quotes), lambda: _split_contractions(begins, quotes, codes, classes), lambda: begins)


def _split_contractions(begins, quotes, codes, classes):
    """`'s`, `'t`, `'m`, `'d`, `'re`, `'ve` and `'ll` are words, whatever letters follow."""
    letters = tf.where(tf.equal(classes, LETTER), codes, 0)
    first, second = tf.pad(letters[1:], [[0, 1]]), tf.pad(letters[2:], [[0, 2]])[: tf.size(codes)]

    def is_pair(pair):
        return tf.equal(first, ord(pair[0])) & tf.equal(second, ord(pair[1]))

    is_short = tf.equal(first, ord("s")) | tf.equal(first, ord("t"))
    is_short = quotes & (is_short | tf.equal(first, ord("m")) | tf.equal(first, ord("d")))
    is_long = quotes & (is_pair("re") | is_pair("ve") | is_pair("ll"))
    inside = _later(is_short | is_long, 1)
    return (begins & ~inside) | ((_later(is_short, 2) | _later(is_long, 3)) & tf.not_equal(classes, EDGE))


def _later(flags, count):
    return tf.pad(flags, [[count, 0]])[: tf.size(flags)]
