"""Other people's checkpoints, in and out: one file a family."""

from kerasformer.families.description import describe
from kerasformer.families.encoders import (
    checkpoint_tokenizer,
    load_embedder,
    load_encoder,
    load_keras_encoder,
    minilm_folder,
    random_encoder,
)
from kerasformer.families.folder import (
    FAMILIES,
    Checkpoint,
    family_of,
    from_keras_hub,
    open_checkpoint,
    write_checkpoint,
)
from kerasformer.families.keras_hub import is_keras_hub_folder
from kerasformer.families.sentence_transformers import (
    EmbedderSettings,
    pooling_of,
    read_embedder_settings,
)
from kerasformer.families.sentence_transformers_out import write_embedder_settings

__all__ = [
    "FAMILIES",
    "Checkpoint",
    "EmbedderSettings",
    "checkpoint_tokenizer",
    "describe",
    "family_of",
    "from_keras_hub",
    "is_keras_hub_folder",
    "load_embedder",
    "load_encoder",
    "load_keras_encoder",
    "minilm_folder",
    "open_checkpoint",
    "pooling_of",
    "random_encoder",
    "read_embedder_settings",
    "write_checkpoint",
    "write_embedder_settings",
]
