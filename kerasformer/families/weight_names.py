"""Which weight is called what: in `bert(config)`, in Hugging Face's files and in those of google-research/bert.

Sources of the names: `modeling_bert.py` of Hugging Face Transformers; `modeling.py` and `run_pretraining.py` of
google-research/bert. Google's names of the encoder follow from Hugging Face's, which were made of them.
"""

import functools
import typing

import numpy as np

from kerasformer.errors import InputError

HUGGINGFACE, GOOGLE = "huggingface", "google"


class Weight(typing.NamedTuple):
    """One of our variables, and what holds it elsewhere.

    Attributes:
        ours: layer and attributes, "block_0.feed_forward.inner.kernel"; of a head a key of `load_pretraining_heads`.
        names: `{HUGGINGFACE or GOOGLE: names}` of the tensors, which stand side by side in ours.
        transposed: where they are `[outputs, inputs]`; Keras has `[inputs, outputs]`.
    """

    ours: str
    names: dict
    transposed: tuple = ()


# Our attribute, Hugging Face's ending of the name, Google's.
_ENDINGS = {
    "table": [("embeddings", ".weight", "")],
    "dense": [("kernel", ".weight", "/kernel"), ("bias", ".bias", "/bias")],
    "norm": [("gamma", ".weight", "/gamma"), ("beta", ".bias", "/beta")],
}
# Our layer, and Hugging Face's names without their endings.
_EMBEDDING = [
    ("table", "embedding.token", "embeddings.word_embeddings"),
    ("table", "embedding.segment", "embeddings.token_type_embeddings"),
    ("table", "embedding.position", "embeddings.position_embeddings"),
    ("norm", "embedding.norm", "embeddings.LayerNorm"),
]
_BLOCK = [
    ("dense", "attention.query_key_value", "attention.self.query", "attention.self.key", "attention.self.value"),
    ("dense", "attention.output_projection", "attention.output.dense"),
    ("norm", "attention_norm", "attention.output.LayerNorm"),
    ("dense", "feed_forward.inner", "intermediate.dense"),
    ("dense", "feed_forward.outer", "output.dense"),
    ("norm", "feed_forward_norm", "output.LayerNorm"),
]


def _weights(form, ours, *theirs, google_prefix="bert/"):
    google = [google_prefix + name.replace("layer.", "layer_").replace(".", "/") for name in theirs]
    return [
        Weight(
            f"{ours}.{attribute}",
            {HUGGINGFACE: [name + ending for name in theirs], GOOGLE: [name + google_ending for name in google]},
            (HUGGINGFACE,) if attribute == "kernel" else (),
        )
        for attribute, ending, google_ending in _ENDINGS[form]
    ]


POOLER_WEIGHTS = _weights("dense", "pooler", "pooler.dense")
MASKED_WEIGHTS = [
    *_weights("dense", "transform", "cls.predictions.transform.dense", google_prefix=""),
    *_weights("norm", "norm", "cls.predictions.transform.LayerNorm", google_prefix=""),
    Weight("bias", {HUGGINGFACE: ["cls.predictions.bias"], GOOGLE: ["cls/predictions/output_bias"]}),
]
NEXT_SENTENCE_WEIGHTS = [
    Weight(
        "next_sentence.kernel",
        {HUGGINGFACE: ["cls.seq_relationship.weight"], GOOGLE: ["cls/seq_relationship/output_weights"]},
        (HUGGINGFACE, GOOGLE),
    ),
    Weight(
        "next_sentence.bias",
        {HUGGINGFACE: ["cls.seq_relationship.bias"], GOOGLE: ["cls/seq_relationship/output_bias"]},
    ),
]
HEAD_WEIGHTS = MASKED_WEIGHTS + NEXT_SENTENCE_WEIGHTS


def encoder_weights(num_layers):
    """The weights of `bert(config)` but for the pooler's."""
    rows = [*_EMBEDDING]
    for index in range(num_layers):
        for form, ours, *theirs in _BLOCK:
            rows.append((form, f"block_{index}.{ours}", *[f"encoder.layer.{index}.{name}" for name in theirs]))
    return [weight for row in rows for weight in _weights(*row)]


def head_shapes(config):
    """`{name: shape}` of the heads, as Keras has them."""
    return {
        "transform.kernel": (config.hidden_dim, config.hidden_dim),
        "transform.bias": (config.hidden_dim,),
        "norm.gamma": (config.hidden_dim,),
        "norm.beta": (config.hidden_dim,),
        "bias": (config.vocabulary_size,),
        "next_sentence.kernel": (config.hidden_dim, 2),
        "next_sentence.bias": (2,),
    }


def names_in(weights, kind):
    """All names that `weights` have in files of a kind."""
    return [name for weight in weights for name in weight.names[kind]]


def variable_of(encoder, weight):
    """The encoder's variable that `weight.ours` names; with low-rank updates, the kernel that they are merged into."""
    layer, *attributes = weight.ours.split(".")
    return functools.reduce(getattr, attributes, encoder.get_layer(layer))


def joined(weight, tensors, kind, shape, folder):
    """Our value of a weight from the tensors of a file, checked against the shape that it should have."""
    names = weight.names[kind]
    part_shape = (*shape[:-1], shape[-1] // len(names))
    parts = []
    for name in names:
        if name not in tensors:
            raise InputError(f"The checkpoint in {folder} lacks the tensor {name!r}.")
        part = tensors[name].T if kind in weight.transposed else tensors[name]
        if part.shape != part_shape:
            turned = ", transposed as Keras has it," if kind in weight.transposed else ""
            raise InputError(
                f"The tensor {name!r} in {folder} should be{turned} of shape {part_shape}. Received: {part.shape}."
            )
        parts.append(part)
    return np.concatenate(parts, axis=-1)


def taken_apart(weight, value, kind):
    """The tensors of a file, `{name: array}`, from our value of a weight."""
    names = weight.names[kind]
    parts = np.split(value, len(names), axis=-1)
    # In memory as written: safetensors takes an array's bytes as they lie there.
    return {
        name: np.ascontiguousarray(part.T if kind in weight.transposed else part)
        for name, part in zip(names, parts, strict=True)
    }


def fill(encoder, config, tensors, kind, folder):
    """Puts the tensors of a file into the encoder; returns whether a pooler was among them.

    Raises:
        InputError: a tensor is missing, but for the whole pooler, or misshapen.
    """
    weights = encoder_weights(config.num_layers)
    has_pooler = POOLER_WEIGHTS[0].names[kind][0] in tensors
    for weight in weights + POOLER_WEIGHTS * has_pooler:
        variable = variable_of(encoder, weight)
        variable.assign(joined(weight, tensors, kind, tuple(variable.shape), folder))
    return has_pooler
