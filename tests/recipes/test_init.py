"""`--init` with a checkpoint of each family: every recipe that takes one trains on its samples, saves and publishes."""

import importlib
import json
import pathlib

import numpy as np
import pytest

import kerasformer as kf
from kerasformer.families import FAMILIES, family_of, write_checkpoint
from kerasformer.models import encoder

SAMPLES = pathlib.Path(__file__).parents[2] / "recipes" / "samples"
RECIPES = ["sentiment", "named_entities", "question_answering", "embed", "summarize"]
CHECKPOINTS = {
    path.stem.removeprefix("encoder_"): path
    for path in sorted((pathlib.Path(__file__).parents[1] / "fixtures").glob("encoder_*.npz"))
}
# `make test` runs each family with one recipe, and each recipe with a family; with BERT its own tests run it. Answers
# and summaries take twice as long as the others.
FEW = {
    "albert": "sentiment",
    "deberta_v2": "question_answering",
    "deberta_v3": "embed",
    "distilbert": "summarize",
    "electra": "sentiment",
    "modernbert": "named_entities",
    "mpnet": "embed",
    "nomic_bert": "embed",
    "roberta": "sentiment",
}
ROWS = [
    pytest.param(name, recipe, marks=() if FEW.get(name) == recipe else pytest.mark.exhaustive)
    for name in CHECKPOINTS
    for recipe in RECIPES
]


def test_every_family_has_its_recipe():
    assert CHECKPOINTS.keys() - FEW.keys() == {"bert"}
    assert set(FEW.values()) == set(RECIPES)


pytestmark = pytest.mark.filterwarnings("ignore:The checkpoint in:UserWarning")


@pytest.fixture(scope="module")
def tokenizer():
    texts = [json.loads(line)["text"] for line in (SAMPLES / "reviews/train.jsonl").open(encoding="utf-8")]
    return kf.families.random_encoder(texts, "tiny", vocabulary_size=300, max_length=64)[1]


def write(folder, path, tokenizer):
    """A random checkpoint of one layer, else as the recorded one is, with our vocabulary."""
    settings = json.loads(str(np.load(path)["config"]))
    settings |= {"vocab_size": tokenizer.vocabulary_size, "max_position_embeddings": 66, "num_hidden_layers": 1}
    (folder / "config.json").write_text(json.dumps(settings))
    config = FAMILIES[settings["model_type"]].config(kf.families.family.read_settings(folder / "config.json"))
    (folder / "config.json").unlink()
    assert family_of(config) is FAMILIES[settings["model_type"]]
    write_checkpoint(folder, encoder(config, pooled=config.pooler is not None))
    tokenizer.save(folder)


@pytest.mark.parametrize(("name", "recipe"), ROWS)
def test_trains_and_publishes(name, recipe, tokenizer, tmp_path):
    folder = tmp_path / name
    folder.mkdir()
    write(folder, CHECKPOINTS[name], tokenizer)
    module = importlib.import_module(recipe)
    flags = module.Flags(
        init=str(folder),
        workdir=str(tmp_path / "work"),
        export=str(tmp_path / "models" / "mine"),
        epochs=1,
        batch_size=64,
    )
    module.main(flags)
    saved = tmp_path / "work" / "task"
    assert (
        json.loads((saved / "config.json").read_text())["model_type"]
        == json.loads((folder / "config.json").read_text())["model_type"]
    )
    task = kf.load(saved)
    assert np.abs(task.encoder.get_weights()[0] - kf.load_encoder(folder)[0].get_weights()[0]).max() > 0
    assert (tmp_path / "models" / "mine" / "1" / "saved_model.pb").is_file()
