"""Llama (Touvron et al. 2023, arXiv:2302.13971), with the token embeddings as output. Names: `modeling_llama.py` of
Hugging Face Transformers, whose rotary positions pair feature i with feature i + head_dim / 2 as ours do.
"""

from kerasformer.errors import InputError
from kerasformer.families.family import Family, activation_name
from kerasformer.families.weights import dense, rms_norm, table
from kerasformer.models.configs import (
    AttentionConfig,
    BlockConfig,
    EmbeddingConfig,
    FeedForwardConfig,
    ModelConfig,
    NormConfig,
    RotaryConfig,
)

NAMES = [
    table("embeddings.token", "embed_tokens"),
    rms_norm("blocks.{i}.attention_norm", "layers.{i}.input_layernorm"),
    dense(
        "blocks.{i}.attention.query_key_value",
        "layers.{i}.self_attn.q_proj",
        "layers.{i}.self_attn.k_proj",
        "layers.{i}.self_attn.v_proj",
    ),
    dense("blocks.{i}.attention.output_projection", "layers.{i}.self_attn.o_proj"),
    rms_norm("blocks.{i}.feed_forward_norm", "layers.{i}.post_attention_layernorm"),
    dense("blocks.{i}.feed_forward.gate", "layers.{i}.mlp.gate_proj"),
    dense("blocks.{i}.feed_forward.inner", "layers.{i}.mlp.up_proj"),
    dense("blocks.{i}.feed_forward.outer", "layers.{i}.mlp.down_proj"),
    rms_norm("norm", "norm"),
]


def config(settings):
    """Our config from the fields of `config.json`.

    Args:
        settings: `Settings`.

    Raises:
        InputError: a field is missing or cannot be used.
    """
    if not settings.get("tie_word_embeddings", False):
        raise InputError(
            f"`tie_word_embeddings` must be true to be read: an output table of its own is not. {settings.path} has "
            f"{settings.get('tie_word_embeddings')!r}."
        )
    pre_norm = NormConfig("rms", settings.get("rms_norm_eps", 1e-6), placement="pre")
    initializer_range = settings.get("initializer_range", 0.02)
    attention = AttentionConfig(
        num_heads=settings["num_attention_heads"],
        num_key_value_heads=settings.get("num_key_value_heads"),
        head_dim=settings.get("head_dim"),
        use_bias=settings.get("attention_bias", False),
        positions=RotaryConfig(_max_wavelength(settings)),
        dropout=settings.get("attention_dropout", 0.0),
    )
    feed_forward = FeedForwardConfig(
        intermediate_dim=settings["intermediate_size"],
        activation=settings.activation("hidden_act", "silu"),
        gated=True,
        use_bias=settings.get("mlp_bias", False),
    )
    embedding = EmbeddingConfig(
        vocabulary_size=settings["vocab_size"],
        hidden_dim=settings["hidden_size"],
        positions=None,
        max_sequence_length=settings.get("max_position_embeddings", 2048),
        initializer_range=initializer_range,
    )
    blocks = (BlockConfig(attention, feed_forward, pre_norm, causal=True),) * settings.integer("num_hidden_layers")
    return ModelConfig(embedding, blocks, norm=pre_norm, initializer_range=initializer_range)


def _max_wavelength(settings):
    """The "theta" of rotary positions, whose fields were others before transformers 5."""
    scaling = settings.get("rope_parameters") or settings.get("rope_scaling") or {}
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    if kind != "default":
        raise InputError(f'`rope_type` must be "default" to be read. {settings.path} has {kind!r}.')
    return float(scaling.get("rope_theta", settings.get("rope_theta", 10_000)))


def settings(config):
    """The fields of `config.json`, the reverse of `config`."""
    embedding, block = config.embedding, config.blocks[0]
    theta = block.attention.positions.max_wavelength
    return {
        "vocab_size": embedding.vocabulary_size,
        "hidden_size": embedding.hidden_dim,
        "num_hidden_layers": len(config.blocks),
        "num_attention_heads": block.attention.num_heads,
        "num_key_value_heads": block.attention.num_key_value_heads,
        "head_dim": block.attention.head_dim,
        "intermediate_size": block.feed_forward.intermediate_dim,
        "max_position_embeddings": embedding.max_sequence_length,
        "hidden_act": activation_name(block.feed_forward.activation),
        "attention_bias": block.attention.use_bias,
        "mlp_bias": block.feed_forward.use_bias,
        "attention_dropout": block.attention.dropout,
        "rms_norm_eps": block.norm.epsilon,
        "initializer_range": embedding.initializer_range,
        "rope_parameters": {"rope_type": "default", "rope_theta": theta},
        "tie_word_embeddings": config.tie_output,
    }


FAMILY = Family(
    model_type="llama",
    class_name="Llama",
    prefix="model",
    config=config,
    settings=settings,
    names=NAMES,
    heads={"causal_lm": []},  # the table of token embeddings makes the scores
    tied={"lm_head.weight": "embed_tokens.weight"},
)
