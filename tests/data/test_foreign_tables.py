"""Tables of other people's shapes are read right, or refused in one line."""

import codecs
import csv
import gzip
import io
import random

import numpy as np
import pytest

import kerasformer as kf
from kerasformer.data import from_lists, load_classification, load_documents, load_tagging, load_translation
from kerasformer.data.files import read_lines
from kerasformer.errors import InputError

TEXTS = [
    "plain",
    "a, b; c",
    'he said "no"',
    '"all of it"',
    "naïve café",
    "  spaced  ",
    "100%",
    "semi;colon",
    "It's",
    "x=1",
]
ENCODINGS = ["utf-8", "utf-8", "utf-8-sig", "utf-16", "utf-16-be with mark", "utf-32", "latin-1", "utf-16-le"]


def foreign_table(seed, folder):
    """Writes a random table; returns its path, texts and labels, the options to read it with and whether it may be
    refused."""
    draw = random.Random(seed)
    separator, ending = draw.choice([(",", "csv"), (";", "csv"), ("\t", "csv"), ("\t", "tsv"), (";", "tsv")])
    encoding = draw.choice(ENCODINGS)
    quoting = draw.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC])
    line_end = draw.choice(["\n", "\r\n", "\r"])
    texts = [f"{draw.choice(TEXTS)} {number}" for number in range(draw.randrange(8, 40))]
    if line_end != "\r" and (ending == "csv" or quoting != csv.QUOTE_MINIMAL):
        texts[draw.randrange(len(texts))] = "two\nlines\n\nof text"
    if draw.random() < 0.3:
        texts[draw.randrange(len(texts))] = "word " * 30_000
    names = draw.choice([("negative", "positive"), ("0", "1"), ("Ja", "Nein")])
    labels = [names[number % 2] for number in range(len(texts))]
    options, (text, label) = (
        {},
        draw.choice([("text", "label"), ("Text", "LABEL"), (" Review ", "Label"), ("Tweet", "Mood")]),
    )
    if text == "Tweet":
        options = {"text_column": "tweet", "label_column": "MOOD"}
    missing = draw.random() < 0.15
    columns = {text: texts, label: labels if not missing else ["", *labels[1:]]}
    for extra in draw.sample(["", "id", "Date", "notes; more", "empty"], draw.randrange(3)):
        columns[extra] = [str(number) if extra != "empty" and number % 3 else "" for number in range(len(texts))]
    order = draw.sample(list(columns), len(columns))
    file = io.StringIO()
    writer = csv.writer(file, delimiter=separator, quoting=quoting, lineterminator=line_end)
    writer.writerows([order, *zip(*(columns[name] for name in order), strict=True)])
    mark = codecs.BOM_UTF16_BE if encoding.endswith("with mark") else b""
    content = mark + file.getvalue().encode(encoding.removesuffix(" with mark"))
    path = folder / f"table.{ending}"
    if draw.random() < 0.2:
        path, content = folder / f"table.{ending}.gz", gzip.compress(content)
    path.write_bytes(content)
    accents = any("é" in text for text in texts)
    return path, texts, labels, options, missing or encoding == "utf-16-le" or (encoding == "latin-1" and accents)


@pytest.mark.parametrize("seed", range(20))
def test_random_tables(seed, tmp_path):
    path, texts, labels, options, is_refused = foreign_table(seed, tmp_path)
    if is_refused:
        with pytest.raises(InputError) as caught:
            load_classification(path, **options)
        assert str(caught.value).startswith(f"{path}:")
        assert "\n" not in str(caught.value)
        return
    examples = load_classification(path, **options)
    assert examples.texts.tolist() == texts
    assert [examples.label_names[label] for label in examples.targets] == labels


def test_the_random_tables_are_of_many_shapes(tmp_path):
    refused = [foreign_table(seed, tmp_path)[-1] for seed in range(20)]
    assert 2 <= sum(refused) <= 10


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", 'text;label\n"a; b, c";x\nd, e;y\n'),
        ("a.csv", "sep=;\ntext;label\na; b, c;x\n".replace("a; b, c", '"a; b, c"') + "d, e;y\n"),
        ("a.csv", "text\tlabel\na; b, c\tx\nd, e\ty\n"),
        ("a.csv", 'text,label,,\n"a; b, c",x,,\n"d, e",y,,\n'),
        ("a.csv", 'text,label\n"a; b, c",x,,\n"d, e",y\n'),
        ("a.tsv", '"text"\t"label"\n"a; b, c"\t"x"\n"d, e"\t"y"\n'),
        ("a.csv", 'text,label\r\r\n"a; b, c",x\r\r\n"d, e",y\r\r\n'),
    ],
)
def test_separators_are_found(name, content, write):
    examples = load_classification(write(name, content))
    assert examples.texts.tolist() == ["a; b, c", "d, e"]
    assert examples.label_names == ("x", "y")


def test_a_column_of_sentences_is_not_cut_at_commas(write):
    path = write("a.tsv", "text\nHello, world\nThis; that, too\n")
    assert load_classification(path).texts.tolist() == ["Hello, world", "This; that, too"]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_marks_are_read_in_every_format(encoding, write, tmp_path):
    # U+0A0A and U+0D0A hold the bytes of line ends.
    text = "ਊ ഊ naïve"
    lines = write("a.txt", f"{text}\n\nlast".encode(encoding))
    assert [line for _, line in read_lines(lines)] == [text, "", "last"]
    record = write("a.jsonl", f'{{"text": "{text}", "label": "x"}}\n'.encode(encoding))
    assert load_classification(record).texts.tolist() == [text]
    tagged = write("b.txt", f"{text.split()[0]} B-x\n".encode(encoding))
    assert load_tagging(tagged).words[0] == (text.split()[0],)


