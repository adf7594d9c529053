"""ALBERT (Lan et al. 2020, arXiv:1909.11942). Names: `modeling_albert.py` of Hugging Face Transformers.

BERT with one block that is applied again and again, and with narrow tables that a projection follows.
"""

from kerasformer.families import bert
from kerasformer.families.family import Family, Settings
from kerasformer.families.weights import dense, norm, table, vector

_BLOCK = "encoder.albert_layer_groups.0.albert_layers.0"
NAMES = [
    table("embeddings.token", "embeddings.word_embeddings"),
    table("embeddings.segment", "embeddings.token_type_embeddings"),
    table("embeddings.position", "embeddings.position_embeddings"),
    norm("embeddings.norm", "embeddings.LayerNorm"),
    dense("embeddings.projection", "encoder.embedding_hidden_mapping_in"),
    dense(
        "blocks.0.attention.query_key_value",
        f"{_BLOCK}.attention.query",
        f"{_BLOCK}.attention.key",
        f"{_BLOCK}.attention.value",
    ),
    dense("blocks.0.attention.output_projection", f"{_BLOCK}.attention.dense"),
    norm("blocks.0.attention_norm", f"{_BLOCK}.attention.LayerNorm"),
    dense("blocks.0.feed_forward.inner", f"{_BLOCK}.ffn"),
    dense("blocks.0.feed_forward.outer", f"{_BLOCK}.ffn_output"),
    norm("blocks.0.feed_forward_norm", f"{_BLOCK}.full_layer_layer_norm"),
]
MASKED = [
    dense("head.transform", "predictions.dense"),
    norm("head.norm", "predictions.LayerNorm"),
    vector("head.bias", "predictions.bias"),
]
_DEFAULTS = {"hidden_act": "gelu_new", "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


def config(settings):
    """Our config from the fields of `config.json`, as `bert.config`."""
    settings.must_be("num_hidden_groups", 1)
    settings.must_be("inner_group_num", 1)
    found = bert.config(Settings(_DEFAULTS | settings, settings.path))
    embedding = found.embedding.replace(embedding_dim=settings.get("embedding_size", 128))
    return found.replace(embedding=embedding, share_blocks=True)


def settings(config):
    """The fields of `config.json`, the reverse of `config`."""
    groups = {"num_hidden_groups": 1, "inner_group_num": 1}
    return bert.settings(config) | groups | {"embedding_size": config.embedding.table_dim}


FAMILY = Family(
    model_type="albert",
    class_name="Albert",
    prefix="albert",
    config=config,
    settings=settings,
    names=NAMES,
    pooler=[dense("pooler", "pooler")],
    heads={
        "sequence_classification": [dense("head.output", "classifier")],
        "token_classification": [dense("head.output", "classifier")],
        "question_answering": [dense("head.output", "qa_outputs")],
        "masked_lm": MASKED,
        # The order of two sentences in place of whether one follows the other: 0 for both as they were.
        "pretraining": [*MASKED, dense("head.next_sentence", "sop_classifier.classifier")],
    },
    head_dropout=dict.fromkeys(("sequence_classification", "token_classification"), "classifier_dropout_prob"),
    tied={
        "predictions.decoder.weight": "embeddings.word_embeddings.weight",
        "predictions.decoder.bias": "predictions.bias",
    },
)
