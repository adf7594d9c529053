"""MPNet (Song et al. 2020, arXiv:2004.09297). Names: `modeling_mpnet.py` of Hugging Face Transformers.

BERT without segments, with RoBERTa's heads, and one table of relative position buckets that all blocks share. Its
position table has two rows before the row of the first token.
"""

import functools

from kerasformer.families import bert, roberta
from kerasformer.families.family import Family, Settings
from kerasformer.families.weights import dense, norm, table, vector
from kerasformer.models.configs import MaskedHeadConfig, RelativeBiasConfig
from kerasformer.text.older_files import MPNET, wordpiece

NAMES = [
    table("embeddings.token", "embeddings.word_embeddings"),
    table("embeddings.position", "embeddings.position_embeddings"),
    norm("embeddings.norm", "embeddings.LayerNorm"),
    vector("position_bias.table", "encoder.relative_attention_bias.weight"),
    dense(
        "blocks.{i}.attention.query_key_value",
        "encoder.layer.{i}.attention.attn.q",
        "encoder.layer.{i}.attention.attn.k",
        "encoder.layer.{i}.attention.attn.v",
    ),
    dense("blocks.{i}.attention.output_projection", "encoder.layer.{i}.attention.attn.o"),
    norm("blocks.{i}.attention_norm", "encoder.layer.{i}.attention.LayerNorm"),
    dense("blocks.{i}.feed_forward.inner", "encoder.layer.{i}.intermediate.dense"),
    dense("blocks.{i}.feed_forward.outer", "encoder.layer.{i}.output.dense"),
    norm("blocks.{i}.feed_forward_norm", "encoder.layer.{i}.output.LayerNorm"),
]


def config(settings):
    """Our config from the fields of `config.json`, as `bert.config`."""
    # The reference counts positions and buckets with these, whatever the fields say.
    settings.must_be("pad_token_id", 1)
    settings.must_be("relative_attention_num_buckets", 32)
    found = bert.config(Settings(settings | {"type_vocab_size": 0}, settings.path), position_offset=2)
    return found.replace(
        position_bias=RelativeBiasConfig(num_buckets=32, max_distance=128),
        masked_head=MaskedHeadConfig("gelu", found.blocks[0].norm),
    )


def settings(config):
    """The fields of `config.json`, the reverse of `config`."""
    found = bert.settings(config) | {"pad_token_id": 1, "relative_attention_num_buckets": 32}
    del found["type_vocab_size"]
    return found


FAMILY = Family(
    model_type="mpnet",
    class_name="MPNet",
    prefix="mpnet",
    config=config,
    settings=settings,
    names=NAMES,
    pooler=bert.POOLER,
    heads=roberta.FAMILY.heads,
    tied=roberta.FAMILY.tied,
    tokenizer=functools.partial(wordpiece, **MPNET),
)
