import os
from pathlib import Path

import numpy as np
import pytest

from kerasformer.data import from_lists, load_classification, stratified_sample
from kerasformer.errors import InputError

NAMED = [{"text": "a", "label": "yes"}, {"text": "b", "label": "no"}, {"text": "c", "label": "yes"}]
NUMBERED = [{"text": "a", "label": 1}, {"text": "b", "label": 0}, {"text": "c", "label": 1}]


def labelled(*labels):
    return [{"text": "t", "label": label} for label in labels]


@pytest.mark.parametrize("field", ["text", "sentence", "content", "review"])
def test_fields_of_one_text(write, field):
    examples = load_classification(write("a.jsonl", [{"id": 7, field: "ä\0b", "label": 0}]))
    assert examples.texts.tolist() == ["ä\0b"]
    assert examples.pairs is None


@pytest.mark.parametrize(
    "fields",
    [
        ("text_a", "text_b"),
        ("sentence1", "sentence2"),
        ("premise", "hypothesis"),
        ("question1", "question2"),
        ("question", "sentence"),
    ],
)
@pytest.mark.parametrize("ending", ["csv", "tsv"])
def test_fields_of_pairs(write, fields, ending):
    separator = {"csv": ",", "tsv": "\t"}[ending]
    rows = [("index", *fields, "label"), ("0", "first", "second", "1"), ("1", "third", "fourth", "0")]
    examples = load_classification(write(f"a.{ending}", "\n".join(separator.join(row) for row in rows)))
    assert examples.texts.tolist() == ["first", "third"]
    assert examples.pairs.tolist() == ["second", "fourth"]
    assert examples.targets.tolist() == [1, 0]


def test_labels_by_name_are_sorted(write):
    path = write("a.jsonl", NAMED)
    examples = load_classification(path)
    assert examples.label_names == ("no", "yes")
    assert examples.targets.dtype == np.int32
    assert examples.targets.tolist() == [1, 0, 1]
    assert examples.source == str(path)
    assert len(examples) == 3


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.jsonl", labelled(2, 0)), ("a.jsonl", labelled("2", "0")), ("a.csv", "text,label\nt,2\nt,0\n")],
)
def test_labels_by_number(write, name, content):
    path = write(name, content)
    examples = load_classification(path)
    assert examples.label_names == ("0", "1", "2")
    assert examples.targets.tolist() == [2, 0]
    write("labels.json", '["c", "a", "b"]')
    examples = load_classification(path)
    assert examples.label_names == ("c", "a", "b")
    assert examples.targets.tolist() == [2, 0]


def test_names_beside_the_file_may_be_written_out_or_be_digits(write):
    path = write("a.jsonl", labelled("2016", "no", "2015"))
    write("labels.json", '["no", "2015", "2016"]')
    assert load_classification(path).targets.tolist() == [2, 0, 1]


def test_validation_labels_are_numbered_as_those_of_training(write):
    wanted = ("yes", "no", "maybe")
    assert load_classification(write("a.jsonl", NAMED), label_names=list(wanted)).targets.tolist() == [0, 1, 0]
    bare = load_classification(write("a.jsonl", NUMBERED), label_names=wanted)
    assert bare.targets.tolist() == [1, 0, 1]
    assert bare.label_names == wanted
    write("labels.json", '["no", "yes"]')  # the numbers of this file mean these
    assert load_classification(write("a.jsonl", NUMBERED), label_names=wanted).targets.tolist() == [0, 1, 0]
    # Numbers without names in training stay numbers.
    nameless = load_classification(write("a.jsonl", NUMBERED), label_names=("0", "1"))
    assert nameless.targets.tolist() == [1, 0, 1]
    assert nameless.label_names == ("0", "1")


