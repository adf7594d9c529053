"""The texts of a batch as one stream of code points, with the place of each in the caller's strings.

Every component before the model maps a Stream to a Stream. Three rules keep them independent of each other:

- A code below 0 is no code point: EDGE_CODE where a text begins or the last one ends, and `added_code(id)` inside of an
  added token. A component leaves these as they are.
- Code points of different `pieces` are never looked at together: to a component, a piece is a whole text. A normalizer
  never begins a piece, a pre-tokenizer does nothing else: in the end each piece is a word.
- Whatever is put in has the place of a neighbour, and whatever is left out is just not taken: `places` never decreases.
"""

from typing import NamedTuple

import tensorflow as tf

from kerasformer.text.character_classes import EDGE, look_up_classes

EDGE_CODE = -1


def added_code(token_id):
    """The code inside of an added token, and the id of such a code: the function is its own inverse."""
    return -2 - token_id


def copies(counts):
    """Each code point as often as `counts`, int32 `[chars]`, says.

    `tf.repeat` makes a mask of all code points by the greatest count; two running sums take less time.

    Returns:
        chars: int32 `[copies]`, the code point that each is a copy of.
        turns: int32 `[copies]`, 0 for the first copy of each, then 1 and so on.
    """
    ends = tf.cumsum(counts)
    starts = ends - counts
    begun = tf.math.unsorted_segment_sum(tf.ones_like(starts), starts, ends[-1] + 1)[:-1]
    chars = tf.cumsum(begun) - 1
    return chars, tf.range(tf.size(chars)) - tf.gather(starts, chars)


class Stream(NamedTuple):
    """Code points of a batch of texts, an edge before each text and one at the end: no tensor is ever empty.

    codes: int32 `[chars]`.
    places: int32 `[chars]`, where the code point came from, in the code points of `Texts`.
    pieces: int32 `[chars]`, never decreasing, the number of the piece. An edge is a piece of its own, as is each added
        token.
    """

    codes: tf.Tensor
    places: tf.Tensor
    pieces: tf.Tensor

    @property
    def begins(self):
        """bool `[chars]`, where a piece begins."""
        return tf.concat([[True], tf.not_equal(self.pieces[1:], self.pieces[:-1])], 0)

    @property
    def classes(self):
        """int32 `[chars]`, classes and flags as in `character_classes`, EDGE at codes below 0."""
        is_edge = self.codes < 0
        return tf.where(is_edge, EDGE, look_up_classes(tf.where(is_edge, 0, self.codes)))

    @property
    def is_text_start(self):
        """bool `[chars]`, a code point that came from the first one of its text."""
        is_edge = tf.equal(self.codes, EDGE_CODE)
        edges = tf.gather(self.places, tf.where(is_edge)[:, 0])
        return tf.equal(self.places, tf.gather(edges, tf.cumsum(tf.cast(is_edge, tf.int32)) - 1) + 1)

    def take(self, chars, codes=None):
        """The stream of the code points `chars`, int `[new chars]`, or with other `codes` in their places."""
        codes = tf.gather(self.codes, chars) if codes is None else codes
        return Stream(codes, tf.gather(self.places, chars), tf.gather(self.pieces, chars))

    def keep(self, flags):
        """The stream without the code points where `flags`, bool `[chars]`, are false. Codes below 0 always stay."""
        return self.take(tf.where(flags | (self.codes < 0))[:, 0])

    def split(self, begins):
        """The stream with pieces that begin also where `begins`, bool `[chars]`, are true."""
        pieces = tf.cumsum(tf.cast((begins & (self.codes >= 0)) | self.begins, tf.int32))
        return self._replace(pieces=pieces)

    def replace(self, codes):
        """The stream with other `codes` for the same code points."""
        return self._replace(codes=codes)

    def insert(self, counts):
        """The stream with room: code point `i` is there `1 + counts[i]` times.

        Returns:
            stream: Stream.
            chars: int32 `[new chars]`, the code points of this stream.
            turns: int32 `[new chars]`, 0 for the first copy of each, then 1 and so on.
        """
        chars, turns = copies(1 + counts)
        return self.take(chars), chars, turns

    def put_before(self, flags, code):
        """The stream with `code`, int, before each code point where `flags`, bool `[chars]`, are true."""
        places = tf.where(tf.stack([flags, tf.ones_like(flags)], 1))
        chars, is_old = places[:, 0], places[:, 1] > 0
        return self.take(chars, tf.where(is_old, tf.gather(self.codes, chars), code))


class Texts(NamedTuple):
    """The code points of a batch as they were decoded: what `places` of a Stream count.

    codes: int32 `[chars]`, EDGE_CODE before each text and after the last one.
    starts, ends: int32 `[chars]`, where a code point is, in bytes of its text; both are 0 at edges.
    edges: int32 `[texts + 1]`, where the edges are.
    """

    codes: tf.Tensor
    starts: tf.Tensor
    ends: tf.Tensor
    edges: tf.Tensor

    @property
    def stream(self):
        is_edge = tf.cast(self.codes < 0, tf.int32)
        return Stream(self.codes, tf.range(tf.size(self.codes)), 2 * tf.cumsum(is_edge) - is_edge)


def code_points(texts, with_offsets=True):
    """Code points of strings `[texts]`, with a line feed before each text and one at the end, as
    `tf.raw_ops.UnicodeDecodeWithOffsets` returns them. Bytes that are no UTF-8 become U+FFFD."""
    operation = tf.raw_ops.UnicodeDecodeWithOffsets if with_offsets else tf.raw_ops.UnicodeDecode
    return operation(
        input=tf.strings.join(["\n", tf.concat([texts, [""]], 0)]),
        input_encoding="UTF-8",
        errors="replace",
        replacement_char=0xFFFD,
        replace_control_characters=False,
        Tsplits=tf.int64,  # int32 ends the process
    )


def decode(texts):
    """Texts of strings `[texts]`."""
    # A line feed is put where an edge will be, so that decoding makes room for it.
    decoded = code_points(texts)
    edges = tf.cast(decoded.row_splits[:-1], tf.int32)
    codes = tf.tensor_scatter_nd_update(decoded.char_values, edges[:, None], tf.fill(tf.shape(edges), EDGE_CODE))
    starts = tf.cast(decoded.char_to_byte_starts, tf.int32) - 1
    ends = tf.concat([starts[1:], [0]], 0)
    # The last code point of a text ends where the text does.
    ends = tf.tensor_scatter_nd_update(ends, edges[1:, None] - 1, tf.strings.length(texts))
    return Texts(codes, tf.maximum(starts, 0), ends, edges)
