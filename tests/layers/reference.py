"""Transformers in float64 NumPy: plain functions, written from the papers, for the tests to compare with.

Symbols: B batch, L or Q query length, K key length, W width, H heads, D head width. Weights are dictionaries of
arrays, kernels `[in, out]`. Masks are boolean, True where attention may attend.
"""

import math

import numpy as np

_erf = np.vectorize(math.erf, otypes=[np.float64])


def gelu(x):
    return x * 0.5 * (1 + _erf(x / math.sqrt(2)))


def gelu_gradient(x):
    return 0.5 * (1 + _erf(x / math.sqrt(2))) + x * np.exp(-x * x / 2) / math.sqrt(2 * math.pi)


def relu(x):
    return np.maximum(x, 0)


def layer_norm(x, gamma, beta, epsilon=1e-12):
    centered = x - x.mean(-1, keepdims=True)
    return centered / np.sqrt((centered**2).mean(-1, keepdims=True) + epsilon) * gamma + beta


def masked_softmax(scores, mask):
    """Softmax over the open keys of each query; a query without any attends evenly."""
    mask = np.broadcast_to(mask, scores.shape)
    none_open = ~mask.any(-1, keepdims=True)
    scores = np.where(none_open, 0.0, np.where(mask, scores, -np.inf))
    exponentials = np.exp(scores - scores.max(-1, keepdims=True)) if scores.size else scores
    return exponentials / exponentials.sum(-1, keepdims=True)


def causal_mask(queries, keys):
    return np.array([[key <= query + keys - queries for key in range(keys)] for query in range(queries)], bool)


def attention(query, key, value, mask=True, bias=0.0, scale=None):
    """`[B, H, Q, D]`, `[B, H, K, D]`, `[B, H, K, V]` to `[B, H, Q, V]` and the probabilities `[B, H, Q, K]`."""
    scale = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    probabilities = masked_softmax(np.einsum("bhqd,bhkd->bhqk", query, key) * scale + bias, mask)
    return np.einsum("bhqk,bhkv->bhqv", probabilities, value), probabilities


