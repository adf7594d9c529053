"""Other people's checkpoints, in and out."""

from kerasformer.interop.huggingface import load_huggingface

__all__ = ["load_huggingface"]
