"""Transformer layers over the sentences of a document."""

import contextlib

import keras
import tensorflow as tf

from kerasformer.errors import InputError
from kerasformer.layers.base import Layer
from kerasformer.layers.block import TransformerBlock
from kerasformer.layers.configs import AttentionConfig, FeedForwardConfig, NormConfig
from kerasformer.layers.keyed_dropout import keyed_dropout, keys_in_force
from kerasformer.layers.masks import is_open
from kerasformer.layers.normalization import LayerNormalization
from kerasformer.layers.padding import padding_layout, unpack
from kerasformer.layers.positions import SinusoidalPositionEmbedding


@keras.saving.register_keras_serializable(package="kerasformer")
class InterSentenceEncoder(Layer):
    """One logit a sentence, from the hidden states of its tokens (BERTSum, Liu 2019, arXiv:1903.10318, section 3.2, and
    Liu and Lapata 2019, arXiv:1908.08345).

    Sinusoidal positions, pre-norm Transformer blocks over the sentences of a text, and a dense layer. Padding is never
    computed, neither of tokens nor of sentences.

    With `pooling="first"` a sentence is the state of the token that it begins with, as published for BERT. An encoder
    that was trained for means, as sentence-transformers are, carries no information there: in MiniLM, the states of the
    sentences of one document differ by a hundredth of what the positions differ by. For those there is
    `pooling="mean"`: the mean of all tokens of the sentence, normalized to the size of the positions.

    Args:
        start_id: the token that a sentence begins with, BERT's `[CLS]`. The first token counts as one whatever it is.
        pooling: "first" or "mean", the vector of a sentence.
        num_layers: blocks.
        num_heads: must divide `hidden_dim`.
        intermediate_dim: width of the blocks' feed-forward networks.
        dropout: rate in the blocks, when training.
        epsilon: of the normalizations.

    Call:
        inputs: `[batch, length, dim]`.
        token_ids: int32 `[batch, length]`.
        padding_mask: `[batch, length]`, positive or true for real tokens.

    Returns:
        `{"logits": float32 [batch, sentences], "sentence_mask": float32 [batch, sentences]}`, padded to the most
        sentences of a text; logits are 0 there.
    """

    def __init__(
        self,
        start_id,
        num_layers=2,
        num_heads=8,
        intermediate_dim=2048,
        dropout=0.1,
        epsilon=1e-6,
        pooling="first",
        **kwargs,
    ):
        super().__init__(**kwargs)
        if pooling not in ("first", "mean"):
            raise InputError(f'`pooling` must be "first" or "mean". Received: pooling={pooling!r}.')
        self.start_id, self.num_layers, self.num_heads = start_id, num_layers, num_heads
        self.intermediate_dim, self.dropout, self.epsilon, self.pooling = intermediate_dim, dropout, epsilon, pooling
        policy = self.dtype_policy
        if pooling == "mean":
            self.sentence_norm = LayerNormalization(epsilon, dtype=policy, name="sentence_norm")
        self.positions = SinusoidalPositionEmbedding(dtype=policy, name="positions")
        self.blocks = [
            TransformerBlock(
                AttentionConfig(num_heads, dropout=dropout),
                FeedForwardConfig(intermediate_dim),
                NormConfig(epsilon=epsilon, placement="pre"),
                dropout=dropout,
                dtype=policy,
                name=f"block_{i}",
            )
            for i in range(num_layers)
        ]
        self.norm = LayerNormalization(epsilon, dtype=policy, name="norm")
        # In float32 also in a model of lower precision: sentences are ranked by it.
        self.classifier = keras.layers.Dense(1, dtype="float32", name="classifier")

    def build(self, input_shape):
        shape = (None, input_shape[-1])
        for layer in (*self.blocks, self.norm, self.classifier):
            layer.build(shape)
        if self.pooling == "mean":
            self.sentence_norm.build(shape)

    def call(self, inputs, token_ids, padding_mask, training=None):
        length = tf.shape(token_ids)[1]
        begins = (tf.equal(token_ids, self.start_id) & is_open(padding_mask)) | tf.equal(tf.range(length), 0)
        counts = tf.reduce_sum(tf.cast(begins, tf.int32), 1)
        most = tf.reduce_max(tf.concat([counts, [0]], 0))
        mask = tf.cast(tf.range(most) < counts[:, None], tf.int32)
        layout = padding_layout(mask)
        # The rows of sentences, in the order of the layout.
        if self.pooling == "mean":
            x = self.sentence_norm(_means(inputs, begins, is_open(padding_mask)), training=training)
        else:
            x = _rows_at(inputs, tf.reshape(begins, [-1]))
        x = x + self.positions(x, positions=layout["pack"] % tf.maximum(most, 1))
        keys = keys_in_force()
        with keyed_dropout(keys.step, keys.examples, mask) if keys else contextlib.nullcontext():
            for block in self.blocks:
                x = block(x, padding_mask=mask, layout=layout, training=training)
        logits = self.classifier(self.norm(x, training=training))
        return {
            "logits": unpack(logits, layout, mask)[..., 0],
            "sentence_mask": tf.cast(mask, tf.float32),
        }

    def get_config(self):
        names = ("start_id", "num_layers", "num_heads", "intermediate_dim", "dropout", "epsilon", "pooling")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


def _means(inputs, begins, real):
    """The mean of each sentence's tokens, its first one among them, `[sentences, width]`."""
    kept = tf.reshape(begins | real, [-1])
    # Sentences stand one after another: numbers that only rise.
    sentences = tf.boolean_mask(tf.cumsum(tf.cast(tf.reshape(begins, [-1]), tf.int32)) - 1, kept)
    # In float32, since bfloat16 stops counting at 256.
    rows = tf.cast(_rows_at(inputs, kept), tf.float32)
    return tf.cast(tf.math.segment_mean(rows, sentences), inputs.dtype)


def _rows_at(inputs, kept):
    """The rows of `[batch, length, dim]` whose slots are kept, bool `[batch * length]`."""
    return tf.boolean_mask(tf.reshape(inputs, [-1, inputs.shape[-1]]), kept)
