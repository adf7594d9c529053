"""DistilBERT (Sanh et al. 2019, arXiv:1910.01108). Names: `modeling_distilbert.py` of Hugging Face Transformers.

BERT without segments and without a pooler; its classification head has ReLU. Sinusoidal positions are in its files as a
table.
"""

from kerasformer.families.family import Family, activation_name
from kerasformer.families.weights import dense, norm, table, vector
from kerasformer.models.configs import (
    AttentionConfig,
    BlockConfig,
    EmbeddingConfig,
    FeedForwardConfig,
    ModelConfig,
    NormConfig,
    PoolerConfig,
)
from kerasformer.text.older_files import wordpiece

NAMES = [
    table("embeddings.token", "embeddings.word_embeddings"),
    table("embeddings.position", "embeddings.position_embeddings"),
    norm("embeddings.norm", "embeddings.LayerNorm"),
    dense(
        "blocks.{i}.attention.query_key_value",
        "transformer.layer.{i}.attention.q_lin",
        "transformer.layer.{i}.attention.k_lin",
        "transformer.layer.{i}.attention.v_lin",
    ),
    dense("blocks.{i}.attention.output_projection", "transformer.layer.{i}.attention.out_lin"),
    norm("blocks.{i}.attention_norm", "transformer.layer.{i}.sa_layer_norm"),
    dense("blocks.{i}.feed_forward.inner", "transformer.layer.{i}.ffn.lin1"),
    dense("blocks.{i}.feed_forward.outer", "transformer.layer.{i}.ffn.lin2"),
    norm("blocks.{i}.feed_forward_norm", "transformer.layer.{i}.output_layer_norm"),
]


def config(settings):
    """Our config from the fields of `config.json`.

    Args:
        settings: `Settings`.

    Raises:
        InputError: a field is missing or cannot be used.
    """
    post_norm = NormConfig(epsilon=1e-12)
    dropout, initializer_range = settings.get("dropout", 0.1), settings.get("initializer_range", 0.02)
    block = BlockConfig(
        attention=AttentionConfig(num_heads=settings["n_heads"], dropout=settings.get("attention_dropout", 0.1)),
        feed_forward=FeedForwardConfig(settings["hidden_dim"], settings.activation("activation", "gelu")),
        norm=post_norm,
        dropout=dropout,
    )
    embedding = EmbeddingConfig(
        vocabulary_size=settings["vocab_size"],
        hidden_dim=settings["dim"],
        max_sequence_length=settings.integer("max_position_embeddings"),
        norm=post_norm,
        dropout=dropout,
        initializer_range=initializer_range,
    )
    return ModelConfig(
        embedding,
        (block,) * settings.integer("n_layers"),
        initializer_range=initializer_range,
        pooler=PoolerConfig(activation="relu"),
    )


def settings(config):
    """The fields of `config.json`, the reverse of `config`."""
    embedding, block = config.embedding, config.blocks[0]
    return {
        "vocab_size": embedding.vocabulary_size,
        "dim": embedding.hidden_dim,
        "n_layers": len(config.blocks),
        "n_heads": block.attention.num_heads,
        "hidden_dim": block.feed_forward.intermediate_dim,
        "max_position_embeddings": embedding.max_sequence_length,
        "activation": activation_name(block.feed_forward.activation),
        "dropout": embedding.dropout,
        "attention_dropout": block.attention.dropout,
        "initializer_range": embedding.initializer_range,
    }


FAMILY = Family(
    model_type="distilbert",
    class_name="DistilBert",
    prefix="distilbert",
    config=config,
    settings=settings,
    names=NAMES,
    heads={
        "sequence_classification": [dense("pooler", "pre_classifier"), dense("head.output", "classifier")],
        "token_classification": [dense("head.output", "classifier")],
        "question_answering": [dense("head.output", "qa_outputs")],
        "masked_lm": [
            dense("head.transform", "vocab_transform"),
            norm("head.norm", "vocab_layer_norm"),
            vector("head.bias", "vocab_projector.bias"),
        ],
    },
    head_dropout={"sequence_classification": "seq_classif_dropout", "token_classification": "dropout"},
    tied={"vocab_projector.weight": "embeddings.word_embeddings.weight"},
    tokenizer=wordpiece,
)
