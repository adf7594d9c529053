import csv
import io

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kerasformer.data import read_records
from kerasformer.errors import InputError

CELLS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r"))


def records(source):
    return [record for record, _ in read_records(source)]


@pytest.mark.parametrize("gz", ["", ".gz"])
def test_csv_quotes_and_tells_the_first_line_of_a_row(write, gz):
    path = write(f"a.csv{gz}", '\ufefftext, label\r\n"two\nlines, ""quoted""",1\n\nplain,0')
    assert list(read_records(path)) == [
        ({"text": 'two\nlines, "quoted"', "label": "1"}, f"{path}:2"),
        ({"text": "plain", "label": "0"}, f"{path}:5"),
    ]


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(CELLS, CELLS)))
def test_csv_reads_what_python_writes(write, rows):
    file = io.StringIO()
    csv.writer(file).writerows([("a", "b"), *rows])
    assert records(write("a.csv", file.getvalue())) == [{"a": a, "b": b} for a, b in rows]


@pytest.mark.parametrize("gz", ["", ".gz"])
def test_tsv_takes_quotation_marks_as_text(write, gz):
    rows = [('"to be', "1"), ('or" not', "0"), ('"to be"', "1"), ("that\u2028is", "0")]
    path = write(f"a.tsv{gz}", "sentence\tlabel\n" + "".join(f"{text}\t{label}\n" for text, label in rows))
    assert records(path) == [{"sentence": text, "label": label} for text, label in rows]


def test_tsv_quoted_by_a_spreadsheet(write):
    texts = ['he said "no"', '"all of it"', "none"]
    file = io.StringIO()
    csv.writer(file, delimiter="\t").writerows([("text", "label"), *((text, 0) for text in texts)])
    assert [record["text"] for record in records(write("a.tsv", file.getvalue()))] == texts


@pytest.mark.parametrize(
    ("rows", "names"),
    [
        (["1\tgood", "0\tbad film"], ("label", "text")),
        (["good\t1", "bad film\t-1", "1984\t1"], ("text", "label")),
        (["positive\tgood film", "negative\tbad film", "positive\tso good", "negative\tno, no"], ("label", "text")),
        (["good film\tpositive", "bad film\tnegative", "good\tpositive", "no, no\tpositive"], ("text", "label")),
    ],
)
def test_two_columns_without_header(write, rows, names):
    path = write("a.tsv", "\n".join(rows))
    expected = [(dict(zip(names, row.split("\t"), strict=True)), f"{path}:{k}") for k, row in enumerate(rows, 1)]
    assert list(read_records(path)) == expected


@pytest.mark.parametrize(
    "rows",
    [
        ["text\tlabel", "good film\t1", "bad film\t0"],
        ["0\t1", "good film\t1", "bad film\t0"],
        ["rating\tremark", "good\tgood film", "bad\tbad film", "good\tso good", "bad\tno, no"],
        ["en\tde", "a dog\tein Hund", "a cat\teine Katze"],
        ["1\t2", "3\t4"],
        ["a\tb\tc", "1\tgood film\tx", "0\tbad film\ty"],
    ],
)
def test_first_row_is_the_header_wherever_in_doubt(write, rows):
    header, *rest = (row.split("\t") for row in rows)
    assert records(write("a.tsv", "\n".join(rows))) == [dict(zip(header, row, strict=True)) for row in rest]


def test_tokens_and_tags_are_no_texts_and_labels(write):
    path = write("a.tsv", "of\tO\nAPC2\tO\n\nthe\tO\ngene\tB-Gene\nof\tO\n")
    assert list(records(path)[0]) == ["of", "O"]


@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
def test_empty_tables(write, name):
    assert records(write(name, "")) == records(write(name, "\n")) == records(write(name, "text\n")) == []


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.csv", "text,label\ngood,1\ngood, better,1\n", r"a\.csv:3: expected 2 columns \(text, label\)\. Received 3"),
        ("a.tsv", "text\tlabel\ngood\n", r"a\.tsv:2: expected 2 columns \(text, label\)\. Received 1"),
        ("a.csv", 'text,label\n\n"never ends,1\n', r"a\.csv:3: expected comma-separated values \(unexpected end"),
        ("a.csv", 'text,label\n"a"b,1\n', r"a\.csv:2: expected comma-separated values"),
        ("a.tsv", "text\ttext\na\tb\n", r"a\.tsv:1: the columns must have different names"),
    ],
)
def test_bad_tables(write, name, content, expected):
    with pytest.raises(InputError, match=expected):
        records(write(name, content))
