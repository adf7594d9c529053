"""Multi-head attention."""

from collections.abc import Callable

import keras
import tensorflow as tf

from kerasformer.errors import InputError
from kerasformer.layers.attention import attention_for_serving, scaled_dot_product_attention
from kerasformer.layers.attention_checks import check_call, check_relative, needs_mask
from kerasformer.layers.attention_heads import merge_heads, split_heads
from kerasformer.layers.base import Layer, Relative
from kerasformer.layers.cache import KeyValueCache
from kerasformer.layers.configs import AttentionConfig, check_heads, serialized
from kerasformer.layers.dropout import Dropout
from kerasformer.layers.masks import is_open, joint_mask, window_mask
from kerasformer.layers.padding import first_rows, whole_layout
from kerasformer.layers.positions import attention_positions
from kerasformer.layers.projection import Projection, project
from kerasformer.layers.window_attention import window_attention

_FIELDS = (
    *("num_heads", "num_key_value_heads", "head_dim", "use_bias", "use_output_bias", "scale", "window", "positions"),
    "dropout",
)


@keras.saving.register_keras_serializable(package="kerasformer")
class MultiHeadAttention(Layer):
    """Multi-head attention (Vaswani et al. 2017, section 3.2.2), with the projections of an input fused into one.

    Self-attention when it is first called with one input (`query_key_value`, one matrix), cross-attention when it is
    first called with two (`query`, and `key_value`, one matrix). With fewer key and value heads than query heads each
    serves a group of queries (Ainslie et al. 2023, arXiv:2305.13245).

    Args:
        num_heads, num_key_value_heads, head_dim, use_bias, use_output_bias, scale, window, positions, dropout: the
            fields of `AttentionConfig`.
        kernel_initializer: of all projections.
        causal: whether the `positions` scheme is made for a causal decoder; masks are given in the call.

    Call:
        query: `[batch, query length, dim]`; or packed `[tokens, dim]`.
        value: `[batch, key length, any dim]` to attend to, or packed as `value_layout` describes; None attends to
            `query` itself.
        padding_mask: `[batch, key length]`, positive or true where there is a key; by default Keras's mask of `value`
            (or `query`), unless there is a cache. Required with a packed value.
        attention_mask: `[batch or 1, query length, key length]`, or with heads `[batch, heads, query length, key
            length]`, positive or true where attention may attend.
        bias: added to the scaled scores, broadcastable to `[batch, heads, query length, key length]`.
        use_causal_mask: no query attends to a later key.
        cache: for decoding step by step. In self-attention a `KeyValueCache`: new keys and values are appended to it,
            and the queries attend to all of its columns. In cross-attention the pair that `project_key_value` returns:
            nothing is projected, and `value` is not read.
        layout: of a packed query, see `padding_layout`; None where it holds every slot, padding too.
        value_layout: of a packed `value`, in the same way.
        query_mask: `[batch, query length]`, the padding mask of a packed query; by default `padding_mask`, in
            self-attention without a cache.
        relative: `[2 * length, dim]`, vectors of relative positions, where the `positions` scheme is a
            `DisentangledConfig`; see `RelativeEmbedding`.
        positions: int32 `[query length]` or `[batch, query length]`, for position schemes and windows; by default 0,
            1, 2, ..., with a `KeyValueCache` from its length on.
        key_positions: those of the keys in cross-attention, and of all columns of a `KeyValueCache`, int32 `[key
            length]` or `[batch, key length]`; by default 0, 1, 2, ...
        return_attention_scores: also return the probabilities, `[batch, heads, query length, key length]`.

    Returns:
        The shape of `query`; then, where asked for, the scores; then, where a `KeyValueCache` was given, the new one.

    Raises:
        InputError: `num_heads` does not divide the width and there is no `head_dim`; a packed call without its mask; a
            mask of another rank or length; `key_positions` in self-attention without a cache; a layer built for
            self-attention that is called with a `value`, or one built for cross-attention that is called without;
            `relative` that is missing or not read; disentangled attention to another sequence, with a cache or with
            other positions.
    """

    # None, or a function that is given the probabilities of each call, `[batch, heads, query length, key length]`, and
    # returns those to use, for models that are traced as a whole; see `kf.explain`.
    observer: Callable[[tf.Tensor], tf.Tensor] | None = None

    def __init__(
        self,
        num_heads,
        num_key_value_heads=None,
        head_dim=None,
        use_bias=True,
        use_output_bias=None,
        scale=None,
        window=None,
        positions=None,
        dropout=0.0,
        kernel_initializer="glorot_uniform",
        causal=False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        arguments = (num_heads, num_key_value_heads, head_dim, use_bias, use_output_bias, scale, window, positions)
        self.config = AttentionConfig(*arguments, dropout)
        self.num_heads, self.num_key_value_heads = num_heads, num_key_value_heads or num_heads
        self.causal = causal
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.supports_masking = True
        self.serving_form, self.row_groups = False, 1  # see use_serving_form
        self.positions = attention_positions(
            positions, num_heads, head_dim, self.kernel_initializer, causal, dtype=self.dtype_policy, name="positions"
        )
        self.needs_relative = self.positions is not None and self.positions.needs_relative
        self._probability_dropout = Dropout(dropout, dtype=self.dtype_policy, name="dropout")

    def build(self, query_shape, value_shape=None):
        dim, config = query_shape[-1], self.config
        if config.head_dim is None:
            check_heads(self.num_heads, dim)
        self.head_dim = config.head_dim or dim // self.num_heads
        queries, keys = self.num_heads * self.head_dim, self.num_key_value_heads * self.head_dim
        self.is_cross_attention = value_shape is not None
        if self.is_cross_attention and self.needs_relative:
            raise InputError("Disentangled attention is self-attention. Received: a `value`.")
        if self.is_cross_attention:
            self.query = self._projection(queries, "query", dim)
            self.key_value = self._projection(2 * keys, "key_value", value_shape[-1])
        else:
            self.query_key_value = self._projection(queries + 2 * keys, "query_key_value", dim)
        use_output_bias = config.use_bias if config.use_output_bias is None else config.use_output_bias
        self.output_projection = self._projection(dim, "output_projection", queries, use_output_bias)
        if self.positions is not None:
            self.positions.build(query_shape)

    def _projection(self, units, name, input_dim, use_bias=None):
        projection = Projection(
            units,
            use_bias=self.config.use_bias if use_bias is None else use_bias,
            kernel_initializer=self.kernel_initializer.clone(),
            dtype=self.dtype_policy,
            name=name,
        )
        projection.build((None, input_dim))
        return projection

    def project_key_value(self, value, padding_mask=None, layout=None):
        """The keys and values of cross-attention, a pair of `[batch, key heads, key length, head_dim]`, to be computed
        once and given as `cache` in each step of decoding.

        Args:
            value: `[batch, key length, dim]`, or packed `[tokens, dim]` with its `padding_mask` `[batch, key length]`
                and `layout`.
        """
        packed = len(value.shape) == 2
        shape = tf.shape(padding_mask) if packed else tf.shape(value)[:2]
        rows = value if packed else tf.reshape(value, [-1, value.shape[-1]])
        keys, values = split_heads(self.key_value(rows), 2, self.num_key_value_heads, layout, shape)
        return (keys, values) if layout is None else _only_real(keys, values, padding_mask)

    def attend_first(
        self,
        inputs,
        padding_mask=None,
        layout=None,
        attention_mask=None,
        bias=None,
        use_causal_mask=False,
        relative=None,
        training=None,
    ):
        """Self-attention of each text's first token alone, `[batch, dim]`.

        Equal to the first row of what the call returns, at a fraction of the cost. Arguments are as in the call.
        """
        if len(inputs.shape) == 3:
            if padding_mask is None:
                padding_mask = tf.ones(tf.shape(inputs)[:2], tf.bool)
            inputs = tf.reshape(inputs, [-1, inputs.shape[-1]])
        if padding_mask is None:
            raise needs_mask("An input", "`padding_mask`", inputs)
        check_relative(self, relative)
        shape, split = tf.shape(padding_mask), self.num_heads * self.head_dim
        first = first_rows(inputs, padding_mask, layout)
        queries = self.query_key_value.apply(first, units=slice(split))
        keys_values = self.query_key_value.apply(inputs, units=slice(split, None))
        keys, values = split_heads(keys_values, 2, self.num_key_value_heads, layout, shape)
        if layout is not None and attention_mask is not None:
            keys, values = _only_real(keys, values, padding_mask)
        queries = tf.reshape(queries, [-1, self.num_heads, 1, self.head_dim])
        key_positions = tf.range(shape[1])
        if self.positions is not None:
            queries, keys = self.positions.rotate(queries, keys, key_positions[:1], key_positions)
        mask = joint_mask(padding_mask, attention_mask)
        if use_causal_mask:
            mask = mask & tf.equal(key_positions, 0)
        attended = self._attend(
            queries,
            keys,
            values,
            mask if len(mask.shape) < 4 or mask.shape[2] == 1 else mask[:, :, :1],
            training,
            plain=attention_mask is None and bias is None,
            query_positions=key_positions[:1],
            key_positions=key_positions,
            bias=None if bias is None else bias[:, :, :1],
            relative=relative,
        )
        # A text of nothing but padding would attend to its neighbours, whose tokens stand in for its own.
        real = tf.cast(is_open(padding_mask)[:, :1], attended.dtype)
        return self.output_projection(tf.reshape(attended, [-1, split]) * real)

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
        relative=None,
        positions=None,
        key_positions=None,
        return_attention_scores=False,
        training=None,
    ):
        if padding_mask is None and cache is None:
            padding_mask = getattr(query if value is None else value, "_keras_mask", None)
        grows = isinstance(cache, KeyValueCache)
        packed = len(query.shape) == 2
        if query_mask is None and not self.is_cross_attention and cache is None:
            query_mask = padding_mask
        check_call(self, query, value, padding_mask, query_mask, attention_mask, cache, key_positions)
        check_relative(self, relative, cache, positions)
        shape = tf.shape(query_mask) if packed else tf.shape(query)[:2]
        rows = query if packed else tf.reshape(query, [-1, query.shape[-1]])
        # Few rows: gathers take less time than transpositions, which wake other threads.
        is_step = packed and layout is None and cache is not None
        places = whole_layout(shape) if is_step else layout
        if self.is_cross_attention:
            (queries,) = split_heads(self.query(rows), 1, self.num_heads, places, shape)
            keys, values = self.project_key_value(value, padding_mask, value_layout) if cache is None else cache
        else:
            queries, keys, values = self._query_key_value(rows, places, shape)
            if layout is not None and attention_mask is not None:
                keys, values = _only_real(keys, values, query_mask)
        same_tokens = cache is None and not self.is_cross_attention
        in_order = same_tokens and positions is None
        if positions is None:
            positions = tf.range(shape[1]) + (cache.length if grows else 0)
        if key_positions is None and (grows or self.is_cross_attention):
            key_positions = tf.range(cache.length + shape[1] if grows else tf.shape(keys)[2])
        if self.positions is not None:
            # The keys of self-attention are those of the same tokens; others of the cache are rotated already.
            new_positions = key_positions if self.is_cross_attention else positions
            queries, keys = self.positions.rotate(queries, keys, positions, new_positions)
        if grows:
            keys, values = cache = cache.append(keys, values)
        attended = self._attend(
            queries,
            keys,
            values,
            joint_mask(padding_mask, attention_mask),
            training,
            plain=(attention_mask is None or is_step)
            and bias is None
            and not use_causal_mask
            and not return_attention_scores,
            same_tokens=same_tokens,
            in_order=in_order,
            query_positions=positions,
            key_positions=positions if key_positions is None else key_positions,
            bias=bias,
            relative=relative,
            use_causal_mask=use_causal_mask,
            return_attention_scores=return_attention_scores,
        )
        if return_attention_scores:
            attended, scores = attended
        tokens_shape = tf.stack([tf.shape(rows)[0], self.num_heads * self.head_dim])
        if self.config.head_dim is None:
            tokens_shape = tf.shape(rows)
        output = self.output_projection(merge_heads(attended, places, query_mask, shape, tokens_shape))
        if not packed:
            output = tf.ensure_shape(tf.reshape(output, tf.shape(query)), query.shape)
        results = [output]
        if return_attention_scores:
            results.append(scores)
        if grows:
            results.append(cache)
        return results[0] if len(results) == 1 else tuple(results)

    def _query_key_value(self, rows, layout, shape):
        projected, heads, few = self.query_key_value(rows), self.num_heads, self.num_key_value_heads
        if heads == few:
            return split_heads(projected, 3, heads, layout, shape)
        (whole,) = split_heads(projected, 1, heads + 2 * few, layout, shape)
        return tf.split(whole, [heads, few, few], axis=1)

    def _project_relative(self, rows):
        """Queries and keys of vectors of relative positions, each `[rows, heads * head_dim]`."""
        width, bias = 2 * self.num_heads * self.head_dim, self.query_key_value.bias
        kernel = self.query_key_value.kernel[:, :width]
        return tf.split(project(rows, kernel, None if bias is None else bias[:width]), 2, axis=-1)

    def _attend(
        self,
        queries,
        keys,
        values,
        mask,
        training,
        *,
        query_positions,
        key_positions,
        plain,
        same_tokens=False,
        in_order=False,
        bias=None,
        relative=None,
        **arguments,
    ):
        """`plain`: nothing but a mask that is the same for all heads, and no `arguments` that matter.
        `same_tokens`: queries and keys are of the same tokens. `in_order`: at positions 0, 1, 2, ..."""
        scale, window, own = self.config.scale, self.config.window, None
        dropout = self._probability_dropout
        if self.observer is not None:
            plain, dropout = False, self._observed
        if self.positions is not None:
            if scale is None:
                scale = (self.head_dim * self.positions.terms) ** -0.5
            given = None if relative is None else Relative(relative, self._project_relative, scale)
            own = self.positions.bias(queries, keys, query_positions, key_positions, given, training)
        if own is not None:
            plain, bias = False, own if bias is None else bias + own
        if self.num_heads != self.num_key_value_heads:
            keys, values = (tf.repeat(x, self.num_heads // self.num_key_value_heads, axis=1) for x in (keys, values))

        def attend(queries, keys, values, mask):
            if self.serving_form and plain and not training:
                in_groups = same_tokens and mask is not None and mask.shape[2] == 1
                row_groups = self.row_groups if in_groups else None
                return attention_for_serving(queries, keys, values, mask, row_groups, scale)
            return scaled_dot_product_attention(
                queries,
                keys,
                values,
                mask=mask,
                bias=bias,
                scale=scale,
                dropout=dropout,
                training=training,
                **arguments,
            )

        if window is None:
            return attend(queries, keys, values, mask)
        # Dropout's masks are those of an example's rows: they know no blocks.
        if plain and in_order and not (training and self.config.dropout):
            return window_attention(attend, queries, keys, values, mask, window)
        near = window_mask(query_positions, key_positions, window)
        near = near[None, None] if len(near.shape) == 2 else near[:, None]
        return attend(queries, keys, values, near if mask is None else mask & near)

    def _observed(self, probabilities, training=None):
        return self._probability_dropout(self.observer(probabilities), training=training)

    def compute_mask(self, inputs, mask=None):
        return mask

    def get_config(self):
        return {
            **super().get_config(),
            **{name: serialized(getattr(self.config, name)) for name in _FIELDS},
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "causal": self.causal,
        }


def _only_real(keys, values, padding_mask):
    """Zero at padding, where in a packed batch another text's token stands: a query that may attend nowhere, and so
    attends everywhere, would read it."""
    real = tf.cast(is_open(padding_mask), keys.dtype)[:, None, :, None]
    return keys * real, values * real