@pytest.mark.parametrize(
    ("names_beside", "labels", "wanted", "expected"),
    [
        (None, ["no", "maybe"], ("no", "yes"), r"a\.jsonl:2: label 'maybe' is not one of \['no', 'yes'\]"),
        (None, [0, 2], ("no", "yes"), r"a\.jsonl:2: label 2 is not one of \['no', 'yes'\]"),
        ('["no", "yes", "maybe"]', [0, 2], ("no", "yes"), r"a\.jsonl:2: label 'maybe' is not one of \['no', 'yes'\]"),
        ('["no", "yes"]', [0, 2], None, r"a\.jsonl:2: label 2 is not one of \['no', 'yes'\]"),
        ('["no", "yes"]', ["no", "maybe"], None, r"a\.jsonl:2: label 'maybe' is not one of \['no', 'yes'\]"),
        ('["a", "b", "c"]', [0, 2], ("0", "1"), r"a\.jsonl:2: label 'c' is not one of \['0', '1'\]"),
        (None, [0, -1], None, r"a\.jsonl:2: expected an integer label from 0, or a name\. Received -1"),
        (None, ["0", "-1"], None, r"a\.jsonl:2: expected an integer label from 0, or a name\. Received -1"),
        (None, [0, 1, "no"], None, r"a\.jsonl:3: labels must be all integers or all names\. Received 'no' after 0"),
        (None, ["no", 1], None, r"a\.jsonl:2: labels must be all integers or all names\. Received 1 after 'no'"),
        (None, [True, False], None, r"a\.jsonl:1: expected a label that is an integer or a name\. Received True"),
        (
            None,
            ["no", ["yes"]],
            None,
            r"a\.jsonl:2: expected a label that is an integer or a name\. Received \['yes'\]",
        ),
        (
            None,
            [0, 1, 10**9],
            None,
            r"a\.jsonl:3: expected labels numbered from 0\. Received 1000000000, though only 3",
        ),
        (None, [0, None], None, r"a\.jsonl:2: no label or score, though other records"),
        (None, ["1.0", "0.0"], None, r"a\.jsonl:1: labels like 1\.0 may be classes or scores"),
    ],
)
def test_bad_labels(write, names_beside, labels, wanted, expected):
    path = write("a.jsonl", labelled(*labels))
    if names_beside:
        write("labels.json", names_beside)
    with pytest.raises(InputError, match=expected) as caught:
        load_classification(path, label_names=wanted)
    assert "\n" not in str(caught.value)


def test_many_label_names_are_not_all_spelled_out(write):
    path = write("a.jsonl", labelled("x"))
    with pytest.raises(InputError, match=r"'n19', \.\.\.\]\.$"):
        load_classification(path, label_names=[f"n{k}" for k in range(5000)])


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", [{"text": "a", "score": 5}, {"text": "b", "score": 2.5}]),
        ("a.jsonl", [{"text": "a", "label": 5}, {"text": "b", "label": 2.5}]),
        ("a.csv", "text,score\na,5\nb,2.5\n"),
        ("a.tsv", "text\tlabel\na\t5\nb\t2.5\n"),
    ],
)
@pytest.mark.parametrize("regression", [None, True])
def test_scores_make_a_regression(write, name, content, regression):
    examples = load_classification(write(name, content), regression=regression)
    assert examples.targets.dtype == np.float32
    assert examples.targets.tolist() == [5.0, 2.5]
    assert examples.label_names is None


def test_regression_is_the_callers_choice_where_both_are_there(write):
    path = write("a.jsonl", [{"text": "a", "label": 1, "score": 0.25}, {"text": "b", "label": 0, "score": 0.5}])
    write("labels.json", '["no", "yes"]')
    assert load_classification(path).targets.tolist() == [1, 0]
    assert load_classification(path, regression=False).label_names == ("no", "yes")
    assert load_classification(path, regression=True).targets.tolist() == [0.25, 0.5]
    assert load_classification(write("b.jsonl", NUMBERED), regression=True).targets.tolist() == [1.0, 0.0, 1.0]
    with pytest.raises(InputError, match="`label_names` cannot be given for a regression"):
        load_classification(path, regression=True, label_names=("no", "yes"))


