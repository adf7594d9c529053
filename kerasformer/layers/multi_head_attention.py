"""Multi-head attention."""

import keras
import tensorflow as tf

from kerasformer.errors import InputError
from kerasformer.layers.attention import attention_for_serving, scaled_dot_product_attention
from kerasformer.layers.dropout import Dropout
from kerasformer.layers.heads import merge_heads, split_heads
from kerasformer.layers.masks import is_open, joint_mask
from kerasformer.layers.padding import first_rows
from kerasformer.layers.projection import project
from kerasformer.layers.rotary_position_embedding import RotaryPositionEmbedding


@keras.saving.register_keras_serializable(package="kerasformer")
class MultiHeadAttention(keras.layers.Layer):
    """Multi-head attention (Vaswani et al. 2017, section 3.2.2), with the projections of an input fused into one.

    Self-attention when called with one input (`query_key_value`, one matrix), cross-attention when called with two
    (`query`, and `key_value`, one matrix). Which of the two is settled by the first call.

    Args:
        num_heads: number of heads; must divide the width of the query.
        dropout: rate on the attention probabilities, when training.
        use_bias: whether the projections have biases.
        kernel_initializer: of all projections.
        rotary: turn queries and keys of self-attention by their positions, as `RotaryPositionEmbedding` does.

    Call:
        query: `[batch, query length, width]`; or packed `[tokens, width]`.
        value: `[batch, key length, any width]` to attend to, or packed as `value_layout` tells; None attends to
            `query` itself.
        padding_mask: `[batch, key length]`, positive or true where there is a key; by default the mask that Keras
            carries along with `value` (or `query`), unless there is a cache. Required with a packed value.
        attention_mask: `[batch or 1, query length, key length]`, or with heads `[batch, heads, query, key]`, positive
            or true where attention may look.
        bias: added to the scaled scores, broadcastable to `[batch, heads, query length, key length]`.
        use_causal_mask: no query sees a later key.
        cache: keys and values of earlier steps, a pair of `[batch, heads, earlier, head width]`, for decoding one
            step (or some) at a time: the new ones are appended and returned. With cross-attention, the pair that
            `project_key_value` gives: nothing is projected or appended, and `value` is not read.
        layout: of a packed query, as `padding_layout` gives it; None where it holds every slot, padding too.
        value_layout: of a packed `value`, in the same way.
        query_mask: `[batch, query length]`, the padding mask of a packed query; by default `padding_mask`, in
            self-attention without cache.
        positions: int32 `[query length]` or `[batch, query length]`, for `rotary`; by default they follow the cache.
        return_attention_scores: also return the probabilities, `[batch, heads, query length, key length]`.

    Returns:
        The shape of `query`; then, where asked for, the scores; then, where a cache was given, the new cache.

    Raises:
        InputError: `num_heads` does not divide the width, or a packed call without its mask.
    """

    def __init__(
        self, num_heads, dropout=0.0, use_bias=True, kernel_initializer="glorot_uniform", rotary=False, **kwargs
    ):
        super().__init__(**kwargs)
        if num_heads < 1 or not 0 <= dropout < 1:
            raise InputError(
                "`num_heads` must be at least 1 and `dropout` in [0, 1). "
                f"Received: num_heads={num_heads}, dropout={dropout}."
            )
        self.num_heads = num_heads
        self.dropout = dropout
        self.use_bias = use_bias
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.rotary = rotary
        self.supports_masking = True
        self.serving_form, self.row_groups = False, 1  # see use_serving_form
        self._rotate = RotaryPositionEmbedding(dtype=self.dtype_policy, name="rotate") if rotary else None
        self._probability_dropout = Dropout(dropout, dtype=self.dtype_policy, name="dropout")

    def build(self, query_shape, value_shape=None):
        width = query_shape[-1]
        if width % self.num_heads:
            raise InputError(
                f"`num_heads` must divide the width of the query. Received: num_heads={self.num_heads}, width={width}."
            )
        self._width = width
        if value_shape is None:
            self.query_key_value = self._projection(3 * width, "query_key_value", width)
        else:
            self.query = self._projection(width, "query", width)
            self.key_value = self._projection(2 * width, "key_value", value_shape[-1])
        self.output_projection = self._projection(width, "output_projection", width)

    def _projection(self, units, name, input_width):
        initializer = self.kernel_initializer.clone()
        dense = keras.layers.Dense(
            units, use_bias=self.use_bias, kernel_initializer=initializer, dtype=self.dtype_policy, name=name
        )
        dense.build((None, input_width))
        return dense

    @property
    def _is_cross_attention(self):
        return hasattr(self, "key_value")

    def project_key_value(self, value, padding_mask=None, layout=None):
        """The keys and values of cross-attention, a pair of `[batch, heads, key length, head width]`, to be computed
        once and given as `cache` in each step of decoding.

        Args:
            value: `[batch, key length, width]`, or packed `[tokens, width]` with its `padding_mask`
                `[batch, key length]` and `layout`.
        """
        packed = len(value.shape) == 2
        shape = tf.shape(padding_mask) if packed else tf.shape(value)[:2]
        rows = value if packed else tf.reshape(value, [-1, value.shape[-1]])
        keys, values = split_heads(self.key_value(rows), 2, self.num_heads, layout, shape)
        return (keys, values) if layout is None else _only_real(keys, values, padding_mask)

    def attend_first(self, tokens, padding_mask, layout=None, training=None):
        """Self-attention of each text's first token alone: `[batch, width]` out of packed `[tokens, width]`.

        Equal to the first row of what the call gives, at a fraction of the cost. `layout` is that of the tokens, None
        where they hold every slot.
        """
        width, heads = self._width, self.num_heads
        kernel, bias = self.query_key_value.kernel, self.query_key_value.bias
        shape = tf.shape(padding_mask)
        first = first_rows(tokens, padding_mask, layout)
        queries = project(first, kernel[:, :width], bias if bias is None else bias[:width])
        keys_values = project(tokens, kernel[:, width:], bias if bias is None else bias[width:])
        keys, values = split_heads(keys_values, 2, heads, layout, shape)
        if self.rotary:  # the first token's own position is 0, which turns nothing
            keys = self._rotate(keys, tf.range(shape[1]))
        queries = tf.reshape(queries, [-1, heads, 1, width // heads])
        attended = self._attend(queries, keys, values, joint_mask(padding_mask, None), training)
        # A text of nothing but padding would hear its neighbours, whose tokens stand in for its own.
        real = tf.cast(is_open(padding_mask)[:, :1], attended.dtype)
        return self.output_projection(tf.reshape(attended, tf.shape(first)) * real)

    def call(
        self,
        query,
        value=None,
        padding_mask=None,
        attention_mask=None,
        bias=None,
        use_causal_mask=False,
        cache=None,
        layout=None,
        value_layout=None,
        query_mask=None,
        positions=None,
        return_attention_scores=False,
        training=None,
    ):
        if padding_mask is None and cache is None:
            padding_mask = getattr(query if value is None else value, "_keras_mask", None)
        packed = len(query.shape) == 2
        if query_mask is None and not self._is_cross_attention and cache is None:
            query_mask = padding_mask
        if packed and query_mask is None:
            raise InputError(
                "A query of rank 2 (packed tokens) needs `padding_mask`, or with a cache or another value `query_mask`."
                f" Received: query of shape {tuple(query.shape)}."
            )
        if value is not None and len(value.shape) == 2 and padding_mask is None:
            raise InputError(
                "A value of rank 2 (packed tokens) needs `padding_mask`. "
                f"Received: value of shape {tuple(value.shape)}."
            )
        shape = tf.shape(query_mask) if packed else tf.shape(query)[:2]
        rows = query if packed else tf.reshape(query, [-1, self._width])
        if self._is_cross_attention:
            (queries,) = split_heads(self.query(rows), 1, self.num_heads, layout, shape)
            keys, values = self.project_key_value(value, padding_mask, value_layout) if cache is None else cache
        else:
            queries, keys, values = split_heads(self.query_key_value(rows), 3, self.num_heads, layout, shape)
            if layout is not None and attention_mask is not None:
                keys, values = _only_real(keys, values, query_mask)
            if self.rotary:
                if positions is None:
                    positions = tf.range(shape[1]) + (0 if cache is None else tf.shape(cache[0])[2])
                queries, keys = self._rotate(queries, positions), self._rotate(keys, positions)
            if cache is not None:
                keys, values = tf.concat([cache[0], keys], 2), tf.concat([cache[1], values], 2)
        attended = self._attend(
            queries,
            keys,
            values,
            joint_mask(padding_mask, attention_mask),
            training,
            plain=attention_mask is None and bias is None and not use_causal_mask and not return_attention_scores,
            bias=bias,
            use_causal_mask=use_causal_mask,
            return_attention_scores=return_attention_scores,
        )
        if return_attention_scores:
            attended, scores = attended
        output = self.output_projection(merge_heads(attended, layout, query_mask, shape, tf.shape(rows)))
        if not packed:
            output = tf.ensure_shape(tf.reshape(output, tf.shape(query)), query.shape)
        results = [output]
        if return_attention_scores:
            results.append(scores)
        if cache is not None:
            results.append((keys, values))
        return results[0] if len(results) == 1 else tuple(results)

    def _attend(self, queries, keys, values, mask, training, plain=True, **arguments):
        """`plain`: nothing but a mask of real keys, and no `arguments` that matter."""
        if self.serving_form and plain and not training:
            # Groups are cut to the length of their keys, which is that of their queries in self-attention alone.
            groups = 1 if mask is None or self._is_cross_attention else self.row_groups
            return attention_for_serving(queries, keys, values, mask, groups)
        return scaled_dot_product_attention(
            queries, keys, values, mask=mask, dropout=self._probability_dropout, training=training, **arguments
        )

    def compute_mask(self, inputs, mask=None):
        return mask

    def get_config(self):
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "dropout": self.dropout,
            "use_bias": self.use_bias,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "rotary": self.rotary,
        }


def _only_real(keys, values, padding_mask):
    """Zero at padding, where in a packed batch another text's token stands: a query that may look nowhere, and so looks
    everywhere, would hear it."""
    real = tf.cast(is_open(padding_mask), keys.dtype)[:, None, :, None]
    return keys * real, values * real
