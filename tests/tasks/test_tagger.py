"""The tagger: what it is trained on, what it decodes, what it counts and what it serves, in texts of any length."""

import functools
import itertools
import types

import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasformer as kf
from kerasformer.errors import InputError
from kerasformer.metrics import entities_of, precision_recall_f1, split_tag
from kerasformer.models import BertConfig, bert
from kerasformer.serving.preview.loaded_model import LoadedModel
from kerasformer.tasks import Tagger
from kerasformer.text import WordPieceTokenizer

WORDS = ["rome", "anna", "bob", "saw", "in", "(", ")", "-", "."]
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS, "##s", "é"]
CONFIG = BertConfig(len(VOCABULARY), 16, 1, 2, 24, 24, initializer_range=0.4, dropout=0.0, attention_dropout=0.0)
TYPES = ["place", "人"]
TEXTS = ["Anna saw Romes (Bob-Anna) é", "", "in in", "  bob 😀 ANNA\trome. " * 12]
eagerly = pytest.mark.usefixtures("eagerly")


@functools.cache  # tracing its graph takes longer than what is tested with it
def tokenizer():
    return WordPieceTokenizer(VOCABULARY, max_length=24)


def make(**arguments):
    keras.utils.set_random_seed(1)
    task = Tagger(bert(CONFIG), tokenizer(), TYPES, **arguments)
    kernel = task.model.get_layer("tagger").kernel
    kernel.assign(np.random.default_rng(5).normal(size=kernel.shape))
    return task


@pytest.fixture(scope="module")
def task():
    return make(window=12, overlap=4)


def sentences(*rows):
    """Data of rows such as "anna|B-place saw|O"."""
    words = np.empty(len(rows), object)
    tags = np.empty(len(rows), object)
    for place, row in enumerate(rows):
        pairs = [item.split("|") for item in row.split()]
        words[place] = tuple(word for word, _ in pairs)
        names = ("O", "B-place", "I-place", "B-人", "I-人")
        tags[place] = np.array([names.index(tag) for _, tag in pairs], np.int32)
    return kf.data.TaggedSentences(words, tags, tuple(TYPES), 0, "here")


def words_of(text):
    """Words of the tokenizer with their places in bytes, from the pieces."""
    ids, starts, ends = (value[0].numpy() for value in tokenizer().tokenize_with_offsets([text]))
    words = []
    for piece, start, end in zip(ids, starts, ends, strict=True):
        if VOCABULARY[piece].startswith("##"):
            words[-1][1] = end
        else:
            words.append([start, end])
    return words


@eagerly
def test_labels_stand_on_first_pieces():
    data = sentences("Romes|B-place saw|O (Bob-Anna)|B-人 in|I-人 é.|O")
    task = make()
    inputs, labels = task.training_batch(*next(iter(kf.data.tagging_batches(data, 1))))
    shown = [VOCABULARY[token] for token in inputs["token_ids"][0]]
    assert list(zip(shown, labels[0].numpy().tolist(), strict=True)) == [
        ("[CLS]", -1),
        ("rome", 1),
        ("##s", -1),
        ("saw", 0),
        ("(", 3),  # a word of the file that is several of the tokenizer's: one entity all the same
        ("bob", 4),
        ("-", 4),
        ("anna", 4),
        (")", 4),
        ("in", 4),
        ("[UNK]", 0),
        (".", 0),
        ("[SEP]", -1),
    ]


def test_each_word_counts_once_over_windows(task):
    data = sentences(" ".join(["anna|B-place"] * 25), "in|O", " ".join(["romes|B-人"] * 9))
    inputs, labels = task.training_batch(*next(iter(kf.data.tagging_batches(data, 3))))
    labels = labels.numpy()
    assert labels.shape == inputs["token_ids"].shape
    assert labels.shape[0] > 4
    assert [int((labels == tag).sum()) for tag in range(4)] == [1, 25, 0, 9]


