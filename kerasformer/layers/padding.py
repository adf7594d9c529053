"""Padding is never computed: between the embeddings and the last block an encoder computes real tokens only.

A *layout* leads from the padded to the packed form and back. With B texts of padded length L that hold T real tokens:

- `layout["pack"]`, int32 `[T]`: for each packed token its slot in the flattened `[B * L]`
- `layout["unpack"]`, int32 `[B, L]`: for each slot the packed token that fills it; padding points at token 0

The first slot is always packed, real or not, so that there is a token 0 for padding to point at, also when nothing in
the batch is real. `None` is the trivial layout: every slot is a token, `T = B * L`, and all shapes are static.

The technique is known as effective or variable-length Transformers (ByteTransformer, Zhai et al. 2023, section III-D).
"""

import math

import keras
import tensorflow as tf

from kerasformer.errors import InputError
from kerasformer.layers.base import RowsLayer
from kerasformer.layers.masks import check_padding_mask, is_open


def padding_layout(padding_mask):
    """The layout of a padded batch.

    Args:
        padding_mask: `[batch, length]`, positive or true for real tokens.

    Returns:
        `{"pack": int32 [tokens], "unpack": int32 [batch, length]}`.
    """
    real = tf.cast(is_open(padding_mask), tf.int32)
    flat = tf.reshape(real, [-1])
    kept = tf.maximum(flat, tf.cast(tf.equal(tf.range(tf.size(flat)), 0), tf.int32))
    pack = tf.cast(tf.reshape(tf.where(tf.cast(kept, tf.bool)), [-1]), tf.int32)
    # Exclusive, since the rank of a kept slot is the number of kept slots before it.
    unpack = tf.cumsum(kept, exclusive=True) * kept
    return {"pack": pack, "unpack": tf.reshape(unpack, tf.shape(real))}


def whole_layout(shape):
    """The layout of a batch without padding, `[batch, length]` = `shape`: the trivial one, written out."""
    slots = tf.range(shape[0] * shape[1])
    return {"pack": slots, "unpack": tf.reshape(slots, shape)}


def with_round_number(layout):
    """A layout with a few more tokens, so that their number is a multiple of 8, and from 128 on one of 16 numbers
    between two powers of 2.

    oneDNN sets up each product in 8-bit integers anew for each number of rows, which takes half as long as computing
    it. What is added is the first token again, in no slot.
    """
    count = tf.size(layout["pack"])
    bits = tf.math.floor(tf.math.log(tf.cast(tf.maximum(count, 1), tf.float32)) / math.log(2))
    step = tf.maximum(tf.cast(2.0 ** (bits - 4), tf.int32), 8)
    return {"pack": tf.pad(layout["pack"], [[0, -count % step]]), "unpack": layout["unpack"]}


def unpack_rows(rows, unpack_index, pack_index):
    """Rows of the packed form spread over the padded one: `tf.gather(rows, unpack_index)`, as cheap backwards.

    The gradient of a gather is a scatter-add, many times slower. Each packed row is in one real slot only, so
    gathering in the other direction returns the same numbers, except for gradients of padding, which are dropped:
    callers weight padded slots with 0.

    Args:
        rows: `[N, ...]`.
        unpack_index: int32 indices into `rows`, any shape S; anything valid at padding.
        pack_index: int32 `[N]`, the index of each row in the flattened result.

    Returns:
        `S + rows.shape[1:]`.
    """

    return _unpack_rows(rows, unpack_index, pack_index)


# All tensors are arguments, none is captured: otherwise a SavedModel could not keep the gradient.
@tf.custom_gradient
def _unpack_rows(rows, unpack_index, pack_index):
    def gradient(upstream):
        flat = tf.reshape(upstream, tf.concat([[-1], tf.shape(rows)[1:]], 0))
        return tf.gather(flat, pack_index), None, None

    return tf.gather(rows, unpack_index), gradient


def pack_rows(padded, pack_index, unpack_index, real):
    """Rows of the padded form gathered into the packed one; the reverse of `unpack_rows`, and as cheap backwards.

    Args:
        padded: `[slots, ...]`.
        pack_index: int32 indices into `padded`, any shape; real slots, each once.
        unpack_index: int32 `[slots]`, the packed row in each slot; anything valid at padding.
        real: `[slots]`, 1 for real slots and 0 for padding, of the dtype of `padded`.
    """

    return _pack_rows(padded, pack_index, unpack_index, real)


@tf.custom_gradient
def _pack_rows(padded, pack_index, unpack_index, real):
    def gradient(upstream):
        flat = tf.reshape(upstream, tf.concat([[-1], tf.shape(padded)[1:]], 0))
        weights = tf.reshape(real, tf.concat([[-1], tf.ones_like(tf.shape(padded)[1:])], 0))
        return tf.gather(flat, unpack_index) * weights, None, None, None

    return tf.gather(padded, pack_index), gradient


