"""ELECTRA (Clark et al. 2020, arXiv:2003.10555). Names: `modeling_electra.py` of Hugging Face Transformers.

BERT whose tables may be narrower than the model, without a pooler. The discriminator and the generator, which has the
head for masked tokens, are the same encoder in different sizes.
"""

import dataclasses

from kerasformer.families import bert
from kerasformer.families.weights import dense, norm, vector
from kerasformer.models.configs import MaskedHeadConfig, PoolerConfig


def config(settings):
    """Our config from the fields of `config.json`, as `bert.config`."""
    found = bert.config(settings)
    width = settings.get("embedding_size", 128)
    return found.replace(
        embedding=found.embedding.replace(embedding_dim=None if width == found.hidden_dim else width),
        # Both are exact whatever `hidden_act` is.
        pooler=PoolerConfig(activation="gelu"),
        masked_head=MaskedHeadConfig("gelu", found.blocks[0].norm),
    )


def settings(config):
    """The fields of `config.json`, the reverse of `config`."""
    return bert.settings(config) | {"embedding_size": config.embedding.table_dim}


FAMILY = dataclasses.replace(
    bert.FAMILY,
    model_type="electra",
    class_name="Electra",
    prefix="electra",
    config=config,
    settings=settings,
    names=[*bert.NAMES, dense("embeddings.projection", "embeddings_project")],
    pooler=[],
    heads={
        "sequence_classification": [
            dense("pooler", "classifier.dense"),
            dense("head.output", "classifier.out_proj"),
        ],
        "token_classification": [dense("head.output", "classifier")],
        "question_answering": [dense("head.output", "qa_outputs")],
        "masked_lm": [
            dense("head.transform", "generator_predictions.dense"),
            norm("head.norm", "generator_predictions.LayerNorm"),
            vector("head.bias", "generator_lm_head.bias"),
        ],
        "replaced_tokens": [
            dense("head.transform", "discriminator_predictions.dense"),
            dense("head.output", "discriminator_predictions.dense_prediction"),
        ],
    },
    architectures={"replaced_tokens": "ElectraForPreTraining"},
    tied={"generator_lm_head.weight": "embeddings.word_embeddings.weight"},
)
