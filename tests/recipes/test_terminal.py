"""Recipes on a terminal: the first words at once, a moving bar from the first batch on, the results."""

import itertools
import json
import os
import pathlib
import re

import fresh
import pytest
from terminal import run_in_terminal

import kerasformer as kf

RECIPES = pathlib.Path(__file__).parents[2] / "recipes"
# Recipes as scripts, one after the other, so that TensorFlow starts once; each after a line with its name.
PROGRAM = """
import functools, json, runpy, sys
recipes = json.loads(sys.argv[1])
sys.path.insert(0, next(iter(recipes)).rsplit("/", 1)[0])
import common, tensorflow_text, kerasformer as kf
kf.data, kf.tasks, kf.training, kf.serving, kf.families
layers = {"num_encoder_layers": 1, "num_decoder_layers": 1}
kf.models.TransformerConfig.named = functools.partial(kf.models.TransformerConfig.named, **layers)
for path, arguments in recipes.items():
    print("imported for", path, flush=True)
    sys.argv = [path, *arguments]
    runpy.run_path(path, run_name="__main__")
"""
FIRST_WORDS = {
    "sentiment": r"reading training data: .*\s+\d+ texts, 2 classes: negative \d+, positive \d+",
    "named_entities": r"reading training data: .*\s+216 sentences, \d+ entities: organization \d+",
    "question_answering": r"reading training data: .*\s+\d+ questions",
    "summarize": r"reading training data: .*\s+20 documents, 100 sentences",
    "embed": r"reading training data: .*\s+104 pairs, cosines from 0 to 1",
    "translate": r"reading training data: .*\s+1 \(640 pairs\)",
    "pretrain_bert": r"reading training data: .*\s+learning a vocabulary",
}
# In `make test`: the sentiment recipe by the demo, one that starts from a checkpoint, and one that starts from nothing.
FEW = ("embed", "pretrain_bert")
ROWS = [pytest.param(name, marks=() if name in FEW else pytest.mark.exhaustive) for name in FIRST_WORDS]
SMALL = {"translate": ["--batch-tokens", "2000"], "pretrain_bert": ["--size", "tiny", "--steps", "4"]}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    texts = [json.loads(line)["text"] for line in (RECIPES / "samples/reviews/train.jsonl").open(encoding="utf-8")]
    encoder, tokenizer = kf.families.random_encoder(texts, "tiny", vocabulary_size=500, max_length=64)
    folder = tmp_path_factory.mktemp("init") / "tiny"
    kf.tasks.TextClassifier(encoder, tokenizer, ["x", "y"]).save(folder)
    return str(folder)


@pytest.fixture(scope="module")
def shown(tiny, tmp_path_factory, request):
    """Of each recipe that is tested its arguments, what it showed, the seconds until its first words, its workdir."""
    tests = [item for item in request.session.items if item.name.startswith("test_a_recipe_on")]
    names = [name for name in FIRST_WORDS if any(test.callspec.params["name"] == name for test in tests)]
    workdir = tmp_path_factory.mktemp("work")
    arguments = {
        name: ["--workdir", str(workdir / name), "--epochs", "1"]
        + SMALL.get(name, ["--init", tiny, "--batch-size", "64"])
        for name in names
    }
    recipes = json.dumps({str(RECIPES / f"{name}.py"): arguments[name] for name in names})
    code, text, chunks = run_in_terminal("-c", PROGRAM, recipes, timeout=600)
    assert code == 0, text[-3000:]
    assert "Traceback" not in text
    ends = list(itertools.accumulate(len(chunk) for _, chunk in chunks))
    starts = [match.start() for match in re.finditer("imported for ", text)]

    def second_of(place):
        return next(at for (at, _), end in zip(chunks, ends, strict=True) if end > place)

    found = {}
    for name, start, end in zip(names, starts, [*starts[1:], len(text)], strict=True):
        seconds = second_of(text.index("reading", start)) - second_of(start)
        found[name] = arguments[name], text[start:end], seconds, workdir / name
    return found


@pytest.mark.parametrize("name", ROWS)
def test_a_recipe_on_a_terminal(name, tiny, shown):
    arguments, text, seconds, workdir = shown[name]
    assert seconds < 10, "what it reads is told before the work begins"
    check(name, arguments, text, workdir, tiny)


def check(name, arguments, text, workdir, tiny):
    assert re.search(FIRST_WORDS[name], text.replace("\r\n", "\n")), text[:1000]
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text)
    assert re.search(r"training: \d+ epochs? of \d+ steps?", plain)
    assert re.search(r"\d+/\d+  loss \d+\.\d+  rate .* tokens/s", plain), "the bar with the first batches"
    assert "\x1b[2K" in text, "a line that is drawn again"
    if name != "pretrain_bert":
        assert re.search(r"tokens on average; \d+\.\d% of the .* are over \d+ tokens", plain)
        assert re.search(r"[\d,]+ steps of", plain)
    if "--init" in arguments:
        assert f"starting from {tiny}" in plain.replace("\n", "").replace("\r", "")
    assert "results" in plain
    assert json.loads((workdir / "metrics.json").read_text())["validation"]


# The demo starts the recipe as a process: here a fork, and so are those that measure and check its exports.
RECIPE = """
import runpy, sys
import fresh
from kerasformer.serving import checking
checking.subprocess = fresh.CHECKS
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
DEMO = """
import os, pathlib, sys, types
import demo, fresh
_, recipe, folder, *arguments = sys.argv
demo.WORKDIR, demo.MODELS = pathlib.Path(folder, "w"), pathlib.Path(folder, "models")

def run(command):
    process = fresh.Process("-c", recipe, *command[1:], terminal=os.ttyname(0))
    return types.SimpleNamespace(returncode=process.wait())

demo.subprocess = types.SimpleNamespace(run=run)
demo.main(arguments)
"""


def test_the_demo_on_a_terminal(tiny, tmp_path):
    """The demo trains by the sentiment recipe, in a process that has the terminal, publishes and asks."""
    arguments = ["--epochs", "1", "--init", tiny]
    paths = [str(RECIPES), os.path.dirname(fresh.__file__), os.environ.get("PYTHONPATH", "")]
    env = {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
    code, shown, chunks = run_in_terminal("-c", DEMO, RECIPE, tmp_path, *arguments, env=env, timeout=500)
    assert code == 0, shown[-3000:]
    assert chunks[0][1].startswith("training a classifier of reviews")
    check("sentiment", arguments, shown, tmp_path / "w", tiny)
    assert "majority-class baseline" in shown
    assert re.search(r"(negative|positive) 0\.\d{3}  A joy from start to finish\.", shown), "a served answer"
    assert "make serve" in shown
