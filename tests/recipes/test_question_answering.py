"""The question-answering recipe, run on a little data as its users run it."""

import contextlib
import dataclasses
import importlib.util
import io
import json
import pathlib
import sys

import keras
import numpy as np
import pytest

import kerasformer as kf

RECIPE = pathlib.Path(__file__).parents[2] / "recipes" / "question_answering.py"
SPEC = importlib.util.spec_from_file_location("question_answering_recipe", RECIPE)
question_answering = importlib.util.module_from_spec(SPEC)
sys.modules["question_answering_recipe"] = question_answering
SPEC.loader.exec_module(question_answering)

# Each starts from another task's folder, whose head is left: reported to the user, as `tests/families` asserts.
pytestmark = pytest.mark.filterwarnings("ignore:The checkpoint in:UserWarning")

SAMPLES = question_answering.Flags.train
CONTEXT = "anna saw rome . bob left ."


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A saved task with an encoder of one layer, to start from."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "anna", "saw", "rome", "bob", "left", ".", "who", "what"]
    keras.utils.set_random_seed(0)
    config = kf.models.BertConfig.named(
        "tiny", vocabulary_size=len(words), num_layers=1, max_sequence_length=32, initializer_range=0.2
    )
    tokenizer = kf.text.WordPieceTokenizer(words, max_length=32)
    folder = tmp_path_factory.mktemp("init") / "tiny"
    kf.tasks.TextClassifier(kf.models.bert(config, pooled=True), tokenizer, ["x", "y"]).save(folder)
    return str(folder)


def write(path, *rows):
    qas = [
        {"id": str(number), "question": question, "answers": [{"text": a, "answer_start": at} for a, at in answers]}
        for number, (question, *answers) in enumerate(rows)
    ]
    path.write_text(json.dumps({"data": [{"paragraphs": [{"context": CONTEXT, "qas": qas}]}]}))
    return str(path)


ROWS = [("who saw", ("anna", 0)), ("who left", ("bob", 15)), ("what .",)]


@pytest.fixture
def asked(tmp_path):
    return write(tmp_path / "asked.json", *ROWS * 8)


@pytest.fixture(scope="module")
def run(tiny, tmp_path_factory):
    """A training and what it showed: the folder of the data, `work` and `models`."""
    folder = tmp_path_factory.mktemp("run")
    asked = write(folder / "asked.json", *ROWS * 8)
    flags = question_answering.Flags(
        train=write(folder / "train.json", *ROWS * 80),
        validation=asked,
        test=asked,
        init=tiny,
        workdir=str(folder / "work"),
        export=str(folder / "models" / "mine"),
        epochs=6,
        patience=6,
        learning_rate=1e-3,
        batch_size=8,
    )
    with contextlib.redirect_stdout(io.StringIO()) as shown:
        question_answering.main(flags)
    return folder, shown.getvalue()


def test_trains_reports_saves_and_publishes(run):
    folder, shown = run
    metrics = json.loads((folder / "work" / "metrics.json").read_text())
    assert set(metrics) == {"validation", "test", "train"}
    assert set(metrics["train"]) == {"examples_per_second", "seconds"}
    assert {"loss", "exact_match", "f1", "best_f1", "best_threshold"} == set(metrics["test"])
    assert metrics["test"]["f1"] == metrics["test"]["exact_match"] == 1.0
    task = kf.load(folder / "work" / "task")
    assert task.no_answer_threshold == metrics["validation"]["best_threshold"]
    assert task.predict(["who left", "what ."], [CONTEXT] * 2)["answer"].tolist() == ["bob", ""]
    card = json.loads((folder / "models" / "mine" / "1" / "assets.extra" / "card.json").read_text())
    assert {name: figure["value"] for name, figure in card["figures"].items()} == metrics["validation"]
    assert "8 answers are not at their offset, moved to their nearest occurrence" in shown
    assert "question 1" in shown


def test_each_epoch_has_its_own_form_of_the_questions(tmp_path):
    contexts = ["Anna left. The mayor closed Rome with her in 1843. Bob saw it.", "All here is small. All is said."]
    paragraphs = [
        {"context": text, "qas": [{"id": "0", "question": "who", "answers": [{"text": text[:4], "answer_start": 0}]}]}
        for text in contexts
    ]
    (tmp_path / "t.json").write_text(json.dumps({"data": [{"paragraphs": paragraphs}]}))
    train = kf.data.load_questions(str(tmp_path / "t.json"))
    same = question_answering.questions_of_epoch(train, question_answering.Flags(), 1)
    assert same is train
    flags = question_answering.Flags(shuffle_sentences=True, question_marks=0.5)
    epochs = [question_answering.questions_of_epoch(train, flags, epoch) for epoch in range(40)]
    again = question_answering.questions_of_epoch(train, flags, 5)
    assert again.questions.tolist() == epochs[5].questions.tolist()
    assert again.contexts.tolist() == epochs[5].contexts.tolist()
    other_seed = dataclasses.replace(flags, seed=1)
    others = [question_answering.questions_of_epoch(train, other_seed, epoch) for epoch in range(5)]
    assert [o.contexts.tolist() for o in others] != [o.contexts.tolist() for o in epochs[:5]]
    assert {len(questions) for questions in epochs} == {2}
    assert {tuple(questions.questions[:2]) for questions in epochs} == {
        (first, second) for first in ("who", "who?") for second in ("who", "who?")
    }
    assert len({questions.contexts[0] for questions in epochs}) == 6
    for questions in epochs:
        for text, answers, start, end in zip(
            questions.contexts, questions.answers, questions.starts, questions.ends, strict=True
        ):
            assert text[start:end] == answers[0]


