"""BERT (Devlin et al. 2019, arXiv:1810.04805). Names: `modeling_bert.py` of Hugging Face Transformers."""

from kerasformer.families.family import Family, activation_name
from kerasformer.families.weights import dense, norm, table, vector
from kerasformer.models.configs import (
    AttentionConfig,
    BlockConfig,
    EmbeddingConfig,
    FeedForwardConfig,
    ModelConfig,
    NormConfig,
)
from kerasformer.text.older_files import wordpiece

NAMES = [
    table("embeddings.token", "embeddings.word_embeddings"),
    table("embeddings.segment", "embeddings.token_type_embeddings"),
    table("embeddings.position", "embeddings.position_embeddings"),
    norm("embeddings.norm", "embeddings.LayerNorm"),
    dense(
        "blocks.{i}.attention.query_key_value",
        "encoder.layer.{i}.attention.self.query",
        "encoder.layer.{i}.attention.self.key",
        "encoder.layer.{i}.attention.self.value",
    ),
    dense("blocks.{i}.attention.output_projection", "encoder.layer.{i}.attention.output.dense"),
    norm("blocks.{i}.attention_norm", "encoder.layer.{i}.attention.output.LayerNorm"),
    dense("blocks.{i}.feed_forward.inner", "encoder.layer.{i}.intermediate.dense"),
    dense("blocks.{i}.feed_forward.outer", "encoder.layer.{i}.output.dense"),
    norm("blocks.{i}.feed_forward_norm", "encoder.layer.{i}.output.LayerNorm"),
]
POOLER = [dense("pooler", "pooler.dense")]
MASKED = [
    dense("head.transform", "cls.predictions.transform.dense"),
    norm("head.norm", "cls.predictions.transform.LayerNorm"),
    vector("head.bias", "cls.predictions.bias"),
]
NEXT_SENTENCE = [dense("head.next_sentence", "cls.seq_relationship")]


def config(settings, position_offset=0):
    """Our config from the fields of `config.json`.

    Args:
        settings: `Settings`.
        position_offset: rows of the position table before the row of position 0.

    Raises:
        InputError: a field is missing or cannot be used.
    """
    settings.must_be("position_embedding_type", "absolute", None)
    settings.must_be("is_decoder", False)
    settings.must_be("add_cross_attention", False)
    post_norm = NormConfig(epsilon=settings.get("layer_norm_eps", 1e-12))
    dropout, initializer_range = settings.get("hidden_dropout_prob", 0.1), settings.get("initializer_range", 0.02)
    block = BlockConfig(
        attention=AttentionConfig(
            num_heads=settings["num_attention_heads"], dropout=settings.get("attention_probs_dropout_prob", 0.1)
        ),
        feed_forward=FeedForwardConfig(
            intermediate_dim=settings["intermediate_size"], activation=settings.activation("hidden_act", "gelu")
        ),
        norm=post_norm,
        dropout=dropout,
    )
    embedding = EmbeddingConfig(
        vocabulary_size=settings["vocab_size"],
        hidden_dim=settings["hidden_size"],
        max_sequence_length=settings.integer("max_position_embeddings") - position_offset,
        position_offset=position_offset,
        num_segments=settings.get("type_vocab_size", 2),
        norm=post_norm,
        dropout=dropout,
        initializer_range=initializer_range,
    )
    return ModelConfig(embedding, (block,) * settings.integer("num_hidden_layers"), initializer_range=initializer_range)


def settings(config):
    """The fields of `config.json`, the reverse of `config`."""
    embedding, block = config.embedding, config.blocks[0]
    return {
        "vocab_size": embedding.vocabulary_size,
        "hidden_size": embedding.hidden_dim,
        "num_hidden_layers": len(config.blocks),
        "num_attention_heads": block.attention.num_heads,
        "intermediate_size": block.feed_forward.intermediate_dim,
        "max_position_embeddings": embedding.max_sequence_length + embedding.position_offset,
        "type_vocab_size": embedding.num_segments,
        "hidden_act": activation_name(block.feed_forward.activation),
        "hidden_dropout_prob": embedding.dropout,
        "attention_probs_dropout_prob": block.attention.dropout,
        "layer_norm_eps": block.norm.epsilon,
        "initializer_range": embedding.initializer_range,
    }


FAMILY = Family(
    model_type="bert",
    class_name="Bert",
    prefix="bert",
    config=config,
    settings=settings,
    names=NAMES,
    pooler=POOLER,
    heads={
        "sequence_classification": [dense("head.output", "classifier")],
        "token_classification": [dense("head.output", "classifier")],
        "question_answering": [dense("head.output", "qa_outputs")],
        "masked_lm": MASKED,
        "next_sentence": NEXT_SENTENCE,
        "pretraining": MASKED + NEXT_SENTENCE,
    },
    tied={
        "cls.predictions.decoder.weight": "embeddings.word_embeddings.weight",
        "cls.predictions.decoder.bias": "cls.predictions.bias",
    },
    tokenizer=wordpiece,
)
