"""Folders of tasks, ours in transformers and theirs here: equal logits, equal labels."""

import functools
import json
import shutil

import numpy as np
import pytest
import tensorflow as tf
from test_families import ENCODERS, FIXTURES, MISSING, Recorded

import kerasformer as kf
from kerasformer.families import open_checkpoint
from kerasformer.tasks.foreign import task_of
from kerasformer.text.byte_level import byte_letters

TASKS = {
    "sequence_classification": kf.tasks.TextClassifier,
    "several_labels": kf.tasks.TextClassifier,
    "regression": kf.tasks.TextClassifier,
    "token_classification": kf.tasks.Tagger,
    "question_answering": kf.tasks.QuestionAnswerer,
    "masked_lm": kf.tasks.MaskedLanguageModel,
}
# The classifiers of a family share one head: their settings are those of every family, and tested with BERT.
SAME_HEAD = ("several_labels", "regression")


def with_every_family(name, values, few):
    """Rows of a family and a value; `make test` has all values of BERT, and those of other families that are in `few`.

    Args:
        few: function from the family's place to the values that `make test` has.
    """
    rows = [
        pytest.param(family, value, marks=() if place == 0 or value in few(place) else pytest.mark.exhaustive)
        for place, family in enumerate(ENCODERS)
        for value in values
        if not isinstance(value, str) or (family, value) not in MISSING
    ]
    return pytest.mark.parametrize(("recorded", name), rows, indirect=["recorded"], scope="module")


every_kind = with_every_family("kind", TASKS, lambda place: [kind for kind in TASKS if kind not in SAME_HEAD])


@functools.cache
def tokenizer():
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *[f"w{number}" for number in range(115)]]
    return kf.text.WordPieceTokenizer(vocabulary, max_length=40)


@pytest.fixture(scope="module")
def recorded(request):
    return Recorded(FIXTURES / f"encoder_{request.param}.npz")


def read(folder):
    """The task in a folder of theirs. One without a tokenizer of its family gets ours."""
    if open_checkpoint(folder).settings["pad_token_id"]:
        return task_of(open_checkpoint(folder), tokenizer(), {})
    tokenizer().save(folder)
    return kf.load(folder)


def with_labels(folder, labels):
    path = folder / "config.json"
    names = {"id2label": dict(enumerate(labels)), "label2id": {label: place for place, label in enumerate(labels)}}
    path.write_text(json.dumps(json.loads(path.read_text()) | names))
    return folder


def logits_of(task, inputs):
    """`[batch, classes]` or `[batch, length, classes]`, of a masked language model for every token."""
    if not isinstance(task, kf.tasks.MaskedLanguageModel):
        return task.model(inputs)["logits"].numpy()
    mask = inputs["padding_mask"]
    positions = np.where(mask, np.arange(mask.shape[1]), -1).astype("int32")
    hidden = task.model({**inputs, "masked_positions": positions})["masked_output"]
    head = task.model.get_layer("masked_language_model")
    scores = head.scores(hidden, tf.convert_to_tensor(task.encoder.embeddings.token.embeddings))
    return tf.scatter_nd(np.argwhere(mask), scores, [*mask.shape, scores.shape[-1]]).numpy()


def assert_logits(found, wanted, recorded, tolerance):
    mask = recorded.mask if wanted.ndim == 3 else 1
    np.testing.assert_allclose(found * mask, wanted * mask, rtol=0, atol=tolerance)


@every_kind
def test_their_heads_give_their_logits(recorded, kind, tmp_path):
    task = read(recorded.write(tmp_path / "theirs", kind))
    assert type(task) is TASKS[kind]
    settings = json.loads(str(recorded[f"labels/{kind}"]))
    if type(task) is kf.tasks.TextClassifier:
        assert task.is_regression == (kind == "regression")
        assert task.multi_label == (kind == "several_labels")
        assert task.label_names == (None if task.is_regression else tuple(settings["id2label"].values()))
    if type(task) is kf.tasks.Tagger:
        assert task.tag_names == tuple(settings["id2label"].values())
    assert_logits(logits_of(task, recorded.inputs), recorded[f"logits/{kind}"], recorded, 1e-4)


def in_transformers(folder, inputs):
    """`(model, logits)`, the logits as `logits_of` has them."""
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    architecture = json.loads((folder / "config.json").read_text())["architectures"][0]
    model, report = getattr(transformers, architecture).from_pretrained(
        folder, output_loading_info=True, attn_implementation="eager"
    )
    assert not any(report.values()), report
    names = {"token_ids": "input_ids", "padding_mask": "attention_mask", "segment_ids": "token_type_ids"}
    with torch.no_grad():
        found = model.eval()(**{names[key]: torch.tensor(value).long() for key, value in inputs.items()})
    if "start_logits" in found:
        return model, torch.stack([found.start_logits, found.end_logits], -1).numpy()
    return model, found.logits.numpy()


