"""Pre-tokenizers of a `tokenizer.json`: where the words of a text begin.

A pre-tokenizer is called with a Stream and gives one: `split` where a word begins, `keep` for what no word holds,
and `take` where a code point is put in or replaced by another. In a `Sequence` each one looks at the words of the one
before it. `PRE_TOKENIZERS` is the registry, `{type: class}`, and a class takes the fields of its component.
"""

import tensorflow as tf

from kerasformer.errors import InputError
from kerasformer.text import registry
from kerasformer.text.splits import split_gpt2


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
    needs = stream.begins & (stream.codes >= 0) & tf.not_equal(stream.codes, code) & where
    stream, _, turns = stream.insert(tf.cast(needs, tf.int32))
    is_new = tf.concat([turns[1:] > 0, [False]], 0)
    return stream.replace(tf.where(is_new, code, stream.codes))


PRE_TOKENIZERS = {"ByteLevel": ByteLevel}


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
