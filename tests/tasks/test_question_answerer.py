"""Answers: where training puts them, the best span against all spans, thresholds, metrics and what is served."""

import functools
import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasformer as kf
from kerasformer.errors import InputError
from kerasformer.models import BertConfig, bert
from kerasformer.serving import exporting
from kerasformer.serving.preview.loaded_model import LoadedModel
from kerasformer.tasks import QuestionAnswerer
from kerasformer.text import WordPieceTokenizer

WORDS = ["who", "where", "rome", "anna", "bob", "saw", "in", "left", "."]
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS, "##s", "é"]
CONFIG = BertConfig(len(VOCABULARY), 16, 1, 2, 24, 24, initializer_range=0.4, dropout=0.0, attention_dropout=0.0)
QUESTIONS = ["who saw Rome", "", "where where where where", "who", "who?"]
# No two windows of the long one are alike, so that one span is the best.
LONG = "  ".join(np.random.default_rng(2).choice(["Bob", "saw", "ANNA", "in", "é", "romes", "left."], 40))
CONTEXTS = ["Anna saw Romes é.", "Bob 😀 left in rome", LONG, "", "\n"]
eagerly = pytest.mark.usefixtures("eagerly")


@functools.cache  # tracing its graph takes longer than what is tested with it
def tokenizer():
    return WordPieceTokenizer(VOCABULARY, max_length=24)


def make(**arguments):
    keras.utils.set_random_seed(1)
    task = QuestionAnswerer(
        bert(CONFIG), tokenizer(), **{"window": 14, "overlap": 4, "max_question": 3, "max_answer": 4, **arguments}
    )
    kernel = task.head.output.kernel
    kernel.assign(np.random.default_rng(5).normal(size=kernel.shape))
    return task


@pytest.fixture(scope="module")
def task():
    return make()


def questions(*rows):
    """Data of rows (question, context, answer or None or "?" for one that is nowhere)."""
    count = len(rows)
    asked, contexts, answers = (np.empty(count, object) for _ in range(3))
    starts, ends = np.full(count, -1, np.int32), np.full(count, -1, np.int32)
    for place, (question, context, answer) in enumerate(rows):
        asked[place], contexts[place] = question, context
        answers[place] = () if answer is None else (answer,)
        if answer == "?":
            starts[place] = ends[place] = -2
        elif answer is not None:
            starts[place] = context.encode().index(answer.encode())
            ends[place] = starts[place] + len(answer.encode())
    return kf.data.Questions(asked, contexts, answers, starts, ends, (), (), "here")


def first_batch(data):
    return next(iter(kf.data.question_batches(data, len(data))))


@eagerly
def test_training_places(task):
    long = " ".join(["bob"] * 11 + ["anna", "saw", "romes"] + ["left"] * 6)
    data = questions(
        ("who", "anna saw Romes.", "saw Romes"),
        ("who", "anna saw", None),
        ("who", "anna saw", "?"),
        ("who", long, "anna saw romes"),
        ("who", "bob " * 20, ("bob " * 12).strip()),  # in no window as a whole
    )
    inputs, targets = task.training_batch(*first_batch(data))
    owners = task._windows(first_batch(data)[0]).owners.numpy()
    tokens = inputs["token_ids"].numpy()
    shown = [
        [VOCABULARY[token] for token in row[start : end + 1]]
        for row, start, end in zip(tokens, targets["start"].numpy(), targets["end"].numpy(), strict=True)
    ]
    weights = targets["weight"].numpy()
    assert shown[:3] == [["saw", "rome", "##s"], ["[CLS]"], ["[CLS]"]]
    assert weights[:3].tolist() == [1, 1, 0]
    assert [row for row, owner in zip(shown, owners, strict=True) if owner == 3] == [
        ["[CLS]"],
        ["anna", "saw", "rome", "##s"],
        ["[CLS]"],
    ]
    assert weights[owners == 3].all()
    assert not weights[owners == 4].any()
    assert (owners == 4).sum() > 1


