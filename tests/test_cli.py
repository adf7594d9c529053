"""The command `kerasformer`, in this process and in a terminal."""

import json
import re

import pytest
from commands import run
from terminal import run_in_terminal

import kerasformer as kf
from kerasformer.cli import main


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder with a saved task, and below `models/mine` a version of it."""
    base = tmp_path_factory.mktemp("cli")
    encoder, tokenizer = kf.families.random_encoder(
        ["good day", "bad day"] * 4, "tiny", vocabulary_size=60, max_length=32
    )
    kf.tasks.TextClassifier(encoder, tokenizer, ["bad", "good"]).save(base / "task")
    assert main(["publish", str(base / "task"), str(base / "models" / "mine")]) == 0
    return base


def test_publish_prints_the_version(capsys, saved):
    code, out, _ = run(capsys, "publish", saved / "task", saved / "models" / "small", "--precision", "bfloat16")
    assert (code, out) == (0, f"{saved / 'models' / 'small' / '1'}\n")


def test_info_of_a_task_a_version_and_a_model(capsys, saved):
    code, out, _ = run(capsys, "info", saved / "task")
    assert code == 0
    assert "TextClassifier" in out
    assert "label_names: bad, good" in out
    assert "can be published: yes" in out
    assert "serving_default: text string [-1] →" in run(capsys, "info", saved / "models" / "mine" / "1")[1]
    assert "versions 1" in run(capsys, "info", saved / "models" / "mine")[1]


def test_check(capsys, saved):
    code, out, _ = run(capsys, "check", saved / "models" / "mine" / "1")
    assert code == 0
    assert "TensorFlow Serving 2.18 and later" in out
    assert "_QuantizedMatMul" not in out
    assert re.search(r"On this machine: one text [\d.]+ ms, a batch of 32 [\d.]+ ms", out)
    assert "classify: inputs string [-1]" in out
    code, _, err = run(capsys, "check", saved / "models" / "mine")
    assert code == 1
    assert f"It has the versions {saved / 'models' / 'mine' / '1'}." in err


def test_predict_is_the_same_from_a_task_and_from_a_version(capsys, saved, tmp_path):
    texts = tmp_path / "texts.jsonl"
    texts.write_text("".join(json.dumps({"Text": text}) + "\n" for text in ["good", "a bad day", "good good day"]))
    answers = {}
    for folder in (saved / "task", saved / "models" / "mine" / "1"):
        target = tmp_path / "answers.jsonl"
        code, out, err = run(capsys, "predict", folder, "--input", texts, "--output", target, "--batch-size", 2)
        assert (code, err) == (0, "")
        assert out == f"3 answers in {target}\n"
        answers[folder.name] = [json.loads(line) for line in target.read_text().splitlines()]
    assert [row["label"] for row in answers["task"]] == [row["label"] for row in answers["1"]]
    for mine, served in zip(answers["task"], answers["1"], strict=True):
        assert mine["scores"] == pytest.approx(served["scores"], abs=1e-5)


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        (["publish", "nowhere", "models/x"], 1, "No folder: nowhere"),
        (["check", "nowhere"], 1, "saved_model.pb"),
        (["info", "nowhere"], 1, "No folder: nowhere"),
        (["info", "s3://bucket/task"], 1, "no file system for s3://"),
        (["serve", "gs://bucket"], 1, "local paths only"),
        (["serve", "nowhere"], 1, "There is no folder"),
        ([], 2, "COMMAND"),
        (["publish", "a", "b", "--precision", "int3"], 2, "invalid choice"),
        (["publish", "a", "b", "--int8", "storage"], 1, "--int8 needs --precision int8. Received: --precision float32"),
        (["publish", "a", "b", "--setting", "pairs"], 1, "--setting must be NAME=VALUE. Received: 'pairs'"),
        (["publish", "a", "b", "--task", "Oracle"], 1, "TextClassifier, TextEmbedder, Translator"),
    ],
)
def test_mistakes_are_reported_on_one_line(capsys, tmp_path, monkeypatch, arguments, code, expected):
    monkeypatch.chdir(tmp_path)
    found, out, err = run(capsys, *arguments)
    assert (found, out) == (code, "")
    assert expected in err
    if code == 1:
        assert err.startswith("error: ")
        assert err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_predict_names_the_record_and_writes_nothing(capsys, saved, tmp_path):
    (tmp_path / "texts.jsonl").write_text('{"text": "good"}\n{"words": "bad"}\n')
    arguments = ["--input", tmp_path / "texts.jsonl", "--output", tmp_path / "answers.jsonl"]
    code, _, err = run(capsys, "predict", saved / "task", *arguments)
    assert code == 1
    assert "texts.jsonl" in err
    assert "'text'" in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["texts.jsonl"]


@pytest.mark.parametrize("command", [[], ["publish"], ["serve"], ["check"], ["predict"], ["info"]])
def test_help_has_examples(capsys, command):
    code, out, _ = run(capsys, *command, "--help")
    assert code == 0
    assert "example" in out
    assert f"kerasformer {' '.join(command)}" in out


def test_in_a_terminal_it_shows_progress(saved, tmp_path):
    """Drawing fails in ways that a pipe does not show."""
    (tmp_path / "texts.txt").write_text("good\nbad\n")
    files = ["--input", tmp_path / "texts.txt", "--output", tmp_path / "answers.jsonl"]
    code, drawn, _ = run_in_terminal("-m", "kerasformer", "predict", saved / "models" / "mine" / "1", *files)
    assert code == 0, drawn[-2000:]
    assert "answering" in drawn
    assert "2 answers in" in drawn
    assert "Traceback" not in drawn


def test_another_task_with_lists_in_its_records(capsys, tmp_path):
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "good", "bad", "day"]
    config = kf.models.BertConfig(len(words), 8, 1, 2, 12, 16, initializer_range=0.5)
    tokenizer = kf.text.WordPieceTokenizer(words, max_length=16)
    names = ["entailment", "contradiction"]
    kf.tasks.TextClassifier(kf.models.bert(config, pooled=True), tokenizer, names, pairs=True).save(tmp_path / "task")
    rows = [{"text": "a good day", "labels": ["good", "bad"]}, {"text": "bad", "labels": ["good"]}]
    (tmp_path / "texts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    options = ["--task", "ZeroShotClassifier", "--setting", "hypothesis_template={}", "--setting", "independent=true"]
    files = ["--input", tmp_path / "texts.jsonl", "--output"]
    assert run(capsys, "publish", tmp_path / "task", tmp_path / "model", *options)[0] == 0
    assert run(capsys, "predict", tmp_path / "task", *files, tmp_path / "one.jsonl", *options)[0] == 0
    assert run(capsys, "predict", tmp_path / "model" / "1", *files, tmp_path / "other.jsonl")[0] == 0
    one, other = ([json.loads(line) for line in (tmp_path / f"{name}.jsonl").open()] for name in ("one", "other"))
    assert [row["label"] for row in one] == [row["label"] for row in other]
    for mine, served in zip(one, other, strict=True):
        assert mine["scores"] == pytest.approx(served["scores"], abs=1e-5)
    assert one[1]["scores"][1] == 0
    assert one[1]["scores"][0] > 0
    (tmp_path / "texts.jsonl").write_text('{"text": "good", "labels": "bad"}\n')
    code, _, err = run(capsys, "predict", tmp_path / "model" / "1", *files, tmp_path / "third.jsonl")
    assert code == 1
    assert "labels (a list)" in err
