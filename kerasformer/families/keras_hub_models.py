"""What KerasHub's backbones and text classifiers hold, under the names of Hugging Face's families (read in keras-hub
0.32).

Their position tables begin without padding, RoBERTa's have no segments, and kernels of attention are
`[inputs, heads, head_dim]`.
"""

import dataclasses
import typing

import keras
import numpy as np

from kerasformer._compat import flatten_layers
from kerasformer.errors import InputError
from kerasformer.families import albert, bert, deberta, distilbert, roberta, xlm_roberta
from kerasformer.families.family import Family
from kerasformer.families.torch_files import Tensor

_ACTIVATIONS = {"gelu_approximate": "gelu_new"}
_BLOCK_PARTS = (
    *("query", "key", "value", "attention_output", "self_attention_layer_norm"),
    *("feedforward_intermediate_dense", "feedforward_output_dense", "feedforward_layer_norm"),
)


@dataclasses.dataclass(frozen=True)
class Hub:
    """One family of KerasHub.

    Attributes:
        name: beginning of its class names, "Bert" of "BertBackbone".
        family: Hugging Face's.
        block: names of the tensors of a block, in the order of `_BLOCK_PARTS`.
        head: `{attribute of the classifier: name}` of dense layers.
        settings: function from the backbone and what BERT's `config.json` says of it to that of the family.
        further: `{attribute of the backbone: name}` of its dense layers.
    """

    name: str
    family: Family
    block: tuple
    head: dict
    settings: typing.Callable = lambda backbone, fields: fields
    further: dict = dataclasses.field(default_factory=dict)


_BERT_PARTS = (
    *("attention.output.dense", "attention.output.LayerNorm"),
    *("intermediate.dense", "output.dense", "output.LayerNorm"),
)


def _block(attention, parts=_BERT_PARTS, prefix="encoder.layer.{i}."):
    return tuple(prefix + part for part in (*(attention.format(name) for name in ("query", "key", "value")), *parts))


def _distilbert_settings(backbone, fields):
    names = {"hidden_size": "dim", "num_hidden_layers": "n_layers", "num_attention_heads": "n_heads"}
    names |= {"intermediate_size": "hidden_dim", "hidden_act": "activation"}
    names |= {"hidden_dropout_prob": "dropout", "attention_probs_dropout_prob": "attention_dropout"}
    return {names.get(name, name): value for name, value in fields.items()}


def _albert_settings(backbone, fields):
    groups = {"num_hidden_groups": backbone.num_groups, "inner_group_num": backbone.num_inner_repetitions}
    return fields | groups | {"embedding_size": backbone.embedding_dim}


def _deberta_settings(backbone, fields):
    return fields | {
        "type_vocab_size": 0,
        "position_biased_input": False,
        "relative_attention": True,
        "pos_att_type": ["c2p", "p2c"],
        "share_att_key": True,
        "norm_rel_ebd": "layer_norm",
        "position_buckets": backbone.bucket_size,
        "max_relative_positions": backbone.max_sequence_length,
        "pooler_hidden_act": "gelu",
    }


_TWO_LAYERS = {"pooled_dense": "classifier.dense", "output_dense": "classifier.out_proj"}
HUBS = (
    Hub(
        "Bert",
        bert.FAMILY,
        _block("attention.self.{}"),
        {"output_dense": "classifier"},
        further={"pooled_dense": "pooler.dense"},
    ),
    Hub("Roberta", roberta.FAMILY, _block("attention.self.{}"), _TWO_LAYERS),
    Hub("XLMRoberta", xlm_roberta.FAMILY, _block("attention.self.{}"), _TWO_LAYERS),
    Hub(
        "DistilBert",
        distilbert.FAMILY,
        tuple(
            f"transformer.layer.{{i}}.{part}"
            for part in (
                *("attention.q_lin", "attention.k_lin", "attention.v_lin", "attention.out_lin"),
                *("sa_layer_norm", "ffn.lin1", "ffn.lin2", "output_layer_norm"),
            )
        ),
        {"pooled_dense": "pre_classifier", "output_dense": "classifier"},
        _distilbert_settings,
    ),
    Hub(
        "Albert",
        albert.FAMILY,
        _block(
            "attention.{}",
            ("attention.dense", "attention.LayerNorm", "ffn", "ffn_output", "full_layer_layer_norm"),
            "encoder.albert_layer_groups.0.albert_layers.0.",
        ),
        {"output_dense": "classifier"},
        _albert_settings,
        {"pooled_dense": "pooler", "embeddings_projection": "encoder.embedding_hidden_mapping_in"},
    ),
    Hub(
        "DebertaV3",
        deberta.FAMILY,
        _block("attention.self.{}_proj"),
        {"pooled_dense": "pooler.dense", "output_dense": "classifier"},
        _deberta_settings,
    ),
)


