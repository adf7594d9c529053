"""Questions: SQuAD's JSON and flat records, offsets that are right, shifted or lost, batches, and mistakes."""

import json
import os
import pathlib

import pytest

import kerasformer as kf
from kerasformer.errors import InputError

CONTEXT = "Zoë met Bob in Köln 😀. Bob left, and Bob wept."


def squad(*questions, context=CONTEXT):
    return {"version": "x", "data": [{"title": "t", "paragraphs": [{"context": context, "qas": list(questions)}]}]}


def question(*answers, id="q1", **more):
    answers = [{"text": text, "answer_start": start} for text, start in answers]
    return {"id": id, "question": "Who?", "answers": answers, **more}


def load(tmp_path, value, name="a.json", **arguments):
    path = tmp_path / name
    path.write_text(json.dumps(value) if not isinstance(value, str) else value, encoding="utf-8")
    return kf.data.load_questions(path, **arguments)


def test_offsets_become_bytes(tmp_path):
    data = load(tmp_path, squad(question(("Köln", CONTEXT.index("Köln"))), question(("Bob", CONTEXT.index("Bob l")))))
    for row, text in enumerate(["Köln", "Bob"]):
        assert CONTEXT.encode()[data.starts[row] : data.ends[row]].decode() == text
    assert CONTEXT.encode()[data.starts[1] :].decode().startswith("Bob left")
    assert (data.repaired, data.skipped, data.has_unanswerable) == ((), (), False)


def test_records_mean_the_same_in_each_form(tmp_path):
    start = CONTEXT.index("Köln")
    answer = {"text": "Köln", "answer_start": start}
    flat = {"question": "Who?", "context": CONTEXT}
    forms = [
        load(tmp_path, squad(question(("Köln", start)))),
        load(tmp_path, json.dumps(flat | {"answers": [answer]}), "b.jsonl"),
        load(tmp_path, [flat | {"answers": {"text": ["Köln"], "answer_start": [start]}}], "c.json"),
    ]
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet

    rows = [flat | {"id": "7", "answers": {"text": ["Köln"], "answer_start": [start]}}]
    pyarrow.parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "train.parquet")
    forms.append(kf.data.load_questions(f"hf:{tmp_path}:train"))
    for form in forms:
        assert (form.questions[0], form.contexts[0], form.answers[0]) == ("Who?", CONTEXT, ("Köln",))
        assert CONTEXT.encode()[form.starts[0] : form.ends[0]].decode() == "Köln"


def test_questions_without_an_answer(tmp_path):
    impossible = question(("plausible", 3), is_impossible=True, id="q2")
    data = load(tmp_path, squad(question(("Bob", 8)), question(), impossible))
    assert data.has_unanswerable
    assert data.starts[1:].tolist() == data.ends[1:].tolist() == [-1, -1]
    assert data.answers[1:].tolist() == [(), ()]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (("Bob", 9), "Bob in"),
        (("Bob", 20), "Bob left"),
        (("Bob", 999), "Bob wept"),
        (("Bob", -5), "Bob in"),
        ((" Bob ", 7), "Bob in"),  # white space is no part of it, and no reason to repair
        (("Bert", 8), None),
    ],
)
def test_shifted_offsets_are_repaired_skipped_or_refused(answer, expected, tmp_path):
    value = squad(question(answer, id="odd"))
    data = load(tmp_path, value)
    wrong = answer[0] != " Bob "
    if expected is None:
        assert (data.starts[0], data.ends[0], data.answers[0]) == (-2, -2, ("Bert",))
        assert len(data.skipped) == 1
    else:
        assert CONTEXT.encode()[data.starts[0] :].decode().startswith(expected)
        assert len(data.repaired) == wrong
    if wrong:
        assert "question odd" in (data.repaired + data.skipped)[0]
        assert load(tmp_path, value, offsets="skip").starts[0] == -2
        with pytest.raises(InputError, match=r"a\.json: record 1, question odd: the answer 'B"):
            load(tmp_path, value, offsets="refuse")