@every_kind
def test_transformers_gives_the_logits_of_ours(recorded, kind, tmp_path):
    task = read(recorded.write(tmp_path / "theirs", kind))
    shutil.rmtree(tmp_path / "theirs")
    random = np.random.default_rng(4)
    for weight in task.head.variables():
        weight.assign(random.normal(size=weight.shape, scale=0.3))
    task.save(tmp_path / "ours")
    ours = logits_of(task, recorded.inputs)
    assert np.abs(ours - recorded[f"logits/{kind}"]).max() > 0.1, "the head is another than the one that was read"
    again = kf.load(tmp_path / "ours")
    assert again.settings == task.settings
    np.testing.assert_array_equal(logits_of(again, recorded.inputs), ours)
    model, theirs = in_transformers(tmp_path / "ours", recorded.inputs)
    assert_logits(ours, theirs, recorded, 1e-5)
    if type(task) is kf.tasks.TextClassifier:
        problem = {"several_labels": "multi_label_classification", "regression": "regression"}
        assert model.config.problem_type == problem.get(kind, "single_label_classification")
        assert list(model.config.id2label.values()) == list(task.label_names or ["LABEL_0"])


WORDS = ["a", "b", "ab", "##b", "<user>"]
TEXTS = ["a ab", "", "A b <user> ab", "b " * 40, "[MASK] a"]
PAIRS = ["b", "a", "", "ab " * 40, "<user>"]


def byte_pairs():
    special = ["<s>", "</s>", "<pad>", "<unk>", "<mask>"]
    names = ("start_token", "end_token", "padding_token", "unknown_token", "mask_token")
    merges = [("a", "b"), ("Ġ", "a")]
    vocabulary = [*special, *byte_letters(), "ab", "Ġa"]
    return kf.text.BytePairTokenizer(vocabulary, merges, max_length=12, **dict(zip(names, special, strict=True)))


@pytest.mark.parametrize("make", [
    lambda: kf.text.WordPieceTokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS], max_length=12),
    lambda: kf.text.WordPieceTokenizer(
        ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, "A"], max_length=12, lowercase=False
    ),
    byte_pairs,
], ids=["lowercase", "cased", "byte pairs"])  # fmt: skip
def test_transformers_gives_the_ids_of_our_tokenizer(make, tmp_path):
    transformers = pytest.importorskip("transformers")
    ours = make()
    ours.save(tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    for texts in ((TEXTS,), (TEXTS, PAIRS)):
        found, expected = ours(*texts), theirs(*texts, padding=True, truncation=True)
        assert found["token_ids"].numpy().tolist() == expected["input_ids"]
        assert found["padding_mask"].numpy().tolist() == expected["attention_mask"]


ORDERS = [
    ["I-LOC", "O", "B-PER", "B-LOC", "I-PER"],
    ["B-PER", "B-LOC", "I-PER", "I-LOC", "O"],
    ["O", "I-PER", "I-LOC", "B-LOC", "B-PER"],
]


@with_every_family("labels", ORDERS, lambda place: [ORDERS[place % len(ORDERS)]])
def test_tags_in_any_order(recorded, labels, tmp_path):
    task = read(with_labels(recorded.write(tmp_path / "theirs", "token_classification"), labels))
    assert sorted(task.tag_names) == sorted(labels)
    assert task.tag_names[0] == "O"
    assert [name[:2] for name in task.tag_names[1:]] == ["B-", "I-"] * 2
    theirs, mask = recorded["logits/token_classification"], recorded.inputs["padding_mask"] > 0
    ours = logits_of(task, recorded.inputs)
    for place, label in enumerate(labels):
        column = ours[..., task.tag_names.index(label)]
        np.testing.assert_allclose(column[mask], theirs[..., place][mask], rtol=0, atol=1e-4)
    found = [task.tag_names[tag] for tag in ours.argmax(-1)[mask]]
    assert found == [labels[place] for place in theirs.argmax(-1)[mask]]
    assert len(set(found)) > 1

    task.save(tmp_path / "ours")
    model, saved = in_transformers(tmp_path / "ours", recorded.inputs)
    assert [model.config.id2label[tag] for tag in saved.argmax(-1)[mask]] == found
