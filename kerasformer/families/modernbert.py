"""ModernBERT (Warner et al. 2024, arXiv:2412.13663). Names: `modeling_modernbert.py` of Hugging Face Transformers.

Attention is global or within a window, each with rotary positions of its own wavelength. Weights have no biases.
"""

from kerasformer.errors import InputError
from kerasformer.families.family import Family, activation_name
from kerasformer.families.weights import dense, norm, table, vector
from kerasformer.models import configs

NAMES = [
    table("embeddings.token", "embeddings.tok_embeddings"),
    norm("embeddings.norm", "embeddings.norm"),
    norm("blocks.{i}.attention_norm", "layers.{i}.attn_norm"),
    dense("blocks.{i}.attention.query_key_value", "layers.{i}.attn.Wqkv"),
    dense("blocks.{i}.attention.output_projection", "layers.{i}.attn.Wo"),
    norm("blocks.{i}.feed_forward_norm", "layers.{i}.mlp_norm"),
    # One matrix: what the activation is of first, then what it multiplies.
    dense(("blocks.{i}.feed_forward.gate", "blocks.{i}.feed_forward.inner"), "layers.{i}.mlp.Wi"),
    dense("blocks.{i}.feed_forward.outer", "layers.{i}.mlp.Wo"),
    norm("norm", "final_norm"),
]
# Every head begins with a layer of the pooled vector, or of each token.
TRANSFORM, OUTPUT = dense("head.transform", "head.dense"), dense("head.output", "classifier")
TOKENS = [TRANSFORM, norm("head.transform.norm", "head.norm"), OUTPUT]
_GLOBAL, _LOCAL = "full_attention", "sliding_attention"
_WAVELENGTHS = {_GLOBAL: ("global_rope_theta", 160_000.0), _LOCAL: ("local_rope_theta", 10_000.0)}
_POOLINGS = {"cls": "first", "mean": "mean"}


def config(settings):
    """Our config from the fields of `config.json`, as `bert.config`. Dropout of `attention_dropout` is on the attention
    probabilities alone, not also after the output projection."""
    window = settings.get("local_attention", 128) // 2
    settings.must_be("sliding_window", window)
    settings.must_be("rope_scaling", None)
    settings.must_be("classifier_pooling", *_POOLINGS)
    pre_norm = configs.NormConfig("layer", settings.get("norm_eps", 1e-5), "pre", settings.get("norm_bias", False))
    attention = configs.AttentionConfig(
        num_heads=settings["num_attention_heads"],
        use_bias=settings.get("attention_bias", False),
        dropout=settings.get("attention_dropout", 0.0),
    )
    feed_forward = configs.FeedForwardConfig(
        intermediate_dim=settings["intermediate_size"],
        activation=settings.activation("hidden_activation", "gelu"),
        gated=True,
        use_bias=settings.get("mlp_bias", False),
        dropout=settings.get("mlp_dropout", 0.0),
    )
    embedding = configs.EmbeddingConfig(
        vocabulary_size=settings["vocab_size"],
        hidden_dim=settings["hidden_size"],
        positions=None,
        max_sequence_length=settings.get("max_position_embeddings", 8192),
        norm=pre_norm,
        dropout=settings.get("embedding_dropout", 0.0),
        initializer_range=settings.get("initializer_range", 0.02),
    )
    blocks = []
    for kind in _kinds(settings):
        positions = configs.RotaryConfig(_wavelength(settings, kind))
        own = attention.replace(positions=positions, window=window if kind == _LOCAL else None)
        # The first reads the embeddings' norm as it is.
        blocks.append(configs.BlockConfig(own, feed_forward, pre_norm, norm_attention=bool(blocks)))
    head = {
        "activation": settings.activation("classifier_activation", "gelu"),
        "use_bias": settings.get("classifier_bias", False),
        "norm": pre_norm,
    }
    return configs.ModelConfig(
        embedding,
        blocks,
        norm=pre_norm,
        initializer_range=embedding.initializer_range,
        pooler=configs.PoolerConfig(_POOLINGS[settings.get("classifier_pooling", "cls")], **head),
        masked_head=configs.MaskedHeadConfig(**head),
        transform_tokens=True,
    )


def _kinds(settings):
    """Global or local attention, for each block."""
    number, period = settings.integer("num_hidden_layers"), settings.get("global_attn_every_n_layers", 3)
    kinds = settings.get("layer_types") or [_LOCAL if place % period else _GLOBAL for place in range(number)]
    if len(kinds) != number or set(kinds) - {_GLOBAL, _LOCAL}:
        raise InputError(f"`layer_types` must be {number} of {_GLOBAL!r} or {_LOCAL!r}. {settings.path} has {kinds}.")
    return kinds


def _wavelength(settings, kind):
    """The "theta" of rotary positions, whose fields were others before transformers 5."""
    given = (settings.get("rope_parameters") or {}).get(kind) or {}
    if given.get("rope_type", "default") != "default":
        raise InputError(f'`rope_type` must be "default" to be read. {settings.path} has {given["rope_type"]!r}.')
    name, default = _WAVELENGTHS[kind]
    theta = given.get("rope_theta", dict(settings).get(name, default))
    # To the code that models were trained with, no local one means the global one.
    return _wavelength(settings, _GLOBAL) if theta is None and kind == _LOCAL else float(theta)


def settings(config):
    """The fields of `config.json`, the reverse of `config`."""
    embedding, block = config.embedding, config.blocks[0]
    kinds = {_LOCAL if each.attention.window else _GLOBAL: each.attention for each in config.blocks}
    return {
        "vocab_size": embedding.vocabulary_size,
        "hidden_size": embedding.hidden_dim,
        "num_hidden_layers": len(config.blocks),
        "num_attention_heads": block.attention.num_heads,
        "intermediate_size": block.feed_forward.intermediate_dim,
        "max_position_embeddings": embedding.max_sequence_length,
        "hidden_activation": activation_name(block.feed_forward.activation),
        "layer_types": [_LOCAL if each.attention.window else _GLOBAL for each in config.blocks],
        "local_attention": 2 * kinds[_LOCAL].window if _LOCAL in kinds else 128,
        **{_WAVELENGTHS[kind][0]: attention.positions.max_wavelength for kind, attention in kinds.items()},
        "attention_bias": block.attention.use_bias,
        "attention_dropout": block.attention.dropout,
        "mlp_bias": block.feed_forward.use_bias,
        "mlp_dropout": block.feed_forward.dropout,
        "embedding_dropout": embedding.dropout,
        "norm_eps": block.norm.epsilon,
        "norm_bias": block.norm.use_bias,
        "classifier_pooling": "cls" if config.pooler.pooling == "first" else "mean",
        "classifier_activation": activation_name(config.pooler.activation),
        "classifier_bias": config.pooler.use_bias,
        "initializer_range": embedding.initializer_range,
    }


FAMILY = Family(
    model_type="modernbert",
    class_name="ModernBert",
    prefix="model",
    config=config,
    settings=settings,
    names=NAMES,
    heads={
        "sequence_classification": [dense("pooler", "head.dense"), norm("pooler.norm", "head.norm"), OUTPUT],
        "token_classification": TOKENS,
        "question_answering": TOKENS,
        "masked_lm": [TRANSFORM, norm("head.norm", "head.norm"), vector("head.bias", "decoder.bias")],
    },
    tied={"decoder.weight": "embeddings.tok_embeddings.weight"},
)
