r"""The regular expressions that split texts into words, as comparisons of code points with their neighbours.

TensorFlow's regular expressions know no lookahead. But where a match begins is seen from the classes of a code point
and of its neighbours, so every boundary of a batch is found at once. There are two families:

- GPT-2's: `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
  (Radford et al. 2019, "Language Models are Unsupervised Multitask Learners", section 2.2)
- that of Llama 3 and Qwen, which differ in how many digits are a word (`\p{N}{1,3}` and `\p{N}`):
  `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
"""

import tensorflow as tf

from kerasformer.text.character_classes import BREAK, CLASS_MASK, EDGE, LETTER, NUMBER, OTHER, SPACE


def neighbours(stream, values, edge):
    """`values`, `[chars]`, of the code point before each and of the one after it; `edge` where a piece begins, ends."""
    begins = stream.begins
    before = tf.where(begins, edge, tf.concat([values[:1], values[:-1]], 0))
    ends = tf.concat([begins[1:], [True]], 0)
    return before, tf.where(ends, edge, tf.concat([values[1:], values[:1]], 0))


def split_gpt2(stream):
    """Where GPT-2's words begin in the pieces of a Stream, bool `[chars]`."""
    codes, classes = stream.codes, tf.bitwise.bitwise_and(stream.classes, CLASS_MASK)
    before, after = neighbours(stream, classes, EDGE)
    is_space = tf.equal(classes, SPACE)
    is_text = tf.not_equal(classes, EDGE)
    changes = tf.not_equal(before, classes)
    # One space goes with the word after it, and so the last of several white spaces is divided from the others.
    is_last = is_space & tf.not_equal(after, SPACE) & tf.not_equal(after, EDGE)
    after_blank, _ = neighbours(stream, tf.equal(codes, ord(" ")), False)
    begins = is_text & ((changes & (is_space | ~after_blank)) | is_last)
    quotes = begins & tf.equal(codes, ord("'"))
    return tf.cond(
        tf.reduce_any(quotes),
        lambda: _split_contractions(stream, begins, quotes, tf.where(tf.equal(classes, LETTER), codes, 0)),
        lambda: begins,
    )


def split_llama3(stream, max_digits):
    """Where the words of Llama 3 (3 digits at most) and Qwen (1 digit) begin in the pieces of a Stream, bool `[chars]`.

    A run of white space is, in this order: line breaks that belong to the punctuation before it, what ends with its
    last line break, all but its last code point, and that one, which goes with letters after it, or if it is a space
    with punctuation.
    """
    codes, flags = stream.codes, stream.classes
    classes = tf.bitwise.bitwise_and(flags, CLASS_MASK)
    before, after = neighbours(stream, classes, EDGE)
    is_space, is_letter, is_other = (tf.equal(classes, kind) for kind in (SPACE, LETTER, OTHER))
    is_break = tf.bitwise.bitwise_and(flags, BREAK) > 0
    is_blank = tf.equal(codes, ord(" "))
    after_break, _ = neighbours(stream, is_break, False)
    after_blank, _ = neighbours(stream, is_blank, False)
    changes = tf.not_equal(before, classes)

    # Letters go with a white space before them that is no line break, and with a punctuation mark that begins a word.
    lone = is_other & changes & ~after_blank
    after_lone, _ = neighbours(stream, lone, False)
    joins = (tf.equal(before, SPACE) & ~after_break) | after_lone
    begins = (is_letter & changes & ~joins) | lone

    def spaces():
        runs = tf.cumsum(tf.cast(changes | stream.begins, tf.int32))
        breaks = tf.cumsum(tf.cast(is_break, tf.int32))
        # Line breaks in a run from a code point on; how many are before it in the run.
        left = tf.gather(tf.math.segment_max(breaks, runs - 1), runs - 1) - breaks + tf.cast(is_break, tf.int32)
        # Line breaks right after punctuation: runs of breaks that begin there.
        break_begins = is_break & ~after_break
        groups = tf.cumsum(tf.cast(break_begins | ~is_break, tf.int32)) - 1
        attached = break_begins & tf.equal(before, OTHER)
        attached = is_break & (tf.gather(tf.math.segment_max(tf.cast(attached, tf.int32), groups), groups) > 0)
        after_attached, _ = neighbours(stream, attached, False)
        is_last = ~is_break & tf.not_equal(after, SPACE) & tf.not_equal(after, EDGE)
        first = (changes | after_attached) & ~attached
        return is_space & (first | (after_break & ~is_break & tf.equal(left, 0)) | is_last)

    # With at most one white space between words, and no line breaks, each is a beginning.
    is_long = tf.reduce_any(is_space & (is_break | tf.equal(before, SPACE)))
    begins |= tf.cond(is_long, spaces, lambda: is_space)

    is_number = tf.equal(classes, NUMBER)
    if max_digits == 1:
        begins |= is_number
    else:
        begins |= is_number & changes
        after_number = is_number & ~changes
        begins = tf.cond(
            tf.reduce_any(after_number), lambda: begins | _every(is_number, changes, max_digits), lambda: begins
        )
    quotes = begins & tf.equal(codes, ord("'"))
    folded = tf.where(is_letter, tf.where(tf.equal(codes, 0x17F), ord("s"), tf.bitwise.bitwise_or(codes, 32)), 0)
    return tf.cond(tf.reduce_any(quotes), lambda: _split_contractions(stream, begins, quotes, folded), lambda: begins)


def _every(flags, changes, count):
    """The first of each run of true values, and every `count`-th after it."""
    begins = flags & changes
    first = tf.concat([[0], tf.cast(tf.where(begins)[:, 0], tf.int32)], 0)
    first = tf.gather(first, tf.cumsum(tf.cast(begins, tf.int32)))
    return flags & tf.equal((tf.range(tf.size(flags)) - first) % count, 0)


def _split_contractions(stream, begins, quotes, letters):
    """`'s`, `'t`, `'m`, `'d`, `'re`, `'ve` and `'ll` are words, whatever letters follow.

    Args:
        begins, quotes: bool `[chars]`, where words begin, and quotes that do.
        letters: int32 `[chars]`, letters in lower case where case makes no difference; 0 for what is no letter.
    """
    _, first = neighbours(stream, letters, 0)
    _, second = neighbours(stream, first, 0)

    def is_pair(pair):
        return tf.equal(first, ord(pair[0])) & tf.equal(second, ord(pair[1]))

    is_short = tf.equal(first, ord("s")) | tf.equal(first, ord("t"))
    is_short = quotes & (is_short | tf.equal(first, ord("m")) | tf.equal(first, ord("d")))
    is_long = quotes & (is_pair("re") | is_pair("ve") | is_pair("ll"))
    inside = _later(is_short | is_long, 1)
    return (begins & ~inside) | _later(is_short, 2) | _later(is_long, 3)


def _later(flags, count):
    return tf.pad(flags, [[count, 0]])[: tf.size(flags)]
