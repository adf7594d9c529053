"""The recipe of pretraining, run on a little text as its users run it."""

import importlib.util
import json
import pathlib
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasformer as kf
from kerasformer.errors import InputError

RECIPE = pathlib.Path(__file__).parents[2] / "recipes" / "pretrain_bert.py"
SPEC = importlib.util.spec_from_file_location("pretrain_recipe", RECIPE)
pretrain = importlib.util.module_from_spec(SPEC)
sys.modules["pretrain_recipe"] = pretrain
SPEC.loader.exec_module(pretrain)


def save_encoder(encoder, tokenizer, folder):
    """A Hugging Face folder of an encoder without heads."""
    folder.mkdir()
    kf.families.write_checkpoint(folder, encoder)
    tokenizer.save(folder)


pytestmark = pytest.mark.usefixtures("shallow")

SMALL = {"size": "tiny", "first_length": 12, "length": 24, "long_length": 40, "batch_size": 8, "vocabulary": 200}
# Sequences of each length are traced anew, which is most of the time.
ONE_LENGTH = SMALL | {"first_share": 0.0, "long_share": 0.0}


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    random = np.random.default_rng(0)
    words = ["sun", "moon", "sea", "hill", "tree", "bird", "is", "was", "far", "near"]
    path = tmp_path_factory.mktemp("text") / "text.txt"
    documents = [[" ".join(random.choice(words, 6)) + "." for _ in range(5)] for _ in range(60)]
    path.write_text("\n\n".join("\n".join(document) for document in documents) + "\n")
    return str(path)


@pytest.fixture(scope="module")
def pretrained(text, shallow, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("pretrained")
    flags = pretrain.Flags(train=[text], test=text, workdir=str(workdir), epochs=2, **SMALL)
    pretrain.main(flags)
    return workdir


def test_trains_reports_and_saves(pretrained):
    metrics = json.loads((pretrained / "metrics.json").read_text())
    assert metrics.keys() == {"train", "validation", "test"}
    assert metrics["test"].keys() == {"loss", "mlm_accuracy", "perplexity", "nsp_accuracy"}
    task = kf.load(pretrained / "task")
    assert task.fill_mask(["the sun is [MASK]."])["tokens"].shape == (1, 1, 5)
    rows = [json.loads(line) for line in (pretrained / "metrics.jsonl").read_text().splitlines()]
    assert len([row for row in rows if "epoch" in row]) == 4  # the first steps, two of most of them, and the long ones
    assert not (pretrained / "checkpoints").exists()
    encoder, tokenizer = kf.load_encoder(pretrained / "huggingface")
    inputs = tokenizer(["sun and sea"])
    np.testing.assert_array_equal(encoder(inputs)["sequence_output"], task.encoder(inputs)["sequence_output"])
    # Other libraries read the heads too.
    checkpoint = kf.families.open_checkpoint(pretrained / "huggingface")
    assert {"masked_lm", "next_sentence"} <= set(checkpoint.kinds)
    again = kf.load(pretrained / "huggingface")
    for weight in again.head.variables():
        weight.assign(tf.zeros_like(weight))
    for kind in ("masked_lm", "next_sentence"):
        checkpoint.assign(again.encoder, again.head, kind)
    for read, trained in zip(again.head.variables(), task.head.variables(), strict=True):
        np.testing.assert_array_equal(read, trained)


def test_goes_on_from_what_it_wrote(pretrained, text, tmp_path, capsys):
    flags = ONE_LENGTH | {"steps": 1, "learning_rate": 1e-9, "next_sentence": False, "whole_words": True}
    init = str(pretrained / "huggingface")
    pretrain.main(pretrain.Flags(train=[text], init=init, workdir=str(tmp_path / "more"), **flags))
    assert "randomly initialized:" not in capsys.readouterr().out
    before, after = (kf.load(folder / "task").head for folder in (pretrained, tmp_path / "more"))
    np.testing.assert_allclose(after.transform.kernel, before.transform.kernel, atol=1e-6)
    metrics = json.loads((tmp_path / "more" / "metrics.json").read_text())
    assert metrics["validation"].keys() == {"loss", "mlm_accuracy", "perplexity"}


def test_goes_on_from_a_task(pretrained, text, capsys):
    """As from the folder, once it is read."""
    init = str(pretrained / "task")
    task = pretrain.starting_point(pretrain.Flags(train=[text], init=init, **ONE_LENGTH), [])
    assert "randomly initialized:" not in capsys.readouterr().out
    before = kf.load(init)
    for read, written in zip(task.model.get_weights(), before.model.get_weights(), strict=True):
        np.testing.assert_array_equal(read, written)


def test_the_share_of_masked_tokens_goes_down_in_a_line():
    data = tf.data.Dataset.from_tensors(({"token_ids": tf.zeros([2, 4], tf.int32)}, {"is_random": [0, 1]})).repeat(4)
    flags = pretrain.Flags(first_mask_rate=0.5, mask_rate=0.1)
    batches = list(pretrain.with_mask_rates(data, 4, 8, flags))
    np.testing.assert_allclose([batch[0]["mask_rate"] for batch in batches], [[r] * 2 for r in (0.3, 0.25, 0.2, 0.15)])
    assert batches[0][1]["is_random"].numpy().tolist() == [0, 1]


class Counts:
    """Of sequences, by their length."""

    def count(self, length):
        return {32: 900, 128: 200, 512: 50}[length]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, [(64, 32, 14), (64, 32, 14), (64, 32, 2)] + [(16, 128, 12)] * 5),
        ({"first_share": 0.0}, [(16, 128, 12)] * 7 + [(16, 128, 6)]),
        ({"first_length": 128}, [(16, 128, 12)] * 7 + [(16, 128, 6)]),
        ({"init": "folder"}, [(16, 128, 12)] * 7 + [(16, 128, 6)]),
        ({"init": "folder", "first_share": 0.1}, [(64, 32, 10)] + [(16, 128, 12)] * 6 + [(16, 128, 8)]),
    ],
)
def test_a_new_bert_sees_short_sequences_first(change, expected):
    flags = pretrain.Flags(**{"steps": 100, "batch_size": 16, **change})
    plan = pretrain.make_plan(flags, Counts())
    # The last tenth: 512 tokens in batches of as many tokens.
    assert [part for part in plan if part[1] == 512] == [(4, 512, 10)]
    assert [part for part in plan if part[1] != 512] == expected