@eagerly
def test_loss_against_numpy(task):
    data = sentences("anna|B-place saw|O romes|I-place", "bob|B-人")
    inputs, labels = task.training_batch(*next(iter(kf.data.tagging_batches(data, 2))))
    outputs = task.model(inputs)
    logits, labels = outputs["logits"].numpy().astype(np.float64), labels.numpy()
    log_probabilities = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    expected = -sum(log_probabilities[place][labels[place]] for place in zip(*np.where(labels >= 0), strict=True))
    loss, count = task.loss(labels, outputs)
    assert (float(loss), float(count)) == (pytest.approx(expected, rel=1e-4), 4)
    loss, count = task.loss(np.zeros([0, 5], "int32"), {"logits": tf.zeros([0, 5, 5])})
    assert (float(loss), float(count)) == (0, 0)


def best_valid(logits):
    """By trying all: the tags of the highest sum in which I- follows B- or I- of its type."""

    def fits(tags):
        return all(tag % 2 or not tag or before in (tag, tag - 1) for before, tag in itertools.pairwise((0, *tags)))

    options = [tags for tags in itertools.product(range(5), repeat=len(logits)) if fits(tags)]
    return max(options, key=lambda tags: sum(logits[place, tag] for place, tag in enumerate(tags)))


@eagerly
def test_decoding_finds_the_best_tags_that_fit():
    task = make()
    random, any_repaired = np.random.default_rng(0), False
    texts = ["anna saw bob in", "rome", ""]
    windows = task._windows(tf.constant(texts))
    for _ in range(12):
        logits = random.normal(size=(*windows.inputs["token_ids"].shape, 5)).astype("float32")
        _, tags, probabilities = task._decode(windows, {"logits": tf.constant(logits)}, 3)
        expected = [*best_valid(logits[0, 1:5]), *best_valid(logits[1, 1:2])]
        assert tags.numpy().tolist() == expected
        flat = np.concatenate([logits[0, 1:5], logits[1, 1:2]]).astype(np.float64)
        softmax = np.exp(flat) / np.exp(flat).sum(-1, keepdims=True)
        np.testing.assert_allclose(probabilities, softmax[np.arange(5), expected], rtol=1e-5)
        any_repaired |= flat.argmax(-1).tolist() != expected
    assert any_repaired


@eagerly
@pytest.mark.parametrize("crf", [False, True])
def test_served_entities_are_cut_out_of_the_callers_bytes(crf, task):
    task = make(window=12, overlap=4, crf=True) if crf else task
    answers = task.answers({"text": TEXTS}, batch_size=4)
    assert {key: value.dtype.kind for key, value in answers.items()} == {
        "entities_text": "O",
        "entities_label": "O",
        "entities_start": "i",
        "entities_end": "i",
        "entities_score": "f",
    }
    assert answers["entities_start"].max() > 24 * 5, "beyond the model's length"
    for row, text in enumerate(TEXTS):
        data, words = text.encode(), words_of(text)
        begins, ends = {start for start, _ in words}, {end for _, end in words}
        slots = zip(
            *[answers[f"entities_{name}"][row] for name in ("text", "label", "start", "end", "score")], strict=True
        )
        for found, label, start, end, score in slots:
            if start < 0:
                assert (found, label, start, end, score) == ("", "", -1, -1, 0)
            else:
                assert data[start:end].decode() == found
                assert label in TYPES
                assert 0 < score <= 1
                assert start in begins
                assert end in ends
        places = answers["entities_start"][row]
        assert (np.diff(places[places >= 0]) > 0).all()
        alone = task.predict([text])[0]
        assert [entity["start"] for entity in alone] == places[places >= 0].tolist()


@eagerly
def test_entities_are_those_of_the_tags(task):
    text = TEXTS[0]
    windows = task._windows(tf.constant([text]))
    _, tags, probabilities = task._decode(windows, task.model(windows.inputs), 1)
    names = [split_tag(task.tag_names[tag]) for tag in tags.numpy()]
    words, probabilities = words_of(text), probabilities.numpy()
    expected = [(words[a][0], words[b - 1][1], kind, np.prod(probabilities[a:b])) for a, b, kind in entities_of(names)]
    found = [(entity["start"], entity["end"], entity["label"], entity["score"]) for entity in task.predict([text])[0]]
    assert expected, "otherwise nothing is tested"
    assert [entity[:3] for entity in found] == [entity[:3] for entity in expected]
    np.testing.assert_allclose([entity[3] for entity in found], [entity[3] for entity in expected], rtol=1e-4)


