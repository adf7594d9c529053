"""Training few weights: low-rank updates of projections, and frozen layers."""

import re

import keras

from kerasformer.errors import InputError
from kerasformer.layers import FeedForward, MultiHeadAttention

_PROJECTIONS = {
    MultiHeadAttention: ("query_key_value", "query", "key_value", "output_projection"),
    FeedForward: ("inner", "outer"),
}


def enable_lora(model, rank, *, alpha=None, train=()):
    """Freezes a model but for low-rank updates of the projections in attention and feed-forward networks (Hu et al.
    2021, arXiv:2106.09685): `W + alpha / rank * A @ B`, with B zero at first.

    To be called before an optimizer is built. Saving merges the updates into the weights, and so does an export.

    Args:
        model: a Keras model with layers of this package.
        rank: of the updates.
        alpha: their scale, by default `rank`.
        train: names of layers that stay trainable as a whole, such as the task's head: `("classifier",)`.

    Returns:
        The number of weights, numbers each, that stay trainable.

    Raises:
        InputError: `rank` is not positive, the model has no such projection, or no layer of a name in `train`.
    """
    if not isinstance(rank, int) or rank < 1:
        raise InputError(f"`rank` must be a positive integer. Received: rank={rank!r}.")
    layers = model._flatten_layers()
    projections = [
        getattr(layer, name)
        for layer in layers
        for kind, names in _PROJECTIONS.items()
        if isinstance(layer, kind)
        for name in names
        if hasattr(layer, name)
    ]
    if not projections:
        raise InputError(f"The model {model.name!r} has no attention and no feed-forward network of `kf.layers`.")
    named = {layer.name: layer for layer in layers}
    for name in train:
        if name not in named:
            raise InputError(f"`train` must name layers of the model. Received: {name!r}, which is none.")
    kept = {id(weight) for name in train for weight in named[name].trainable_variables}
    for variable in model.trainable_variables:
        variable.trainable = id(variable) in kept
    for projection in projections:
        projection.enable_lora(rank, lora_alpha=alpha)
        projection._kernel.trainable = False
    return sum(int(keras.ops.size(variable)) for variable in model.trainable_variables)


def merged_variables(model):
    """The values of `model.variables` without low-rank updates, which are added to their weights instead."""
    merged, left_out = {}, set()
    for layer in model._flatten_layers():
        if getattr(layer, "lora_enabled", False):
            merged[id(layer._kernel)] = layer.kernel
            left_out |= {id(layer.lora_kernel_a), id(layer.lora_kernel_b)}
    return [merged.get(id(variable), variable) for variable in model.variables if id(variable) not in left_out]


def freeze(model, *patterns):
    """Makes the layers of a functional model whose names match one of the regular expressions untrainable.

    To be called before an optimizer is built. `freeze(task.model, "embedding", "block_[0-3]")` leaves the upper layers
    and the head.

    Returns:
        The names of the frozen layers.

    Raises:
        InputError: a pattern matches no layer.
    """
    names = [layer.name for layer in model.layers]
    for pattern in patterns:
        if not any(re.fullmatch(pattern, name) for name in names):
            raise InputError(f"A pattern must match the name of a layer. Received: {pattern!r}; there are {names}.")
    frozen = [name for name in names if any(re.fullmatch(pattern, name) for pattern in patterns)]
    for name in frozen:
        model.get_layer(name).trainable = False
    return frozen
