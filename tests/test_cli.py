"""The command `kerasformer`, in this process and in a terminal."""

import json
import os
import pty
import subprocess
import sys

import pytest

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


def run(capsys, *arguments):
    """Exit code, standard output and standard error."""
    try:
        code = main([str(argument) for argument in arguments])
    except SystemExit as end:
        code = end.code
    captured = capsys.readouterr()
    return code, captured.out, captured.err


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
    assert "classify: inputs string [-1]" in out


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
    arguments = ["predict", saved / "models" / "mine" / "1", "--input", tmp_path / "texts.txt"]
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "kerasformer", *map(str, arguments), "--output", str(tmp_path / "answers.jsonl")],
        stdout=slave,
        stderr=slave,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "200"},
    )
    os.close(slave)
    drawn = b""
    try:
        while chunk := os.read(master, 4096):
            drawn += chunk
    except OSError:  # the terminal is closed
        pass
    finally:
        os.close(master)
    assert process.wait(60) == 0
    assert b"answering" in drawn
    assert b"2 answers in" in drawn
    assert b"Traceback" not in drawn
