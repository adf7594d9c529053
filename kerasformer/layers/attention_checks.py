"""Arguments of `MultiHeadAttention` that do not fit together, told in words."""

from kerasformer.errors import InputError
from kerasformer.layers.cache import KeyValueCache
from kerasformer.layers.masks import check_attention_mask, check_padding_mask


def check_call(layer, query, value, padding_mask, query_mask, attention_mask, cache, key_positions):
    if not layer.is_cross_attention and cache is not None and not isinstance(cache, KeyValueCache):
        raise InputError(f"Self-attention takes a KeyValueCache as `cache`. Received: a {type(cache).__name__}.")
    if layer.is_cross_attention and value is None and cache is None:
        raise InputError(
            f"The layer {layer.name!r} was built for cross-attention and needs `value` or a cache. Received: none."
        )
    if not layer.is_cross_attention and value is not None:
        raise InputError(
            f"The layer {layer.name!r} was built for self-attention and takes no `value`. Use another layer for "
            "cross-attention."
        )
    if key_positions is not None and not layer.is_cross_attention and cache is None:
        raise InputError("Self-attention without a cache has the keys' positions in `positions`. Received: others.")
    if len(query.shape) == 2 and query_mask is None:
        raise needs_mask("A query", "`padding_mask`, or with a cache or another value `query_mask`", query)
    if value is not None and len(value.shape) == 2 and padding_mask is None:
        raise needs_mask("A value", "`padding_mask`", value)
    keys = query if value is None else value
    if padding_mask is not None:
        check_padding_mask(padding_mask, keys if cache is None else None)
    if query_mask is not None and query_mask is not padding_mask:
        check_padding_mask(query_mask, query, "query_mask")
    if attention_mask is not None:
        known = len(query.shape) == 3 and cache is None
        lengths = (query.shape[1], keys.shape[1]) if known and len(keys.shape) == 3 else (None, None)
        check_attention_mask(attention_mask, *lengths)


def check_relative(layer, relative, cache=None, positions=None):
    if layer.needs_relative and (relative is None or cache is not None or positions is not None):
        raise InputError(
            f"The layer {layer.name!r} has disentangled attention and needs `relative`, which a RelativeEmbedding "
            "gives; without a cache and with the positions 0, 1, 2, ... Received: "
            f"{'no `relative`' if relative is None else 'a cache or `positions`'}."
        )
    if relative is not None and not layer.needs_relative:
        raise InputError(
            f"The layer {layer.name!r} takes no `relative`. Make it with `positions=DisentangledConfig(...)`."
        )


def needs_mask(what, argument, tensor):
    return InputError(f"{what} of rank 2 (packed tokens) needs {argument}. Received: shape {tuple(tensor.shape)}.")
