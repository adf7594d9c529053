"""Disentangled attention (He et al. 2021, DeBERTa, arXiv:2006.03654): content and relative position attend separately.

Symbols: L length, D head_dim. Both layers speak of a *shift*, the key's position less the query's. A sequence of length
L has the shifts 1 - L to L - 1; row c of a table "by shift" belongs to the shift `c + 1 - L`, and has 2 L rows, of
which the last one is not read: with it the rows that each query needs are cut out without an index.
"""

import keras
import tensorflow as tf

from kerasformer.layers.base import AttentionPositions, Layer
from kerasformer.layers.configs import RelativeEmbeddingConfig, serialized
from kerasformer.layers.dropout import Dropout
from kerasformer.layers.normalization import normalization


@keras.saving.register_keras_serializable(package="kerasformer")
class RelativeEmbedding(Layer):
    """A trained vector for each relative position, that all blocks of a model share (He et al. 2021, section 3.1).

    With `max_distance`, half of the distances in each direction have a vector of their own, and the others grow
    logarithmically, up to `max_distance` (He et al. 2021, arXiv:2111.09543: DeBERTaV3's buckets).

    Args:
        dim: width of the vectors.
        num_distances, max_distance, norm: the fields of `RelativeEmbeddingConfig`.
        initializer: of the table.

    Call:
        inputs: `[batch, length, ...]`; only the length is read.

    Returns:
        `[2 * length, dim]` by shift, in the compute dtype: the `relative` argument of attention.

    Raises:
        InputError: there are fewer than two distances, or `max_distance` is not beyond those with their own vectors.
    """

    _input_dtype = "int32"

    def __init__(self, dim, num_distances, max_distance=None, norm=None, initializer="uniform", **kwargs):
        super().__init__(**kwargs)
        self.config = RelativeEmbeddingConfig(num_distances, max_distance, norm)
        self.dim, self.num_distances, self.max_distance = dim, num_distances, max_distance
        self.initializer = keras.initializers.get(initializer)
        self.norm = norm and normalization(norm, dtype=self.dtype_policy, name="norm")

    def build(self, input_shape=None):
        self.embeddings = self.add_weight(
            name="embeddings", shape=(2 * self.num_distances, self.dim), initializer=self.initializer, autocast=False
        )
        if self.norm is not None:
            self.norm.build((None, self.dim))

    def call(self, inputs, training=None):
        length = tf.shape(inputs)[1]
        distances = length - 1 - tf.range(2 * length)
        rows = tf.gather(tf.convert_to_tensor(self.embeddings), self.row(distances))
        if self.norm is not None:
            rows = self.norm(rows, training=training)
        return tf.cast(rows, self.compute_dtype)

    def row(self, distance):
        """The row of the table for `query position - key position`, int32 of any shape."""
        count = self.num_distances
        if self.max_distance is not None:
            exact = count // 2
            # In float64: the last distance with a row of its own is a whole number here, which `ceil` must meet.
            far = tf.math.log(tf.cast(tf.maximum(tf.abs(distance), exact), tf.float64) / exact)
            last = tf.math.log(tf.constant((self.max_distance - 1) / exact, tf.float64))
            far = tf.cast(tf.math.ceil(far / last * (exact - 1)), tf.int32) + exact
            distance = tf.where(tf.abs(distance) <= exact, distance, tf.sign(distance) * far)
        return tf.clip_by_value(distance + count, 0, 2 * count - 1)

    def get_config(self):
        return {
            **super().get_config(),
            "dim": self.dim,
            **{name: serialized(value) for name, value in self.config.get_config().items()},
            "initializer": keras.initializers.serialize(self.initializer),
        }


