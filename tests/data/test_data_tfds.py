import shutil

import numpy as np
import pytest
import tensorflow_datasets as tfds

from kerasformer.data import load_classification, load_questions, load_translation, read_label_names, read_records
from kerasformer.errors import InputError

SENTENCES = [("good film ✓", 1), ("bad film", 0), ("", 1), ("so-so\u2028film", 0)]


class KfReviews(tfds.core.GeneratorBasedBuilder):
    """Features as those of imdb_reviews, in more than one file."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        label = tfds.features.ClassLabel(names=["neg", "pos"])
        features = tfds.features.FeaturesDict({"text": tfds.features.Text(), "label": label})
        return tfds.core.DatasetInfo(builder=self, features=features)

    def _split_generators(self, dl_manager):
        return {
            "train": self._generate_examples(700),
            "test": self._generate_examples(3),
            "unsupervised": _unlabelled(),
        }

    def _generate_examples(self, count):
        for index in range(count):
            yield index, {"text": f"review {index}", "label": index % 2}


def _unlabelled():
    for index in range(3):
        yield index, {"text": f"review {index}", "label": -1}


class KfGlue(tfds.core.GeneratorBasedBuilder):
    """Features and configurations as those of glue/sst2 and glue/stsb."""

    VERSION = tfds.core.Version("2.0.0")
    BUILDER_CONFIGS = [tfds.core.BuilderConfig(name="sst2"), tfds.core.BuilderConfig(name="stsb")]  # noqa: RUF012

    def _info(self):
        features = {"idx": np.int32}
        if self.builder_config.name == "sst2":
            features |= {
                "sentence": tfds.features.Text(),
                "label": tfds.features.ClassLabel(names=["negative", "positive"]),
            }
        else:
            features |= {"sentence1": tfds.features.Text(), "sentence2": tfds.features.Text(), "label": np.float32}
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        return {"validation": self._generate_examples()}

    def _generate_examples(self):
        for index, (text, label) in enumerate(SENTENCES):
            if self.builder_config.name == "sst2":
                yield index, {"sentence": text, "label": label, "idx": index}
            else:
                yield index, {"sentence1": text, "sentence2": text[::-1], "label": label + 1.5, "idx": index}


class KfNested(tfds.core.GeneratorBasedBuilder):
    """Features of no fixed shape, as question answering has them."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        answers = tfds.features.Sequence({"text": tfds.features.Text(), "start": np.int32})
        words = tfds.features.Sequence(tfds.features.Sequence(tfds.features.Text()))
        features = tfds.features.FeaturesDict({"text": tfds.features.Text(), "answers": answers, "words": words})
        return tfds.core.DatasetInfo(builder=self, features=features)

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        yield 0, {"text": "a é", "answers": [{"text": "é", "start": 2}], "words": [["a"], ["é", "!"]]}
        yield 1, {"text": "b", "answers": [], "words": []}


