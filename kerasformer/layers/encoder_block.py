"""One block of a Transformer encoder."""

import keras

from kerasformer.errors import InputError
from kerasformer.layers.dropout import Dropout
from kerasformer.layers.feed_forward import FeedForward
from kerasformer.layers.multi_head_attention import MultiHeadAttention
from kerasformer.layers.normalization import LayerNormalization
from kerasformer.layers.padding import first_rows


@keras.saving.register_keras_serializable(package="kerasformer")
class EncoderBlock(keras.layers.Layer):
    """Self-attention and feed-forward network, each with dropout, residual and normalization.

    Post-norm is the form of Vaswani et al. 2017 (section 3.1) and of BERT, `norm(x + f(x))`; pre-norm is
    `x + f(norm(x))` (Xiong et al. 2020, arXiv:2002.04745), and wants a normalization after the last block.

    Args:
        num_heads: number of heads; must divide the width.
        inner_width: width of the feed-forward network.
        activation: of the feed-forward network.
        dropout: rate after attention and after the feed-forward network, when training.
        attention_dropout: rate on the attention probabilities; by default `dropout`.
        norm_first: True for pre-norm, False for post-norm.
        epsilon: of the normalizations.
        kernel_initializer: of all projections.
        rotary: as in `MultiHeadAttention`.

    Call:
        inputs: `[batch, length, width]`, or packed `[tokens, width]`.
        padding_mask: `[batch, length]`, positive or true for real tokens; by default Keras's mask of `inputs`.
        attention_mask, bias, layout: as in `MultiHeadAttention`.
        first_token_only: return the row of each text's first token alone, computed without those of the others; for
            packed inputs. A model that reads nothing but `[CLS]` saves most of its last block so.

    Returns:
        The shape of `inputs`; with `first_token_only`, `[batch, width]`.

    Raises:
        InputError: `first_token_only` with `attention_mask` or `bias`.
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
        self.norm_first = norm_first
        self.dropout = dropout
        self.attention_dropout = dropout if attention_dropout is None else attention_dropout
        self.epsilon = epsilon
        policy = self.dtype_policy
        self.attention = MultiHeadAttention(
            num_heads,
            dropout=self.attention_dropout,
            kernel_initializer=kernel_initializer,
            rotary=rotary,
            dtype=policy,
            name="attention",
        )
        self.feed_forward = FeedForward(
            inner_width, activation, kernel_initializer=kernel_initializer, dtype=policy, name="feed_forward"
        )
        self.attention_norm = LayerNormalization(epsilon, dtype=policy, name="attention_norm")
        self.feed_forward_norm = LayerNormalization(epsilon, dtype=policy, name="feed_forward_norm")
        self.supports_masking = True
        self._dropout = Dropout(dropout, dtype=policy, name="dropout")

    def build(self, input_shape):
        for layer in (self.attention, self.feed_forward, self.attention_norm, self.feed_forward_norm):
            layer.build(input_shape)

    def call(
        self,
        inputs,
        padding_mask=None,
        attention_mask=None,
        bias=None,
        layout=None,
        first_token_only=False,
        training=None,
    ):
        if padding_mask is None:
            padding_mask = getattr(inputs, "_keras_mask", None)

        if first_token_only and (attention_mask is not None or bias is not None):
            raise InputError("`first_token_only` takes no `attention_mask` and no `bias`.")

        def attend(x):
            if first_token_only:
                return self.attention.attend_first(x, padding_mask, layout=layout, training=training)
            return self.attention(
                x,
                padding_mask=padding_mask,
                attention_mask=attention_mask,
                bias=bias,
                layout=layout,
                training=training,
            )

        def feed_forward(x):
            return self.feed_forward(x, training=training)

        carried = first_rows(inputs, padding_mask, layout) if first_token_only else inputs
        hidden = self._residual(inputs, attend, self.attention_norm, training, carried)
        return self._residual(hidden, feed_forward, self.feed_forward_norm, training)

    def _residual(self, inputs, function, norm, training, carried=None):
        outputs = function(norm(inputs, training=training) if self.norm_first else inputs)
        outputs = self._dropout(outputs, training=training)
        # The projection's output first: the order in which TensorFlow fuses the addition into it.
        outputs = outputs + (inputs if carried is None else carried)
        return outputs if self.norm_first else norm(outputs, training=training)

    def get_config(self):
        return {
            **super().get_config(),
            "num_heads": self.attention.num_heads,
            "inner_width": self.feed_forward.inner_width,
            "activation": self.feed_forward.get_config()["activation"],
            "dropout": self.dropout,
            "attention_dropout": self.attention_dropout,
            "norm_first": self.norm_first,
            "epsilon": self.epsilon,
            "kernel_initializer": keras.initializers.serialize(self.attention.kernel_initializer),
            "rotary": self.attention.rotary,
        }
