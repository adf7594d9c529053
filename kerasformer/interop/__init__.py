"""Other people's checkpoints, in and out."""

from kerasformer.interop.encoders import load_encoder, minilm_folder, random_encoder
from kerasformer.interop.google_bert import load_google_bert
from kerasformer.interop.huggingface import load_huggingface
from kerasformer.interop.huggingface_saving import save_huggingface
from kerasformer.interop.pretraining_heads import load_pretraining_heads
from kerasformer.interop.sentence_transformers import load_embedder, load_sentence_transformers, pooling_of

__all__ = [
    "load_embedder",
    "load_encoder",
    "load_google_bert",
    "load_huggingface",
    "load_pretraining_heads",
    "load_sentence_transformers",
    "minilm_folder",
    "pooling_of",
    "random_encoder",
    "save_huggingface",
]
