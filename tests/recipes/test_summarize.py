"""The recipe of summaries, run on a little data as its users run it."""

import importlib.util
import json
import pathlib
import sys

import keras
import pytest

import kerasformer as kf
from kerasformer.errors import InputError

RECIPE = pathlib.Path(__file__).parents[2] / "recipes" / "summarize.py"
SPEC = importlib.util.spec_from_file_location("summarize_recipe", RECIPE)
summarize = importlib.util.module_from_spec(SPEC)
sys.modules["summarize_recipe"] = summarize
SPEC.loader.exec_module(summarize)

# Each starts from another task's folder, whose head is left: reported to the user, as `tests/families` asserts.
pytestmark = pytest.mark.filterwarnings("ignore:The checkpoint in:UserWarning")

ROWS = [
    {"text": "Bad is sad. Good is fine. Sad is bad.", "summary": "good is fine"},
    {"text": "Fine is good. Sad is sad.", "summary": "fine is good"},
]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A saved task with an encoder of one layer and a width that 8 divides, to start from."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", "good", "fine", "bad", "sad", "is"]
    keras.utils.set_random_seed(1)
    config = kf.models.BertConfig(len(words), 16, 1, 2, 32, 24)
    task = kf.tasks.TextEmbedder(kf.models.bert(config), kf.text.WordPieceTokenizer(words, max_length=24))
    folder = tmp_path_factory.mktemp("init") / "tiny"
    task.save(folder)
    return str(folder)


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def test_trains_reports_and_saves(tiny, tmp_path, capsys):
    data = write(tmp_path / "a.jsonl", ROWS * 8)
    workdir = tmp_path / "work"
    flags = {"validation": data, "test": data, "init": tiny, "workdir": str(workdir), "batch_size": 2}
    flags |= {"num_sentences": 1, "epochs": 6, "patience": 6, "learning_rate": 1e-2}
    summarize.main(summarize.Flags(train=data, **flags))
    metrics = json.loads((workdir / "metrics.json").read_text())
    assert metrics.keys() == {"train", "validation", "test"}
    assert metrics["test"].keys() == {"rouge1", "rouge2", "rougeL"}
    assert metrics["test"]["rouge1"] > 90
    task = kf.load(workdir / "task")
    assert task.summarize([ROWS[0]["text"]])["summary"].tolist() == ["Good is fine."]
    assert "first sentences, test" in capsys.readouterr().out
    assert not (workdir / "checkpoints").exists()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"train": "nowhere.jsonl"}, "nowhere.jsonl"),
        ({"train": "{bare}"}, "Summaries are needed"),
        ({"validation": "{bare}"}, "Summaries are needed"),
        ({"train": "{empty}"}, "empty.jsonl:1"),
        ({"num_sentences": 0}, "num_sentences"),
        ({"epochs": 0}, "epochs"),
        ({"init": "{folder}"}, "config.json"),
    ],
)
def test_mistakes_are_told_in_one_line(change, told, tiny, tmp_path):
    data = write(tmp_path / "a.jsonl", ROWS)
    files = {
        "bare": write(tmp_path / "bare.jsonl", [{"text": "a"}]),
        "empty": write(tmp_path / "empty.jsonl", [{"text": " ", "summary": "s"}]),
    }
    change = {
        key: value.format(**files, folder=tmp_path) if isinstance(value, str) else value
        for key, value in change.items()
    }
    settings = {"train": data, "validation": data, "init": tiny, "workdir": str(tmp_path / "w"), **change}
    with pytest.raises(InputError) as error:
        summarize.main(summarize.Flags(**settings))
    assert told in str(error.value)
    assert not (tmp_path / "w").exists()


def test_the_samples_are_read():
    splits = summarize.load_data(summarize.Flags())
    assert [len(split) for split in splits] == [20, 5, 5]
    assert all(1 <= labels.sum() <= 3 for labels in splits[0].labels)
    assert {len(sentences) for split in splits for sentences in split.sentences} == {5}
