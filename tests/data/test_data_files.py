import gzip
import json
import re

import fresh
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kerasformer.data import read_label_names, read_records
from kerasformer.data.files import find_files, read_lines
from kerasformer.errors import InputError

# U+2028, U+0085 and the form feed end a line for `str.splitlines`, not here.
RECORDS = [
    {"text": "one\u2028two\u0085\f", "label": 1},
    {"text": "", "label": 0},
    {"text": '"quoted"\ttab', "label": 1},
]


def records(source):
    return [record for record, _ in read_records(source)]


def error_of(source):
    with pytest.raises(InputError) as caught:
        list(read_records(source))
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("ending", [".jsonl", ".jsonl.gz", ".JSONL"])
def test_jsonl(write, ending):
    path = write(f"part{ending}", RECORDS)
    assert list(read_records(path)) == [(record, f"{path}:{k}") for k, record in enumerate(RECORDS, start=1)]


@pytest.mark.parametrize("gz", ["", ".gz"])
@pytest.mark.parametrize("form", ["list", "data", "lines", "one"])
def test_json(write, form, gz):
    expected = RECORDS[:1] if form == "one" else RECORDS
    content = {
        "list": json.dumps(RECORDS, indent=1),
        "data": json.dumps({"version": 2, "data": RECORDS}),
        "lines": RECORDS,
        "one": json.dumps(RECORDS[0]),
    }[form]
    assert records(write(f"part.json{gz}", content)) == expected


@pytest.mark.parametrize("gz", ["", ".gz"])
def test_txt_gives_a_record_a_line_with_its_line_number(write, gz):
    path = write(f"texts.txt{gz}", "\ufefffirst\u2028still first\r\n\n  second \nlast")
    assert list(read_records(path)) == [
        ({"text": "first\u2028still first"}, f"{path}:1"),
        ({"text": "  second "}, f"{path}:3"),
        ({"text": "last"}, f"{path}:4"),
    ]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]))), st.sampled_from(["t.jsonl", "t.jsonl.gz"]))
def test_jsonl_round_trip(write, texts, name):
    assert [record["text"] for record in records(write(name, [{"text": text} for text in texts]))] == texts


def test_folder_and_glob_read_their_files_in_sorted_order(write, tmp_path):
    write("part-10.jsonl.gz", RECORDS[:1])
    write("part-02.csv", "text,label\ncomma,7\n")
    write("labels.json", '["no", "yes"]')
    write("README.md", "not data")
    write(".part-00.jsonl", "not data")
    write("deeper/part-11.jsonl", RECORDS[1:])
    assert records(tmp_path) == records(f"{tmp_path}/*") == [{"text": "comma", "label": "7"}, RECORDS[0]]
    assert records(f"{tmp_path}/**/*.jsonl*") == [*RECORDS[1:], RECORDS[0]]


def test_a_file_whose_name_looks_like_a_glob_is_that_file(write):
    assert records(write("part[1].jsonl", RECORDS)) == RECORDS


def test_folder_with_several_splits_is_refused(write, tmp_path):
    write("train-00000.jsonl", RECORDS)
    write("dev.jsonl.gz", RECORDS)
    assert "several splits (dev.jsonl.gz, train-00000.jsonl)" in error_of(tmp_path)
    assert records(f"{tmp_path}/*.jsonl") == RECORDS


def test_folders_without_data_files(write, tmp_path):
    assert "no file here ends in one of .jsonl" in error_of(tmp_path)
    assert "no file here ends in one of .jsonl" in error_of(f"{tmp_path}/*.jsonl")
    write("train/data-00000-of-00001.arrow", b"")
    write("dataset_dict.json", '{"splits": ["train"]}')
    assert f"name it as hf:{tmp_path}:SPLIT" in error_of(tmp_path)


def test_missing_file_tells_the_nearest_name(write, tmp_path):
    write("train.jsonl.gz", RECORDS)
    write("tests.jsonl", RECORDS)
    assert error_of(tmp_path / "train.jsonl").endswith(f"Did you mean {tmp_path}/train.jsonl.gz?")
    assert error_of(tmp_path / "trian.jsonl.gz").endswith(f"Did you mean {tmp_path}/train.jsonl.gz?")
    assert error_of(tmp_path / "qqq.jsonl").endswith("qqq.jsonl: no such file or folder.")
    assert error_of(tmp_path / "nowhere" / "train.jsonl").endswith(f"no folder {tmp_path}/nowhere.")


