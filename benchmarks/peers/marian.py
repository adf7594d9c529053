"""transformers' Marian in PyTorch with the weights of our Transformer."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.translator import LENGTH, read_sources

PACKAGES = ("torch", "transformers")
START, END, FORBIDDEN = 2, 3, (0, 1, 2)
_LENGTH = 256  # the longest


def marian(folder: Path):
    """A `MarianMTModel` with `weights.npz` of `folder`."""
    import torch
    from transformers import MarianConfig, MarianMTModel

    weights = dict(np.load(folder / "weights.npz"))
    table = weights["embedding/token/embeddings"]
    vocabulary, width = table.shape
    layers = 1 + max(int(name.split("/")[0].rsplit("_", 1)[1]) for name in weights if name.startswith("encoder_block"))
    inner = weights["encoder_block_0/feed_forward/inner/kernel"].shape[1]
    heads = {128: 4, 512: 8, 1024: 16}[width]
    config = MarianConfig(
        vocab_size=vocabulary,
        d_model=width,
        encoder_layers=layers,
        decoder_layers=layers,
        encoder_attention_heads=heads,
        decoder_attention_heads=heads,
        encoder_ffn_dim=inner,
        decoder_ffn_dim=inner,
        activation_function="relu",
        scale_embedding=True,
        max_position_embeddings=_LENGTH,
        pad_token_id=0,
        eos_token_id=END,
        decoder_start_token_id=START,
        forced_eos_token_id=None,
    )
    model = MarianMTModel(config).eval()
    state = {"model.shared.weight": table, "lm_head.weight": table}
    for side in ("encoder", "decoder"):
        state[f"model.{side}.embed_tokens.weight"] = table
        state[f"model.{side}.embed_positions.weight"] = _sinusoids(_LENGTH, width)
        for layer in range(layers):
            theirs, ours = f"model.{side}.layers.{layer}", f"{side}_block_{layer}"
            state |= _attention(weights, f"{ours}/attention", f"{theirs}.self_attn", fused=("query_key_value", "qkv"))
            state |= _norm(weights, f"{ours}/attention_norm", f"{theirs}.self_attn_layer_norm")
            if side == "decoder":
                memory = f"{ours}/cross_attention"
                state |= _attention(weights, memory, f"{theirs}.encoder_attn", fused=("key_value", "kv"))
                state |= _linear(
                    weights[f"{memory}/query/kernel"], weights[f"{memory}/query/bias"], f"{theirs}.encoder_attn.q_proj"
                )
                state |= _norm(weights, f"{ours}/cross_attention_norm", f"{theirs}.encoder_attn_layer_norm")
            for mine, name in (("inner", "fc1"), ("outer", "fc2")):
                dense = f"{ours}/feed_forward/{mine}"
                state |= _linear(weights[f"{dense}/kernel"], weights[f"{dense}/bias"], f"{theirs}.{name}")
            state |= _norm(weights, f"{ours}/feed_forward_norm", f"{theirs}.final_layer_norm")
    tensors = {name: torch.from_numpy(np.ascontiguousarray(value, np.float32)) for name, value in state.items()}
    missing, unexpected = model.load_state_dict(tensors, strict=False)
    if unexpected or set(missing) - {"final_logits_bias"}:
        raise RuntimeError(f"Not the weights of Marian: {missing} missing, {unexpected} too many.")
    return model


def load(folder: Path, threads: int, beam: int) -> Callable[[np.ndarray], np.ndarray]:
    """From places of N sources to the token ids of their translations, `[N, LENGTH]`."""
    import torch

    torch.set_num_threads(threads)
    model, sources = marian(folder), torch.from_numpy(read_sources(folder)[1])

    @torch.inference_mode()
    def translate(places):
        ids = sources[torch.from_numpy(np.asarray(places))]
        found = model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            num_beams=beam,
            do_sample=False,
            min_new_tokens=LENGTH,
            max_new_tokens=LENGTH,
            suppress_tokens=list(FORBIDDEN),
        )
        return found[:, 1:].numpy()

    return translate


def _linear(kernel, bias, name):
    return {f"{name}.weight": kernel.T, f"{name}.bias": bias}


def _norm(weights, ours, theirs):
    return {f"{theirs}.weight": weights[f"{ours}/gamma"], f"{theirs}.bias": weights[f"{ours}/beta"]}


def _attention(weights, ours, theirs, fused):
    name, letters = fused
    kernels = np.split(weights[f"{ours}/{name}/kernel"], len(letters), 1)
    biases = np.split(weights[f"{ours}/{name}/bias"], len(letters))
    output = f"{ours}/output_projection"
    state = _linear(weights[f"{output}/kernel"], weights[f"{output}/bias"], f"{theirs}.out_proj")
    for letter, kernel, bias in zip(letters, kernels, biases, strict=True):
        state |= _linear(kernel, bias, f"{theirs}.{letter}_proj")
    return state


def _sinusoids(length, width):
    angles = np.arange(length)[:, None] / 10_000 ** (np.arange(width) // 2 * 2 / width)
    return np.where(np.arange(width) % 2, np.cos(angles), np.sin(angles))