@eagerly
def test_loss_against_numpy(task):
    data = questions(("who", "anna saw Romes.", "saw"), ("who", "bob", None), ("who", "bob", "?"))
    inputs, targets = task.training_batch(*first_batch(data))
    outputs = task.model(inputs)
    possible = targets["possible"].numpy()
    logits = np.where(possible[..., None], outputs["logits"].numpy().astype(np.float64), -np.inf)
    log_probabilities = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    places = zip(targets["start"].numpy()[:2], targets["end"].numpy()[:2], strict=True)
    expected = -sum(
        (log_probabilities[row, start, 0] + log_probabilities[row, end, 1]) / 2
        for row, (start, end) in enumerate(places)
    )
    loss, count = task.loss(targets, outputs)
    assert (float(loss), float(count)) == (pytest.approx(expected, rel=1e-4), 2)
    ids, context = inputs["token_ids"].numpy(), inputs["segment_ids"].numpy() == 1
    wanted = context & (inputs["padding_mask"].numpy() == 1) & (ids != task.tokenizer.end_id)
    wanted[:, 0] = True  # no answer
    np.testing.assert_array_equal(possible, wanted)


def all_spans(task, windows, logits):
    """`{text: [(score, start, end)]}` of every window's spans, in order, and `{text: least logit of no answer}`."""
    spans, nothing = {}, {}
    pieces, starts, ends = windows.pieces.numpy(), windows.starts.numpy(), windows.ends.numpy()
    for row, owner in enumerate(windows.owners.numpy()):
        spans.setdefault(owner, [])
        places = np.flatnonzero(pieces[row] >= 0)
        for first, last in itertools.product(places, places):
            if first <= last < first + task.max_answer:
                score = float(logits[row, first, 0]) + float(logits[row, last, 1])
                spans[owner].append((score, starts[pieces[row, first]], ends[pieces[row, last]]))
        nothing[owner] = min(nothing.get(owner, np.inf), float(logits[row, 0].sum()))
    return spans, nothing


@eagerly
@pytest.mark.parametrize("threshold", [None, 0.0])
def test_the_best_span_of_all_windows(threshold):
    task = make(no_answer_threshold=threshold)
    answers = task.predict(QUESTIONS, CONTEXTS)
    windows = task._windows({"question": tf.constant(QUESTIONS), "context": tf.constant(CONTEXTS)})
    spans, nothing = all_spans(task, windows, task.model(windows.inputs)["logits"].numpy())
    assert len(windows.owners) > len(CONTEXTS) + 5
    for row, context in enumerate(CONTEXTS):
        found = {key: value[row] for key, value in answers.items()}
        best = max(spans[row], default=None)
        if best is None or (threshold is not None and nothing[row] - best[0] > threshold):
            assert list(found.values()) == ["", -1, -1, 0, 1]
            continue
        total = np.log(np.exp(nothing[row]) + sum(np.exp(score) for score, *_ in spans[row]))
        assert (found["start"], found["end"]) == best[1:]
        assert context.encode()[best[1] : best[2]].decode() == found["answer"]
        assert found["score"] == pytest.approx(np.exp(best[0] - total), rel=1e-3)
        assert found["no_answer_score"] == pytest.approx(np.exp(nothing[row] - total), rel=1e-3)
    assert answers["start"].tolist()[3:] == [-1, -1], "an empty context has no answer"
    assert (answers["start"][:3] >= 0).sum() >= 2


@eagerly
def test_a_batch_is_as_one_by_one_and_may_be_empty(task):
    together = task.predict(QUESTIONS, CONTEXTS)
    alone = [task.predict([q], [c]) for q, c in zip(QUESTIONS, CONTEXTS, strict=True)]
    assert together["answer"].tolist() == [answer["answer"][0] for answer in alone]
    np.testing.assert_allclose(together["score"], [answer["score"][0] for answer in alone], atol=1e-5)
    assert task.predict([], [])["answer"].shape == (0,)