def test_wrong_ending(write):
    assert "must end in one of .jsonl, .json, .tsv, .csv, .txt, each also with .gz" in error_of(write("a.parquet", b""))


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.jsonl", '{"text": "fine"}\n\n{"text": "cut\n', r"a\.jsonl:3: expected JSON\. Received '\{\"text\": \"cut'"),
        ("a.jsonl.gz", '{"text": "fine"}\n["no names"]\n', r"a\.jsonl\.gz:2: expected a JSON object"),
        ("a.jsonl", '{"label": ' + "9" * 5000 + "}", r"a\.jsonl:1: expected JSON"),
        ("a.jsonl", "[" * 100_000, r"a\.jsonl:1: expected JSON"),
        (
            "a.json",
            '[{"text": "fine"},\n{"text": oops}]',
            r"a\.json:2: expected JSON\. Received '\{\"text\": oops\}\]'",
        ),
        ("a.json", '[{"text": "fine"}, 5]', r"a\.json: record 2: expected a JSON object"),
        ("a.json", '"text"', r"a\.json: expected a JSON list of objects"),
        ("a.txt", b"fine\nna\xefve\n", r"a\.txt:2: expected UTF-8 text\. Received byte 0xef .* at position 2"),
        ("a.txt", "UTF-16".encode("utf-16-le"), r"a\.txt:1: expected UTF-8 text\. Received NUL bytes, as of UTF-16"),
        ("a.txt", "two\nlines".encode("utf-16")[:-1], r"a\.txt:2: expected UTF-16-LE text"),
        ("a.csv.gz", b"text,label\nfine,1\n\xff,0\n", r"a\.csv\.gz:3: expected UTF-8 text"),
    ],
)
def test_bad_content_tells_file_and_line(write, name, content, expected):
    assert re.search(expected, error_of(write(name, content)))


def test_damaged_gzip(write):
    whole = gzip.compress("".join(f'{{"text": "{k * 7919}"}}\n' for k in range(2000)).encode())
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 0xFF
    for content in (b"not gzip at all", whole[: len(whole) // 2], bytes(flipped), whole[:-6] + b"\0\0\0\0\0\0"):
        path = write("a.jsonl", b"").with_name("b.jsonl.gz")
        path.write_bytes(content)
        with pytest.raises(
            InputError, match=r"b\.jsonl\.gz: damaged gzip data after line \d+ \(.*\); fetch the file"
        ) as e:
            list(read_lines(path))
        assert "\n" not in str(e.value)


def test_label_names_stand_beside_the_file_or_in_the_folder_above(write, tmp_path):
    nearer, farther = write("a/train.jsonl", RECORDS), write("b/train.jsonl", RECORDS)
    assert read_label_names(nearer) is None
    write("labels.json", '["no", "yes"]')
    write("a/labels.json", '["nein", "ja"]')
    assert read_label_names(nearer) == ("nein", "ja")
    assert read_label_names(farther) == ("no", "yes")
    with pytest.raises(InputError, match=r"must be the same. Received: .*a/labels.json \['nein', 'ja'\]"):
        read_label_names(f"{tmp_path}/*/train.jsonl")


@pytest.mark.parametrize("content", ['{"0": "no"}', "[]", "[0, 1]", '["no", "no"]', "no"])
def test_bad_label_names(write, content):
    path = write("train.jsonl", RECORDS)
    write("labels.json", content)
    with pytest.raises(InputError, match=r"labels\.json"):
        read_label_names(path)


def test_read_lines_numbers_every_line(write):
    assert list(read_lines(write("a.txt", "one\n\nthree\r\n\r\rfive"))) == [
        (1, "one"),
        (2, ""),
        (3, "three"),
        (4, "\r\rfive"),
    ]
    assert find_files(write("b.txt.gz", "x"))[0].name == "b.txt.gz"


def test_import_leaves_the_heavy_readers_alone():
    # Keras imports pandas where it is installed, and pandas pyarrow: forgotten, to see what we import ourselves.
    code = """
import sys
for name in [name for name in sys.modules if name.partition(".")[0] in ("pandas", "pyarrow")]:
    del sys.modules[name]
sys.modules["pandas"] = None
import kerasformer.data
print({"pyarrow", "tensorflow_datasets"} & set(sys.modules))
"""
    assert fresh.run("-c", code).stdout == "set()\n"