def test_the_mean_of_two_is_evaluated_and_published(run, tiny, asked, tmp_path, capsys):
    def flags(name, **others):
        return question_answering.Flags(validation=asked, test=asked, workdir=str(tmp_path / name), **others)

    question_answering.main(flags("other", train=asked, init=tiny, seed=1, epochs=1, learning_rate=3e-3))
    folders = [str(workdir / "task") for workdir in (run[0] / "work", tmp_path / "other")]
    capsys.readouterr()
    question_answering.main(flags("mean", average=tuple(folders), export=str(tmp_path / "models" / "mine")))
    shown = capsys.readouterr().out
    for folder in folders:
        alone = json.loads(pathlib.Path(folder).with_name("metrics.json").read_text())["validation"]
        assert f"{folder}, alone, on the validation data: loss {alone['loss']:.4f}" in shown
    metrics = json.loads((tmp_path / "mean" / "metrics.json").read_text())
    assert set(metrics) == {"validation", "test"}
    mean = kf.load(tmp_path / "mean" / "task")
    kernels = [kf.load(folder).model.get_layer("spans").kernel.numpy() for folder in folders]
    np.testing.assert_allclose(mean.model.get_layer("spans").kernel.numpy(), sum(kernels) / 2, atol=1e-7)
    # Unanswerable questions are among the data: the threshold is the mean's own.
    assert mean.no_answer_threshold == metrics["validation"]["best_threshold"]
    assert (tmp_path / "models" / "mine" / "1" / "saved_model.pb").is_file()
    for workdir in ("mean", "other"):
        with pytest.raises(kf.errors.InputError, match=f"a --workdir of its own.*{workdir}"):
            question_answering.main(flags(workdir, average=tuple(folders)))
    with pytest.raises(kf.errors.InputError, match="TextClassifier in"):
        question_answering.main(flags("another", average=(tiny, tiny)))
    assert not (tmp_path / "another").exists()


def test_long_answers_are_left_out(tmp_path, capsys):
    rows = [
        ("who saw", ("anna", 0)),
        ("what .", ("anna saw rome", 0)),
        # What is learned is the first answer that stands in the context.
        ("who left", ("nobody", 0), ("anna saw rome .", 0)),
        ("who left", ("nobody of us saw it", 0), ("bob", 17)),
        ("who",),
    ]
    train = kf.data.load_questions(write(tmp_path / "t.json", *rows))
    kept = question_answering.short_answers(train, 2)
    assert [tuple(answers) for answers in kept.answers] == [("anna",), ("nobody of us saw it", "bob"), ()]
    assert "2 of 5 training questions left out" in capsys.readouterr().out
    assert question_answering.short_answers(train, None) is train
    with pytest.raises(kf.errors.InputError, match="no answer has at most 1 words"):
        question_answering.short_answers(train.select([1, 4]), 1)


def test_long_contexts_are_left_out(tiny, tmp_path, capsys):
    contexts = ["anna saw rome .", "bob left .", "anna saw rome .", ""]
    paragraphs = [
        {"context": context, "qas": [{"id": str(number), "question": "who", "answers": []}]}
        for number, context in enumerate(contexts)
    ]
    (tmp_path / "t.json").write_text(json.dumps({"data": [{"paragraphs": paragraphs}]}))
    train = kf.data.load_questions(str(tmp_path / "t.json"))
    tokenizer = kf.load(tiny).tokenizer
    kept = question_answering.short_contexts(train, tokenizer, 3)
    assert kept.contexts.tolist() == ["bob left .", ""]
    assert "2 of 4 training questions left out" in capsys.readouterr().out
    assert len(question_answering.short_contexts(train, tokenizer, 4)) == 4
    assert question_answering.short_contexts(train, tokenizer, None) is train
    with pytest.raises(kf.errors.InputError, match="no context has at most 2 tokens"):
        question_answering.short_contexts(train.select([0, 1]), tokenizer, 2)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"train": "nowhere.json"}, "nowhere.json"),
        ({"question_marks": 1.5}, "question_marks"),
        ({"average": ("nowhere/task",)}, "Received also: train, init"),
        ({"average": (), "train": SAMPLES, "init": None}, "at least two"),
        ({"average": ("nowhere/task", "nowhere/task"), "train": SAMPLES, "init": None}, "nowhere/task"),
        ({"average": ("nowhere/task",), "train": SAMPLES, "init": None, "validation": None}, "--validation"),
        ({"question_marks": float("nan")}, "question_marks"),
        ({"offsets": "refuse"}, "question 1: the answer 'bob' does not stand at 15"),
        ({"validation": "{broken}"}, "expected a list in the field 'qas'"),
        ({"epochs": 0}, "epochs"),
        ({"most_words": 0}, "most_words"),
        ({"longest_context": 0}, "longest_context"),
        ({"longest_context": 2}, "--longest-context"),
        ({"window": 33}, "max_length=32"),
        ({"overlap": 30}, "overlap"),
    ],
)
def test_mistakes_are_told_in_one_line(change, told, tiny, asked, tmp_path):
    broken = tmp_path / "broken.json"
    broken.write_text('{"data": [{"paragraphs": [{"context": "c"}]}]}')
    files = {"broken": broken}
    change = {key: value.format(**files) if isinstance(value, str) else value for key, value in change.items()}
    settings = {"train": asked, "validation": asked, "init": tiny, "workdir": str(tmp_path / "w"), **change}
    with pytest.raises(kf.errors.InputError) as error:
        question_answering.main(question_answering.Flags(**settings))
    assert told in str(error.value)
    assert not (tmp_path / "w").exists()


def test_the_samples_can_be_read():
    train, validation, test = question_answering.load_data(question_answering.Flags())
    assert (len(train), len(validation), len(test)) == (334, 65, 114)
    assert all(questions.has_unanswerable for questions in (train, validation, test))
    assert not train.repaired + train.skipped
