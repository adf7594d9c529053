"""Added tokens such as `<mask>`, found in a stream of code points as the `tokenizers` library finds them."""

import dataclasses

import numpy as np
import tensorflow as tf

from kerasformer.errors import InputError
from kerasformer.text.character_classes import CLASS_MASK, SPACE, WORD
from kerasformer.text.special_tokens import find_special_tokens, possible_starts
from kerasformer.text.stream import EDGE_CODE, added_code, decode

_FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")


@dataclasses.dataclass(frozen=True)
class AddedToken:
    """A token that is found literally in a text before the text is split.

    content: str.
    id: int.
    single_word: bool, found only where no letter, digit or underscore is beside it.
    lstrip, rstrip: bool, white space before it, or after it, belongs to it.
    normalized: bool, found in the normalized text and not in the caller's.
    special: bool, leaves nothing in a detokenized text.
    """

    content: str
    id: int
    single_word: bool = False
    lstrip: bool = False
    rstrip: bool = False
    normalized: bool = False
    special: bool = False


def normalized_tokens(tokens, normalizers, where):
    """AddedTokens that are found in normalized text, as they are written there.

    Raises:
        InputError: nothing is left of a token.
    """
    if not tokens or not normalizers:
        return tokens
    with tf.device("CPU"):
        stream = decode(tf.constant([token.content for token in tokens])).stream
        for normalizer in normalizers:
            stream = normalizer(stream)
    codes = stream.codes.numpy()
    contents = ["".join(map(chr, part[1:])) for part in np.split(codes, np.flatnonzero(codes == EDGE_CODE))[1:-1]]
    for token, content in zip(tokens, contents, strict=True):
        if not content:
            raise InputError(
                f"{where}: the normalizer must leave something of an added token. Received: {token.content!r}."
            )
    return [dataclasses.replace(token, content=content) for token, content in zip(tokens, contents, strict=True)]


class AddedTokenFinder:
    """Finds added tokens.

    Args:
        tokens: non-empty list of AddedToken.
    """

    def __init__(self, tokens):
        tokens = {token.content: token for token in tokens}
        self._contents = sorted(tokens)
        tokens = [tokens[content] for content in self._contents]
        self._ids = np.array([token.id for token in tokens], np.int32)
        flags = {name: np.array([getattr(token, name) for token in tokens]) for name in _FLAGS}
        self._single, self._left, self._right = (flags[name] for name in ("single_word", "lstrip", "rstrip"))

    def __call__(self, stream):
        """The Stream with each added token as a piece of its own, and `added_code` of its id inside."""
        starts = possible_starts(stream.codes, self._contents)
        return tf.cond(tf.size(starts) > 0, lambda: self._found(stream, starts), lambda: stream)

    def _found(self, stream, starts):
        ids, first = self._find(stream.codes, stream.classes, starts)
        is_token = ids >= 0
        begins = first | tf.concat([[False], is_token[:-1] & ~is_token[1:]], 0)
        return stream.split(begins).replace(tf.where(is_token, added_code(ids), stream.codes))

    def _find(self, codes, classes, starts):
        """ids of the token at each code point or -1, int32 `[chars]`, and where tokens begin, bool `[chars]`."""
        kinds = tf.bitwise.bitwise_and(classes, CLASS_MASK)
        starts, ends, tokens = find_special_tokens(codes, self._contents, starts)
        if self._single.any():
            is_word = tf.concat([[False], tf.bitwise.bitwise_and(classes, WORD) > 0, [False]], 0)
            in_word = tf.gather(is_word, starts) | tf.gather(is_word, ends + 1)
            found = ~(in_word & tf.gather(self._single, tokens))
            starts, ends, tokens = (tf.boolean_mask(value, found) for value in (starts, ends, tokens))
        if self._left.any() or self._right.any():
            # The space before a place, the space after it: where the run of white space begins and ends.
            is_space = tf.equal(kinds, SPACE)
            places = tf.range(tf.size(codes) + 1)
            solid = tf.boolean_mask(places, tf.concat([~is_space, [True]], 0))
            if self._right.any():
                after = tf.gather(solid, tf.searchsorted(solid, ends))
                ends = tf.where(tf.gather(self._right, tokens), after, ends)
            if self._left.any():
                before = tf.gather(solid, tf.searchsorted(solid, starts) - 1) + 1
                before = tf.maximum(before, tf.concat([[0], ends[:-1]], 0))
                starts = tf.where(tf.gather(self._left, tokens), before, starts)
        size = tf.size(codes)
        lengths = tf.maximum(ends - starts, 0)
        inside = tf.repeat(starts - tf.cumsum(lengths, exclusive=True), lengths) + tf.range(tf.reduce_sum(lengths))
        ids = tf.repeat(tf.gather(self._ids, tokens), lengths)
        return (
            tf.tensor_scatter_nd_update(tf.fill([size], -1), inside[:, None], ids),
            tf.tensor_scatter_nd_update(tf.zeros([size], tf.bool), starts[:, None], tf.ones_like(starts, tf.bool)),
        )
