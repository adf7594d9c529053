"""A BERT of two layers as Hugging Face stores it, and its outputs computed straight from its tensors."""

import json
import math

import numpy as np
from safetensors.numpy import save_file

VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad", "##ly", "so"]
W, LAYERS, INNER, POSITIONS = 4, 2, 6, 10
CONFIG = {
    "model_type": "bert",
    "vocab_size": len(VOCABULARY),
    "hidden_size": W,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 2,
    "intermediate_size": INNER,
    "max_position_embeddings": POSITIONS,
    "type_vocab_size": 2,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-12,
    "hidden_dropout_prob": 0.2,
    "attention_probs_dropout_prob": 0.3,
}


def make_tensors(pooler=True):
    random = np.random.default_rng(0)
    shapes = {
        "embeddings.word_embeddings.weight": (len(VOCABULARY), W),
        "embeddings.position_embeddings.weight": (POSITIONS, W),
        "embeddings.token_type_embeddings.weight": (2, W),
        "embeddings.LayerNorm.weight": (W,),
        "embeddings.LayerNorm.bias": (W,),
    }
    for index in range(LAYERS):
        layer = f"encoder.layer.{index}."
        for part in ("query", "key", "value"):
            shapes |= {f"{layer}attention.self.{part}.weight": (W, W), f"{layer}attention.self.{part}.bias": (W,)}
        shapes |= {f"{layer}attention.output.dense.weight": (W, W), f"{layer}attention.output.dense.bias": (W,)}
        shapes |= {f"{layer}intermediate.dense.weight": (INNER, W), f"{layer}intermediate.dense.bias": (INNER,)}
        shapes |= {f"{layer}output.dense.weight": (W, INNER), f"{layer}output.dense.bias": (W,)}
        for norm in ("attention.output", "output"):
            shapes |= {f"{layer}{norm}.LayerNorm.weight": (W,), f"{layer}{norm}.LayerNorm.bias": (W,)}
    if pooler:
        shapes |= {"pooler.dense.weight": (W, W), "pooler.dense.bias": (W,)}
    return {name: random.normal(size=shape).astype("float32") for name, shape in shapes.items()}


def write_folder(folder, tensors=None, config=None, vocabulary=VOCABULARY, **tokenizer_config):
    folder.mkdir(exist_ok=True)
    save_file(make_tensors() if tensors is None else tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(CONFIG | (config or {})))
    (folder / "vocab.txt").write_text("".join(f"{token}\n" for token in vocabulary))
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer_config))
    return folder


TEXTS = ["so good", "badly good [MASK] unknown"]