def test_capitals_in_every_loader(write):
    path = write("a.jsonl", [{"Text": "One. Two.", "Summary": "One."}])
    assert load_documents(path).summaries[0] == ("One.",)
    path = write("b.jsonl", [{"EN": "a", "De": "b"}])
    assert load_translation(path, "en", "de").pairs.tolist() == ["b"]
    path = write("c.jsonl", [{"Tokens": ["a"], "Tags": ["B-x"]}])
    assert load_tagging(path).entity_types == ("x",)
    path = write("d.csv", "Sentence1,SENTENCE2,Score\na,b,1.5\n")
    examples = load_classification(path)
    assert (examples.pairs.tolist(), examples.targets.tolist()) == (["b"], [1.5])


def test_an_exact_name_wins_over_one_in_capitals(write):
    path = write("a.csv", "Text,text,label,LABEL\nno,yes,1,0\nno,yes,0,1\n")
    examples = load_classification(path)
    assert (examples.texts.tolist(), examples.targets.tolist()) == (["yes", "yes"], [1, 0])
    with pytest.raises(InputError, match="expected a field text"):
        load_classification(write("b.csv", "Text,TEXT\na,b\n"))


def test_columns_by_name(write):
    path = write("a.csv", "Body,Other,Mood,label\na,b,x,1\nc,d,y,0\n")
    examples = load_classification(path, text_column="body", pair_column="OTHER", label_column="mood")
    assert (examples.texts.tolist(), examples.pairs.tolist()) == (["a", "c"], ["b", "d"])
    assert examples.label_names == ("x", "y")
    with pytest.raises(InputError, match=r"a\.csv:2: expected one field 'tweet'\. Received the fields Body, Other"):
        load_classification(path, text_column="tweet")
    with pytest.raises(InputError, match="needs a text column"):
        load_classification(path, pair_column="other")
    with pytest.raises(InputError, match="--text-column"):
        load_classification(path)


@pytest.mark.parametrize(
    ("labels", "names", "targets"),
    [
        (["no", "yes"], ("no", "yes"), [0, 1]),
        ([1, 0], ("0", "1"), [1, 0]),
        (np.array([0, 1]), ("0", "1"), [0, 1]),
        ([0.5, 2], None, [0.5, 2]),
        (None, None, None),
    ],
)
def test_lists(labels, names, targets):
    examples = from_lists(["a", "b"], labels)
    assert examples.label_names == names
    assert targets is None or examples.targets.tolist() == targets
    assert kf.data.batches(examples, 2).cardinality() == 1


def test_lists_of_pairs_and_named_labels():
    examples = from_lists(np.array(["a", "b"]), [1, 0], pairs=("c", "d"), label_names=("no", "yes"))
    assert examples.pairs.tolist() == ["c", "d"]
    assert (examples.label_names, examples.targets.tolist()) == (("no", "yes"), [1, 0])


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((["a", None], [0, 1]), "item 1: expected a string in the field 'text'. Received None"),
        ((["a", 5], [0, 1]), "item 1: expected a string in the field 'text'. Received 5"),
        ((["a", float("nan")], [0, 1]), "item 1: expected a string"),
        ((["a", "b"], [0, None]), "item 1: no label"),
        ((["a", "b"], ["x", float("nan")]), "Received"),
        ((["a", "b"], [0]), "2 of text, 1 of label"),
        (("ab", [0, 1]), "must be a list. Received: 'ab'"),
        (([], []), "expected at least one record"),
        ((["a", b"b"], [0, 1]), "item 1: expected a string"),
    ],
)
def test_lists_that_are_refused(arguments, told):
    with pytest.raises(InputError) as caught:
        from_lists(*arguments)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_data_frame():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"Text": ["a", "b", "c"], "Label": ["x", "y", "x"], "n": [1, 2, None]})
    examples = load_classification(frame)
    assert (examples.texts.tolist(), examples.targets.tolist()) == (["a", "b", "c"], [0, 1, 0])
    categories = frame.assign(Label=frame["Label"].astype("category"), Text=frame["Text"].astype("string"))
    assert load_classification(categories).targets.tolist() == [0, 1, 0]
    with pytest.raises(InputError, match=r"DataFrame: row 1: expected a string in the field 'Text'\. Received None"):
        load_classification(frame.assign(Text=["a", None, "c"]))
    with pytest.raises(InputError, match="DataFrame: row 2: no label"):
        load_classification(frame, label_column="n")
    with pytest.raises(InputError, match="different names"):
        load_classification(pandas.concat([frame, frame], axis=1))


def test_docstart_ends_a_sentence(write):
    path = write("t.txt", "-DOCSTART- O\nEU B-ORG\nrejects O\n-DOCSTART- -X- O\nPeter B-PER\nBlackburn I-PER\n")
    assert [list(words) for words in load_tagging(path).words] == [["EU", "rejects"], ["Peter", "Blackburn"]]