def pack(inputs, layout):
    """Real tokens only: `[batch, length, ...]` to `[tokens, ...]`. The trivial layout flattens.

    Raises:
        InputError: `inputs` are known to have another batch or length than the layout. Where that shows only when the
            graph runs, it is an InvalidArgumentError.
    """
    slots = -1
    if layout is not None:
        expected, received = tf.TensorShape(layout["unpack"].shape), tf.TensorShape(inputs.shape[:2])
        if not received.is_compatible_with(expected):
            raise InputError(
                "`padding_mask` must have the shape of `token_ids`, [batch, length]. "
                f"Received: {tuple(expected)} and {tuple(received)}."
            )
        # Not -1: else a mask of another length would let the rows of one text run into another's.
        slots = tf.size(layout["unpack"])
    flat = tf.reshape(inputs, tf.concat([[slots], tf.shape(inputs)[2:]], 0))
    flat = tf.ensure_shape(flat, [None, *inputs.shape[2:]])
    return flat if layout is None else tf.gather(flat, layout["pack"])


def unpack(tokens, layout, padding_mask):
    """Back to the padded form: `[tokens, width]` to `[batch, length, width]`, zero at padding.

    Args:
        tokens: `[tokens, width]`.
        layout: as returned by `padding_layout`, or None for the trivial one.
        padding_mask: `[batch, length]`, positive or true for real tokens.
    """
    width = tokens.shape[-1]
    real = tf.cast(is_open(padding_mask), tokens.dtype)[..., None]
    if layout is None:
        padded = tf.reshape(tokens, tf.concat([tf.shape(padding_mask), [width]], 0))
    else:
        padded = unpack_rows(tokens, layout["unpack"], layout["pack"])
    return padded * real


def first_rows(tokens, padding_mask, layout=None):
    """The row of each text's first token (in BERT, `[CLS]`), `[batch, width]`, out of packed `[tokens, width]`; zero
    where that is padding. Without a mask, of `[batch, length, width]`."""
    if padding_mask is None:
        return tokens[:, 0]
    real = tf.cast(is_open(padding_mask)[:, :1], tokens.dtype)
    if layout is not None:
        return tf.gather(tokens, layout["unpack"][:, 0]) * real
    return tf.reshape(tokens, tf.concat([tf.shape(padding_mask), [tokens.shape[-1]]], 0))[:, 0] * real


@keras.saving.register_keras_serializable(package="kerasformer")
class PaddingLayout(RowsLayer):
    """`padding_layout` as a layer: `[batch, length]` padding mask in, the layout's two index tensors out."""

    _input_dtype = "int32"
    # Whether there are few numbers of tokens, see `with_round_number`; for inference.
    round_number = False

    def call(self, padding_mask):
        check_padding_mask(padding_mask, None)
        layout = padding_layout(padding_mask)
        return with_round_number(layout) if self.round_number else layout


@keras.saving.register_keras_serializable(package="kerasformer")
class PackTokens(RowsLayer):
    """Packs any `[batch, length, ...]` tensor to `[tokens, ...]`; with no layout it flattens."""

    def call(self, inputs, layout=None):
        return pack(inputs, layout)


@keras.saving.register_keras_serializable(package="kerasformer")
class UnpackTokens(RowsLayer):
    """Unpacks `[tokens, width]` to `[batch, length, width]`, zero at padding; with no layout it only folds."""

    def call(self, tokens, padding_mask, layout=None):
        return unpack(tokens, layout, padding_mask)


@keras.saving.register_keras_serializable(package="kerasformer")
class TokenPositions(RowsLayer):
    """The position of each token in its text, int32 `[tokens]`, from the padding mask `[batch, length]`.

    Args:
        packed_sequences: the mask numbers several sequences in a row, see `SequenceMask`; each begins at 0.
        skip_padding: count tokens alone, so that the first one has position 0 behind padding on the left too.
    """

    _input_dtype = "int32"

    def __init__(self, packed_sequences=False, skip_padding=False, **kwargs):
        super().__init__(**kwargs)
        self.packed_sequences, self.skip_padding = packed_sequences, skip_padding

    def call(self, padding_mask, layout=None):
        if self.packed_sequences:
            # The numbers grow along a row, padding comes last.
            numbers = tf.where(is_open(padding_mask), padding_mask, padding_mask.dtype.max)
            begin = tf.searchsorted(numbers, numbers)
            return pack(tf.range(tf.shape(padding_mask)[1]) - begin, layout)
        if self.skip_padding:
            numbers = tf.cumsum(tf.cast(is_open(padding_mask), tf.int32), axis=1) - 1
            return pack(tf.maximum(numbers, 0), layout)
        if layout is not None:
            return layout["pack"] % tf.maximum(tf.shape(padding_mask)[1], 1)
        batch, length = tf.unstack(tf.shape(padding_mask))
        return tf.tile(tf.range(length), [batch])

    def get_config(self):
        options = {"packed_sequences": self.packed_sequences, "skip_padding": self.skip_padding}
        return {**super().get_config(), **options}


@keras.saving.register_keras_serializable(package="kerasformer")
class SequenceMask(RowsLayer):
    """The attention mask of rows that hold several sequences, none of which attends to another (block-diagonal).

    Call:
        padding_mask: int `[batch, length]`, the number of each token's sequence, from 1 on and growing; 0 for
            padding.

    Returns:
        bool `[batch, length, length]`.
    """

    _input_dtype = "int32"

    def call(self, padding_mask):
        return tf.equal(padding_mask[:, :, None], padding_mask[:, None, :])
