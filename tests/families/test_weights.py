"""Tables of names: every kind of row, in both directions."""

import types

import keras
import numpy as np
import pytest

from kerasformer.errors import InputError
from kerasformer.families.torch_files import Tensor
from kerasformer.families.weights import assign, collect, conv1d, dense, names_in, norm, table, vector

RANDOM = np.random.default_rng(0)


def variable(*shape):
    return keras.Variable(RANDOM.normal(size=shape).astype("float32"))


def part(**attributes):
    return types.SimpleNamespace(**attributes)


def layer(inputs, outputs, bias=True):
    return part(kernel=variable(inputs, outputs), bias=variable(outputs) if bias else None)


def block():
    """Four query heads and two key and value heads of width 2; hidden width 6."""
    return part(
        attention=part(query_key_value=layer(6, 8 + 4 + 4), output_projection=layer(8, 6, bias=False)),
        cross_attention=part(query=layer(6, 8), key_value=layer(5, 16), output_projection=layer(8, 6)),
        norm=part(gamma=variable(6), beta=None),
        feed_forward=part(inner=layer(6, 10, bias=False), gate=layer(6, 10, bias=False), outer=layer(10, 6)),
    )


def model():
    random = block(), block()
    return part(
        embeddings=part(token=part(embeddings=variable(7, 6)), segment=None), blocks=list(random), bias=variable(7)
    )


ROWS = [
    table("embeddings.token", "wte"),
    table("embeddings.segment", "segments"),
    dense("blocks.{i}.attention.query_key_value", "h.{i}.q", "h.{i}.k", "h.{i}.v"),
    dense("blocks.{i}.attention.output_projection", "h.{i}.o"),
    conv1d("blocks.{i}.cross_attention.query", "h.{i}.cross.q"),
    dense("blocks.{i}.cross_attention.key_value", "h.{i}.cross.k", "h.{i}.cross.v"),
    dense("blocks.{i}.cross_attention.output_projection", "h.{i}.cross.o"),
    norm("blocks.{i}.norm", "h.{i}.norm"),
    dense(("blocks.{i}.feed_forward.inner", "blocks.{i}.feed_forward.gate"), "h.{i}.mlp.Wi"),
    dense("blocks.{i}.feed_forward.outer", "h.{i}.mlp.Wo"),
    vector("bias", "head.bias"),
]


def stored(arrays):
    return {name: Tensor(array.shape, array.dtype.name, lambda array=array: array) for name, array in arrays.items()}


def values(tree):
    if isinstance(tree, types.SimpleNamespace):
        tree = list(vars(tree).values())
    return [value for item in tree for value in values(item)] if isinstance(tree, list) else [tree]


def test_names_and_orientation():
    made = model()
    tensors = collect(ROWS, made)
    first = made.blocks[0]
    fused = first.attention.query_key_value.kernel.numpy()
    np.testing.assert_array_equal(tensors["h.0.q.weight"], fused[:, :8].T)
    np.testing.assert_array_equal(tensors["h.0.k.weight"], fused[:, 8:12].T)
    np.testing.assert_array_equal(tensors["h.0.v.bias"], first.attention.query_key_value.bias.numpy()[12:])
    np.testing.assert_array_equal(tensors["h.0.cross.q.weight"], first.cross_attention.query.kernel.numpy())
    np.testing.assert_array_equal(
        tensors["h.0.mlp.Wi.weight"],
        np.concatenate([first.feed_forward.inner.kernel.numpy(), first.feed_forward.gate.kernel.numpy()], -1).T,
    )
    np.testing.assert_array_equal(tensors["wte.weight"], made.embeddings.token.embeddings.numpy())
    np.testing.assert_array_equal(tensors["head.bias"], made.bias.numpy())
    # What the model lacks: segments, biases.
    assert not {"segments.weight", "h.0.o.bias", "h.1.norm.bias", "h.0.mlp.Wi.bias"} & tensors.keys()
    assert len(tensors) == 2 + 2 * 19
    assert all(value.flags.c_contiguous and value.dtype == np.float32 for value in tensors.values())


def test_there_and_back():
    first, second = model(), model()
    tensors = collect(ROWS, first)
    assert assign(ROWS, second, stored(tensors), "a") == tensors.keys()
    for one, other in zip(values(first), values(second), strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            np.testing.assert_array_equal(one.numpy(), other.numpy())


def test_shared_blocks_are_one_row():
    shared = block()
    rows = [dense("blocks.0.feed_forward.outer", "layer.ffn_output")]
    assert collect(rows, part(blocks=[shared, shared])).keys() == {"layer.ffn_output.weight", "layer.ffn_output.bias"}
    assert names_in(rows) == ["layer.ffn_output.weight", "layer.ffn_output.bias"]


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("h.1.k.weight", None, "lacks the tensor 'h.1.k.weight'"),
        ("h.1.k.weight", np.zeros((8, 6), "float32"), r"'h.1.k.weight' in FOLDER must be of shape \(4, 6\).*\(8, 6\)"),
        ("h.0.cross.q.weight", np.zeros((8, 6), "float32"), r"must be of shape \(6, 8\). Received: \(8, 6\)"),
        ("wte.weight", np.zeros((7, 6), "int8"), "'wte.weight' in FOLDER must be of type float16.*Received: int8"),
        ("head.bias", np.zeros((), "float32"), r"Received: \(\)"),
    ],
)
def test_tensors_that_do_not_fit(name, value, words):
    made = model()
    tensors = collect(ROWS, made) | {name: value}
    with pytest.raises(InputError, match=words):
        assign(ROWS, made, stored({key: tensor for key, tensor in tensors.items() if tensor is not None}), "FOLDER")
