"""Blocks for tests, from a few numbers."""

from kerasformer.layers import AttentionConfig, FeedForwardConfig, NormConfig, RotaryConfig, TransformerBlock


def make_block(
    num_heads,
    intermediate_dim,
    activation="gelu",
    dropout=0.0,
    attention_dropout=None,
    norm_first=False,
    epsilon=1e-12,
    kernel_initializer="glorot_uniform",
    rotary=False,
    decoder=False,
    **arguments,
):
    """A TransformerBlock; of a decoder it is causal and has cross-attention."""
    attention = AttentionConfig(num_heads, dropout=dropout if attention_dropout is None else attention_dropout)
    return TransformerBlock(
        attention.replace(positions=RotaryConfig() if rotary else None),
        FeedForwardConfig(intermediate_dim, activation),
        NormConfig(epsilon=epsilon, placement="pre" if norm_first else "post"),
        cross_attention=attention if decoder else None,
        causal=decoder,
        dropout=dropout,
        kernel_initializer=kernel_initializer,
        **arguments,
    )