@keras.saving.register_keras_serializable(package="kerasformer")
class DisentangledAttention(AttentionPositions):
    """Adds to each score what the query's content says of the key's relative position ("c2p"), and what the key's
    content says of the query's ("p2c"): equation 4 of He et al. 2021, without its position-to-position term.

    The vectors of relative positions come from a `RelativeEmbedding` and are projected like content. Products are
    computed by shift, with a matrix of `[length, 2 * length]` for each head, of which query i reads a window that
    begins `length - 1 - i` further on: a slice of the flattened matrix, with no index.

    Args:
        num_heads: number of heads.
        head_dim: width of a head; None for `hidden_dim // num_heads`.
        content_to_position, position_to_content: which terms there are, at least one.
        share_projections: project positions by the query and key projections of the content, not by others.
        dropout: rate on the vectors of relative positions, when training.
        kernel_initializer: of projections of their own.
    """

    needs_relative = True

    def __init__(
        self,
        num_heads,
        head_dim=None,
        content_to_position=True,
        position_to_content=True,
        share_projections=True,
        dropout=0.0,
        kernel_initializer="glorot_uniform",
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.num_heads, self.head_dim = num_heads, head_dim
        self.content_to_position, self.position_to_content = content_to_position, position_to_content
        self.share_projections, self.dropout = share_projections, dropout
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.query = self.key = None
        self._dropout = Dropout(dropout, dtype=self.dtype_policy, name="dropout")

    @property
    def terms(self):
        return 1 + self.content_to_position + self.position_to_content

    def build(self, input_shape):
        if self.share_projections:
            return
        dim = input_shape[-1]
        width = self.num_heads * (self.head_dim or dim // self.num_heads)

        def projection(name):
            initializer = self.kernel_initializer.clone()
            dense = keras.layers.Dense(width, kernel_initializer=initializer, dtype=self.dtype_policy, name=name)
            dense.build((None, dim))
            return dense

        self.key = projection("key") if self.content_to_position else None
        self.query = projection("query") if self.position_to_content else None

    def bias(self, query, key, query_positions, key_positions, relative=None, training=None):
        """As in the base class; the queries are those of all positions, or of the first one alone.

        Args:
            relative: a `Relative`.
        """
        rows = self._dropout(relative.rows, training=training)
        if self.share_projections:
            queries, keys = relative.project(rows)
        else:
            queries, keys = (layer and layer(rows) for layer in (self.query, self.key))
        length, first_only = tf.shape(key)[2], query.shape[2] == 1
        terms = []
        if self.content_to_position:
            keys = self._by_head(keys, relative.scale)
            if first_only:
                terms.append(tf.matmul(query, keys[:, length - 1 : 2 * length - 1], transpose_b=True))
            else:
                terms.append(_windows(tf.matmul(query, keys, transpose_b=True), length - 1))
        if self.position_to_content:
            queries = self._by_head(queries, relative.scale)
            if first_only:
                terms.append(tf.reduce_sum(key * queries[:, length - 1 : 2 * length - 1], -1)[:, :, None])
            else:
                # The shift of key j to query i falls with i: in reverse order it grows.
                scores = tf.matmul(key, tf.reverse(queries, [1]), transpose_b=True)
                terms.append(tf.transpose(_windows(scores, length), [0, 1, 3, 2]))
        return sum(terms[1:], terms[0])

    def _by_head(self, rows, scale):
        """`[rows, heads * D]` to `[heads, rows, D]`, scaled as the scores are."""
        heads = tf.reshape(rows, [-1, self.num_heads, rows.shape[-1] // self.num_heads])
        return tf.transpose(heads, [1, 0, 2]) * tf.cast(scale, rows.dtype)

    def get_config(self):
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "head_dim": self.head_dim,
            "content_to_position": self.content_to_position,
            "position_to_content": self.position_to_content,
            "share_projections": self.share_projections,
            "dropout": self.dropout,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }


def _windows(scores, begin):
    """`[batch, heads, L, 2 L]` to `[batch, heads, L, L]`: row i from column `begin - i` on.

    In the flattened matrix these windows are 2 L - 1 numbers apart, so that a slice and two reshapes cut them out (Dai
    et al. 2019, arXiv:1901.02860, appendix B); faster than gathering them.
    """
    batch, heads, length = tf.shape(scores)[0], scores.shape[1], tf.shape(scores)[2]
    flat = tf.reshape(scores, [batch, heads, 2 * length * length])
    apart = flat[..., begin : begin + length * (2 * length - 1)]
    return tf.reshape(apart, [batch, heads, length, 2 * length - 1])[..., :length]
