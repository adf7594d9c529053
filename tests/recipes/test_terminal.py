"""Recipes on a terminal: the first words at once, a moving bar from the first batch on, the results."""

import json
import pathlib
import re
import sys

import pytest
from terminal import run_in_terminal

import kerasformer as kf

RECIPES = pathlib.Path(__file__).parents[2] / "recipes"
# The recipe as a script, with the time at which its imports were done on a line of its own.
START = """
import runpy, sys, time
sys.argv = sys.argv[1:]
sys.path.insert(0, sys.argv[0].rsplit("/", 1)[0])
import common, tensorflow_text, kerasformer as kf
kf.data, kf.tasks, kf.training, kf.serving, kf.families
print("imported", flush=True)
runpy.run_path(sys.argv[0], run_name="__main__")
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
SMALL = {"translate": ["--batch-tokens", "2000"], "pretrain_bert": ["--size", "tiny", "--steps", "4"]}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    texts = [json.loads(line)["text"] for line in (RECIPES / "samples/reviews/train.jsonl").open(encoding="utf-8")]
    encoder, tokenizer = kf.families.random_encoder(texts, "tiny", vocabulary_size=500, max_length=64)
    folder = tmp_path_factory.mktemp("init") / "tiny"
    kf.tasks.TextClassifier(encoder, tokenizer, ["x", "y"]).save(folder)
    return str(folder)


@pytest.mark.parametrize("name", FIRST_WORDS)
def test_a_recipe_on_a_terminal(name, tiny, tmp_path):
    command = [sys.executable, "-c", START, str(RECIPES / f"{name}.py"), "--workdir", str(tmp_path / "w")]
    command += ["--epochs", "1", *SMALL.get(name, ["--init", tiny, "--batch-size", "64"])]
    code, shown, chunks = run_in_terminal(command)
    assert code == 0, shown[-3000:]
    assert "Traceback" not in shown
    assert re.search(FIRST_WORDS[name], shown.replace("\r\n", "\n")), shown[:1000]
    times = {word: next(at for at, chunk in chunks if word in chunk) for word in ("imported", "reading")}
    assert times["reading"] - times["imported"] < 3
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown)
    assert re.search(r"training: \d+ epochs? of \d+ steps?", plain)
    assert re.search(r"\d+/\d+  loss \d+\.\d+  rate .* tokens/s", plain), "the bar with the first batches"
    assert "\x1b[2K" in shown, "a line that is drawn again"
    if name != "pretrain_bert":
        assert re.search(r"tokens on average; \d+\.\d% of the .* are over \d+ tokens", plain)
        assert re.search(r"[\d,]+ steps of", plain)
    if "--init" in command:
        assert f"starting from {tiny}" in plain.replace("\n", "").replace("\r", "")
    assert "results" in plain
    assert json.loads((tmp_path / "w" / "metrics.json").read_text())["validation"]


def test_the_demo_on_a_terminal(tmp_path):
    """The demo trains by the sentiment recipe, in a process that has the terminal, publishes and asks."""
    program = f"""
import pathlib, sys
sys.path.insert(0, {str(RECIPES)!r})
import demo
demo.WORKDIR, demo.MODELS = pathlib.Path({str(tmp_path)!r}) / "w", pathlib.Path({str(tmp_path)!r}) / "models"
demo.main(["--epochs", "1"])
"""
    code, shown, chunks = run_in_terminal([sys.executable, "-c", program], timeout=500)
    assert code == 0, shown[-3000:]
    assert chunks[0][1].startswith("training a classifier of reviews")
    assert "\x1b[2K" in shown, "a line that is drawn again"
    assert "majority-class baseline" in shown
    assert "make serve" in shown