class KfSquad(tfds.core.GeneratorBasedBuilder):
    """Features as those of squad."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        text = tfds.features.Text()
        answers = tfds.features.Sequence({"text": text, "answer_start": np.int32})
        features = tfds.features.FeaturesDict(
            {"id": np.str_, "title": text, "context": text, "question": text, "answers": answers}
        )
        return tfds.core.DatasetInfo(builder=self, features=features)

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        context = "Zoë saw Bob."
        more = {"id": "7", "title": "t", "context": context, "question": "Who saw Bob?"}
        yield 0, more | {"answers": {"text": ["Zoë", "Zoë saw"], "answer_start": [0, 0]}}
        yield 1, more | {"id": "8", "question": "Whom?", "answers": {"text": ["Bob"], "answer_start": [8]}}


class KfTranslate(tfds.core.GeneratorBasedBuilder):
    """Features as those of wmt14_translate and ted_hrlr_translate."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = tfds.features.Translation(languages=("de", "en"))
        return tfds.core.DatasetInfo(builder=self, features=features, supervised_keys=("de", "en"))

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        for index in range(3):
            yield index, {"de": f"Straße {index}", "en": f"road {index}"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A TFDS_DATA_DIR where they are prepared."""
    path = tmp_path_factory.mktemp("tfds")
    three_files = tfds.download.DownloadConfig(num_shards=3)
    tfds.builder("kf_reviews", data_dir=path).download_and_prepare(download_config=three_files)
    for name in ("kf_glue/sst2", "kf_glue/stsb", "kf_nested", "kf_squad", "kf_translate"):
        tfds.builder(name, data_dir=path).download_and_prepare()
    return path


@pytest.fixture
def prepared(folder, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(folder))
    return folder


def error_of(source):
    with pytest.raises(InputError) as caught:
        load_classification(source)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.usefixtures("prepared")
def test_questions():
    data = load_questions("tfds:kf_squad:train")
    order = np.argsort(data.questions)[::-1]  # TFDS shuffles
    data = data.select(order)
    assert data.questions.tolist() == ["Whom?", "Who saw Bob?"]
    assert data.answers.tolist() == [("Bob",), ("Zoë", "Zoë saw")]
    assert [data.starts.tolist(), data.ends.tolist()] == [[9, 0], [12, 4]]
    assert not data.repaired + data.skipped


@pytest.mark.usefixtures("prepared")
def test_translations():
    data = load_translation("tfds:kf_translate:train", "en", "de")
    assert sorted(data.texts) == [f"road {index}" for index in range(3)]
    assert data.pairs.tolist() == [text.replace("road", "Straße") for text in data.texts]
    with pytest.raises(InputError, match="'fr'"):
        load_translation("tfds:kf_translate:train", "en", "fr")


@pytest.mark.usefixtures("prepared")
def test_text_and_label():
    examples = load_classification("tfds:kf_reviews:train")
    assert sorted(examples.texts, key=lambda text: int(text.split()[1])) == [f"review {k}" for k in range(700)]
    assert examples.targets.tolist() == [int(text.split()[1]) % 2 for text in examples.texts]
    assert examples.label_names == read_label_names("tfds:kf_reviews:train") == ("neg", "pos")
    assert load_classification("tfds:kf_reviews:train").texts.tolist() == examples.texts.tolist()
    assert load_classification("tfds:kf_reviews:1.0.0:train[:10%]").texts.tolist() == examples.texts.tolist()[:70]
    assert load_classification("tfds:kf_reviews:test+train[:1]").texts.tolist()[3:] == examples.texts.tolist()[:1]


@pytest.mark.usefixtures("prepared")
def test_configuration_with_sentence_label_idx():
    examples = load_classification("tfds:kf_glue/sst2:validation", label_names=("positive", "negative"))
    assert set(zip(examples.texts, (1 - examples.targets).tolist(), strict=True)) == set(SENTENCES)
    record, where = next(read_records("tfds:kf_glue/sst2:validation"))
    assert where == "tfds:kf_glue/sst2:validation: record 1"
    assert {name: type(value) for name, value in record.items()} == {"sentence": str, "label": int, "idx": int}


@pytest.mark.usefixtures("prepared")
def test_float_label_is_a_score():
    examples = load_classification("tfds:kf_glue/stsb:validation")
    assert examples.label_names is None
    assert {*zip(examples.texts, examples.pairs, examples.targets.tolist(), strict=True)} == {
        (text, text[::-1], label + 1.5) for text, label in SENTENCES
    }


@pytest.mark.usefixtures("prepared")
def test_label_minus_one_is_no_label():
    examples = load_classification("tfds:kf_reviews:unsupervised")
    assert len(examples) == 3
    assert examples.targets is None
    assert "no label or score" in error_of("tfds:kf_reviews:test+unsupervised")


@pytest.mark.usefixtures("prepared")
def test_nested_features_become_plain_values():
    records = {record["text"]: record for record, _ in read_records("tfds:kf_nested:train")}
    assert records["a é"] == {"text": "a é", "answers": {"text": ["é"], "start": [2]}, "words": [["a"], ["é", "!"]]}
    assert records["b"] == {"text": "b", "answers": {"text": [], "start": []}, "words": []}


@pytest.mark.parametrize(
    ("ours", "name", "source", "names", "count"),
    [
        ("kf_glue", "glue", "tfds:glue/sst2:validation", ("negative", "positive"), 4),
        ("kf_reviews", "imdb_reviews", "tfds:imdb_reviews:train", ("neg", "pos"), 700),
        ("kf_glue", "of_nobody", "tfds:of_nobody/sst2:validation", ("negative", "positive"), 4),
    ],
)
def test_prepared_folder_is_enough(folder, tmp_path, monkeypatch, ours, name, source, names, count):
    """Prepared elsewhere, under the names of real data sets and of one whose builder is not at hand."""
    shutil.copytree(folder / ours, tmp_path / name)
    for path in sorted(tmp_path.rglob("*")):
        if path.name == "dataset_info.json":
            path.write_text(path.read_text().replace(f'"{ours}"', f'"{name}"'))
        elif path.name.startswith(f"{ours}-"):
            path.rename(path.with_name(path.name.replace(ours, name)))
    if name == "imdb_reviews":
        (tmp_path / name / "1.0.0").rename(tmp_path / name / "moved")
        (tmp_path / name / "plain_text").mkdir()
        (tmp_path / name / "moved").rename(tmp_path / name / "plain_text" / "1.0.0")
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    examples = load_classification(source)
    assert len(examples) == count
    assert examples.label_names == names


@pytest.mark.usefixtures("prepared")
def test_unknown_names():
    unknown_split = error_of("tfds:kf_reviews:dev")
    assert unknown_split.startswith("tfds:kf_reviews:dev: cannot read the split 'dev' (Unknown split ")
    assert unknown_split.endswith("Those of kf_reviews: test, train, unsupervised.")
    assert error_of("tfds:no_such_data:train").startswith(
        "tfds:no_such_data:train: tensorflow-datasets cannot load 'no_such"
    )
    assert "tensorflow-datasets cannot load 'kf_glue/cola'" in error_of("tfds:kf_glue/cola:validation")
    assert error_of("tfds:kf_reviews").startswith("Expected tfds:NAME[/CONFIG]:SPLIT, such as")
    assert "cannot load 'kf_reviews:9.0.0'" in error_of("tfds:kf_reviews:9.0.0:train")


def test_neither_prepared_nor_to_be_had(tmp_path, monkeypatch):
    class KfFarAway(KfReviews):
        def _split_generators(self, dl_manager):
            raise ConnectionError("no route to host\nand a second line")

    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    assert error_of("tfds:kf_far_away:train") == (
        f"tfds:kf_far_away:train: kf_far_away is not prepared in {tmp_path}/kf_far_away/1.0.0, and cannot be "
        "downloaded (no route to host); set TFDS_DATA_DIR to the folder where it is."
    )


def test_damaged_record_file(folder, tmp_path, monkeypatch):
    shutil.copytree(folder / "kf_nested", tmp_path / "kf_nested")
    (file,) = tmp_path.glob("kf_nested/1.0.0/*tfrecord*")
    file.write_bytes(file.read_bytes()[:-5])
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    assert "tfds:kf_nested:train: damaged" in error_of("tfds:kf_nested:train")