def straight(tensors, ids, mask):
    """The checkpoint computed from its own tensors in float64, `x @ W.T + b` as PyTorch has it."""
    t = {name: tensor.astype(np.float64) for name, tensor in tensors.items()}

    def dense(x, name):
        return x @ t[f"{name}.weight"].T + t[f"{name}.bias"]

    def norm(x, name):
        x = x - x.mean(-1, keepdims=True)
        scale = np.sqrt((x**2).mean(-1, keepdims=True) + 1e-12)
        return x / scale * t[f"{name}.LayerNorm.weight"] + t[f"{name}.LayerNorm.bias"]

    def gelu(x):
        return x * (1 + np.vectorize(math.erf)(x / np.sqrt(2))) / 2

    batch, length = ids.shape
    x = t["embeddings.word_embeddings.weight"][ids] + t["embeddings.position_embeddings.weight"][:length]
    x = norm(x + t["embeddings.token_type_embeddings.weight"][0], "embeddings")
    for index in range(LAYERS):
        layer = f"encoder.layer.{index}"
        query, key, value = (
            dense(x, f"{layer}.attention.self.{part}").reshape(batch, length, 2, W // 2)
            for part in ("query", "key", "value")
        )
        scores = np.einsum("bqhd,bkhd->bhqk", query, key) / np.sqrt(W // 2)
        scores = np.exp(np.where(mask[:, None, None] > 0, scores, -np.inf))
        attended = np.einsum("bhqk,bkhd->bqhd", scores / scores.sum(-1, keepdims=True), value).reshape(x.shape)
        x = norm(x + dense(attended, f"{layer}.attention.output.dense"), f"{layer}.attention.output")
        inner = gelu(dense(x, f"{layer}.intermediate.dense"))
        x = norm(x + dense(inner, f"{layer}.output.dense"), f"{layer}.output")
    return {"sequence_output": x * mask[..., None], "pooled_output": np.tanh(dense(x[:, 0], "pooler.dense"))}


def make_heads():
    """The heads that BERT is pretrained with, by Hugging Face's names."""
    random = np.random.default_rng(1)
    shapes = {
        "cls.predictions.transform.dense.weight": (W, W),
        "cls.predictions.transform.dense.bias": (W,),
        "cls.predictions.transform.LayerNorm.weight": (W,),
        "cls.predictions.transform.LayerNorm.bias": (W,),
        "cls.predictions.bias": (len(VOCABULARY),),
        "cls.seq_relationship.weight": (2, W),
        "cls.seq_relationship.bias": (2,),
    }
    return {name: random.normal(size=shape).astype("float32") for name, shape in shapes.items()}


def with_heads(tensors):
    """The tensors of a model with heads, which keeps the encoder's under another name."""
    return {f"bert.{name}": tensor for name, tensor in tensors.items()} | make_heads()


def as_keras_has_them(heads):
    """Tensors of heads by the names that `load_pretraining_heads` gives them."""
    transform, norm = "cls.predictions.transform.dense", "cls.predictions.transform.LayerNorm"
    return {
        "transform.kernel": heads[f"{transform}.weight"].T,
        "transform.bias": heads[f"{transform}.bias"],
        "norm.gamma": heads[f"{norm}.weight"],
        "norm.beta": heads[f"{norm}.bias"],
        "bias": heads["cls.predictions.bias"],
        "next_sentence.kernel": heads["cls.seq_relationship.weight"].T,
        "next_sentence.bias": heads["cls.seq_relationship.bias"],
    }


def google_tensors(pooler=True, heads=True):
    """The same numbers by the names, and in the orientation, of google-research/bert."""
    tensors = make_tensors(pooler) | (make_heads() if heads else {})
    names = {
        "bert/embeddings/word_embeddings": "embeddings.word_embeddings.weight",
        "bert/embeddings/token_type_embeddings": "embeddings.token_type_embeddings.weight",
        "bert/embeddings/position_embeddings": "embeddings.position_embeddings.weight",
    }
    norms = {"bert/embeddings/LayerNorm": "embeddings.LayerNorm"}
    kernels = {}
    for index in range(LAYERS):
        google, ours = f"bert/encoder/layer_{index}", f"encoder.layer.{index}"
        kernels |= {f"{google}/attention/self/{part}": f"{ours}.attention.self.{part}" for part in ("query", "key")}
        kernels[f"{google}/attention/self/value"] = f"{ours}.attention.self.value"
        kernels[f"{google}/attention/output/dense"] = f"{ours}.attention.output.dense"
        kernels[f"{google}/intermediate/dense"] = f"{ours}.intermediate.dense"
        kernels[f"{google}/output/dense"] = f"{ours}.output.dense"
        norms[f"{google}/attention/output/LayerNorm"] = f"{ours}.attention.output.LayerNorm"
        norms[f"{google}/output/LayerNorm"] = f"{ours}.output.LayerNorm"
    if pooler:
        kernels["bert/pooler/dense"] = "pooler.dense"
    if heads:
        kernels["cls/predictions/transform/dense"] = "cls.predictions.transform.dense"
        norms["cls/predictions/transform/LayerNorm"] = "cls.predictions.transform.LayerNorm"
        names["cls/predictions/output_bias"] = "cls.predictions.bias"
        names["cls/seq_relationship/output_weights"] = "cls.seq_relationship.weight"
        names["cls/seq_relationship/output_bias"] = "cls.seq_relationship.bias"
    found = {google: tensors[ours] for google, ours in names.items()}
    for google, ours in kernels.items():
        found |= {f"{google}/kernel": tensors[f"{ours}.weight"].T, f"{google}/bias": tensors[f"{ours}.bias"]}
    for google, ours in norms.items():
        found |= {f"{google}/gamma": tensors[f"{ours}.weight"], f"{google}/beta": tensors[f"{ours}.bias"]}
    assert len(found) == len(tensors)
    return found
