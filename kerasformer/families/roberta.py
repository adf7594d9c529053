"""RoBERTa (Liu et al. 2019, arXiv:1907.11692). Names: `modeling_roberta.py` of Hugging Face Transformers.

BERT's encoder with byte-level BPE. Its position table has rows for padding before the row of the first token:
`pad_token_id + 1` of them.
"""

import dataclasses
import functools

from kerasformer.families import bert
from kerasformer.families.weights import dense, norm, vector
from kerasformer.models.configs import MaskedHeadConfig
from kerasformer.text.older_files import ROBERTA, byte_level_bpe


def config(settings):
    """Our config from the fields of `config.json`, as `bert.config`."""
    padding = settings.integer("pad_token_id") if "pad_token_id" in settings else 1
    found = bert.config(settings, position_offset=padding + 1)
    # Exact whatever `hidden_act` is.
    return found.replace(masked_head=MaskedHeadConfig("gelu", found.blocks[0].norm))


def settings(config):
    """The fields of `config.json`, the reverse of `config`."""
    return bert.settings(config) | {"pad_token_id": config.embedding.position_offset - 1}


FAMILY = dataclasses.replace(
    bert.FAMILY,
    model_type="roberta",
    class_name="Roberta",
    prefix="roberta",
    config=config,
    settings=settings,
    heads={
        # A head of two layers on the first token, of which the first is what others call a pooler.
        "sequence_classification": [
            dense("pooler", "classifier.dense"),
            dense("head.output", "classifier.out_proj"),
        ],
        "token_classification": [dense("head.output", "classifier")],
        "question_answering": [dense("head.output", "qa_outputs")],
        "masked_lm": [
            dense("head.transform", "lm_head.dense"),
            norm("head.norm", "lm_head.layer_norm"),
            vector("head.bias", "lm_head.bias"),
        ],
    },
    tied={"lm_head.decoder.weight": "embeddings.word_embeddings.weight", "lm_head.decoder.bias": "lm_head.bias"},
    tokenizer=functools.partial(byte_level_bpe, **ROBERTA),
)
