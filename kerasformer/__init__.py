"""kerasformer: Transformers and BERT for TensorFlow and Keras, from text to a served answer.

`import kerasformer as kf` is light: a submodule is imported when it is first used. Layers and models are registered
with Keras as soon as Keras is imported, so that `keras.models.load_model` finds them.

- `kf.layers`: attention, positions, norms, the Transformer block, padding removal
- `kf.models`: functional Keras models from a frozen config
- `kf.text`: strings to token ids inside the graph
- `kf.families`: other people's checkpoints, one file a family
- `kf.decoding`: greedy, beam search, sampling, inside the graph
- `kf.metrics`: of classification, answers, entities, ROUGE and translation
- `kf.data`: examples from files, folders, TFDS and Hugging Face data sets
- `kf.tasks`: preprocess, model, postprocess
- `kf.explain`: why a task answers as it does, and where it is wrong
- `kf.training`: the trainer, optimizers and schedules
- `kf.serving`: export, publish, check, preview and client
- `kf.load`, `kf.load_encoder`, `kf.publish`: a folder to a task, to an encoder and tokenizer; a task to a served model
"""

import importlib
from typing import TYPE_CHECKING

from kerasformer._registration import register_with_keras

if TYPE_CHECKING:  # what `__getattr__` imports, for editors and type checkers
    from kerasformer import (
        data,
        decoding,
        errors,
        explain,
        families,
        layers,
        metrics,
        models,
        serving,
        tasks,
        text,
        training,
    )
    from kerasformer.families import load_encoder
    from kerasformer.serving import publish
    from kerasformer.tasks import load

__version__ = "0.2.0"

_SUBMODULES = (
    *("data", "decoding", "errors", "explain", "families", "layers", "metrics", "models", "serving", "tasks", "text"),
    "training",
)
_FUNCTIONS = {"load": "tasks", "load_encoder": "families", "publish": "serving"}

__all__ = ["__version__", *_SUBMODULES, *_FUNCTIONS]


def __getattr__(name):
    if name in _SUBMODULES:
        return importlib.import_module(f"{__name__}.{name}")
    if name in _FUNCTIONS:
        return getattr(importlib.import_module(f"{__name__}.{_FUNCTIONS[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted(__all__)


register_with_keras()
