"""Pre-tokenizers of a `tokenizer.json`: where the words of a text begin.

A pre-tokenizer is called with a Stream and gives one: `split` where a word begins, `keep` for what no word holds,
and `take` where a code point is put in or replaced by another. In a `Sequence` each one looks at the words of the one
before it. `PRE_TOKENIZERS` is the registry, `{type: class}`, and a class takes the fields of its component.
"""

import tensorflow as tf

from kerasformer.errors import InputError
from kerasformer.text import registry
from kerasformer.text.character_classes import CLASS_MASK, SPACE, WORD
from kerasformer.text.code_point_table import CodePointTable
from kerasformer.text.normal_forms import flags
from kerasformer.text.patterns import Matches
from kerasformer.text.splits import neighbours, split_gpt2, split_llama3
from kerasformer.text.unicode_rules import PUNCTUATION, recorded_rules

_GPT2_REST = r" ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|{digits}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# Expressions of several classes, by their text.
SPLITS = {
    r"'s|'t|'re|'ve|'m|'ll|'d|" + _GPT2_REST: split_gpt2,
    r"'(?:[sdmt]|ll|ve|re)|" + _GPT2_REST: split_gpt2,
    _LLAMA3.replace("{digits}", r"\p{N}{1,3}"): lambda stream: split_llama3(stream, 3),
    _LLAMA3.replace("{digits}", r"\p{N}"): lambda stream: split_llama3(stream, 1),
}


class ByteLevel:
    """GPT-2's words, or each whole text as one word. The model reads them as bytes.

    Args:
        add_prefix_space: bool, whatever begins without a space gets one.
        trim_offsets: no concern of words; the post-processor has it.
        use_regex: bool, split by GPT-2's rules.
    """

    def __init__(self, add_prefix_space=True, trim_offsets=True, use_regex=True):
        self._add_prefix_space, self._use_regex = add_prefix_space, use_regex

    def __call__(self, stream):
        if self._add_prefix_space:
            stream = prepend(stream, ord(" "))
        return stream.split(split_gpt2(stream)) if self._use_regex else stream


def prepend(stream, code, where=True):
    """Puts a code point before each piece that begins with another, if `where`, bool `[chars]`, is true there."""
    return stream.put_before(stream.begins & (stream.codes >= 0) & tf.not_equal(stream.codes, code) & where, code)


def divide(stream, inside, begins, behavior):
    """Divides pieces at matches.

    Args:
        stream: Stream.
        inside: bool `[chars]`, inside of a match.
        begins: bool `[chars]`, where a match begins, or what is between two matches.
        behavior: "Removed", "Isolated", "MergedWithPrevious", "MergedWithNext" or "Contiguous".
    """
    before, _ = neighbours(stream, inside, False)
    if behavior == "Removed":
        return stream.split(begins).keep(~inside)
    if behavior == "Contiguous":
        begins = tf.not_equal(inside, before)
    elif behavior == "MergedWithPrevious":
        begins &= ~inside | before
    elif behavior == "MergedWithNext":
        begins &= inside | ~before
    return stream.split(begins)


def checked_behavior(behavior):
    """The behavior in the letters of the reference, which reads "MergedWithNext" and "merged_with_next"."""
    known = ("Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous")
    for name in known:
        if str(behavior).replace("_", "").lower() == name.lower():
            return name
    raise InputError(f"`behavior` must be one of {', '.join(known)}. Received: {behavior!r}.")


class Split:
    """Words divided at the matches of a pattern.

    Args:
        pattern: `{"String": str}` or `{"Regex": str}`: a text, a class of characters, or one of `SPLITS`.
        behavior: str, what happens to matches, see `divide`.
        invert: bool, what is between matches takes their part.
    """

    def __init__(self, pattern, behavior, invert=False):
        self._behavior, self._invert = checked_behavior(behavior), invert
        self._whole = SPLITS.get(pattern.get("Regex"))
        if self._whole:
            if self._behavior != ("Removed" if invert else "Isolated"):
                raise InputError(f"`behavior` must be Isolated, as all of a text matches. Received: {behavior!r}.")
        else:
            self._matches = Matches(pattern)

    def __call__(self, stream):
        if self._whole:
            return stream.split(self._whole(stream))
        inside, begins = self._matches(stream)
        before, _ = neighbours(stream, inside, False)
        return divide(stream, inside ^ self._invert, begins | (before & ~inside), self._behavior)


