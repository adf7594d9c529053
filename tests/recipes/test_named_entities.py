"""The named-entity recipe, run on a little data as its users run it."""

import importlib.util
import json
import pathlib
import sys

import pytest

import kerasformer as kf

RECIPE = pathlib.Path(__file__).parents[2] / "recipes" / "named_entities.py"
SPEC = importlib.util.spec_from_file_location("named_entities_recipe", RECIPE)
named_entities = importlib.util.module_from_spec(SPEC)
sys.modules["named_entities_recipe"] = named_entities
SPEC.loader.exec_module(named_entities)

# Each starts from another task's folder, whose head is left: reported to the user, as `tests/families` asserts.
pytestmark = pytest.mark.filterwarnings("ignore:The checkpoint in:UserWarning")

SENTENCES = "anna\tB-person\nsaw\tO\nrome\tB-place\n\nbob\tI-person\nleft\tO\n\n" * 8


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A saved task with an encoder of one layer, to start from."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "anna", "saw", "rome", "bob", "left"]
    config = kf.models.BertConfig.named("tiny", vocabulary_size=len(words), num_layers=1, max_sequence_length=32)
    tokenizer = kf.text.WordPieceTokenizer(words, max_length=32)
    folder = tmp_path_factory.mktemp("init") / "tiny"
    kf.tasks.TextClassifier(kf.models.bert(config, pooled=True), tokenizer, ["x", "y"]).save(folder)
    return str(folder)


@pytest.fixture
def tagged(tmp_path):
    path = tmp_path / "train.tsv"
    path.write_text(SENTENCES)
    return str(path)


def test_trains_reports_saves_and_publishes(tiny, tagged, tmp_path, capsys):
    flags = named_entities.Flags(
        train=[tagged],
        validation=tagged,
        test=tagged,
        init=tiny,
        workdir=str(tmp_path / "work"),
        export=str(tmp_path / "models" / "mine"),
        epochs=8,
        learning_rate=5e-3,
        batch_size=8,
    )
    named_entities.main(flags)
    metrics = json.loads((tmp_path / "work" / "metrics.json").read_text())
    assert set(metrics) == {"validation", "test", "train"}
    assert set(metrics["train"]) == {"examples_per_second", "seconds"}
    assert {"loss", "accuracy", "precision", "recall", "f1", "f1_person", "f1_place"} == set(metrics["test"])
    assert metrics["test"]["f1"] == 1.0
    found = kf.load(tmp_path / "work" / "task").predict(["Bob saw Rome"])[0]
    assert [(entity["text"], entity["label"]) for entity in found] == [("Bob", "person"), ("Rome", "place")]
    assert (tmp_path / "models" / "mine" / "1" / "saved_model.pb").is_file()
    shown = capsys.readouterr().out
    assert "8 entities without B-" in shown
    assert "f1_place" in shown


def test_a_tenth_is_held_out_and_the_last_weights_can_be_kept(tiny, tagged, tmp_path):
    flags = named_entities.Flags(
        train=[tagged, tagged], init=tiny, workdir=str(tmp_path / "w"), epochs=1, patience=0, crf=True
    )
    train, validation, test = named_entities.load_data(flags)
    assert (len(train), len(validation), test) == (29, 3, None)
    named_entities.main(flags)
    assert set(json.loads((tmp_path / "w" / "metrics.json").read_text())) == {"validation", "train"}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"train": ["nowhere.tsv"]}, "nowhere.tsv"),
        ({"validation": "{one}"}, "one.tsv:1: expected columns"),
        ({"validation": "{other}"}, "'thing' is not one of"),
        ({"first_letters": "refuse"}, "train.tsv:5: an entity begins without B-"),
        ({"epochs": 0}, "epochs"),
        ({"window": 2}, "window"),
    ],
)
def test_mistakes_are_told_in_one_line(change, told, tiny, tagged, tmp_path):
    (tmp_path / "one.tsv").write_text("anna\n")
    (tmp_path / "other.tsv").write_text("anna\tB-thing\n")
    files = {name: str(tmp_path / f"{name}.tsv") for name in ("one", "other")}
    change = {key: value.format(**files) if isinstance(value, str) else value for key, value in change.items()}
    settings = {"train": [tagged], "validation": tagged, "init": tiny, "workdir": str(tmp_path / "w"), **change}
    with pytest.raises(kf.errors.InputError) as error:
        named_entities.main(named_entities.Flags(**settings))
    assert told in str(error.value)
    assert not (tmp_path / "w").exists()


def test_the_samples_can_be_read():
    train, validation, test = named_entities.load_data(named_entities.Flags())
    assert train.entity_types == validation.entity_types == test.entity_types == ("organization", "person", "place")
    assert (len(train), len(validation), len(test)) == (216, 34, 56)
