import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kerasformer.data import load_classification, read_label_names, read_records
from kerasformer.errors import InputError

FEATURES = {
    "text": {"dtype": "string", "_type": "Value"},
    "label": {"names": ["neg", "pos"], "_type": "ClassLabel"},
}
ROWS = [{"text": f"text {k} ✓", "label": k % 2} for k in range(10)]


def table(rows, features=FEATURES):
    made = pa.Table.from_pylist(rows)
    if features is None:
        return made
    return made.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})


def save_arrow(folder, rows, *, files=1, features=FEATURES, split=None, metadata=True):
    """Writes what `Dataset.save_to_disk` writes."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"data-{k:05d}-of-{files:05d}.arrow" for k in range(files)]
    for k, name in enumerate(names):
        part = table(rows[k * len(rows) // files : (k + 1) * len(rows) // files], features if metadata else None)
        with pa.OSFile(str(folder / name), "wb") as file, pa.ipc.new_stream(file, part.schema) as stream:
            stream.write_table(part, max_chunksize=3)
    state = {"_data_files": [{"filename": name} for name in names], "_split": split, "_fingerprint": "0"}
    (folder / "state.json").write_text(json.dumps(state))
    (folder / "dataset_info.json").write_text(json.dumps({"features": features, "splits": None}))


def save_arrow_splits(folder, **options):
    """Writes what `DatasetDict.save_to_disk` writes."""
    folder.mkdir()
    (folder / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    save_arrow(folder / "train", ROWS, files=3, split="train", **options)
    save_arrow(folder / "test", ROWS[:2], split="test", **options)


def save_parquet(path, rows=ROWS, features=FEATURES):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table(rows, features), path)


def error_of(source):
    with pytest.raises(InputError) as caught:
        load_classification(source)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def check(folder):
    examples = load_classification(f"hf:{folder}:train")
    assert examples.texts.tolist() == [row["text"] for row in ROWS]
    assert examples.targets.tolist() == [row["label"] for row in ROWS]
    assert examples.label_names == ("neg", "pos")
    assert len(load_classification(f"hf:{folder}:test")) == 2


@pytest.mark.parametrize("metadata", [True, False])
def test_saved_dataset_dict(tmp_path, metadata):
    save_arrow_splits(tmp_path / "d", metadata=metadata)
    check(tmp_path / "d")
    places = [where for _, where in read_records(f"hf:{tmp_path}/d:train")]
    assert places[3:5] == [
        f"{tmp_path}/d/train/data-00001-of-00003.arrow: record 1",
        f"{tmp_path}/d/train/data-00001-of-00003.arrow: record 2",
    ]


@pytest.mark.parametrize("split", [None, "train"])
def test_saved_dataset(tmp_path, split):
    save_arrow(tmp_path / "d", ROWS, files=2, split=split)
    assert len(load_classification(f"hf:{tmp_path}/d:train")) == 10
    assert "no split 'test'. Those of" in error_of(f"hf:{tmp_path}/d:test")


def test_a_folder_name_may_hold_a_colon(tmp_path):
    save_arrow_splits(tmp_path / "d:1")
    check(tmp_path / "d:1")


@pytest.mark.parametrize(
    "pattern",
    ["{}.parquet", "{}-00000-of-00001.parquet", "data/{}-00000-of-00001-a09b74b3ef9c3b56.parquet", "{}/0000.parquet"],
)
def test_parquet(tmp_path, pattern):
    save_parquet(tmp_path / pattern.format("train"))
    save_parquet(tmp_path / pattern.format("test"), ROWS[:2])
    check(tmp_path)


def test_parquet_in_several_files(tmp_path):
    for k in range(2):
        save_parquet(tmp_path / f"data/train-0000{k}-of-00002.parquet", ROWS[5 * k : 5 * k + 5])
    save_parquet(tmp_path / "data/test-00000-of-00001.parquet", ROWS[:2])
    check(tmp_path)
    (tmp_path / "data/train-00001-of-00002.parquet").unlink()
    assert "expected 2 files of this split. Found 1" in error_of(f"hf:{tmp_path}:train")
    assert len(load_classification(f"hf:{tmp_path}:test")) == 2


def test_names_come_from_the_data_where_no_class_label_is_declared(tmp_path):
    rows = [{"sentence1": "a", "sentence2": "b", "label": "yes"}, {"sentence1": "c", "sentence2": "d", "label": "no"}]
    features = {name: {"dtype": "string", "_type": "Value"} for name in rows[0]}
    for folder, declared in (("declared", features), ("bare", None)):
        save_parquet(tmp_path / folder / "train.parquet", rows, declared)
        assert read_label_names(f"hf:{tmp_path}/{folder}:train") is None
        examples = load_classification(f"hf:{tmp_path}/{folder}:train")
        assert examples.label_names == ("no", "yes")
        assert examples.pairs.tolist() == ["b", "d"]


def test_float_label_is_a_score_and_minus_one_no_label(tmp_path):
    save_parquet(tmp_path / "train.parquet", [{"text": "a", "label": 4.5}, {"text": "b", "label": 3.0}], None)
    assert load_classification(f"hf:{tmp_path}:train").targets.tolist() == [4.5, 3.0]
    save_parquet(tmp_path / "test.parquet", [{"text": "a", "label": -1}] * 2)
    assert load_classification(f"hf:{tmp_path}:test").targets is None
    save_parquet(tmp_path / "dev.parquet", [{"text": "a", "label": -1.0}, {"text": "b", "label": 0.5}], None)
    assert load_classification(f"hf:{tmp_path}:dev").targets.tolist() == [-1.0, 0.5]


def test_missing_folder_split_and_files(tmp_path):
    save_arrow_splits(tmp_path / "d")
    assert (
        error_of(f"hf:{tmp_path}/d:dev") == f"hf:{tmp_path}/d:dev: no split 'dev'. Those of {tmp_path}/d: test, train."
    )
    assert error_of(f"hf:{tmp_path}/nope:train") == f"hf:{tmp_path}/nope:train: no folder {tmp_path}/nope."
    (tmp_path / "empty").mkdir()
    assert "holds neither Arrow nor Parquet files" in error_of(f"hf:{tmp_path}/empty:train")
    assert error_of("hf:folder").startswith("Expected hf:FOLDER:SPLIT, such as")
    (tmp_path / "d/train/data-00001-of-00003.arrow").unlink()
    assert error_of(f"hf:{tmp_path}/d:train").endswith(
        "data-00001-of-00003.arrow: no such file, though state.json beside it lists it."
    )


def test_text_that_is_not_utf8(tmp_path):
    text = pa.StringArray.from_buffers(1, pa.py_buffer(b"\0\0\0\0\3\0\0\0"), pa.py_buffer(b"na\xef"))
    pq.write_table(pa.table({"text": text}), tmp_path / "train.parquet")
    assert "train.parquet: the file is damaged or of another format ('utf-8' codec" in error_of(f"hf:{tmp_path}:train")


@pytest.mark.parametrize("cut", [0, 20, -300])
def test_damaged_files(tmp_path, cut):
    save_arrow(tmp_path / "arrow", ROWS)
    save_parquet(tmp_path / "parquet/train.parquet")
    for folder in ("arrow", "parquet"):
        (path,) = [*tmp_path.glob(f"{folder}/*.arrow"), *tmp_path.glob(f"{folder}/*.parquet")]
        path.write_bytes(path.read_bytes()[:cut])
        assert f"{path}: the file is damaged or of another format" in error_of(f"hf:{tmp_path}/{folder}:train")


def test_damaged_state(tmp_path):
    save_arrow(tmp_path / "d", ROWS)
    (tmp_path / "d/state.json").write_text("{oops")
    assert "state.json:1: expected JSON" in error_of(f"hf:{tmp_path}/d:train")