def evaluate(task, data, batch_size=2):
    batches = kf.data.question_batches(data, batch_size)
    return task.evaluate_batches(
        tf.nest.map_structure(lambda x: x.numpy(), (*batch, task.evaluation_batch(*batch, task.model)))
        for batch in batches
    )


@eagerly
def test_evaluation():
    task = make()
    context = CONTEXTS[1]
    answer = task.predict(["who"], [context])["answer"][0]
    data = questions(("who", context, answer), ("who", context, "?"))
    metrics = evaluate(task, data)
    assert (metrics["exact_match"], metrics["f1"]) == (0.5, 0.5)
    assert set(metrics) == {"loss", "exact_match", "f1"}

    data = questions(("who", context, answer), ("who", context, None), ("where", CONTEXTS[0], None))
    metrics = evaluate(task, data)
    assert metrics["f1"] == pytest.approx(1 / 3), "always answered"
    assert metrics["best_f1"] >= 2 / 3
    task = task.replace(no_answer_threshold=metrics["best_threshold"])
    assert evaluate(task, data)["f1"] == pytest.approx(metrics["best_f1"])
    assert evaluate(task.replace(no_answer_threshold=-1e9), data)["f1"] == pytest.approx(2 / 3)


@eagerly
def test_a_setting_counts_after_the_first_evaluation():
    task, short = make(), make(max_answer=1)
    answers = task.predict(QUESTIONS[:3], CONTEXTS[:3])["answer"]
    data = questions(*zip(QUESTIONS[:3], CONTEXTS[:3], answers, strict=True))
    assert evaluate(task, data)["exact_match"] == 1
    metrics = evaluate(task.replace(max_answer=1), data)
    assert metrics == evaluate(short, data)
    assert metrics["exact_match"] < 1

    wide = make(window=24)
    trainer, other = (kf.training.Trainer(each, keras.optimizers.SGD()) for each in (task, wide))
    narrow = trainer.evaluate(kf.data.question_batches(data, 2))
    trainer.task = task.replace(window=24)
    metrics = trainer.evaluate(kf.data.question_batches(data, 2))
    assert metrics == pytest.approx(other.evaluate(kf.data.question_batches(data, 2)), rel=1e-5)
    assert metrics["loss"] != pytest.approx(narrow["loss"], rel=1e-3)


def test_learns_saves_and_exports(tmp_path):
    task = make(window=24)
    data = questions(
        *[("who", "anna saw romes in rome", "anna"), ("where", "anna saw romes in rome", "rome")] * 4,
        *[("who", "in rome . bob left", "bob"), ("where", "bob left .", None)] * 4,
    )
    trainer = kf.training.Trainer(task, kf.training.adamw(1e-2))
    trainer.fit(kf.data.question_batches(data, 16, shuffle_seed=0).repeat(40))  # each epoch prepares its data anew
    metrics = trainer.evaluate(kf.data.question_batches(data, 16))
    assert metrics["best_f1"] == 1.0
    task = task.replace(no_answer_threshold=metrics["best_threshold"])
    asked, contexts = ["who", "where", "who"], ["In Rome. Bob\tleft", "bob left .", ""]
    expected = task.predict(asked, contexts)
    assert expected["answer"].tolist() == ["Bob", "", ""]
    assert expected["start"].tolist() == [9, -1, -1]

    task.save(tmp_path / "task")
    loaded = kf.load(tmp_path / "task")
    assert loaded.settings == task.settings
    assert loaded.predict(asked, contexts)["answer"].tolist() == expected["answer"].tolist()
    version = tmp_path / "1"
    kf.serving.export(loaded, version)
    columns = {"question": asked, "context": contexts}
    feeds = {name: np.array([text.encode() for text in texts], object) for name, texts in columns.items()}
    served = LoadedModel(version).run("", feeds)
    assert [text.decode() for text in served["answer"]] == ["Bob", "", ""]
    np.testing.assert_allclose(served["no_answer_score"], expected["no_answer_score"], atol=1e-3)