def settings_of(hub, backbone, padding):
    """The fields of the family's `config.json`; `padding` is the id of padding."""
    block = keras.tree.flatten(backbone.transformer_layers)[0]
    activation = keras.activations.serialize(block.activation)
    activation = activation if isinstance(activation, str) else block.activation.__name__
    fields = {
        "model_type": hub.family.model_type,
        "vocab_size": backbone.vocabulary_size,
        "hidden_size": backbone.hidden_dim,
        "num_hidden_layers": backbone.num_layers,
        "num_attention_heads": backbone.num_heads,
        "intermediate_size": backbone.intermediate_dim,
        "max_position_embeddings": backbone.max_sequence_length,
        "type_vocab_size": getattr(backbone, "num_segments", 1),
        "hidden_act": _ACTIVATIONS.get(activation, activation),
        "hidden_dropout_prob": backbone.dropout,
        "attention_probs_dropout_prob": backbone.dropout,
        "layer_norm_eps": backbone.embeddings_layer_norm.epsilon,
    }
    if _counts_behind_padding(hub):
        fields["max_position_embeddings"] += padding + 1
        fields["pad_token_id"] = padding
    return hub.settings(backbone, fields)


def _counts_behind_padding(hub):
    """Whether Hugging Face's position table begins behind the id of padding."""
    return hub.name in ("Roberta", "XLMRoberta")


def backbone_tensors(hub, backbone, settings):
    """The tensors of a backbone by Hugging Face's names, `{name: Tensor}`."""
    embeddings = "embeddings.{}_embeddings.weight".format
    tensors = {embeddings("word"): _tensor(backbone.token_embedding.embeddings)}
    tensors |= _norm("embeddings.LayerNorm", backbone.embeddings_layer_norm)
    holder = getattr(backbone, "embeddings", backbone)
    if hasattr(holder, "position_embedding"):
        # Rows that no token has.
        missing = settings["max_position_embeddings"] - backbone.max_sequence_length
        table = holder.position_embedding.position_embeddings
        tensors[embeddings("position")] = _tensor(table, lambda rows: np.pad(rows, ((missing, 0), (0, 0))))
    if hasattr(backbone, "segment_embedding"):
        tensors[embeddings("token_type")] = _tensor(backbone.segment_embedding.embeddings)
    elif _counts_behind_padding(hub):
        tensors[embeddings("token_type")] = _tensor(np.zeros((1, backbone.hidden_dim), np.float32))
    if hasattr(backbone, "relative_embeddings"):
        tensors["encoder.rel_embeddings.weight"] = _tensor(backbone.relative_embeddings.rel_embeddings)
        tensors |= _norm("encoder.LayerNorm", backbone.relative_embeddings.layer_norm)
    names = dict(zip(_BLOCK_PARTS, hub.block, strict=True))
    for index, block in enumerate(keras.tree.flatten(backbone.transformer_layers)):
        for layer in flatten_layers(block):
            if layer.name in names:
                read = _norm if isinstance(layer, keras.layers.LayerNormalization) else _dense
                tensors |= read(names[layer.name].format(i=index), layer)
    for attribute, name in hub.further.items():
        tensors |= _dense(name, getattr(backbone, attribute))
    return tensors


def head_tensors(hub, model, name):
    """The tensors of a classifier's head.

    Raises:
        InputError: its first layer is of another width than the backbone, which no family has.
    """
    if "pooled_dense" in hub.head and model.hidden_dim != model.backbone.hidden_dim:
        raise InputError(
            f"`hidden_dim` of a {hub.name}TextClassifier must be that of its backbone, "
            f"{model.backbone.hidden_dim}. {name} has {model.hidden_dim}."
        )
    tensors = {}
    for attribute, tensor in hub.head.items():
        tensors |= _dense(tensor, getattr(model, attribute))
    return tensors


def _tensor(value, change=lambda array: array):
    """A Keras variable as a `Tensor` that is read, and changed, when it is asked for."""

    def read():
        return change(np.asarray(keras.ops.convert_to_numpy(value)))

    shape = change(np.broadcast_to(np.zeros((), np.int8), value.shape)).shape
    return Tensor(shape, keras.backend.standardize_dtype(value.dtype), read)


def _dense(name, layer):
    """A dense layer, also one of attention, whose heads are an axis of their own; low-rank updates are merged."""
    kernel, bias = layer.kernel, layer.bias
    outputs = int(np.prod(bias.shape))
    return {
        f"{name}.weight": _tensor(kernel, lambda array: array.reshape(-1, outputs).T),
        f"{name}.bias": _tensor(bias, lambda array: array.reshape(-1)),
    }


def _norm(name, layer):
    return {f"{name}.weight": _tensor(layer.gamma), f"{name}.bias": _tensor(layer.beta)}
