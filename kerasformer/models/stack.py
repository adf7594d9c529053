"""A stack of Transformer blocks on an embedding: the parts, and how they are called.

The same code runs on symbolic tensors, where it assembles a functional model, and on tensors, where it decodes.
"""

import typing

import keras

from kerasformer.layers import (
    LanguageModelHead,
    PackTokens,
    PaddingLayout,
    RelativeEmbedding,
    RelativePositionBias,
    SequenceMask,
    TokenConvolution,
    TokenPositions,
    TransformerBlock,
    TransformerEmbedding,
    UnpackTokens,
)
from kerasformer.layers.normalization import normalization


class Rows(typing.NamedTuple):
    """Packed tokens on their way through a stack.

    Attributes:
        hidden: `[tokens, hidden_dim]`.
        mask: int32 `[batch, length]`, the padding mask.
        layout: see `padding_layout`; None where every slot is a token.
        attention_mask: bool `[batch, length, length]`, or None.
        bias: of attention, `[1, heads, length, length]`, or None.
        relative: vectors of relative positions, `[2 * length, hidden_dim]`, or None.
    """

    hidden: typing.Any
    mask: typing.Any
    layout: typing.Any = None
    attention_mask: typing.Any = None
    bias: typing.Any = None
    relative: typing.Any = None

    def call_arguments(self):
        """Keyword arguments of a block."""
        return {
            "padding_mask": self.mask,
            "layout": self.layout,
            "attention_mask": self.attention_mask,
            "bias": self.bias,
            "relative": self.relative,
        }


class Stack:
    """The layers of one `ModelConfig`.

    Args:
        config: a ModelConfig.
        policy: Keras dtype policy of all layers.
        prefix: of the layers' names.
        embeddings: a `TransformerEmbedding` to use; None makes one.
        remove_padding: False keeps every shape static.
        packed_sequences: several sequences may be in a row, numbered from 1 on by the padding mask.

    Attributes:
        embeddings: TransformerEmbedding.
        blocks: list of TransformerBlocks; of shared blocks, the same one again and again.
        norm: normalization after the last block, or None.
        position_bias: RelativePositionBias that all blocks share, or None.
        relative_embedding: RelativeEmbedding that all blocks share, or None.
        convolution: TokenConvolution beside the first block, or None.
    """

    def __init__(
        self, config, policy, *, prefix="", embeddings=None, remove_padding=True, packed_sequences=False, name=None
    ):
        self.config, self.policy, self.remove_padding = config, policy, remove_padding
        self.embeddings = embeddings or TransformerEmbedding(
            config.embedding, dtype=policy, name=name or f"{prefix}embedding"
        )
        self.blocks = []
        for index, block in enumerate(config.blocks):
            if config.share_blocks and index:
                self.blocks.append(self.blocks[0])
                continue
            self.blocks.append(
                TransformerBlock(
                    **block.get_config(),
                    kernel_initializer=self.initializer(),
                    dtype=policy,
                    name=f"{prefix}block_{index}",
                )
            )
        self.norm = config.norm and normalization(config.norm, dtype=policy, name=f"{prefix}norm")
        bias = config.position_bias
        self.position_bias = bias and RelativePositionBias(
            config.blocks[0].attention.num_heads,
            bias.num_buckets,
            bias.max_distance,
            bidirectional=not config.blocks[0].causal,
            dtype=policy,
            name=f"{prefix}position_bias",
        )
        self.relative_embedding = config.relative_embedding and RelativeEmbedding(
            config.hidden_dim,
            **config.relative_embedding.get_config(),
            initializer=self.initializer(),
            dtype=policy,
            name=f"{prefix}relative_embedding",
        )
        self.convolution = config.convolution and TokenConvolution(
            **config.convolution.get_config(),
            kernel_initializer=self.initializer(),
            dtype=policy,
            name=f"{prefix}convolution",
        )
        self._layout = PaddingLayout(name=f"{prefix}padding_layout") if remove_padding else None
        self._pack_tokens = PackTokens(name=f"{prefix}pack_token_ids")
        self._pack_segments = PackTokens(name=f"{prefix}pack_segment_ids")
        # A table with rows for padding (RoBERTa, MPNet) has the others for tokens alone.
        skips = config.embedding.position_offset > 0
        self._positions = TokenPositions(packed_sequences, skips, name=f"{prefix}positions")
        self._sequence_mask = SequenceMask(name=f"{prefix}sequence_mask") if packed_sequences else None

    def initializer(self):
        """The initializer of a projection."""
        if self.config.initializer_range is None:
            return keras.initializers.GlorotUniform()
        return keras.initializers.TruncatedNormal(stddev=self.config.initializer_range)

    def embed(self, token_ids, mask, segment_ids=None):
        """The `Rows` that the first block reads.

        Args:
            token_ids, mask: int32 `[batch, length]`; segment_ids the same, or None for 0 everywhere.
        """
        layout = None if self._layout is None else self._layout(mask)
        rows = self._pack_tokens(token_ids, layout=layout)
        positions = self._positions(mask, layout=layout)
        attention_mask = None if self._sequence_mask is None else self._sequence_mask(mask)
        bias = None if self.position_bias is None else self.position_bias(mask)
        relative = None if self.relative_embedding is None else self.relative_embedding(mask)
        if segment_ids is not None:
            segment_ids = self._pack_segments(segment_ids, layout=layout)
        hidden = self.embeddings(rows, segment_ids=segment_ids, positions=positions)
        return Rows(hidden, mask, layout, attention_mask, bias, relative)

    def states(self, rows, memory=None):
        """The rows before the first block, and after each block; after the last one also normalized.

        Args:
            memory: the `Rows` of an encoder's output, for blocks with cross-attention.
        """
        arguments = rows.call_arguments()
        if memory is not None:
            arguments |= {"memory_padding_mask": memory.mask, "memory_layout": memory.layout}
        states = [rows]
        for block in self.blocks:
            inputs = [states[-1].hidden] if memory is None else [states[-1].hidden, memory.hidden]
            states.append(self.after_block(states, block(*inputs, **arguments)))
        return states

    def after_block(self, states, hidden):
        """The rows after the next block.

        Args:
            states: the rows before the first block and after each block so far.
            hidden: the output of the next block.
        """
        rows = states[0]
        if self.convolution is not None and len(states) == 1:
            hidden = self.convolution(rows.hidden, hidden, padding_mask=rows.mask, layout=rows.layout)
        if self.norm is not None and len(states) == len(self.blocks):
            hidden = self.norm(hidden)
        return rows._replace(hidden=hidden)

    def output_head(self, name):
        """A layer for the scores of the vocabulary; None where the output is tied to the embedding."""
        if self.config.tie_output:
            return None
        return LanguageModelHead(self.config.vocabulary_size, dtype=self.policy, name=name)


def unpacked(rows, name):
    """`[tokens, dim]` rows as `[batch, length, dim]`, zero at padding."""
    return UnpackTokens(name=name)(rows.hidden, rows.mask, layout=rows.layout)