def test_windows_served_in_order_of_length_answer_their_own_texts(task, tmp_path, monkeypatch):
    monkeypatch.setattr(kf.layers.attention, "_FEW_SCORES", 0)  # the form for many, which computes groups of windows
    ordered, by_length = [], exporting._by_length
    monkeypatch.setattr(exporting, "_by_length", lambda *arguments: ordered.append(1) or by_length(*arguments))
    kf.serving.export(task, tmp_path / "1")
    assert ordered
    columns = {"question": QUESTIONS * 2, "context": CONTEXTS + CONTEXTS[::-1]}
    feeds = {name: np.array([text.encode() for text in texts], object) for name, texts in columns.items()}
    expected = task.predict(columns["question"], columns["context"])
    assert len({answer for answer in expected["answer"] if answer}) > 3
    served = LoadedModel(tmp_path / "1").run("", feeds)
    assert [text.decode() for text in served["answer"]] == expected["answer"].tolist()
    np.testing.assert_allclose(served["score"], expected["score"], atol=1e-4)


@eagerly
@pytest.mark.parametrize("text", ["गुरु", "สี", "Jose\u0301"])
def test_an_answer_ends_with_its_last_mark(text, task):
    context = f"anna {text} saw"
    features = {"question": tf.constant(["who"]), "context": tf.constant([context])}
    windows = task._windows(features)
    logits = np.zeros([*windows.inputs["token_ids"].shape, 2], "float32")
    place = windows.pieces.numpy()[0].tolist().index(1)
    logits[0, place : place + windows.pieces.numpy()[0].max() - 1] = 5
    task_answer = task.answer_features(features, lambda inputs: {"logits": tf.constant(logits)})
    assert task_answer["answer"].numpy()[0].decode() == text
    start, end = int(task_answer["start"][0]), int(task_answer["end"][0])
    assert context.encode()[start:end].decode() == text
    batch = first_batch(questions(("who", context, text)))
    found = task.evaluation_batch(*batch, lambda inputs: {"logits": tf.constant(logits)})
    assert found["text"].numpy()[0].decode() == text


def test_what_cannot_be_made():
    encoder = bert(CONFIG)
    with pytest.raises(InputError, match="max_length=24"):
        QuestionAnswerer(encoder, tokenizer(), window=25)
    with pytest.raises(InputError, match="overlap"):
        make(overlap=12)
    with pytest.raises(InputError, match="max_answer"):
        make(max_answer=0)
    with pytest.raises(InputError, match="sequence_output"):
        QuestionAnswerer(keras.Model(encoder.input, {"other": encoder.output["sequence_output"]}), tokenizer())
    with pytest.raises(InputError, match="same length"):
        make().predict(["who"], [])


def test_offsets_in_many_scripts(thousand_real_texts, minilm_tokenizer, assert_cut_out, tmp_path):
    keras.utils.set_random_seed(1)
    config = BertConfig(minilm_tokenizer.vocabulary_size, 16, 1, 2, 24, 512, initializer_range=0.4)
    task = QuestionAnswerer(bert(config), minilm_tokenizer, window=32, overlap=8, max_question=6, max_answer=8)
    kernel = task.head.output.kernel
    kernel.assign(np.random.default_rng(5).normal(size=kernel.shape))
    kf.serving.export(task, tmp_path / "1")
    model, answered = LoadedModel(tmp_path / "1"), 0
    for begin in range(0, len(thousand_real_texts), 100):
        texts = thousand_real_texts[begin : begin + 100]
        columns = {"question": [b"who saw whom?"] * len(texts), "context": [text.encode() for text in texts]}
        served = model.run("", {name: np.array(values, object) for name, values in columns.items()})
        for text, found, start, end in zip(texts, *[served[n] for n in ("answer", "start", "end")], strict=True):
            if start >= 0:
                answered += 1
                assert_cut_out(text, found.decode(), start, end)
            else:
                assert (found, end) == (b"", -1)
    assert answered > 900
