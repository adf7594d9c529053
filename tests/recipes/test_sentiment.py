"""The sentiment recipe, run on a little data as its users run it."""

import csv
import importlib.util
import json
import pathlib
import re
import sys

import fresh
import keras
import numpy as np
import pytest

import kerasformer as kf
from kerasformer.serving.preview.loaded_model import LoadedModel

RECIPE = pathlib.Path(__file__).parents[2] / "recipes" / "sentiment.py"
SPEC = importlib.util.spec_from_file_location("sentiment_recipe", RECIPE)
sentiment = importlib.util.module_from_spec(SPEC)
sys.modules["sentiment_recipe"] = sentiment
SPEC.loader.exec_module(sentiment)

GOOD, BAD = ("a fine day", "good good", "so good it is fine"), ("a bad day", "bad bad", "so bad it is sad")


# Each starts from another task's folder, whose head is left: reported to the user, as `tests/families` asserts.
pytestmark = pytest.mark.filterwarnings("ignore:The checkpoint in:UserWarning")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A saved task with an encoder of one layer, to start from."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *sorted({w for t in GOOD + BAD for w in t.split()})]
    keras.utils.set_random_seed(0)
    config = kf.models.BertConfig.named(
        "tiny", vocabulary_size=len(words), num_layers=1, max_sequence_length=32, initializer_range=0.2
    )
    tokenizer = kf.text.WordPieceTokenizer(words, max_length=32)
    task = kf.tasks.TextClassifier(kf.models.bert(config, pooled=True), tokenizer, ["x", "y"])
    folder = tmp_path_factory.mktemp("init") / "tiny"
    task.save(folder)
    return str(folder)


def write_jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


@pytest.fixture
def labelled(tmp_path):
    rows = [{"text": text, "label": "good"} for text in GOOD] + [{"text": text, "label": "bad"} for text in BAD]
    return write_jsonl(tmp_path / "train.jsonl", rows * 8)


def test_trains_reports_saves_and_publishes(tiny, labelled, tmp_path, capsys):
    flags = sentiment.Flags(
        train=labelled,
        validation=labelled,
        test=labelled,
        init=tiny,
        workdir=str(tmp_path / "work"),
        export=str(tmp_path / "models" / "mine"),
        epochs=6,
        learning_rate=5e-3,
        batch_size=8,
        class_weights=True,
    )
    sentiment.main(flags)
    metrics = json.loads((tmp_path / "work" / "metrics.json").read_text())
    assert set(metrics) == {"validation", "test", "train"}
    assert set(metrics["train"]) == {"examples_per_second", "seconds"}
    assert {"loss", "accuracy", "macro_f1", "macro_recall", "matthews"} <= set(metrics["test"])
    assert metrics["test"]["accuracy"] == 1.0

    task = kf.load(tmp_path / "work" / "task")
    assert list(task.predict(["good good", "bad bad"])["label"]) == ["good", "bad"]
    served = LoadedModel(tmp_path / "models" / "mine" / "1").run(
        "", {"text": np.array([b"good good", b"bad bad"], object)}
    )
    assert [label.decode() for label in served["label"]] == ["good", "bad"]
    shown = capsys.readouterr().out
    assert "accuracy" in shown
    assert "recall" in shown, "the report of each class"
    plain = [line.strip("│ ").split() for line in shown.splitlines()]
    matrix = plain[next(k for k, line in enumerate(plain) if line == ["confusion", "matrix,", "test"]) :]
    assert ["bad", "│", "24", "│", "0"] in matrix
    assert ["good", "│", "0", "│", "24"] in matrix
    assert re.search(
        r"threshold: f1 of the validation data is 1.0000 with 'good' from 0\.\d+ on, 1.0000 from 0.5", shown
    )
    table = read_predictions(tmp_path / "work")
    assert [(row["text"], row["target"], row["prediction"]) for row in table[:2]] == [
        (t, "good", "good") for t in GOOD[:2]
    ]
    assert all(0.5 < float(row["score"]) <= 1 for row in table)


