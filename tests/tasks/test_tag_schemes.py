"""What labels mean: schemes of tags against `conlleval`, and entities against transformers' pipeline."""

import itertools
import json

import numpy as np
import pytest
import tensorflow as tf

import kerasformer as kf
from kerasformer.errors import InputError
from kerasformer.metrics import entities_of, split_tag
from kerasformer.models import BertConfig, bert
from kerasformer.serving.preview.loaded_model import LoadedModel
from kerasformer.tasks.tag_sequences import TagScheme
from kerasformer.text import WordPieceTokenizer

SCHEMES = {
    "BIO": ["O", "B-x", "I-x", "B-y", "I-y"],
    "another order": ["I-x", "B-y", "O", "B-x", "I-y"],
    "IOB1": ["B-x", "I-x", "O", "I-y", "I-z"],
    "I alone": ["O", "I-x", "I-y", "I-z", "I-w"],
    "IO": ["x", "O", "y", "z", "w"],
    "BIOES": ["O", "B-x", "I-x", "E-x", "S-x"],
    "BILOU": ["O", "B-x", "I-x", "L-x", "U-x"],
    "some left out": ["O", "B-x", "I-x", "B-y", "z"],
    "words": ["NN", "VB", "S-up", ".", "B"],
}
WORDS = ["rome", "anna", "saw", "in", "(", ")", "."]
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, "##s", "##n", "##na"]
TEXTS = ["Annas saw romesna (annann) in romes. annnaa " * times for times in (1, 3)] + ["", "rome anna anna saws"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A random token classifier of transformers with five labels; the folder and the model."""
    transformers = pytest.importorskip("transformers")
    torch = pytest.importorskip("torch")
    torch.manual_seed(2)
    sizes = {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 48, "max_position_embeddings": 64}
    config = transformers.DistilBertConfig(vocab_size=len(VOCABULARY), **sizes, num_labels=5, initializer_range=0.4)
    made = tmp_path_factory.mktemp("theirs")
    transformers.DistilBertForTokenClassification(config).save_pretrained(made)
    WordPieceTokenizer(VOCABULARY, max_length=64).save(made)
    return made


def with_labels(folder, labels):
    path = folder / "config.json"
    names = {"id2label": dict(enumerate(labels)), "label2id": {label: place for place, label in enumerate(labels)}}
    path.write_text(json.dumps(json.loads(path.read_text()) | names))
    return folder


def of_conlleval(scheme, labels, rows):
    """Entities of rows of label numbers, `(row, first, behind the last, type)`."""
    found = []
    for row, tags in enumerate(rows):
        names = [labels[tag] for tag in tags]
        if scheme == "words":
            pairs = [("S", name) for name in names]
        elif scheme == "IO":
            pairs = [("O", "") if name == "O" else ("I", name) for name in names]
        else:
            pairs = [("I", name) if name == "z" else split_tag(name) for name in names]
        found += [(row, *entity) for entity in entities_of(pairs)]
    return found


def follows(rows):
    return tf.constant([place > 0 for row in rows for place in range(len(row))])


@pytest.mark.parametrize("name", SCHEMES)
def test_a_scheme_is_read_as_conlleval_reads_it(name):
    scheme, random = TagScheme(SCHEMES[name]), np.random.default_rng(0)
    rows = [random.integers(0, 5, random.integers(1, 9)) for _ in range(200)]
    tags = scheme.to_iob2(tf.constant(np.concatenate(rows), tf.int32), follows(rows)).numpy()
    ends = np.cumsum([len(row) for row in rows])[:-1]
    usual = TagScheme.bio(scheme.entity_types).labels
    iob2 = np.split(tags, ends)
    assert of_conlleval("", usual, iob2) == of_conlleval(name, SCHEMES[name], rows)

    # Back to labels that fit together and mean the same.
    labels = scheme.from_iob2(tf.constant(tags), follows(rows))
    assert scheme.to_iob2(labels, follows(rows)).numpy().tolist() == tags.tolist()
    before = np.where(follows(rows), np.roll(labels.numpy(), 1) + 1, 0)
    assert (scheme.constraints[before, labels.numpy() + 1] == 0).all()
    assert (scheme.constraints[labels.numpy()[[*ends - 1, -1]] + 1, 0] == 0).all()


def test_which_labels_may_follow_each_other():
    for name, is_constrained in {"BIO": 1, "BIOES": 1, "IOB1": 0, "I alone": 0, "IO": 0, "words": 0}.items():
        assert TagScheme(SCHEMES[name]).is_constrained == is_constrained
    allowed = TagScheme(SCHEMES["BILOU"]).constraints == 0
    fits = {"O": "OBU.", "B": "IL", "I": "IL", "L": "OBU.", "U": "OBU.", ".": "OBU."}
    for (before, row), (after, column) in itertools.product(enumerate(".OBILU"), repeat=2):
        assert allowed[before, after] == (column in fits[row]), (row, column)


def best_valid(logits, scheme):
    options = itertools.product(range(logits.shape[1]), repeat=len(logits))
    moves = scheme.constraints == 0
    fit = [tags for tags in options if all(moves[a, b] for a, b in itertools.pairwise((0, *np.add(tags, 1), 0)))]
    return max(fit, key=lambda tags: logits[np.arange(len(logits)), list(tags)].sum())


def test_the_best_sequence_that_fits_its_scheme():
    config = BertConfig(len(VOCABULARY), 16, 1, 2, 24, 24)
    task = kf.tasks.Tagger(bert(config), WordPieceTokenizer(VOCABULARY, max_length=24), labels=SCHEMES["BIOES"])
    windows, random = task._windows(tf.constant(["anna saw rome in", "rome"])), np.random.default_rng(0)
    for _ in range(5):
        logits = random.normal(size=(*windows.inputs["token_ids"].shape, 5)).astype("float32")
        _, tags, _ = task._decode(windows, {"logits": tf.constant(logits)}, 2)
        rows = [best_valid(logits[0, 1:5], task._scheme), best_valid(logits[1, 1:2], task._scheme)]
        expected = task._scheme.to_iob2(tf.constant(np.concatenate(rows), tf.int32), follows(rows))
        assert tags.numpy().tolist() == expected.numpy().tolist()


def of_pipeline(pipeline, texts):
    """Its answers, `(start, end, label, score)` with characters; these texts are ASCII."""
    return [[(e["start"], e["end"], e["entity_group"], e["score"]) for e in row] for row in pipeline(texts)]


@pytest.mark.parametrize(("name", "aggregation"), [
    ("BIO", "first"), ("another order", "average"), ("IOB1", "max"), ("I alone", "average"), ("IO", "max"),
    ("some left out", "first"), ("words", "average"),
])  # fmt: skip
def test_entities_are_those_of_the_pipeline(name, aggregation, folder):
    transformers = pytest.importorskip("transformers")
    with_labels(folder, SCHEMES[name])
    pipeline = transformers.pipeline(
        "token-classification", model=str(folder), aggregation_strategy=aggregation, device="cpu"
    )
    found = entities(kf.load(folder, aggregation=aggregation))
    if name == "words":  # where it joins neighbours of one label, with the mean of their scores
        found = [list(joined(row)) for row in found]
    for ours, theirs in zip(found, of_pipeline(pipeline, TEXTS), strict=True):
        assert [entity[:3] for entity in ours] == [entity[:3] for entity in theirs]
        np.testing.assert_allclose([e[3] for e in ours], [e[3] for e in theirs], atol=1e-5)
    assert len({entity[2] for row in found for entity in row}) > 1


def joined(row):
    # A label without a letter may hold a hyphen; the pipeline names its group by what follows it.
    for label, group in itertools.groupby(row, key=lambda entity: entity[2]):
        group = list(group)
        yield group[0][0], group[-1][1], label.split("-", 1)[-1], np.mean([entity[3] for entity in group])


def entities(task):
    """`(start, end, label, score)` of each text, without tracing a graph."""
    found = task.answer_features({"text": tf.constant(TEXTS)}, task.model)
    columns = [found[f"entities_{name}"].numpy().tolist() for name in ("start", "end", "label", "score")]
    rows = [zip(*row, strict=True) for row in zip(*columns, strict=True)]
    return [[(start, end, label.decode(), score) for start, end, label, score in row if start >= 0] for row in rows]


@pytest.mark.parametrize("name", ["IO", "BILOU", "words"])
def test_saved_and_trained_in_its_scheme(name, folder, tmp_path):
    with_labels(folder, SCHEMES[name])
    task = kf.load(folder)
    task.save(tmp_path)
    again = kf.load(tmp_path)
    assert again.settings == task.settings
    assert entities(again) == entities(task)
    assert list(json.loads((tmp_path / "config.json").read_text())["id2label"].values()) == SCHEMES[name]

    words, tags = np.empty(1, object), np.empty(1, object)
    words[0], tags[0] = ("anna", "romes", "saw"), np.array([1, 2, 1], np.int32)
    data = kf.data.TaggedSentences(words, tags, task.entity_types, 0, "here")
    _, labels = task.training_batch(*next(iter(kf.data.tagging_batches(data, 1))))
    first = task.entity_types[0]
    names = {"BILOU": [f"{letter}-{first}" for letter in "BLU"]}.get(name, [first] * 3)
    assert [task.tag_names[tag] for tag in labels.numpy()[labels.numpy() >= 0]] == names


def test_labels_of_words_are_served(folder, tmp_path):
    with_labels(folder, SCHEMES["words"])
    task = kf.load(folder)
    kf.serving.export(task, tmp_path / "1")
    served = LoadedModel(tmp_path / "1").run("", {"text": np.array([text.encode() for text in TEXTS], object)})
    found = entities(task)
    assert [len(row) for row in found] == [10, 30, 0, 4]
    for row, expected in enumerate(found):
        names = served["entities_label"][row, : len(expected)].tolist()
        assert [name.decode() for name in names] == [label for _, _, label, _ in expected]


def test_what_is_refused():
    encoder = bert(BertConfig(len(VOCABULARY), 16, 1, 2, 24, 24))
    tokenizer = WordPieceTokenizer(VOCABULARY, max_length=24)
    for settings, message in (
        ({}, "`entity_types` or `labels`"),
        ({"labels": ["O", "O"]}, "labels"),
        ({"labels": ["O"]}, "entity_types"),
        ({"labels": ["O", "x"], "entity_types": ["y"]}, r"must be those of `labels`, \['x'\]"),
        ({"labels": ["O", "x"], "aggregation": "simple"}, "`aggregation` must be one of"),
        ({"entity_types": ["x"], "crf": True, "aggregation": "max"}, "`crf`"),
    ):
        with pytest.raises(InputError, match=message):
            kf.tasks.Tagger(encoder, tokenizer, **settings)
