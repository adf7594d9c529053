"""kerasformer: Transformers and BERT for TensorFlow and Keras, from text to a served answer.

`import kerasformer as kf` is light: a submodule is imported when it is first touched.

- `kf.layers`: attention, positions, padding removal, encoder blocks
- `kf.models`: functional Keras models from a frozen config
- `kf.text`: strings to token ids inside the graph
- `kf.data`: examples from files, folders, TFDS and Hugging Face data sets
- `kf.decoding`: greedy, beam search, sampling, inside the graph
- `kf.metrics`: of classification, answers, entities, ROUGE and translation
- `kf.tasks`: model + tokenizer + answer
- `kf.interop`: other people's checkpoints
- `kf.training`: the trainer, optimizers and schedules
- `kf.serving`: export, publish, check, preview and client
"""

import importlib

__version__ = "0.1.0"

_SUBMODULES = (
    *("data", "decoding", "errors", "interop", "layers", "metrics", "models", "serving", "tasks", "text"),
    "training",
)

__all__ = [*_SUBMODULES, "load", "__version__"]


def __getattr__(name):
    if name in _SUBMODULES:
        return importlib.import_module(f"{__name__}.{name}")
    if name == "load":
        return importlib.import_module(f"{__name__}.tasks").load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted(__all__)
