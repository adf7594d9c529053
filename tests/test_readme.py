"""The code in README and docs runs as it is written: Python blocks, flags of commands, links and figures of both."""

import dataclasses
import importlib
import pathlib
import re
import shlex
import sys

import pytest

from kerasformer import cli

PROJECT = pathlib.Path(__file__).parent.parent
PAGES = sorted([PROJECT / "README.md", PROJECT / "CONTRIBUTING.md", *PROJECT.glob("docs/*.md")])
NAMES = [str(page.relative_to(PROJECT)) for page in PAGES]
# A comment before a block that cannot run here: it needs a checkpoint, or is an excerpt.
FENCE = re.compile(r"^(<!-- not run: [^\n]*-->\n)?```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
RECIPES = ["sentiment", "named_entities", "question_answering", "summarize", "embed", "translate", "pretrain_bert"]


def blocks(page, language):
    """`(line number, code)` of the blocks of a page that run."""
    text = page.read_text(encoding="utf-8")
    for match in FENCE.finditer(text):
        if match[2] == language and not match[1]:
            yield text.count("\n", 0, match.start(3)) + 1, match[3]


def commands(page):
    """Words of each command in the shell blocks of a page."""
    for _, code in blocks(page, "sh"):
        for line in code.replace("\\\n", " ").splitlines():
            if words := shlex.split(line, comments=True):
                yield words


@pytest.mark.parametrize("page", [page for page in PAGES if any(blocks(page, "python"))], ids=lambda page: page.stem)
def test_python_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "work").mkdir()
    (tmp_path / "recipes").symlink_to(PROJECT / "recipes")
    namespace = {"__name__": "__main__"}
    for line, code in blocks(page, "python"):
        # Line numbers of a traceback are those of the page.
        exec(compile("\n" * (line - 1) + code, str(page), "exec"), namespace)


def test_every_page_with_python_is_found():
    assert sum(len(list(blocks(page, "python"))) for page in PAGES) >= 15


def recipe_flags(name):
    """The flags of a recipe: those of its dataclass."""
    module = importlib.import_module(name)
    flags = {}
    for field in dataclasses.fields(module.Flags):
        flag = field.name.replace("_", "-")
        flags |= {f"--{flag}": field, f"--no-{flag}": field} if field.type is bool else {f"--{flag}": field}
    return flags


def option_names(words):
    return [word.split("=")[0] for word in words if word.startswith("--")]


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_commands_exist(page, monkeypatch):
    monkeypatch.syspath_prepend(str(PROJECT / "recipes"))
    for words in commands(page):
        program, *arguments = words
        if program == "make":
            rules = (PROJECT / "Makefile").read_text()
            assert re.search(rf"^{re.escape(arguments[0])}:", rules, re.MULTILINE), words
        elif program == "kerasformer":
            cli._parser().parse_args(arguments)
        elif program == "python" and arguments[0].startswith("recipes/"):
            known = recipe_flags(pathlib.Path(arguments[0]).stem)
            assert not set(option_names(arguments)) - known.keys(), words
        elif program == "python" and arguments[:1] == ["-m"]:
            source = PROJECT / pathlib.Path(*arguments[1].split(".")).with_suffix(".py")
            text = source.read_text(encoding="utf-8")
            for name in option_names(arguments):
                if f'"{name}"' not in text:  # a field of tyro's dataclass
                    assert re.search(rf"^    {name[2:].replace('-', '_')}: ", text, re.MULTILINE), (name, words)
                if arguments[1] == "kerasformer.training.launch":
                    break  # the others are the script's
            for script in (word for word in arguments if word.startswith("recipes/")):
                assert (PROJECT / script).is_file(), words
        else:
            assert program in ("curl", "docker", "pip", "kubectl") or re.fullmatch(r"\w+=.*", program), words


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "results.md"], ids=lambda page: page.name)
def test_flags_in_prose_exist(page, monkeypatch):
    """Flags of recipes and of the command that sentences name; benchmarks have flags of their own."""
    monkeypatch.syspath_prepend(str(PROJECT / "recipes"))
    known = set().union(*(recipe_flags(name) for name in RECIPES)) | {"--help", "--kills", "--workers"}
    known |= set(re.findall(r'"(--[a-z][\w-]*)"', (PROJECT / "kerasformer" / "cli.py").read_text(encoding="utf-8")))
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    if page.name in ("experiments.md", "upgrading.md"):  # history names flags that are gone
        known |= {"--generate", "--cloze"}
    named = {flag for span in re.findall(r"`([^`]*)`", text) for flag in re.findall(r"(?<![\w-])--[a-z][\w-]*", span)}
    assert not named - known


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_links_lead_somewhere(page):
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not target.startswith(("http", "#")):
            assert (page.parent / target.split("#")[0]).is_file(), target


def test_the_readme_is_one_page():
    assert len((PROJECT / "README.md").read_text(encoding="utf-8").splitlines()) <= 200


def test_the_version_is_one():
    version = sys.modules["kerasformer"].__version__
    assert f"version: {version}" in (PROJECT / "CITATION.cff").read_text()
    assert f"\n## {version}\n" in (PROJECT / "CHANGELOG.md").read_text(encoding="utf-8")
