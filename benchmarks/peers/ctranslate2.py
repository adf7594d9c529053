"""CTranslate2 with the weights of our Transformer, by way of transformers' Marian."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.peers.marian import END, FORBIDDEN, START, marian
from benchmarks.translator import EPSILON, LENGTH, read_sources

PACKAGES = ("torch", "transformers", "ctranslate2")


def load(folder: Path, threads: int, beam: int, compute_type: str) -> Callable[[np.ndarray], np.ndarray]:
    """From places of N sources to the token ids of their translations, `[N, LENGTH]`.

    Args:
        compute_type: "float32" or "int8".
    """
    translator, names = open_translator(folder, threads, compute_type, EPSILON)
    rows = [[names[token] for token in row] for row in read_sources(folder)[1]]

    def translate(places):
        found = translator.translate_batch(
            [rows[place] for place in places],
            beam_size=beam,
            max_batch_size=0,
            min_decoding_length=LENGTH,
            max_decoding_length=LENGTH,
            suppress_sequences=[[names[token]] for token in FORBIDDEN],
        )
        return np.array([[int(token) for token in result.hypotheses[0]] for result in found])

    return translate


def load_trained(folder: Path, threads: int, compute_type: str, has_map: bool) -> Callable[[np.ndarray], list]:
    """From places of N sources to the token ids of their translations, for `benchmarks.vocabulary_map`."""
    settings = json.loads((folder / "settings.json").read_text())
    translator, names = open_translator(folder, threads, compute_type, settings["epsilon"], folder / "vmap.txt")
    rows = [[names[token] for token in row] for row in settings["sources"]]

    def translate(places):
        sources = [rows[place] for place in places]
        found = translator.translate_batch(
            sources,
            beam_size=settings["beam_size"],
            length_penalty=settings["length_penalty"],
            max_batch_size=0,
            max_decoding_length=max(map(len, sources)) + 50,
            use_vmap=has_map,
        )
        return [[int(token) for token in result.hypotheses[0]] for result in found]

    return translate


def open_translator(folder, threads, compute_type, epsilon, vocabulary_map=None):
    """`weights.npz` of `folder` as a `ctranslate2.Translator`, and its names of tokens: their ids."""
    import ctranslate2
    from ctranslate2.converters.transformers import BartLoader

    model = marian(folder)
    model.config.normalize_before = model.config.normalize_embedding = False
    spec = BartLoader().get_model_spec(model)
    names = [str(place) for place in range(model.config.vocab_size)]
    spec.register_source_vocabulary(names)
    spec.register_target_vocabulary(names)
    if vocabulary_map is not None:
        spec.register_vocabulary_mapping(str(vocabulary_map))
    spec.config.eos_token, spec.config.unk_token = names[END], names[FORBIDDEN[1]]
    spec.config.bos_token = spec.config.decoder_start_token = names[START]
    spec.config.layer_norm_epsilon = epsilon
    spec.validate()
    spec.optimize(quantization=compute_type)
    converted = folder / f"ctranslate2-{compute_type}"
    if not converted.exists():
        converted.mkdir()
        spec.save(str(converted))
    translator = ctranslate2.Translator(
        str(converted), device="cpu", compute_type=compute_type, intra_threads=threads, inter_threads=1
    )
    return translator, names
