"""The translation recipe, run on a little data as its users run it."""

import importlib.util
import json
import pathlib
import sys

import fresh
import numpy as np
import pytest

import kerasformer as kf
from kerasformer.serving.preview.loaded_model import LoadedModel

RECIPE = pathlib.Path(__file__).parents[2] / "recipes" / "translate.py"
SPEC = importlib.util.spec_from_file_location("translate_recipe", RECIPE)
translate = importlib.util.module_from_spec(SPEC)
sys.modules["translate_recipe"] = translate
SPEC.loader.exec_module(translate)

pytestmark = pytest.mark.usefixtures("shallow")

ROWS = [{"en": f"the {a} {b}", "de": f"{b} {a}"} for a in ("red", "old", "big") for b in ("cat", "dog", "tree")]


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def test_trains_reports_saves_and_publishes(tmp_path, capsys):
    data = write(tmp_path / "pairs.jsonl", [row | {"fr": row["de"] + " x"} for row in ROWS])
    flags = translate.Flags(
        train=data,
        validation=data,
        test=data,
        target="de,fr",
        workdir=str(tmp_path / "work"),
        export=str(tmp_path / "models" / "mine"),
        epochs=2,
        average=2,
        batch_tokens=100,
        max_length=32,
        lowercase=True,
        beam_size=2,
        vocabulary_map=5,
    )
    translate.main(flags)
    metrics = json.loads((tmp_path / "work" / "metrics.json").read_text())
    assert set(metrics) == {"validation", "test", "train"}
    assert {"loss", "perplexity", "bleu", "chrf", "bleu_de", "bleu_fr"} <= set(metrics["test"])
    assert "tok:13a" in capsys.readouterr().out
    task = kf.load(tmp_path / "work" / "task")
    assert "▁red" in task.vocabulary_map.pieces
    assert (task.target_languages, task.beam_size, task.tokenizer.lowercase) == (("de", "fr"), 2, True)
    served = LoadedModel(tmp_path / "models" / "mine" / "1").run("", {"text": np.array([b"<2de> The red cat"], object)})
    assert served["translation"][0].decode() == task.translate(["the red cat"], "de")["translation"][0]

    # What it saved is a place to start from.
    flags.test = None
    flags.init, flags.export, flags.epochs, flags.average = str(tmp_path / "work" / "task"), None, 1, 1
    flags.workdir, flags.beam_size, flags.label_smoothing = str(tmp_path / "again"), 3, 0.0
    translate.main(flags)
    task = kf.load(tmp_path / "again" / "task")
    assert (task.beam_size, task.label_smoothing) == (3, 0.0)
    # The loss of the first step, before an update: one step of a new optimizer may well lead away again.
    first, again = (
        json.loads((tmp_path / name / "metrics.jsonl").read_text().splitlines()[0]) for name in ("work", "again")
    )
    assert again["loss"] < 0.6 * first["loss"]
    flags.target, flags.workdir = "fr,de", str(tmp_path / "other")
    with pytest.raises(kf.errors.InputError, match="--target fr,de"):
        translate.main(flags)


def test_two_vocabularies_of_few_words(tmp_path):
    """A vocabulary is as small as the texts have it, where its size was not asked for."""
    data = write(tmp_path / "pairs.jsonl", [{"en": a, "de": b} for a in "abc" for b in "xyz"])
    flags = translate.Flags(train=data, validation=data, workdir=str(tmp_path / "work"), epochs=1, average=1)
    flags.shared_vocabulary, flags.max_length, flags.coverage_penalty = False, 8, 0.2
    translate.main(flags)
    task = kf.load(tmp_path / "work" / "task")
    assert task.coverage_penalty == 0.2
    source, target = task.tokenizer.vocabulary, task.target_tokenizer.vocabulary
    assert "▁a" in source
    assert "▁a" not in target
    assert max(len(source), len(target)) < 300


def test_no_sentence_is_held_out_in_one_language_and_learned_in_another(tmp_path):
    data = write(tmp_path / "pairs.jsonl", [{"en": f"{k}", "de": f"d{k}", "fr": f"f{k}"} for k in range(40)])
    train, validation, test = translate.load_data(translate.Flags(train=data, target="de,fr"), ["de", "fr"])
    assert (len(train), len(validation), test) == (72, 8, None)
    held_out = {text.split()[1] for text in validation.texts}
    assert len(held_out) == 4
    assert not held_out & {text.split()[1] for text in train.texts}
    assert {text.split()[0] for text in validation.texts} == {"<2de>", "<2fr>"}
    pairs = zip(validation.texts, validation.pairs, strict=True)
    assert all(text.replace("<2de> ", "d").replace("<2fr> ", "f") == pair for text, pair in pairs)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"train": "nowhere.jsonl"}, "nowhere.jsonl"),
        ({"target": "it"}, "'it'"),
        ({"vocabulary": 5000}, "vocabulary_size=5000"),
        ({"vocabulary": 0}, "vocabulary"),
        ({"target": "de,de"}, "different languages"),
        ({"train": "{one}", "validation": None}, "at least two pairs"),
        ({"epochs": 0}, "epochs"),
        ({"init": "{folder}"}, "config.json"),
    ],
)
def test_mistakes_are_told_in_one_line(change, told, tmp_path):
    data = write(tmp_path / "pairs.jsonl", ROWS)
    one = write(tmp_path / "one.jsonl", ROWS[:1])
    change = {
        key: value.format(folder=tmp_path, one=one) if isinstance(value, str) else value
        for key, value in change.items()
    }
    with pytest.raises(kf.errors.InputError, match=told):
        translate.main(translate.Flags(**{"train": data, "validation": data, "workdir": str(tmp_path / "w"), **change}))
    assert not (tmp_path / "w").exists()


def test_the_command_line_ends_with_one_line_and_code_1(tmp_path):
    (tmp_path / "x.en").write_text("a\n")
    (tmp_path / "x.de").write_text("a\nb\n")
    process = fresh.run_script(RECIPE, "--train", tmp_path / "x", "--workdir", tmp_path / "w")
    assert process.returncode == 1
    assert "Traceback" not in process.stderr
    assert process.stderr.strip().splitlines()[-1].startswith("error: ")
    assert "1 and 2 lines" in process.stderr


def test_the_samples_are_sound():
    splits = {}
    for split in ("train", "validation", "test"):
        path = translate.common.SAMPLES / "translation" / f"{split}.jsonl"
        splits[split] = set(kf.data.load_translation(path, "en", "de").texts)
        assert all(text for text in splits[split])
    assert not splits["train"] & (splits["validation"] | splits["test"])
