"""DeBERTa-v2 and v3 (He et al. 2021, arXiv:2006.03654 and arXiv:2111.09543). Names: `modeling_deberta_v2.py` of Hugging
Face Transformers.

BERT with disentangled attention: one table of relative positions for all blocks. The large sizes of v2 have a
convolution beside the first block. The head for masked tokens has two sets of names; the older one is written.
"""

from kerasformer.errors import InputError
from kerasformer.families import bert
from kerasformer.families.family import Family, Settings, activation_name
from kerasformer.families.weights import dense, norm, table
from kerasformer.models.configs import (
    ConvolutionConfig,
    DisentangledConfig,
    PoolerConfig,
    RelativeEmbeddingConfig,
)

_TYPES = {"c2p": "content_to_position", "p2c": "position_to_content"}


def config(settings):
    """Our config from the fields of `config.json`.

    Raises:
        InputError: a field is missing or cannot be used.
    """
    width = settings["hidden_size"]
    for name in ("embedding_size", "pooler_hidden_size"):
        settings.must_be(name, width)
    settings.must_be("attention_head_size", width // settings["num_attention_heads"])
    settings.must_be("conv_groups", 1)
    settings.must_be("pooler_dropout", 0)
    types = _position_types(settings)
    defaults = {"layer_norm_eps": 1e-7, "type_vocab_size": 0, "position_embedding_type": "absolute"}
    found = bert.config(Settings(defaults | settings, settings.path))
    block = found.blocks[0]
    learned = settings.get("position_biased_input", True)
    found = found.replace(
        embedding=found.embedding.replace(positions="learned" if learned else None),
        pooler=PoolerConfig(activation=settings.activation("pooler_hidden_act", "gelu")),
    )
    if size := settings.get("conv_kernel_size", 0):
        activation = settings.activation("conv_act", "tanh")
        found = found.replace(convolution=ConvolutionConfig(size, activation, block.norm, block.dropout))
    if not types:
        return found
    scheme = DisentangledConfig(
        **{ours: theirs in types for theirs, ours in _TYPES.items()},
        share_projections=settings.get("share_att_key", False),
        dropout=block.dropout,
    )
    block = block.replace(attention=block.attention.replace(positions=scheme))
    return found.replace(blocks=(block,) * found.num_layers, relative_embedding=_table(settings, block.norm))


def _position_types(settings):
    """The terms of a score that are about positions; none where attention is the usual one."""
    types = settings.get("pos_att_type") or []
    types = [word.strip() for word in types.lower().split("|")] if isinstance(types, str) else types
    relative = settings.get("relative_attention", False)
    if not set(types) <= _TYPES.keys() or bool(types) != bool(relative):
        raise InputError(
            f"`pos_att_type` must hold {' or '.join(map(repr, _TYPES))} where `relative_attention` is true, and "
            f"nothing where it is false. {settings.path} has {types!r} and {relative!r}."
        )
    return types


def _table(settings, post_norm):
    words = {word.strip() for word in settings.get("norm_rel_ebd", "none").lower().split("|")}
    if not words <= {"none", "layer_norm"}:
        raise InputError(f"`norm_rel_ebd` must be 'none' or 'layer_norm'. {settings.path} has {sorted(words)}.")
    farthest = settings.get("max_relative_positions", -1)
    farthest = settings.integer("max_position_embeddings") if farthest < 1 else farthest
    buckets = settings.get("position_buckets", -1)
    sizes = (buckets, farthest) if buckets > 0 else (farthest, None)
    return RelativeEmbeddingConfig(*sizes, post_norm if "layer_norm" in words else None)


def settings(config):
    """The fields of `config.json`, the reverse of `config`."""
    scheme, relative, convolution = config.blocks[0].attention.positions, config.relative_embedding, config.convolution
    fields = bert.settings(config) | {
        "position_biased_input": config.embedding.positions == "learned",
        "pooler_hidden_act": activation_name(config.pooler.activation),
        "pooler_dropout": 0.0,
        "relative_attention": scheme is not None,
        "legacy": True,
    }
    if convolution is not None:
        fields |= {
            "conv_kernel_size": convolution.kernel_size,
            "conv_act": activation_name(convolution.activation),
        }
    if scheme is None:
        return fields
    return fields | {
        "pos_att_type": [theirs for theirs, ours in _TYPES.items() if getattr(scheme, ours)],
        "share_att_key": scheme.share_projections,
        "norm_rel_ebd": "none" if relative.norm is None else "layer_norm",
        "max_relative_positions": relative.max_distance or relative.num_distances,
        "position_buckets": -1 if relative.max_distance is None else relative.num_distances,
    }


def _attention(name):
    return f"encoder.layer.{{i}}.attention.self.{name}"


FAMILY = Family(
    model_type="deberta-v2",
    class_name="DebertaV2",
    prefix="deberta",
    config=config,
    settings=settings,
    names=[
        *(row for row in bert.NAMES if row.ours[0] != "blocks.{i}.attention.query_key_value"),
        dense(
            "blocks.{i}.attention.query_key_value", *(_attention(f"{name}_proj") for name in ("query", "key", "value"))
        ),
        dense("blocks.{i}.attention.positions.query", _attention("pos_query_proj")),
        dense("blocks.{i}.attention.positions.key", _attention("pos_key_proj")),
        table("relative_embedding", "encoder.rel_embeddings"),
        norm("relative_embedding.norm", "encoder.LayerNorm"),
        dense("convolution", "encoder.conv.conv"),
        norm("convolution.norm", "encoder.conv.LayerNorm"),
    ],
    heads={
        "sequence_classification": [dense("pooler", "pooler.dense"), dense("head.output", "classifier")],
        "token_classification": [dense("head.output", "classifier")],
        "question_answering": [dense("head.output", "qa_outputs")],
        "masked_lm": bert.MASKED,
    },
    tied=bert.FAMILY.tied,
    renamed={
        r"^lm_predictions\.lm_head\.(dense|LayerNorm)\.": r"cls.predictions.transform.\1.",
        r"^lm_predictions\.lm_head\.bias$": "cls.predictions.bias",
    },
    # The discriminator that v3 is pretrained with.
    buffers=r"^mask_predictions\.",
)
