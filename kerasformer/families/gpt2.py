"""GPT-2 (Radford et al. 2019, "Language Models are Unsupervised Multitask Learners"). Names: `modeling_gpt2.py` of
Hugging Face Transformers, whose `Conv1D` holds matrices as `[inputs, outputs]`.
"""

import functools

from kerasformer.families.family import Family, activation_name
from kerasformer.families.weights import conv1d, norm, table
from kerasformer.models.configs import (
    AttentionConfig,
    BlockConfig,
    EmbeddingConfig,
    FeedForwardConfig,
    ModelConfig,
    NormConfig,
)
from kerasformer.text.older_files import GPT2, byte_level_bpe

NAMES = [
    table("embeddings.token", "wte"),
    table("embeddings.position", "wpe"),
    norm("blocks.{i}.attention_norm", "h.{i}.ln_1"),
    conv1d("blocks.{i}.attention.query_key_value", "h.{i}.attn.c_attn"),
    conv1d("blocks.{i}.attention.output_projection", "h.{i}.attn.c_proj"),
    norm("blocks.{i}.feed_forward_norm", "h.{i}.ln_2"),
    conv1d("blocks.{i}.feed_forward.inner", "h.{i}.mlp.c_fc"),
    conv1d("blocks.{i}.feed_forward.outer", "h.{i}.mlp.c_proj"),
    norm("norm", "ln_f"),
]


def config(settings):
    """Our config from the fields of `config.json`.

    Args:
        settings: `Settings`.

    Raises:
        InputError: a field is missing or cannot be used.
    """
    settings.must_be("scale_attn_weights", True)
    settings.must_be("scale_attn_by_inverse_layer_idx", False)
    settings.must_be("add_cross_attention", False)
    settings.must_be("tie_word_embeddings", True)
    hidden_dim, initializer_range = settings.integer("n_embd"), settings.get("initializer_range", 0.02)
    pre_norm = NormConfig(epsilon=settings.get("layer_norm_epsilon", 1e-5), placement="pre")
    block = BlockConfig(
        attention=AttentionConfig(num_heads=settings["n_head"], dropout=settings.get("attn_pdrop", 0.1)),
        feed_forward=FeedForwardConfig(
            intermediate_dim=settings.get("n_inner") or 4 * hidden_dim,
            activation=settings.activation("activation_function", "gelu_new"),
        ),
        norm=pre_norm,
        causal=True,
        dropout=settings.get("resid_pdrop", 0.1),
    )
    embedding = EmbeddingConfig(
        vocabulary_size=settings["vocab_size"],
        hidden_dim=hidden_dim,
        max_sequence_length=settings["n_positions"],
        dropout=settings.get("embd_pdrop", 0.1),
        initializer_range=initializer_range,
    )
    blocks = (block,) * settings.integer("n_layer")
    return ModelConfig(embedding, blocks, norm=pre_norm, initializer_range=initializer_range)


def settings(config):
    """The fields of `config.json`, the reverse of `config`."""
    embedding, block = config.embedding, config.blocks[0]
    return {
        "vocab_size": embedding.vocabulary_size,
        "n_embd": embedding.hidden_dim,
        "n_layer": len(config.blocks),
        "n_head": block.attention.num_heads,
        "n_inner": block.feed_forward.intermediate_dim,
        "n_positions": embedding.max_sequence_length,
        "activation_function": activation_name(block.feed_forward.activation),
        "embd_pdrop": embedding.dropout,
        "attn_pdrop": block.attention.dropout,
        "resid_pdrop": block.dropout,
        "layer_norm_epsilon": block.norm.epsilon,
        "initializer_range": embedding.initializer_range,
    }


FAMILY = Family(
    model_type="gpt2",
    class_name="GPT2",
    prefix="transformer",
    config=config,
    settings=settings,
    names=NAMES,
    heads={"causal_lm": []},  # the table of token embeddings makes the scores
    tied={"lm_head.weight": "wte.weight"},
    # The causal mask, which old files hold.
    buffers=r"^h\.\d+\.attn\.(bias|masked_bias)$",
    architectures={"causal_lm": "GPT2LMHeadModel"},
    tokenizer=functools.partial(byte_level_bpe, **GPT2),
)