class _Classes:
    """Pieces divided at single code points."""

    def __call__(self, stream):
        inside = self.inside(stream)
        before, _ = neighbours(stream, inside, False)
        return divide(stream, inside, inside | before, self.behavior)


class WhitespaceSplit(_Classes):
    """Words are what is between white space."""

    behavior = "Removed"

    def inside(self, stream):
        return tf.equal(tf.bitwise.bitwise_and(stream.classes, CLASS_MASK), SPACE)


class Punctuation(_Classes):
    """Each punctuation mark is divided from what is around it, see `divide`."""

    def __init__(self, behavior="Isolated"):
        self.behavior = checked_behavior(behavior)
        self._table = CodePointTable(recorded_rules()["flags"] & PUNCTUATION > 0)

    def inside(self, stream):
        return (stream.codes >= 0) & (self._table(stream.codes) > 0)


class Digits(_Classes):
    """Numbers are divided from what is around them, and from each other if `individual_digits`."""

    def __init__(self, individual_digits=False):
        self.behavior = "Isolated" if individual_digits else "Contiguous"
        self._table = CodePointTable(flags("numeric"))

    def inside(self, stream):
        return (stream.codes >= 0) & (self._table(stream.codes) > 0)


class BertPreTokenizer:
    """Words are what is between white space, and each punctuation mark is one."""

    def __init__(self):
        self._steps = WhitespaceSplit(), Punctuation()

    def __call__(self, stream):
        for step in self._steps:
            stream = step(stream)
        return stream


class Whitespace:
    r"""The matches of `\w+|[^\w\s]+` are words."""

    def __call__(self, stream):
        classes = stream.classes
        is_word = tf.bitwise.bitwise_and(classes, WORD) > 0
        is_space = tf.equal(tf.bitwise.bitwise_and(classes, CLASS_MASK), SPACE) & ~is_word
        before, _ = neighbours(stream, is_word, False)
        return stream.split(tf.not_equal(is_word, before) | is_space).keep(~is_space)


class Metaspace:
    """Spaces become `replacement`, which begins a word.

    Args:
        replacement: str, a character.
        prepend_scheme: what gets one at its beginning where there is none: "always" every piece, "first" one at the
            beginning of a text, "never" none.
        add_prefix_space: bool, "always" or "never", in older files.
        str_rep: str, passed over, in older files.
        split: bool, divide words there.
    """

    def __init__(self, replacement="▁", prepend_scheme=None, add_prefix_space=True, str_rep=None, split=True):
        self._scheme = prepend_scheme or ("always" if add_prefix_space else "never")
        if self._scheme not in ("always", "first", "never"):
            raise InputError(f"`prepend_scheme` must be 'always', 'first' or 'never'. Received: {prepend_scheme!r}.")
        if len(replacement) != 1:
            raise InputError(f"`replacement` must be one character. Received: {replacement!r}.")
        self._code, self._split = ord(replacement), split

    def __call__(self, stream):
        stream = stream.replace(tf.where(tf.equal(stream.codes, ord(" ")), self._code, stream.codes))
        if self._scheme == "always":
            stream = prepend(stream, self._code)
        elif self._scheme == "first":
            stream = prepend(stream, self._code, stream.is_text_start)
        if self._split:
            return stream.split(tf.equal(stream.codes, self._code))
        return stream


PRE_TOKENIZERS = {
    "BertPreTokenizer": BertPreTokenizer,
    "ByteLevel": ByteLevel,
    "Digits": Digits,
    "Metaspace": Metaspace,
    "Punctuation": Punctuation,
    "Split": Split,
    "Whitespace": Whitespace,
    "WhitespaceSplit": WhitespaceSplit,
}


def read_pre_tokenizer(component, settings, where):
    """The pre-tokenizers of a component, list; `add_prefix_space` of the settings replaces that of `ByteLevel`."""
    prefix, made = settings.get("add_prefix_space"), []
    for part in registry.flatten(component, "pretokenizers"):
        if part.get("type") == "ByteLevel" and prefix is not None:
            part = {**part, "add_prefix_space": bool(prefix)}
        if any(isinstance(one, ByteLevel) for one in made):
            raise InputError(f"{where} must have no pre-tokenizer behind ByteLevel. Received: {part['type']}.")
        made.append(registry.make(PRE_TOKENIZERS, "pre-tokenizer", part, where))
    return made