def test_other_workers_do_not_wait_forever_for_the_cache(text, tmp_path, monkeypatch):
    monkeypatch.setattr(kf.training, "is_chief", lambda: False)
    monkeypatch.setattr(pretrain, "CACHE_TIMEOUT", 0)
    with pytest.raises(InputError, match="did not come within 0 seconds"):
        pretrain.cached(pretrain.Flags(train=[text], cache=str(tmp_path / "cache")))


def test_packed_running_text_from_a_cache(text, tmp_path, monkeypatch):
    """More is masked at first. Of validation text a part is evaluated, of test text all."""
    monkeypatch.setattr(pretrain, "VALIDATION_BATCHES", 1)
    seen = []
    evaluate = kf.training.Trainer.evaluate

    def count(trainer, batches):
        seen.append(sum(len(features["token_ids"]) for features, _ in batches))
        return evaluate(trainer, batches)

    monkeypatch.setattr(kf.training.Trainer, "evaluate", count)
    flags = ONE_LENGTH | {"steps": 4, "next_sentence": False, "pack": True, "cache": str(tmp_path / "cache")}
    # Written once, read twice.
    [written] = pretrain.cached(pretrain.Flags(train=[text], **flags))
    before = {path: path.stat().st_mtime_ns for path in written.iterdir()}
    more = {"validation": text, "test": text, "first_mask_rate": 0.6, "dropout": 0.0}
    pretrain.main(pretrain.Flags(train=[text], workdir=str(tmp_path / "work"), **flags, **more))
    assert {path: path.stat().st_mtime_ns for path in written.iterdir()} == before
    *validations, test = seen
    assert set(validations) == {64}
    assert test > 64
    task = kf.load(tmp_path / "work" / "task")
    assert task.mask_rate == 0.15
    encoder, tokenizer = kf.load_encoder(tmp_path / "work" / "huggingface")
    inputs = tokenizer(["sun and sea", "moon"])
    outputs = [model(inputs)["sequence_output"] for model in (encoder, task.encoder)]
    np.testing.assert_allclose(*outputs, atol=1e-5)
    assert len(list((tmp_path / "cache" / "0").glob("*.tfrecord"))) == 16
    assert "next_sentence" not in kf.families.open_checkpoint(tmp_path / "work" / "huggingface").kinds
    # Who goes on from here finds the usual dropout.
    config = json.loads((tmp_path / "work" / "huggingface" / "config.json").read_text())
    assert config["hidden_dropout_prob"] == config["attention_probs_dropout_prob"] == 0.1
    other = tmp_path / "other.txt"
    other.write_text(pathlib.Path(text).read_text() + "more\n")
    with pytest.raises(InputError, match="other text"):
        pretrain.main(pretrain.Flags(train=[str(other)], workdir=str(tmp_path / "again"), **flags))


