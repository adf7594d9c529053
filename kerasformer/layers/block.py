"""The Transformer block: one layer for encoders and decoders."""

import keras

from kerasformer.errors import InputError
from kerasformer.layers.base import Layer
from kerasformer.layers.configs import BlockConfig, NormConfig, serialized
from kerasformer.layers.dropout import Dropout
from kerasformer.layers.feed_forward import FeedForward
from kerasformer.layers.multi_head_attention import MultiHeadAttention
from kerasformer.layers.normalization import normalization
from kerasformer.layers.padding import first_rows


@keras.saving.register_keras_serializable(package="kerasformer")
class TransformerBlock(Layer):
    """Self-attention, optionally attention to an encoder's output (the memory), and a feed-forward network, each with
    dropout, residual and normalization.

    With `norm.placement` "post" a sub-layer is `norm(x + f(x))`, as in Vaswani et al. 2017 (section 3.1) and BERT; with
    "pre" it is `x + f(norm(x))` (Xiong et al. 2020, arXiv:2002.04745), which needs a normalization after the last
    block.

    Args:
        attention: AttentionConfig of self-attention.
        feed_forward: FeedForwardConfig.
        norm: NormConfig of all normalizations; None for post-norm layer normalization.
        cross_attention: AttentionConfig of the attention to the memory; None for a block without.
        causal: no position attends to a later one.
        dropout: rate after attention and after the feed-forward network, when training.
        norm_attention: whether self-attention has a normalization.
        kernel_initializer: of all projections.

    Call:
        inputs: `[batch, length, dim]`, or packed `[tokens, dim]`.
        memory: `[batch, memory length, any dim]`, or packed `[memory tokens, any dim]`; not read with a cache.
        padding_mask: `[batch, length]`, positive or true for real tokens; required when packed, by default Keras's
            mask of `inputs`.
        memory_padding_mask: the same for the memory.
        attention_mask, bias, relative, positions, key_positions: of self-attention, as in `MultiHeadAttention`.
        layout, memory_layout: of packed inputs and memory, see `padding_layout`.
        cache: for decoding step by step, `{"self": KeyValueCache}`, and with cross-attention also `"memory"`, what
            `project_memory` returns. `attention_mask` is the columns that a query attends to.
        first_token_only: return the row of each text's first token alone, computed without those of the others. A
            model that reads nothing but `[CLS]` saves most of its last block.
        return_attention_scores: also return the attention probabilities, `[batch, heads, length, key length]`: those
            over the memory where there is one, else those of self-attention.

    Returns:
        The shape of `inputs`, with `first_token_only` `[batch, dim]`; then, where asked for, the scores; then, with a
        cache, the new `KeyValueCache` of self-attention.

    Raises:
        InputError: a memory that is missing, or given to a block without cross-attention; masks that do not fit.
    """

    def __init__(
        self,
        attention,
        feed_forward,
        norm=None,
        cross_attention=None,
        causal=False,
        dropout=0.0,
        norm_attention=True,
        kernel_initializer="glorot_uniform",
        **kwargs,
    ):
        super().__init__(**kwargs)
        norm = NormConfig() if norm is None else norm
        self.config = BlockConfig(attention, feed_forward, norm, cross_attention, causal, dropout, norm_attention)
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.supports_masking = True
        shared = {"kernel_initializer": self.kernel_initializer, "dtype": self.dtype_policy}

        def make_norm(name):
            return normalization(norm, dtype=self.dtype_policy, name=name)

        self.attention = MultiHeadAttention(**attention.get_config(), causal=causal, name="attention", **shared)
        self.attention_norm = make_norm("attention_norm") if norm_attention else None
        self.cross_attention = None
        if cross_attention is not None:
            self.cross_attention = MultiHeadAttention(**cross_attention.get_config(), name="cross_attention", **shared)
            self.cross_attention_norm = make_norm("cross_attention_norm")
        self.feed_forward = FeedForward(**feed_forward.get_config(), name="feed_forward", **shared)
        self.feed_forward_norm = make_norm("feed_forward_norm")
        self._dropout = Dropout(dropout, dtype=self.dtype_policy, name="dropout")

    def build(self, inputs_shape, memory_shape=None):
        if self.cross_attention is not None:
            if memory_shape is None:
                raise self._needs_memory()
            self.cross_attention.build(inputs_shape, memory_shape)
            self.cross_attention_norm.build(inputs_shape)
        for layer in (self.attention, self.attention_norm, self.feed_forward, self.feed_forward_norm):
            if layer is not None:
                layer.build(inputs_shape)

    def project_memory(self, memory, memory_padding_mask=None, memory_layout=None):
        """The memory's keys and values, to be computed once and given in the cache of each step."""
        return self.cross_attention.project_key_value(memory, memory_padding_mask, memory_layout)

    def call(
        self,
        inputs,
        memory=None,
        padding_mask=None,
        memory_padding_mask=None,
        attention_mask=None,
        bias=None,
        relative=None,
        positions=None,
        key_positions=None,
        layout=None,
        memory_layout=None,
        cache=None,
        first_token_only=False,
        return_attention_scores=False,
        training=None,
    ):
        if padding_mask is None and cache is None:
            padding_mask = getattr(inputs, "_keras_mask", None)
        if memory_padding_mask is None and memory is not None:
            memory_padding_mask = getattr(memory, "_keras_mask", None)
        self._check_memory(memory, cache, first_token_only)
        shared = {"attention_mask": attention_mask, "bias": bias, "layout": layout, "training": training}
        shared["relative"] = relative
        scores, grown = [], []

        def attend(x):
            if first_token_only:
                return self.attention.attend_first(x, padding_mask, use_causal_mask=self.config.causal, **shared)
            outputs = self.attention(
                x,
                padding_mask=padding_mask if cache is None else None,
                query_mask=padding_mask,
                use_causal_mask=self.config.causal and cache is None,
                cache=None if cache is None else cache["self"],
                positions=positions,
                key_positions=key_positions,
                return_attention_scores=return_attention_scores and self.cross_attention is None,
                **shared,
            )
            if not isinstance(outputs, tuple):
                return outputs
            outputs, *further = outputs
            if cache is not None:
                grown.append(further.pop())
            scores.extend(further)
            return outputs

        def attend_to_memory(x):
            outputs = self.cross_attention(
                x,
                memory,
                padding_mask=memory_padding_mask,
                cache=None if cache is None else cache["memory"],
                layout=layout,
                query_mask=padding_mask,
                value_layout=memory_layout,
                return_attention_scores=return_attention_scores,
                training=training,
            )
            if return_attention_scores:
                outputs, found = outputs
                scores.append(found)
            return outputs

        carried = first_rows(inputs, padding_mask, layout) if first_token_only else inputs
        x = self._residual(inputs, attend, self.attention_norm, training, carried)
        if self.cross_attention is not None:
            x = self._residual(x, attend_to_memory, self.cross_attention_norm, training)
        x = self._residual(x, lambda rows: self.feed_forward(rows, training=training), self.feed_forward_norm, training)
        results = [x, *scores, *grown]
        return x if len(results) == 1 else tuple(results)

    def _residual(self, inputs, function, norm, training, carried=None):
        before, after = (norm, None) if self.config.norm.placement == "pre" else (None, norm)
        normed = inputs if before is None else before(inputs, training=training)
        outputs = self._dropout(function(normed), training=training)
        # The projection's output first: the order in which TensorFlow fuses the addition into it.
        outputs = outputs + (inputs if carried is None else carried)
        return outputs if after is None else after(outputs, training=training)

    def _check_memory(self, memory, cache, first_token_only):
        if self.cross_attention is None:
            if memory is not None:
                raise InputError(
                    f"The block {self.name!r} has no cross-attention and takes no `memory`. Make it with "
                    "`cross_attention=AttentionConfig(...)`."
                )
        elif memory is None and cache is None:
            raise self._needs_memory()
        if first_token_only and (self.cross_attention is not None or cache is not None):
            raise InputError("`first_token_only` is for blocks without cross-attention, called without a cache.")

    def _needs_memory(self):
        return InputError(
            f"The block {self.name!r} has cross-attention and needs `memory`, the encoder's output. Received: none. A "
            "decoder alone is made of blocks without `cross_attention`."
        )

    def compute_mask(self, inputs, mask=None):
        return mask

    def get_config(self):
        return {
            **super().get_config(),
            **{name: serialized(value) for name, value in self.config.get_config().items()},
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }


@keras.saving.register_keras_serializable(package="kerasformer")
class BlockWithScores(Layer):
    """A block without cross-attention that always returns its attention probabilities as well.

    Functional models need it: in these a layer has as many outputs in each call as in its first one.

    Args:
        block: a `TransformerBlock`; the weights are shared.

    Call: as the block.

    Returns:
        The block's output, and `[batch, heads, length, length]`.
    """

    def __init__(self, block, **kwargs):
        super().__init__(**kwargs)
        self.block = block

    def build(self, inputs_shape):
        if not self.block.built:
            self.block.build(inputs_shape)

    def call(self, inputs, training=None, **arguments):
        return self.block(inputs, return_attention_scores=True, training=training, **arguments)

    def get_config(self):
        return {**super().get_config(), "block": keras.saving.serialize_keras_object(self.block)}