def evaluate(task, data):
    return task.evaluate_batches(
        tf.nest.map_structure(lambda x: x.numpy(), (*batch, task.evaluation_batch(*batch, task.model)))
        for batch in kf.data.tagging_batches(data, 2)
    )


@eagerly
def test_a_setting_counts_after_the_first_evaluation():
    data = sentences("anna|B-place", " ".join(["bob|B-人 saw|O anna|B-人"] * 10))
    task, wide = make(window=12, overlap=4), make(window=24, overlap=4)
    narrow = evaluate(task, data)
    changed = task.replace(window=wide.window, overlap=wide.overlap)
    assert evaluate(changed, data) == evaluate(wide, data) != narrow
    assert evaluate(task, data) == narrow


@eagerly
def test_evaluation_counts_words_of_the_file(task):
    data = sentences("Romes|B-place saw|O (Bob-Anna)|B-人 in|I-人 é.|O", "anna|B-place", " ".join(["bob|B-人"] * 30))
    metrics = evaluate(task, data)

    wanted, guessed, hits = set(), set(), []
    for number, (text, words, tags) in enumerate(zip(data.texts, data.words, data.tags, strict=True)):
        windows = task._windows(tf.constant([text]))
        _, found, _ = task._decode(windows, task.model(windows.inputs), 1)
        by_start = dict(zip([start for start, _ in words_of(text)], found.numpy().tolist(), strict=True))
        starts = kf.data.tagging.word_starts(words)
        row = [by_start[start] for start in starts]
        hits += [a == b for a, b in zip(row, tags, strict=True)]
        for target, numbers in ((guessed, row), (wanted, tags)):
            names = [split_tag(task.tag_names[tag]) for tag in numbers]
            target |= {(number, *entity) for entity in entities_of(names)}
    expected = precision_recall_f1(len(wanted & guessed), len(guessed), len(wanted))
    assert (metrics["precision"], metrics["recall"], metrics["f1"]) == pytest.approx(expected)
    assert metrics["accuracy"] == pytest.approx(np.mean(hits))
    assert metrics["loss"] > 0
    assert {"f1_place", "f1_人"} < set(metrics)


def test_learns_saves_and_exports(tmp_path):
    """With a CRF; the recipe's test does the same without."""
    data = sentences(*["anna|B-place saw|O romes|B-人 .|I-人", "bob|O in|B-place rome|I-place"] * 8)
    task = make(crf=True)
    trainer = kf.training.Trainer(task, kf.training.adamw(5e-3))
    trainer.fit(kf.data.tagging_batches(data, 8, shuffle_seed=0).repeat(15))  # each epoch prepares its data anew
    metrics = trainer.evaluate(kf.data.tagging_batches(data, 8))
    assert metrics["f1"] == 1.0
    texts = ["  Anna saw\tRomes.", "", "bob in ROME"]
    expected = task.predict(texts)
    assert [[entity["text"] for entity in found] for found in expected] == [["Anna", "Romes."], [], ["in ROME"]]

    task.save(tmp_path / "task")
    loaded = kf.load(tmp_path / "task")
    assert loaded.predict(texts) == expected
    assert loaded.settings == task.settings
    version = tmp_path / "1"
    kf.serving.export(loaded, version)
    server = LoadedModel(version)
    served = server.run("", {"text": np.array([text.encode() for text in texts], object)})
    found = [[text.decode() for text in row] for row in served["entities_text"]]
    assert found == [["Anna", "Romes."], ["", ""], ["in ROME", ""]]
    assert served["entities_start"].tolist() == [[2, 11], [-1, -1], [4, -1]]
    for entity, score in zip(expected[0], served["entities_score"][0], strict=True):
        assert score == pytest.approx(entity["score"], abs=1e-3)
    assert len(server.run("", {"text": np.zeros(0, object)})["entities_text"]) == 0


