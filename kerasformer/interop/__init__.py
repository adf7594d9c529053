"""Other people's checkpoints, in and out."""

from kerasformer.interop.encoders import load_encoder, minilm_folder, pooling_of, random_encoder
from kerasformer.interop.huggingface import load_huggingface

__all__ = ["load_encoder", "load_huggingface", "minilm_folder", "pooling_of", "random_encoder"]