@pytest.mark.parametrize("score", ["NaN", "Infinity", "1e39", '"-inf"', "true", '"high"', "[1]", "1" + "0" * 400])
def test_bad_scores(write, score):
    path = write("a.jsonl", '{"text": "a", "score": 1}\n{"text": "b", "score": ' + score + "}\n")
    with pytest.raises(InputError, match=r"a\.jsonl:2: expected a (finite float32 )?number"):
        load_classification(path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", [{"text": "a"}, {"text": "b"}]),
        ("a.jsonl", labelled(None, None)),
        ("a.csv", "text,label\na,\nb,\n"),
        ("a.txt.gz", "a\nb\n"),
    ],
)
def test_without_labels(write, name, content):
    examples = load_classification(write(name, content), label_names=("no", "yes"))
    assert len(examples) == 2
    assert examples.targets is None
    assert examples.label_names is None


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.jsonl", [], r"a\.jsonl: expected at least one record"),
        ("a.jsonl", [{"body": "a", "label": 1}], r":1: expected a field text, .*Received the fields body, label\.$"),
        ("a.jsonl", [{}], r":1: expected a field text, .*Received the fields none\.$"),
        (
            "a.csv",
            "good film,1\nbad film,0\n",
            r"csv:2: .* Received the fields good film, 1 \(its first row names them\)",
        ),
        ("a.jsonl", [{"text_a": "a", "label": 1}], r"text_a\+text_b.*Received the fields text_a, label"),
        (
            "a.jsonl",
            [*NAMED, {"sentence": "d", "label": "no"}],
            r":4: expected a string in the field 'text'\. .*no such",
        ),
        ("a.jsonl", [{"text": None, "label": 1}], r":1: expected a string in the field 'text'\. Received None"),
        ("a.jsonl", [{"text": ["a"], "label": 1}], r":1: expected a string in the field 'text'\. Received \['a'\]"),
        ("a.jsonl", '{"text": "\\ud83d", "label": 1}', r":1: 'text' holds half of a surrogate pair"),
    ],
)
def test_bad_records(write, name, content, expected):
    with pytest.raises(InputError, match=expected) as caught:
        load_classification(write(name, content))
    assert "\n" not in str(caught.value)


def test_select(write):
    records = [{"text_a": f"a{k}", "text_b": f"b{k}", "label": k % 3} for k in range(6)]
    examples = load_classification(write("a.jsonl", records))
    chosen = examples.select([5, 0, 0])
    assert (chosen.texts.tolist(), chosen.pairs.tolist()) == (["a5", "a0", "a0"], ["b5", "b0", "b0"])
    assert chosen.targets.tolist() == [2, 0, 0]
    assert chosen.label_names == examples.label_names
    assert examples.select(slice(4, None)).texts.tolist() == ["a4", "a5"]
    assert examples.select(examples.targets == 1).texts.tolist() == ["a1", "a4"]
    assert len(examples.select([])) == 0


DATA = Path(os.environ.get("KF_DATA", "/nowhere"))


@pytest.mark.skipif(not DATA.is_dir(), reason="KF_DATA is not set to the folder of benchmark data")
@pytest.mark.parametrize(
    ("file", "count", "names", "first"),
    [
        ("glue/sst2/train", 67_349, ("negative", "positive"), "hide new secretions from the parental units"),
        ("glue/sst2/validation", 872, ("negative", "positive"), "it 's a charming and often affecting journey ."),
        ("tweeteval/sentiment/test", 12_284, ("negative", "neutral", "positive"), "@user @user what do these"),
        ("tweeteval/emotion/validation", 374, ("anger", "joy", "optimism", "sadness"), "@user @user Oh, hidden"),
        ("xlm_t/hindi/test", 870, ("negative", "neutral", "positive"), ""),
        ("glue/mrpc/train", 3_665, ("not_paraphrase", "paraphrase"), 'Amrozi accused his brother, whom he called "the'),
        ("glue/stsb/validation", 1_500, None, "A man with a hard hat is dancing."),
    ],
)
def test_benchmark_data(file, count, names, first):
    examples = load_classification(DATA / f"{file}.jsonl.gz")
    assert len(examples) == len(examples.targets) == count
    assert examples.label_names == names
    assert examples.texts[0].startswith(first)
    assert (examples.pairs is not None) == ("mrpc" in file or "stsb" in file)
    if names:
        assert set(examples.targets.tolist()) == set(range(len(names)))
    else:
        assert (examples.targets.min(), examples.targets.max()) == (0.0, 5.0)