@eagerly
def test_a_crf_reads_a_text_of_several_windows_as_one_sequence():
    """An entity that goes on behind the cut between two windows, and a text after it."""
    data = sentences("bob|O anna|B-place " + "saw|I-place " * 14, "in|O rome|B-人")
    batch = next(iter(kf.data.tagging_batches(data, 2)))
    losses = []
    scores = np.random.default_rng(0).normal(size=[len(VOCABULARY), 5]).astype("float32")
    transitions = np.random.default_rng(1).normal(size=[6, 6]).astype("float32")
    for window in (24, 12):
        task = make(window=window, overlap=4 if window == 12 else 0, crf=True)
        inputs, labels = task.training_batch(*batch)
        assert len(labels) == (2 if window == 24 else 3)
        outputs = {
            "logits": tf.gather(scores, inputs["token_ids"]),  # what is said of a word is the same in all windows
            "transitions": tf.tile(transitions[None], [len(labels), 1, 1]),
        }
        loss, count = task.loss(labels, outputs)
        losses.append((float(loss), float(count)))
    assert losses[0] == (pytest.approx(losses[1][0], rel=1e-5), 18)
    assert losses[0][0] < 1000


@eagerly
@pytest.mark.parametrize("crf", [False, True])
def test_an_entity_whose_first_word_has_no_pieces_begins_with_the_next(crf):
    data = sentences("saw|O \u200d|B-place rome|I-place anna|I-place bob|B-人", "\u200d|B-人 in|I-人")
    task = make(crf=crf)
    inputs, labels = task.training_batch(*next(iter(kf.data.tagging_batches(data, 2))))
    assert labels.numpy()[labels.numpy() >= 0].tolist() == [0, 1, 2, 3, 3]
    assert float(task.loss(labels, task.model(inputs))[0]) < 1000


@eagerly
@pytest.mark.parametrize("text", ["गुरु", "สี", "Jose\u0301", "e\u0301\u0323 x", "1\ufe0f\u20e3"])
def test_an_entity_ends_with_its_last_mark(text):
    """The tokenizer strips accents, so that they belong to none of its pieces."""
    task = make()
    task.model.get_layer("tagger").kernel.assign(tf.zeros([16, 5]))
    task.model.get_layer("tagger").bias.assign([0, 9, 0, 0, 0])  # every word is a place
    found = task.predict([f"in {text} saw {text}"])[0]
    assert [entity["text"] for entity in found] == ["in", *text.split(), "saw", *text.split()]


def test_what_cannot_be_made():
    encoder = bert(CONFIG)
    with pytest.raises(InputError, match="entity_types"):
        Tagger(encoder, tokenizer(), [])
    with pytest.raises(InputError, match="entity_types"):
        Tagger(encoder, tokenizer(), ["x", "x"])
    with pytest.raises(InputError, match="max_length=24"):
        Tagger(encoder, tokenizer(), ["x"], window=25)
    with pytest.raises(InputError, match="window"):
        Tagger(encoder, tokenizer(), ["x"], window=2)
    with pytest.raises(InputError, match="sequence_output"):
        Tagger(keras.Model(encoder.input, {"other": encoder.output["sequence_output"]}), tokenizer(), ["x"])
    with pytest.raises(InputError, match="list"):
        make().predict("anna")
    with pytest.raises(InputError, match="separates words"):
        Tagger(encoder, types.SimpleNamespace(max_length=24, vocabulary_size=4), ["x"])


def test_offsets_in_many_scripts(thousand_real_texts, minilm_tokenizer, assert_cut_out, tmp_path):
    keras.utils.set_random_seed(1)
    config = BertConfig(minilm_tokenizer.vocabulary_size, 16, 1, 2, 24, 512, initializer_range=0.4)
    task = Tagger(bert(config), minilm_tokenizer, TYPES, window=32, overlap=8)
    kf.serving.export(task, tmp_path / "1")
    model, count = LoadedModel(tmp_path / "1"), 0
    for begin in range(0, len(thousand_real_texts), 100):
        texts = thousand_real_texts[begin : begin + 100]
        served = model.run("", {"text": np.array([text.encode() for text in texts], object)})
        for text, *row in zip(texts, *[served[f"entities_{name}"] for name in ("text", "start", "end")], strict=True):
            entities = [entity for entity in zip(*row, strict=True) if entity[1] >= 0]
            count += len(entities)
            for found, start, end in entities:
                assert_cut_out(text, found.decode(), start, end)
    assert count > 1000
