import json

import numpy as np
import pytest

import kerasformer as kf
from kerasformer.errors import InputError
from kerasformer.tasks.names import checked_names


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([0, 1], ("0", "1")),
        (np.array([3, 7]), ("3", "7")),
        ([b"nein", "ja"], ("nein", "ja")),
        (np.array(["a", "b"]), ("a", "b")),
        ([True, False], ("True", "False")),
        (("né", "ü"), ("né", "ü")),
    ],
)
def test_names_become_str(names, expected):
    found = checked_names(names, "label_names", at_least=2)
    assert found == expected
    assert {type(name) for name in found} == {str}
    assert json.loads(json.dumps(found)) == list(expected)


@pytest.mark.parametrize(
    "names",
    [
        "ab",
        ["a"],
        ["a", "a"],
        [1, "1"],
        [b"a", "a"],
        [None, "a"],
        [0.5, 1.0],
        [("a",), "b"],
        [b"\xff", "a"],
        ["\ud800", "a"],
    ],
)
def test_other_names_are_refused_in_one_line(names):
    with pytest.raises(InputError, match="`label_names`") as error:
        checked_names(names, "label_names", at_least=2)
    assert "\n" not in str(error.value)


def test_tasks_with_numbers_for_names_answer_strings(tmp_path):
    encoder, tokenizer = kf.families.random_encoder(
        ["good day", "bad day"] * 4, "tiny", vocabulary_size=60, max_length=32
    )
    task = kf.tasks.TextClassifier(encoder, tokenizer, np.array([0, 1]))
    assert set(task.predict(["good", "bad", "day"])["label"]) <= {"0", "1"}
    task.save(tmp_path / "task")
    assert kf.tasks.load(tmp_path / "task").label_names == ("0", "1")
    assert kf.tasks.Tagger(encoder, tokenizer, [1, b"LOC"]).tag_names == ("O", "B-1", "I-1", "B-LOC", "I-LOC")
    for wrong in ([1, "1"], [None, "a"]):
        with pytest.raises(InputError, match="label_names"):
            kf.tasks.TextClassifier(encoder, tokenizer, wrong)
        with pytest.raises(InputError, match="entity_types"):
            kf.tasks.Tagger(encoder, tokenizer, wrong)
