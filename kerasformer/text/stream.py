"""The texts of a batch as one stream of code points, with the place of each in the caller's strings."""

from typing import NamedTuple

import tensorflow as tf

EDGE_CODE = -1  # in place of a code point, where a text begins and after the last one


class Stream(NamedTuple):
    """Code points of a batch of texts, an edge before each text and one at the end: no tensor is ever empty.

    codes: int32 `[chars]`, EDGE_CODE at edges.
    starts, ends: int32 `[chars]`, where a code point came from, in bytes of its text; both are 0 at edges.
    text_starts: int32 `[texts + 1]`, where the edges are.
    sources: int32 `[chars]`, the place of each code point in the text, counted in code points; -1 at edges.
    """

    codes: tf.Tensor
    starts: tf.Tensor
    ends: tf.Tensor
    text_starts: tf.Tensor
    sources: tf.Tensor

    def take(self, places, codes):
        """The stream with other code points, `codes`, that came from `places` in this one, both int32 `[new]`.

        Every edge must be among them once.
        """
        is_edge = tf.equal(codes, EDGE_CODE)
        return Stream(
            codes,
            tf.gather(self.starts, places),
            tf.gather(self.ends, places),
            tf.cast(tf.where(is_edge)[:, 0], tf.int32),
            tf.gather(self.sources, places),
        )


def decode(texts):
    """A Stream of texts, strings `[texts]`. Bytes that are no UTF-8 become U+FFFD."""
    # A line feed is put where an edge will be, so that decoding makes room for it.
    decoded = tf.raw_ops.UnicodeDecodeWithOffsets(
        input=tf.strings.join(["\n", tf.concat([texts, [""]], 0)]),
        input_encoding="UTF-8",
        errors="replace",
        replacement_char=0xFFFD,
        replace_control_characters=False,
        Tsplits=tf.int64,  # int32 ends the process
    )
    text_starts = tf.cast(decoded.row_splits[:-1], tf.int32)
    edges = text_starts[:, None]
    codes = tf.tensor_scatter_nd_update(decoded.char_values, edges, tf.fill(tf.shape(text_starts), EDGE_CODE))
    starts = tf.cast(decoded.char_to_byte_starts, tf.int32) - 1
    ends = tf.concat([starts[1:], [0]], 0)
    # The last code point of a text ends where the text does.
    ends = tf.tensor_scatter_nd_update(ends, edges[1:] - 1, tf.strings.length(texts))
    starts = tf.maximum(starts, 0)
    places = tf.range(tf.size(codes))
    lengths = text_starts[1:] - text_starts[:-1]
    sources = places - tf.concat([tf.repeat(text_starts[:-1], lengths), text_starts[-1:]], 0) - 1
    return Stream(codes, starts, ends, text_starts, sources)
