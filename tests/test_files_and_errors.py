"""Folders written atomically, and errors on one line."""

import os
import pathlib
import stat

import pytest

import kerasformer as kf
from kerasformer.errors import InputError, one_line_errors
from kerasformer.files import written_beside


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_appears_whole(tmp_path):
    target = tmp_path / "deep" / "models" / "7"
    with written_beside(target) as scratch:
        (scratch / "a.txt").write_text("one")
        (scratch / "sub").mkdir()
        (scratch / "sub" / "b.txt").write_text("two")
        assert not target.exists()
        assert scratch.parent == target.parent
        assert not scratch.name.isdigit()  # no version for TensorFlow Serving
    assert names(tmp_path / "deep" / "models") == ["7"]
    assert (target / "sub" / "b.txt").read_text() == "two"
    assert stat.S_IMODE(target.stat().st_mode) == 0o755


def test_an_older_folder_is_replaced_as_a_whole(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "old.txt").write_text("old")
    with written_beside(tmp_path / "model", replaces="old.txt") as scratch:
        (scratch / "new.txt").write_text("new")
        assert names(tmp_path / "model") == ["old.txt"]
    assert names(tmp_path / "model") == ["new.txt"]
    assert names(tmp_path) == ["model"]


@pytest.mark.parametrize("error", [RuntimeError, OSError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("existed", [True, False])
def test_a_failure_changes_nothing(tmp_path, error, existed):
    if existed:
        (tmp_path / "model").mkdir()
        (tmp_path / "model" / "old.txt").write_text("old")
    before = names(tmp_path)

    def write_half():
        with written_beside(tmp_path / "model") as scratch:
            (scratch / "half.txt").write_text("half")
            raise error

    with pytest.raises(error):
        write_half()
    assert names(tmp_path) == before
    assert not existed or names(tmp_path / "model") == ["old.txt"]


def test_a_rename_that_fails_puts_the_old_folder_back(tmp_path, monkeypatch):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "old.txt").write_text("old")
    rename = pathlib.Path.rename

    def failing(self, target):
        if self.name.endswith(".writing"):
            raise OSError(5, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(pathlib.Path, "rename", failing)
    with pytest.raises(OSError, match="Input/output"), written_beside(tmp_path / "model"):
        pass
    assert names(tmp_path) == ["model"]
    assert names(tmp_path / "model") == ["old.txt"]


def test_a_relative_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with written_beside("model") as scratch:
        os.chdir("/")
        (scratch / "a.txt").write_text("one")
    assert names(tmp_path / "model") == ["a.txt"]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (InputError("`x` must be 1.\nReceived: x=2."), "error: `x` must be 1. Received: x=2.\n"),
        (FileNotFoundError(2, "No such file or directory", "a.csv"), "No such file or directory: 'a.csv'\n"),
        (FloatingPointError("The loss is nan in step 3."), "error: The loss is nan in step 3.\n"),
    ],
)
def test_one_line_errors(capsys, error, message):
    with pytest.raises(SystemExit) as ended, one_line_errors():
        raise error
    assert ended.value.code == 1
    shown = capsys.readouterr().err
    assert shown.startswith("error: ")
    assert shown.endswith(message)
    assert shown.count("\n") == 1


def test_a_mistake_inside_a_data_set_is_one_line_too(capsys, tmp_path):
    path = tmp_path / "text.txt"
    path.write_bytes(b"good\n" * 300_000 + b"\xff\n")
    corpus = kf.data.Corpus(path)
    with pytest.raises(SystemExit) as exit_info, one_line_errors():
        list(corpus.documents())
    assert exit_info.value.code == 1
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert f"{path}:300001: expected UTF-8" in told


def test_an_interruption_ends_with_130(capsys):
    with pytest.raises(SystemExit) as ended, one_line_errors():
        raise KeyboardInterrupt
    assert ended.value.code == 130
    assert capsys.readouterr().err == "interrupted\n"


@pytest.mark.parametrize("error", [ValueError("a bug"), KeyError("key"), TypeError("type")])
def test_bugs_keep_their_traceback(error):
    with pytest.raises(type(error)), one_line_errors():
        raise error


def test_nothing_happens_without_an_error():
    with one_line_errors():
        value = 3
    assert value == 3


def test_input_errors_are_value_errors():
    assert issubclass(InputError, ValueError)
