"""The recipe of embeddings, run on a little data as its users run it."""

import importlib.util
import json
import pathlib
import sys

import keras
import numpy as np
import pytest

import kerasformer as kf
from kerasformer.errors import InputError

RECIPE = pathlib.Path(__file__).parents[2] / "recipes" / "embed.py"
SPEC = importlib.util.spec_from_file_location("embed_recipe", RECIPE)
embed = importlib.util.module_from_spec(SPEC)
sys.modules["embed_recipe"] = embed
SPEC.loader.exec_module(embed)

# Each starts from another task's folder, whose head is left: reported to the user, as `tests/families` asserts.
pytestmark = pytest.mark.filterwarnings("ignore:The checkpoint in:UserWarning")

PAIRS = [("good", "fine", 5.0), ("bad", "sad", 4.0), ("good", "sad", 0.0), ("bad", "fine", 1.0)]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A saved task with an encoder of one layer, to start from."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "fine", "bad", "sad"]
    keras.utils.set_random_seed(1)
    config = kf.models.BertConfig(len(words), 16, 1, 2, 32, 12)
    task = kf.tasks.TextEmbedder(kf.models.bert(config), kf.text.WordPieceTokenizer(words, max_length=12))
    folder = tmp_path_factory.mktemp("init") / "tiny"
    task.save(folder)
    return str(folder)


def write(path, *fields):
    rows = [dict(zip(fields, pair, strict=False)) for pair in PAIRS]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows * 4), encoding="utf-8")
    return str(path)


def test_trains_reports_saves_and_publishes(tiny, tmp_path):
    data = write(tmp_path / "a.jsonl", "text_a", "text_b", "score")
    workdir = tmp_path / "work"
    flags = {"validation": data, "test": data, "init": tiny, "workdir": str(workdir), "batch_size": 8}
    embed.main(embed.Flags(train=data, **flags, epochs=6, learning_rate=1e-2, export=str(tmp_path / "models")))
    metrics = json.loads((workdir / "metrics.json").read_text())
    assert metrics.keys() == {"train", "validation", "test"}
    assert metrics["train"].keys() == {"examples_per_second", "seconds"}
    assert metrics["test"]["spearman"] > 0.7
    task = kf.load(workdir / "task")
    vectors = task.embed(["good", "fine", "sad"])
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2]
    assert (tmp_path / "models" / "1" / "saved_model.pb").is_file()
    assert not (workdir / "checkpoints").exists()


def test_a_dense_layer_is_trained_with_the_encoder(tmp_path):
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "good", "fine", "bad", "sad"]
    encoder = kf.models.bert(kf.models.BertConfig(len(words), 16, 1, 2, 32, 12))
    layers = [{"kind": "dense", "dim": 6}]
    start = kf.tasks.TextEmbedder(encoder, kf.text.WordPieceTokenizer(words, max_length=12), layers=layers)
    start.save(tmp_path / "init")
    (tmp_path / "init" / "kerasformer.json").unlink()
    data = write(tmp_path / "a.jsonl", "text_a", "text_b", "score")
    flags = {"train": data, "validation": data, "init": str(tmp_path / "init"), "workdir": str(tmp_path / "w")}
    embed.main(embed.Flags(**flags, epochs=2, learning_rate=1e-2))
    trained = kf.load(tmp_path / "w" / "task")
    assert trained.embed(["good"]).shape == (1, 6)
    for part in ("head.layer_0.kernel", "encoder.embeddings.token.embeddings"):
        before, after = (kf.families.weights.attribute_of(task, part).numpy() for task in (start, trained))
        assert np.abs(after - before).max() > 5e-3


def test_pairs_without_scores_are_ranked(tiny, tmp_path):
    data = write(tmp_path / "a.jsonl", "text_a", "text_b")
    embed.main(embed.Flags(train=data, init=tiny, workdir=str(tmp_path / "w"), epochs=1, symmetric=True))
    assert json.loads((tmp_path / "w" / "metrics.json").read_text())["validation"].keys() == {"loss", "accuracy"}
    assert kf.load(tmp_path / "w" / "task").objective == "ranking"


def test_no_epochs_evaluate_the_starting_point(tiny, tmp_path):
    data = write(tmp_path / "a.jsonl", "text_a", "text_b", "score")
    embed.main(embed.Flags(train=data, validation=data, init=tiny, workdir=str(tmp_path / "w"), epochs=0))
    np.testing.assert_array_equal(kf.load(tmp_path / "w" / "task").embed(["good"]), kf.load(tiny).embed(["good"]))


def test_the_highest_score_means_the_same(tmp_path):
    data = write(tmp_path / "a.jsonl", "text_a", "text_b", "score")
    train, validation, _, _ = embed.load_data(embed.Flags(train=data, validation=data))
    assert train.targets.max() == validation.targets.max() == 1
    train, _, _, objective = embed.load_data(embed.Flags(train=data, validation=data, highest_score=10))
    assert train.targets.max() == 0.5
    assert objective == "cosine"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"train": "nowhere.jsonl"}, "nowhere.jsonl"),
        ({"train": "{single}"}, "Pairs of texts"),
        ({"train": "{bare}", "objective": "cosine"}, "score"),
        ({"highest_score": -1.0}, "highest_score"),
        ({"batch_size": 1}, "batch_size"),
        ({"epochs": -1}, "epochs"),
        ({"init": "{folder}"}, "config.json"),
    ],
)
def test_mistakes_are_told_in_one_line(change, told, tiny, tmp_path):
    data = write(tmp_path / "a.jsonl", "text_a", "text_b", "score")
    (tmp_path / "single.jsonl").write_text('{"text": "a", "score": 1}\n')
    files = {"single": tmp_path / "single.jsonl", "bare": write(tmp_path / "b.jsonl", "text_a", "text_b")}
    change = {
        key: value.format(**files, folder=tmp_path) if isinstance(value, str) else value
        for key, value in change.items()
    }
    settings = {"train": data, "validation": data, "init": tiny, "workdir": str(tmp_path / "w"), **change}
    with pytest.raises(InputError) as error:
        embed.main(embed.Flags(**settings))
    assert told in str(error.value)
    assert not (tmp_path / "w").exists()


def test_the_samples_are_read():
    train, validation, test, objective = embed.load_data(embed.Flags())
    assert [len(split) for split in (train, validation, test)] == [104, 24, 32]
    assert objective == "cosine"