def test_heads_that_are_missing_start_fresh_and_are_named(text, tmp_path, capsys):
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "sun", "moon", "."]
    keras.utils.set_random_seed(0)
    encoder = kf.models.bert(kf.models.BertConfig(8, 16, 1, 2, 32, 40), pooled=True)
    folder = tmp_path / "bare"
    save_encoder(encoder, kf.text.WordPieceTokenizer(words, max_length=40), folder)
    task = pretrain.starting_point(pretrain.Flags(train=[text], init=str(folder), **ONE_LENGTH), [])
    for read, written in zip(task.encoder.get_weights(), encoder.get_weights(), strict=True):
        np.testing.assert_array_equal(read, written)
    shown = capsys.readouterr().out
    assert all(f"randomly initialized: the {head} head" in shown for head in ("masked_lm", "next_sentence"))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"train": ["nowhere.txt"]}, "nowhere.txt"),
        ({"train": ["{empty}"]}, "Received none"),
        ({"train": ["{one}"], "validation": "{one}"}, "two documents"),
        ({"train": ["{junk}"]}, "junk.txt:1"),
        ({"batch_size": 5000}, "fewer than a batch"),
        ({"epochs": 0}, "epochs"),
        ({"long_share": 1.0}, "long_share"),
        ({"first_share": -0.1}, "first_share"),
        ({"first_share": 0.5, "long_share": 0.5}, "first_share"),
        ({"first_length": 4}, "first_length, length, long_length must be at least 5"),
        ({"mask_rate": 0.0}, "rate"),
        ({"first_mask_rate": 1.0}, "first_mask_rate"),
        ({"test": "nowhere.txt"}, "nowhere.txt"),
        ({"validation": "{one}"}, "gives no sequence"),
        ({"init": "{folder}"}, "config.json"),
        ({"init": "{short}"}, "16 positions"),
        (
            {"init": "{short}", "length": 16, "long_share": 0.0, "first_share": 0.1, "first_length": 17},
            "'first_length'",
        ),
        ({"pack": True}, "running text"),
        ({"data_service": "grpc://nowhere:1"}, "needs --cache"),
    ],
)
def test_mistakes_are_told_in_one_line(change, told, text, tmp_path):
    contents = {"empty": b"", "one": b"sun is far.\nmoon is near.\nsea is near.\n", "junk": bytes(range(256))}
    files = {name: tmp_path / f"{name}.txt" for name in contents}
    for name, path in files.items():
        path.write_bytes(contents[name])
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "sun"]
    encoder = kf.models.bert(kf.models.BertConfig(6, 8, 1, 2, 8, 16), pooled=True)
    save_encoder(encoder, kf.text.WordPieceTokenizer(words, max_length=16), tmp_path / "short")

    def filled(value):
        if isinstance(value, list):
            return [filled(item) for item in value]
        return value.format(**files, folder=tmp_path, short=tmp_path / "short") if isinstance(value, str) else value

    flags = (
        ONE_LENGTH | {"train": [text], "workdir": str(tmp_path / "work")} | {k: filled(v) for k, v in change.items()}
    )
    with pytest.raises(InputError, match=told):
        pretrain.main(pretrain.Flags(**flags))
    assert not (tmp_path / "work" / "task").exists()
