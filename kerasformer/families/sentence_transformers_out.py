"""Folders of sentence-transformers, written."""

import json
import pathlib
import types

from safetensors.numpy import save_file

from kerasformer.families.sentence_transformers import POOLING_FLAGS, POOLINGS, VECTOR_ACTIVATIONS, VECTOR_ROWS
from kerasformer.families.weights import collect

_KINDS = {"dense": "Dense", "norm": "LayerNorm", "dropout": "Dropout", "unit": "Normalize"}


def pooling_settings(pooling, hidden_dim, pool_prompt=True):
    """What `1_Pooling/config.json` holds for a pooling; `read_pooling` reads it.

    Flags, which every version of sentence-transformers reads; names, which later ones read, where the order of several
    poolings is not that of the flags.
    """
    wanted = [pooling] if isinstance(pooling, str) else list(pooling)
    flags = {flag: POOLINGS[mode] in wanted for flag, mode in POOLING_FLAGS.items()}
    if wanted == [ours for ours in POOLINGS.values() if ours in wanted]:
        return {"word_embedding_dimension": hidden_dim} | flags | {"include_prompt": pool_prompt}
    names = {ours: mode for mode, ours in POOLINGS.items()}
    modes = [names[one] for one in wanted]
    return {"embedding_dimension": hidden_dim, "pooling_mode": modes, "include_prompt": pool_prompt}


def write_embedder_settings(
    folder,
    pooling,
    hidden_dim,
    *,
    normalize=None,
    layers=(),
    head=None,
    prompts=None,
    prompt_name=None,
    pool_prompt=True,
    max_sequence_length=None,
):
    """Writes how vectors are made, as sentence-transformers reads it, into a folder with an encoder.

    Args:
        folder: path of a folder that exists.
        pooling: as in `TextEmbedder`.
        hidden_dim: width of the encoder.
        normalize: whether vectors have length 1. None writes the pooling alone, for an encoder that is not an embedder.
        layers: `VectorLayerConfig`s, what the pooled vector goes through.
        head: with the attributes `layer_0`, ..., the layers with their weights.
        prompts: `{name: text before each text}`.
        prompt_name: the default prompt, None for none.
        pool_prompt: whether the tokens of prompts are pooled.
        max_sequence_length: texts are cut at this number of tokens.
    """
    folder = pathlib.Path(folder)

    def write(name, value):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")

    write("1_Pooling/config.json", pooling_settings(pooling, hidden_dim, pool_prompt))
    if normalize is None:
        return
    modules = [("", "Transformer"), ("1_Pooling", "Pooling")]
    for place, layer in enumerate(layers):
        kind = _KINDS[layer.kind]
        path = f"{len(modules)}_{kind}"
        modules.append((path, kind))
        ours = getattr(head, f"layer_{place}")
        write(f"{path}/config.json", _layer_settings(layer, ours))
        if rows := VECTOR_ROWS.get(layer.kind):
            tensors = collect(rows, types.SimpleNamespace(layer=ours))
            save_file(tensors, folder / path / "model.safetensors", metadata={"format": "pt"})
            # safetensors makes a file that its owner alone can read, whatever the user's mask.
            (folder / path / "model.safetensors").chmod((folder / path / "config.json").stat().st_mode)
    if normalize:
        modules.append((f"{len(modules)}_Normalize", "Normalize"))
        (folder / modules[-1][0]).mkdir()
    write(
        "modules.json",
        [
            {"idx": place, "name": str(place), "path": path, "type": f"sentence_transformers.models.{kind}"}
            for place, (path, kind) in enumerate(modules)
        ],
    )
    write("sentence_bert_config.json", {"max_seq_length": max_sequence_length, "do_lower_case": False})
    if prompts:
        write("config_sentence_transformers.json", {"prompts": prompts, "default_prompt_name": prompt_name})


def _layer_settings(layer, ours):
    """What the `config.json` of a module holds."""
    match layer.kind:
        case "dense":
            inputs, outputs = ours.kernel.shape
            return {
                "in_features": inputs,
                "out_features": outputs,
                "bias": layer.use_bias,
                "activation_function": VECTOR_ACTIVATIONS[layer.activation],
            }
        case "norm":
            return {"dimension": ours.gamma.shape[0]}
        case "dropout":
            return {"dropout": layer.rate}
    return {}