def multi_head_attention(x, weights, heads, value=None, mask=True, bias=0.0):
    """`[B, Q, W]` to `[B, Q, W]` and the probabilities. `value` `[B, K, any]`: cross-attention."""
    value = x if value is None else value
    width = x.shape[-1]

    def project(inputs, name):
        projected = inputs @ weights[f"{name}_kernel"] + weights[f"{name}_bias"]
        return projected.reshape(*inputs.shape[:2], heads, width // heads).transpose(0, 2, 1, 3)

    heads_out, probabilities = attention(
        project(x, "query"), project(value, "key"), project(value, "value"), mask, bias
    )
    merged = heads_out.transpose(0, 2, 1, 3).reshape(x.shape)
    return merged @ weights["output_kernel"] + weights["output_bias"], probabilities


def feed_forward(x, weights, activation=gelu):
    inner = activation(x @ weights["inner_kernel"] + weights["inner_bias"])
    return inner @ weights["outer_kernel"] + weights["outer_bias"]


def encoder_block(x, weights, heads, mask=True, bias=0.0, norm_first=False, activation=gelu):
    """`[B, L, W]` to the same."""

    def attention_norm(y):
        return layer_norm(y, weights["attention_gamma"], weights["attention_beta"])

    def feed_forward_norm(y):
        return layer_norm(y, weights["feed_forward_gamma"], weights["feed_forward_beta"])

    if norm_first:
        x = x + multi_head_attention(attention_norm(x), weights, heads, mask=mask, bias=bias)[0]
        return x + feed_forward(feed_forward_norm(x), weights, activation)
    x = attention_norm(x + multi_head_attention(x, weights, heads, mask=mask, bias=bias)[0])
    return feed_forward_norm(x + feed_forward(x, weights, activation))


def decoder_block(x, memory, weights, heads, mask, memory_mask, bias=0.0, norm_first=False, activation=relu):
    """`mask` of self-attention, `[B, 1, Q, Q]`; `memory_mask` `[B, 1, 1, K]`."""

    def residual(value, function, norm):
        gamma, beta = weights[f"{norm}_gamma"], weights[f"{norm}_beta"]
        if norm_first:
            return value + function(layer_norm(value, gamma, beta))
        return layer_norm(value + function(value), gamma, beta)

    x = residual(
        x, lambda v: multi_head_attention(v, weights["self"], heads, mask=mask, bias=bias)[0], "attention_norm"
    )
    x = residual(
        x,
        lambda v: multi_head_attention(v, weights["memory"], heads, value=memory, mask=memory_mask)[0],
        "cross_attention_norm",
    )
    return residual(x, lambda v: feed_forward(v, weights["feed_forward"], activation), "feed_forward_norm")


def rotate(x, positions):
    """`[B, H, L, D]` as complex numbers times e^(i position rate): number i beside number i + D / 2."""
    half = x.shape[-1] // 2
    rates = 10_000.0 ** (-np.arange(half) / half)
    turned = (x[..., :half] + 1j * x[..., half:]) * np.exp(1j * np.asarray(positions)[:, None] * rates)
    return np.concatenate([turned.real, turned.imag], -1)


def sinusoidal_positions(positions, width, max_wavelength=10_000):
    table = np.zeros((len(positions), width))
    for row, position in enumerate(positions):
        for i in range(width):
            angle = position / max_wavelength ** (2 * (i // 2) / width)
            table[row, i] = math.cos(angle) if i % 2 else math.sin(angle)
    return table


def numeric_gradient(function, array, step=1e-6):
    """Central differences of `function()`, a float, by each element of a float64 `array` that it reads."""
    gradient = np.zeros_like(array)
    for index in np.ndindex(array.shape):
        middle = array[index]
        array[index] = middle + step
        above = function()
        array[index] = middle - step
        below = function()
        array[index] = middle
        gradient[index] = (above - below) / (2 * step)
    return gradient


# ---- weights of the package's layers, as the functions above want them ----


def _array(variable):
    return np.asarray(variable, np.float64)


def attention_weights(layer):
    """Of a MultiHeadAttention; the fused projections split into views, so that differences reach the whole."""
    if layer.is_cross_attention:
        fused = [(layer.query, ("query",)), (layer.key_value, ("key", "value"))]
    else:
        fused = [(layer.query_key_value, ("query", "key", "value"))]
    weights = {}
    for dense, names in [*fused, (layer.output_projection, ("output",))]:
        kernels = np.split(_array(dense.kernel), len(names), -1)
        biases = np.split(_array(dense.bias) if dense.use_bias else np.zeros(dense.units), len(names), -1)
        for name, kernel, bias in zip(names, kernels, biases, strict=True):
            weights |= {f"{name}_kernel": kernel.copy(), f"{name}_bias": bias.copy()}
    return weights


def feed_forward_weights(layer):
    return {
        "inner_kernel": _array(layer.inner.kernel),
        "inner_bias": _array(layer.inner.bias),
        "outer_kernel": _array(layer.outer.kernel),
        "outer_bias": _array(layer.outer.bias),
    }


def block_weights(layer):
    """Of a TransformerBlock without cross-attention."""
    return {
        **attention_weights(layer.attention),
        **feed_forward_weights(layer.feed_forward),
        "attention_gamma": _array(layer.attention_norm.gamma),
        "attention_beta": _array(layer.attention_norm.beta),
        "feed_forward_gamma": _array(layer.feed_forward_norm.gamma),
        "feed_forward_beta": _array(layer.feed_forward_norm.beta),
    }


def decoder_weights(layer):
    """Of a TransformerBlock with cross-attention."""
    weights = {
        "self": attention_weights(layer.attention),
        "memory": attention_weights(layer.cross_attention),
        "feed_forward": feed_forward_weights(layer.feed_forward),
    }
    for name in ("attention_norm", "cross_attention_norm", "feed_forward_norm"):
        norm = getattr(layer, name)
        weights |= {f"{name}_gamma": _array(norm.gamma), f"{name}_beta": _array(norm.beta)}
    return weights


def named_gradients(layer, gradients):
    """The gradients of a layer's `trainable_variables` under the names of the functions above."""
    by_variable = {id(v): g for v, g in zip(layer.trainable_variables, gradients, strict=True)}

    class Gradients:
        """Stands in for a layer whose weights are the gradients."""

        def __init__(self, original):
            self._original = original

        def __getattr__(self, name):
            value = getattr(self._original, name)
            if id(value) in by_variable:
                return by_variable[id(value)]
            return Gradients(value) if hasattr(value, "trainable_variables") else value

    of = Gradients(layer)
    if hasattr(layer, "attention"):
        return block_weights(of)
    return attention_weights(of) if hasattr(layer, "output_projection") else feed_forward_weights(of)
