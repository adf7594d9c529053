"""Tensors of `tf_model.h5`, which the TensorFlow classes of Transformers 4 write.

A weight is named by the path of its layers, as in `tf_bert_model/bert/encoder/layer_._0/output/dense/kernel:0`. It is
called here as the PyTorch class calls it, `bert.encoder.layer.0.output.dense.weight`, and a kernel is transposed.
"""

import re

import h5py

from kerasformer.errors import InputError
from kerasformer.families.torch_files import Tensor

_LAST = {"kernel": "weight", "embeddings": "weight", "gamma": "weight", "beta": "bias"}


def open_tf(path):
    """The tensors of a `tf_model.h5`.

    Args:
        path: the file.

    Returns:
        `{name: Tensor}`, by the names and in the shapes of PyTorch. Nothing is read before `Tensor.read()` is called.

    Raises:
        InputError: the file is damaged, or not of these classes.
    """
    try:
        file = h5py.File(path)  # stays open as long as one of its tensors is kept
        layers = [_text(name) for name in file.attrs["layer_names"]]
        stored = {
            _text(name): file[layer][_text(name)] for layer in layers for name in file[layer].attrs["weight_names"]
        }
    except (OSError, KeyError, AttributeError) as error:
        raise InputError(
            f"{path} cannot be read as weights of a TensorFlow class of Transformers, is it complete? {error}"
        ) from None
    return {_torch_name(name): _tensor(name, value) for name, value in stored.items()}


def _text(name):
    return name.decode() if isinstance(name, bytes) else str(name)


def _torch_name(name):
    path = re.sub(r"/[^/]*___([^/]*)/", r"/\1/", name.removesuffix(":0"))  # `ours___theirs`: two names of a layer
    parts = [part for part in path.replace("_._", "/").split("/") if part]
    # The first one is the model's own.
    *parents, last = parts[1:] if len(parts) > 1 else parts
    return ".".join([*parents, _LAST.get(last, last)])


def _tensor(name, stored):
    shape = stored.shape
    if name.endswith("/kernel:0") and len(shape) == 2:
        return Tensor(shape[::-1], stored.dtype.name, lambda: stored[()].T)
    if name.endswith("/bias:0") and shape[:1] == (1,) and len(shape) == 2:  # GPT-2's
        return Tensor(shape[1:], stored.dtype.name, lambda: stored[0])
    return Tensor(shape, stored.dtype.name, lambda: stored[()])
