"""One block of a Transformer decoder."""

import keras

from kerasformer.layers.dropout import Dropout
from kerasformer.layers.feed_forward import FeedForward
from kerasformer.layers.multi_head_attention import MultiHeadAttention
from kerasformer.layers.normalization import LayerNormalization


@keras.saving.register_keras_serializable(package="kerasformer")
class DecoderBlock(keras.layers.Layer):
    """Causal self-attention, attention to an encoder's output (the memory) and feed-forward network, each with
    dropout, residual and normalization (Vaswani et al. 2017, section 3.1).

    Args:
        num_heads, inner_width, activation, dropout, attention_dropout, norm_first, epsilon, kernel_initializer,
            rotary: as in `EncoderBlock`.

    Call:
        inputs: `[batch, length, width]`, or packed `[tokens, width]`.
        memory: `[batch, memory length, any width]`, or packed `[memory tokens, any width]`; not read with a cache.
        padding_mask: `[batch, length]`, positive or true for real tokens; required when packed, by default Keras's
            mask of `inputs`.
        memory_padding_mask: the same of the memory.
        layout, memory_layout: of packed inputs and memory, see `padding_layout`.
        attention_mask, bias, positions: of self-attention, as in `MultiHeadAttention`.
        cache: for decoding step by step, `{"self": (keys, values), "memory": (keys, values)}`, each
            `[batch, heads, length, head width]`: earlier steps, of length 0 at first, and what `project_memory`
            gives. Self-attention is then not causal by itself: `attention_mask` tells what is seen.
        return_attention_scores: also return the probabilities over the memory, `[batch, heads, length, memory length]`.

    Returns:
        The shape of `inputs`; then, where asked for, the scores; then, with a cache, the keys and values of
        self-attention with this step's appended.
    """

    def __init__(
        self,
        num_heads,
        inner_width,
        activation="gelu",
        dropout=0.0,
        attention_dropout=None,
        norm_first=False,
        epsilon=1e-12,
        kernel_initializer="glorot_uniform",
        rotary=False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.dropout = dropout
        self.attention_dropout = dropout if attention_dropout is None else attention_dropout
        self.norm_first = norm_first
        self.epsilon = epsilon
        policy = self.dtype_policy
        attention = {"dropout": self.attention_dropout, "kernel_initializer": kernel_initializer, "dtype": policy}
        self.self_attention = MultiHeadAttention(num_heads, rotary=rotary, name="self_attention", **attention)
        self.memory_attention = MultiHeadAttention(num_heads, name="memory_attention", **attention)
        self.feed_forward = FeedForward(
            inner_width, activation, kernel_initializer=kernel_initializer, dtype=policy, name="feed_forward"
        )
        self.self_attention_norm = LayerNormalization(epsilon, dtype=policy, name="self_attention_norm")
        self.memory_attention_norm = LayerNormalization(epsilon, dtype=policy, name="memory_attention_norm")
        self.feed_forward_norm = LayerNormalization(epsilon, dtype=policy, name="feed_forward_norm")
        self.supports_masking = True
        self._dropout = Dropout(dropout, dtype=policy, name="dropout")

    def build(self, inputs_shape, memory_shape):
        for layer in (
            self.self_attention,
            self.feed_forward,
            self.self_attention_norm,
            self.memory_attention_norm,
            self.feed_forward_norm,
        ):
            layer.build(inputs_shape)
        self.memory_attention.build(inputs_shape, memory_shape)

    def project_memory(self, memory, memory_padding_mask=None, memory_layout=None):
        """The memory's keys and values, to be computed once and given in the cache of each step."""
        return self.memory_attention.project_key_value(memory, memory_padding_mask, memory_layout)

    def call(
        self,
        inputs,
        memory=None,
        padding_mask=None,
        memory_padding_mask=None,
        layout=None,
        memory_layout=None,
        attention_mask=None,
        bias=None,
        positions=None,
        cache=None,
        return_attention_scores=False,
        training=None,
    ):
        if padding_mask is None and cache is None:
            padding_mask = getattr(inputs, "_keras_mask", None)
        if memory_padding_mask is None and memory is not None:
            memory_padding_mask = getattr(memory, "_keras_mask", None)
        results = []

        def attend(x):
            if cache is None:
                return self.self_attention(
                    x,
                    padding_mask=padding_mask,
                    attention_mask=attention_mask,
                    bias=bias,
                    use_causal_mask=True,
                    layout=layout,
                    positions=positions,
                    training=training,
                )
            outputs, grown = self.self_attention(
                x,
                attention_mask=attention_mask,
                bias=bias,
                cache=cache["self"],
                query_mask=padding_mask,
                positions=positions,
                training=training,
            )
            results.append(grown)
            return outputs

        def attend_to_memory(x):
            outputs, scores, *_ = self.memory_attention(
                x,
                memory,
                padding_mask=memory_padding_mask,
                cache=None if cache is None else cache["memory"],
                layout=layout,
                query_mask=padding_mask,
                value_layout=memory_layout,
                return_attention_scores=True,
                training=training,
            )
            if return_attention_scores:
                results.insert(0, scores)
            return outputs

        def feed_forward(x):
            return self.feed_forward(x, training=training)

        x = self._residual(inputs, attend, self.self_attention_norm, training)
        x = self._residual(x, attend_to_memory, self.memory_attention_norm, training)
        x = self._residual(x, feed_forward, self.feed_forward_norm, training)
        return (x, *results) if results else x

    def _residual(self, inputs, function, norm, training):
        outputs = function(norm(inputs, training=training) if self.norm_first else inputs)
        # The projection's output first: the order in which TensorFlow fuses the addition into it.
        outputs = self._dropout(outputs, training=training) + inputs
        return outputs if self.norm_first else norm(outputs, training=training)

    def compute_mask(self, inputs, mask=None):
        return mask

    def get_config(self):
        return {
            **super().get_config(),
            "num_heads": self.self_attention.num_heads,
            "inner_width": self.feed_forward.inner_width,
            "activation": self.feed_forward.get_config()["activation"],
            "dropout": self.dropout,
            "attention_dropout": self.attention_dropout,
            "norm_first": self.norm_first,
            "epsilon": self.epsilon,
            "kernel_initializer": keras.initializers.serialize(self.self_attention.kernel_initializer),
            "rotary": self.self_attention.rotary,
        }