SEVERAL = [[1, 0, 1], [0, 0, 0], [0, 1, 0]]


@pytest.mark.parametrize(
    ("name", "content", "separator"),
    [
        ("a.jsonl", [{"text": "t", "labels": labels} for labels in (["x", "z"], [], ["y"])], None),
        ("a.jsonl", [{"text": "t", "label": labels} for labels in (["z", "x", "x"], [], ["y"])], None),
        ("a.csv", "text,label\nt,x|z\nt,\nt,y\n", "|"),
        ("a.tsv", "Text\tLabels\nt\tz; x\nt\t\nt\ty\n", ";"),
        ("a.jsonl", [{"text": "t", "labels": labels} for labels in ("z|x", "", "y")], "|"),
    ],
)
def test_several_labels(write, name, content, separator):
    examples = load_classification(write(name, content), label_separator=separator)
    assert examples.label_names == ("x", "y", "z")
    assert examples.multi_label
    assert examples.targets.dtype == np.float32
    assert examples.targets.tolist() == SEVERAL


def test_several_labels_are_numbered_as_those_of_training(write):
    names = ("z", "y", "x")
    rows = [{"text": "t", "labels": ["x"]}, {"text": "t", "labels": []}]
    found = load_classification(write("a.jsonl", rows), label_names=names, multi_label=True)
    assert found.targets.tolist() == [[0, 0, 1], [0, 0, 0]]
    none = load_classification(write("b.jsonl", rows[1:]), label_names=names, multi_label=True)
    assert none.targets.tolist() == [[0, 0, 0]]
    (write("c.jsonl", [{"text": "t", "labels": [0, 2]}]).parent / "labels.json").write_text('["x", "y", "z"]')
    found = load_classification(write("c.jsonl", [{"text": "t", "labels": [0, 2]}]), label_names=names)
    assert found.targets.tolist() == [[1, 0, 1]]
    assert from_lists(["t", "t", "t"], [["x", "z"], [], ["y"]]).targets.tolist() == SEVERAL


@pytest.mark.parametrize(
    ("labels", "options", "told"),
    [
        (["w"], {"label_names": ("x", "y")}, "a.jsonl:1: label 'w' is not one of"),
        ([["x"]], {}, "a.jsonl:1: expected a label that is"),
        ([None], {}, "a.jsonl:1: expected a label that is"),
        ([], {}, "Received none in all"),
        ("x", {"multi_label": True}, "a.jsonl:1: expected a list of labels, or --label-separator"),
        (["x"], {"multi_label": False}, "a.jsonl:1: expected a label that is"),
        (["x"], {"regression": True}, "a.jsonl:1: expected a number"),
        (["x"], {"regression": True, "multi_label": True}, "exclude each other"),
    ],
)
def test_bad_lists_of_labels(write, labels, options, told):
    with pytest.raises(InputError) as error:
        load_classification(write("a.jsonl", [{"text": "t", "label": labels}]), **options)
    assert told in str(error.value)


def test_a_stratified_sample_has_each_class_in_its_share():
    labels = ["a"] * 700 + ["b"] * 260 + ["c"] * 39 + ["d"]
    examples = from_lists([str(k) for k in range(1000)], labels)
    samples = [stratified_sample(examples, 100, seed) for seed in range(5)]
    for sample in samples:
        counts = np.bincount(examples.targets[sample], minlength=4)
        assert np.abs(counts - [70, 26, 3.9, 0]).max() <= 1
        assert counts[3] == 0, "a class's only example is for training"
        assert len(set(sample)) == len(sample) >= 99
    assert not np.array_equal(*samples[:2])
    np.testing.assert_array_equal(samples[0], stratified_sample(examples, 100, 0))
    assert len(stratified_sample(from_lists(["s", "t"], ["a", "b"]), 1)) == 1


def test_of_several_labels_the_rarest_is_in_its_share():
    labels = [["a"]] * 60 + [["a", "b"]] * 20 + [[]] * 20
    examples = from_lists([str(k) for k in range(100)], labels)
    sample = stratified_sample(examples, 10, 1)
    assert examples.targets[sample].sum(0).tolist() == [8, 2]
    assert len(sample) == 10