def test_pairs_with_scores_make_a_regression(tiny, tmp_path):
    """Of any scale: numbers of some thousands are learned as well as small ones."""
    rows = [{"text_a": a, "text_b": b, "score": 5000.0 + 300 * (a == b)} for a in GOOD for b in GOOD]
    data = write_jsonl(tmp_path / "pairs.jsonl", rows * 2)
    flags = sentiment.Flags(train=data, validation=data, test=data, init=tiny, workdir=str(tmp_path / "w"), epochs=1)
    sentiment.main(flags)
    metrics = json.loads((tmp_path / "w" / "metrics.json").read_text())
    assert {"loss", "rmse", "mae", "r2", "pearson", "spearman"} == set(metrics["validation"])
    assert metrics["test"]["rmse"] < 300
    table = read_predictions(tmp_path / "w")
    assert list(table[0]) == ["text", "text_pair", "target", "prediction"]
    assert [float(row["target"]) for row in table] == [row["score"] for row in rows * 2]
    answers = kf.load(tmp_path / "w" / "task").predict([row["text"] for row in table], [r["text_pair"] for r in table])
    np.testing.assert_allclose([float(row["prediction"]) for row in table], answers["score"], rtol=1e-5)


def read_predictions(workdir):
    with open(workdir / "predictions.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_several_labels_a_text(tiny, tmp_path, capsys):
    texts = {
        "a fine day": "fine|day",
        "good good": "good",
        "bad bad": "",
        "a bad day": "day",
        "so good it is fine": "good|fine",
    }
    (tmp_path / "train.csv").write_text(
        "text,label\n" + "".join(f"{row}\n" for row in map(",".join, texts.items())) * 40
    )
    data = str(tmp_path / "train.csv")
    flags = sentiment.Flags(train=data, validation=data, test=data, init=tiny, workdir=str(tmp_path / "w"))
    flags.label_separator, flags.patience = "|", 12
    flags.epochs, flags.learning_rate, flags.batch_size = 12, 5e-3, 8
    sentiment.main(flags)
    metrics = json.loads((tmp_path / "w" / "metrics.json").read_text())
    assert metrics["test"].keys() == {"loss", "accuracy", "micro_f1", "macro_f1"}
    assert metrics["test"]["accuracy"] == metrics["test"]["micro_f1"] == 1.0
    shown = capsys.readouterr().out
    assert "3 classes: day 80, fine 80, good 80" in shown
    assert "threshold: micro_f1 of the validation data is 1.0000" in shown
    table = read_predictions(tmp_path / "w")
    assert [set(row["prediction"].split("|")) for row in table[:5]] == [set(x.split("|")) for x in texts.values()]
    assert all(row["target"].split("|") == sorted(row["prediction"].split("|")) for row in table)
    assert table[1]["score good"] > "0.5" > table[1]["score day"]


def test_what_is_held_out_has_each_class(labelled, tmp_path, capsys):
    rows = [{"text": text, "label": label} for text, label in zip("abcd" * 25, ["x"] * 80 + ["y"] * 20, strict=True)]
    train, validation, test = sentiment.load_data(sentiment.Flags(train=write_jsonl(tmp_path / "a.jsonl", rows)))
    assert [np.bincount(part.targets).tolist() for part in (train, validation)] == [[72, 18], [8, 2]]
    assert test is None
    sentiment.warn_of_few(validation)
    assert "warning: fewer than 5 validation examples of a class: y 2\n" in capsys.readouterr().out


def test_each_file_of_the_test_data_is_told(tiny, labelled, tmp_path, capsys):
    for language, texts in (("english", GOOD), ("german", BAD)):
        (tmp_path / "tweets" / language).mkdir(parents=True)
        rows = [{"text": text, "label": "good"} for text in texts]
        write_jsonl(tmp_path / "tweets" / language / "test.jsonl", rows)
    test = str(tmp_path / "tweets" / "*" / "test.jsonl")
    flags = sentiment.Flags(train=labelled, validation=labelled, test=test, init=tiny, workdir=str(tmp_path / "w"))
    flags.epochs, flags.learning_rate, flags.batch_size = 6, 5e-3, 8
    sentiment.main(flags)
    metrics = json.loads((tmp_path / "w" / "metrics.json").read_text())
    assert {name: row["accuracy"] for name, row in metrics["test_files"].items()} == {"english": 1.0, "german": 0.0}
    assert metrics["test"]["accuracy"] == 0.5
    [mean] = [line for line in capsys.readouterr().out.splitlines() if line.startswith("│ mean")]
    assert "0.5000" in mean


@pytest.mark.parametrize(
    ("files", "names"),
    [
        (["a/test.jsonl", "b/test.jsonl"], ["a", "b"]),
        (["test_a.jsonl", "test_b.jsonl"], ["test_a.jsonl", "test_b.jsonl"]),
        (["a/x/test.jsonl", "a/test.jsonl"], ["test.jsonl", "x/test.jsonl"]),
        (["test.jsonl"], []),
    ],
)
def test_files_are_named_by_what_differs(files, names, tmp_path):
    for file in files:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    found = sentiment.each_file(str(tmp_path / "**" / "*.jsonl"))
    assert sorted(found) == names
    assert all(path.endswith("/" + name) or f"/{name}/" in path for name, path in found.items())
    assert sentiment.each_file("tfds:glue/sst2:test") == {}


def test_the_best_epoch_is_kept(tiny, labelled, tmp_path):
    """Where every label of the validation data is wrong, the less is learned the better."""
    rows = [{"text": text, "label": "bad"} for text in GOOD] + [{"text": text, "label": "good"} for text in BAD]
    wrong = write_jsonl(tmp_path / "wrong.jsonl", rows)
    flags = sentiment.Flags(train=labelled, validation=wrong, init=tiny, workdir=str(tmp_path / "w"))
    flags.epochs, flags.patience, flags.learning_rate = 8, 8, 3e-4
    sentiment.main(flags)
    metrics = json.loads((tmp_path / "w" / "metrics.json").read_text())
    rows = [json.loads(line) for line in (tmp_path / "w" / "metrics.jsonl").read_text().splitlines()]
    reached = [row["val_accuracy"] for row in rows if "val_accuracy" in row]
    assert max(reached) > reached[-1], "otherwise nothing is tested"
    assert metrics["validation"]["accuracy"] == max(reached)
    task = kf.load(tmp_path / "w" / "task")
    examples = kf.data.load_classification(wrong, label_names=task.label_names)
    predicted = task.predict(list(examples.texts))["label"]
    accuracy = np.mean(predicted == np.array(task.label_names, object)[examples.targets])
    assert metrics["validation"]["accuracy"] == pytest.approx(accuracy)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"train": "nowhere.jsonl"}, "nowhere.jsonl"),
        ({"validation": "{other}"}, "not one of"),
        ({"train": "{empty}"}, "empty"),
        ({"train": "{unlabelled}"}, "label"),
        ({"validation": "{unlabelled}"}, "label or score is needed"),
        ({"test": "{unlabelled}"}, "label or score is needed"),
        ({"init": "{folder}"}, "config.json"),
        ({"epochs": 0}, "epochs"),
        ({"batch_size": 0}, "batch_size"),
        ({"resume_with": ("seed",)}, "--resume-with takes epochs"),
        ({"resume_with": ("epochs",)}, "No checkpoints in"),
        ({"train": "{scores}", "validation": None, "class_weights": True}, "class-weights"),
    ],
)
def test_mistakes_are_told_in_one_line(change, told, tiny, labelled, tmp_path):
    files = {
        "other": write_jsonl(tmp_path / "other.jsonl", [{"text": "a", "label": "ugly"}]),
        "empty": write_jsonl(tmp_path / "empty.jsonl", []),
        "unlabelled": write_jsonl(tmp_path / "unlabelled.jsonl", [{"text": "a"}]),
        "scores": write_jsonl(tmp_path / "scores.jsonl", [{"text": "a", "score": 0.5}] * 4),
        "folder": str(tmp_path),
    }
    change = {key: value.format(**files) if isinstance(value, str) else value for key, value in change.items()}
    settings = {"train": labelled, "validation": labelled, "init": tiny, "workdir": str(tmp_path / "w"), **change}
    with pytest.raises((kf.errors.InputError, OSError)) as error:
        sentiment.main(sentiment.Flags(**settings))
    assert told in str(error.value)
    assert not (tmp_path / "w").exists()


def test_the_command_line_ends_with_one_line_and_code_1(tmp_path):
    process = fresh.run_script(RECIPE, "--train", tmp_path / "none.csv", "--workdir", tmp_path / "w")
    assert process.returncode == 1
    assert "Traceback" not in process.stderr
    assert process.stderr.strip().splitlines()[-1].startswith("error: ")
    assert str(tmp_path / "none.csv") in process.stderr
