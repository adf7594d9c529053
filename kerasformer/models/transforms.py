"""Transforms of models: another precision, few trained weights, frozen layers. Each takes a model that exists."""

import re
from collections.abc import Sequence

import keras

from kerasformer._compat import flatten_layers, lora_kernel
from kerasformer.errors import InputError
from kerasformer.layers import FeedForward, MultiHeadAttention
from kerasformer.models.backbone import Backbone

_PROJECTIONS = {
    MultiHeadAttention: ("query_key_value", "query", "key_value", "output_projection"),
    FeedForward: ("inner", "gate", "outer"),
}


def with_precision(model: keras.Model, policy: str, keep: Sequence[str] = ()) -> keras.Model:
    """A copy of a functional model, with its weights, under another Keras dtype policy.

    Args:
        model: functional `keras.Model`, or a `Backbone`; models that are layers of it are copied as well.
        policy: "float32", "bfloat16" (weights and computation), "mixed_bfloat16", "mixed_float16", ...
        keep: names of layers that keep their own policy.

    Returns:
        A new model, for a `Backbone` without `keep` a `Backbone`, else a plain functional model. Nothing is shared with
        the old one, and low-rank updates (`enable_lora`) are merged.
    """
    # By name, since layers without arguments of their own can only save those.
    policy = keras.dtype_policies.get(policy).name

    def in_precision(layer):
        config = layer.get_config()
        if layer.name not in keep and "dtype" in config:
            config["dtype"] = policy
        return layer.__class__.from_config(config)

    if isinstance(model, Backbone) and not keep:
        copy = model.in_precision(policy)
    else:
        copy = keras.models.clone_model(model, clone_function=in_precision, recursive=True)
    for new, old in zip(copy.variables, merged_variables(model), strict=True):
        new.assign(keras.ops.cast(old, new.dtype) if keras.backend.is_float_dtype(new.dtype) else old)
    return copy


def enable_lora(model: keras.Model, rank: int, *, alpha: float | None = None, train: Sequence[str] = ()) -> int:
    """Freezes a model but for low-rank updates of the projections in attention and feed-forward networks (Hu et al.
    2021, arXiv:2106.09685): `W + alpha / rank * A @ B`, with B initialized to zero.

    Call it before an optimizer is built. Saving merges the updates into the weights, and so does an export.

    Args:
        model: a Keras model with layers of this package.
        rank: of the updates.
        alpha: their scale, by default `rank`.
        train: names of layers that stay trainable, such as the task's head: `("classifier",)`.

    Returns:
        The number of trainable parameters.

    Raises:
        InputError: `rank` is not positive, the model has no such projection or has low-rank updates already, or no
            layer has a name in `train`.
    """
    if not isinstance(rank, int) or isinstance(rank, bool) or rank < 1:
        raise InputError(f"`rank` must be a positive integer. Received: rank={rank!r}.")
    layers = flatten_layers(model)
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
    if any(projection.lora_enabled for projection in projections):
        raise InputError(
            f"The model {model.name!r} has low-rank updates already. Merge them first, with "
            "`with_precision(model, policy)`."
        )
    named = {layer.name: layer for layer in layers}
    for name in train:
        if name not in named:
            raise InputError(f"`train` must name layers of the model. Received: {name!r}, which is none.")
    kept = {id(weight) for name in train for weight in named[name].trainable_variables}
    for variable in model.trainable_variables:
        variable.trainable = id(variable) in kept
    for projection in projections:
        projection.enable_lora(rank, lora_alpha=alpha)
        lora_kernel(projection).trainable = False
    return sum(int(keras.ops.size(variable)) for variable in model.trainable_variables)


def merged_variables(model):
    """The values of `model.variables` without low-rank updates, which are added to their weights instead."""
    return list(merged_weights(model).values())


def merged_weights(model):
    """`{id(variable): value}` of a model's variables, in their order; low-rank updates are added to their weights and
    have no entries of their own."""
    merged, left_out = {}, set()
    for layer in flatten_layers(model):
        if getattr(layer, "lora_enabled", False):
            merged[id(lora_kernel(layer))] = layer.kernel
            left_out |= {id(layer.lora_kernel_a), id(layer.lora_kernel_b)}
    variables = [variable for variable in model.variables if id(variable) not in left_out]
    return {id(variable): merged.get(id(variable), variable) for variable in variables}


def freeze(model: keras.Model, *patterns: str) -> list[str]:
    """Makes the layers of a functional model whose names match one of the regular expressions untrainable.

    Call it before an optimizer is built. `freeze(task.model, "embedding", "block_[0-3]")` leaves the upper layers and
    the head trainable.

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