@pytest.mark.parametrize(
    "answers",
    [
        {"answers": [{"text": "Bert"}, {"text": " Bob "}]},
        {"answers": {"text": ["Bert", "Bob"]}},
        {"answers": ["Bert", "Bob"]},
        {"answers": "Bob"},
        {"answer": "Bob"},
    ],
)
@pytest.mark.parametrize("offsets", ["repair", "skip", "refuse"])
def test_answers_without_offsets_are_found_in_the_context(answers, offsets, tmp_path):
    row = {"question": "Who?", "context": "Bobby met Bob, and Bob left."}
    data = load(tmp_path, json.dumps(row | answers), "a.jsonl", offsets=offsets)
    assert (data.starts[0], data.ends[0]) == (10, 13), "the first whole word"
    assert data.answers[0][-1] == "Bob"
    data = load(tmp_path, json.dumps(row | {"answers": ["obb"]}), "b.jsonl", offsets=offsets)
    assert data.starts[0] == 1, "a part of a word where there is nothing else: not all languages have spaces"
    for missing in (["Bert"], ["Bert", "Anna"]):
        with pytest.raises(InputError, match=r"c\.jsonl:1: the answer must be in the context.*'Bert'"):
            load(tmp_path, json.dumps(row | {"answers": missing}), "c.jsonl", offsets=offsets)
    assert load(tmp_path, json.dumps(row | {"answers": []}), "d.jsonl").starts[0] == -1


def test_a_blank_answer_is_a_mistake_unless_it_stands_nowhere(tmp_path):
    value = squad(question((" ", 3), id="odd"), question((" ", 3), ("Bob", 8)), question(("", -1)))
    data = load(tmp_path, value)
    assert data.starts.tolist() == [-2, 9, -1]
    assert data.answers.tolist() == [(), ("Bob",), ()]
    assert len(data.skipped) == 2
    assert not load(tmp_path, squad(question((" ", 3)))).has_unanswerable
    with pytest.raises(InputError, match="question odd: the answer ''"):
        load(tmp_path, value, offsets="refuse")


def test_of_several_answers_the_first_that_is_found_counts(tmp_path):
    data = load(tmp_path, squad(question(("Bert", 8), ("Köln", 15), ("Köln 😀", 15))))
    assert CONTEXT.encode()[data.starts[0] : data.ends[0]].decode() == "Köln"
    assert data.answers[0] == ("Bert", "Köln", "Köln 😀")
    assert len(data.skipped) == 1


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ({"data": []}, "empty"),
        ({"data": [{"title": "t"}]}, "context"),
        ({"data": [{"paragraphs": "p"}]}, "'paragraphs'"),
        ({"data": [{"paragraphs": [{"context": "c"}]}]}, "'qas'"),
        (squad({"id": "q9", "answers": []}), "question q9: expected a string in the field 'question'"),
        (squad({"id": "q9", "question": "?", "answers": [{"text": "Bert"}]}), "question q9: the answer must be in the"),
        (squad({"id": "q9", "question": "?", "answers": [{"text": 3}]}), "question q9: expected answers"),
        (squad({"id": "q9", "question": "?", "answers": [{"text": "a", "answer_start": "1"}]}), "expected answers"),
        (squad("q"), "named fields"),
        ([{"question": "?", "context": None, "answers": []}], "'context'"),
        ([{"question": "?", "context": "c", "answer": 3}], "expected answers with text"),
        (
            [{"question": "?", "context": "c", "answers": [{"text": "\ud800", "answer_start": 0}]}],
            "half of a surrogate",
        ),
    ],
)
def test_mistakes_are_told_with_their_place(value, told, tmp_path):
    with pytest.raises(InputError) as error:
        load(tmp_path, value)
    assert told in str(error.value)
    assert "a.json" in str(error.value)


def test_batches(tmp_path):
    data = load(
        tmp_path, squad(question(("Bob", 8), ("Köln", 15)), question(), question(("Bert", 0)), question(("Bob", 8)))
    )
    features, targets = next(iter(kf.data.question_batches(data, 4)))
    assert features["context"].numpy()[0].decode() == CONTEXT
    assert targets["start"].numpy().tolist() == [9, -1, -2, 9]
    assert targets["num_answers"].numpy().tolist() == [2, 0, 1, 1]
    assert targets["answers"].numpy().tolist() == [[b"Bob", "Köln".encode()], [b"", b""], [b"Bert", b""], [b"Bob", b""]]
    dataset = kf.data.question_batches(data, 3, shuffle_seed=1, skip_batches=1)
    assert int(dataset.cardinality()) == 1


@pytest.mark.skipif("KF_DATA" not in os.environ, reason="needs the folder KF_DATA")
def test_real_offsets_are_all_right():
    data = kf.data.load_questions(pathlib.Path(os.environ["KF_DATA"]) / "qa" / "squad_v2.0" / "dev_shared_half.json.gz")
    assert (len(data), int((data.starts == -1).sum())) == (7846, 3910)
    assert (data.repaired, data.skipped) == ((), ())
    for row in range(0, len(data), 97):
        if data.answers[row]:
            cut = data.contexts[row].encode()[data.starts[row] : data.ends[row]].decode()
            assert cut == data.answers[row][0].strip()
