"""A classifier learns the same from every form of labels, and weights count wherever a batch is split."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasformer as kf
from kerasformer.errors import InputError
from kerasformer.tasks.labelled_batches import labelled_form

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad", "day"]
TEXTS = ["good day", "bad day", "good", "bad", "day good", "day bad", "good good", "bad bad"]
LABELS = np.array([1, 0] * 4, "int32")
WEIGHTS = np.array([0.5, 2, 0, 1, 3, 1, 0.25, 1], "float32")
eagerly = pytest.mark.usefixtures("eagerly")


def make_task(names=("bad", "good"), **options):
    keras.utils.set_random_seed(3)
    config = kf.models.BertConfig(len(WORDS), 8, 1, 2, 16, 8, dropout=0.0, attention_dropout=0.0)
    tokenizer = kf.text.WordPieceTokenizer(WORDS, max_length=8)
    return kf.tasks.TextClassifier(kf.models.bert(config, pooled=True), tokenizer, names, dropout=0.0, **options)


def trained(*parts, names=("bad", "good"), batch=5, validation=False, **options):
    """Loss, and weights after an epoch of SGD."""
    task = make_task(names)
    trainer = kf.training.Trainer(task, keras.optimizers.SGD(0.5), **options)
    data = tf.data.Dataset.from_tensor_slices(parts).batch(batch)
    history = trainer.fit(data, data if validation else None).history
    return history, [np.array(weight) for weight in task.model.trainable_variables]


@functools.cache
def plainly_trained():
    return trained({"text": TEXTS}, LABELS)


def assert_same(first, second):
    np.testing.assert_allclose(first[0]["loss"], second[0]["loss"], rtol=1e-5)
    for one, other in zip(first[1], second[1], strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


@eagerly
@pytest.mark.parametrize(
    "parts",
    [
        ({"text": TEXTS}, LABELS[:, None]),
        ({"text": TEXTS}, LABELS[:, None].astype("float32")),
        ({"text": TEXTS}, LABELS.astype("float64")),
        ({"text": TEXTS}, LABELS.astype(bool)),
        ({"text": TEXTS}, LABELS.astype("int64")),
        ({"text": TEXTS}, np.eye(2, dtype="float32")[LABELS]),
        ({"text": TEXTS}, np.eye(2, dtype="int32")[LABELS]),
        ({"text": [[text] for text in TEXTS]}, LABELS),
        (TEXTS, LABELS),
        (TEXTS, LABELS, np.full(8, 0.1, "float32")),
        (TEXTS, LABELS[:, None], np.full([8, 1], 7)),
    ],
)
def test_forms_of_the_same_data_train_alike(parts):
    assert_same(trained(*parts), plainly_trained())


@eagerly
def test_weights_repeat_and_leave_out_examples():
    weights = np.array([1, 2, 0, 1, 3, 1, 0, 1], "float32")
    repeated = np.repeat(np.arange(8), weights.astype(int))
    texts = [TEXTS[k] for k in repeated]
    weighted = trained(TEXTS, LABELS, weights, batch=8, validation=True)
    assert_same(weighted, trained(texts, LABELS[repeated], batch=9))
    plain = trained(texts, LABELS[repeated], batch=9, validation=True)[0]["val_loss"]
    np.testing.assert_allclose(weighted[0]["val_loss"], plain, rtol=1e-5)


@pytest.mark.parametrize("options", [{"microbatches": 3}, {"steps_per_call": 2}])
def test_weights_count_however_a_batch_is_split(options):
    """Several replicas: the way `weights` of test_equality."""
    assert_same(trained(TEXTS, LABELS, WEIGHTS, **options), trained(TEXTS, LABELS, WEIGHTS))


@eagerly
def test_scores_of_a_regression_in_both_shapes():
    scores = np.linspace(0, 1, 8).astype("float32")
    assert_same(trained(TEXTS, scores, names=None), trained(TEXTS, scores[:, None], names=None))
    assert_same(trained(TEXTS, LABELS, names=None), trained(TEXTS, LABELS.astype("float32"), names=None))


@eagerly
def test_pairs_as_two_tensors():
    task = make_task(pairs=True)
    trainer = kf.training.Trainer(task, keras.optimizers.SGD(0.0))
    data = tf.data.Dataset.from_tensor_slices(((TEXTS, TEXTS[::-1]), LABELS)).batch(4)
    named = tf.data.Dataset.from_tensor_slices(({"text": TEXTS, "text_pair": TEXTS[::-1]}, LABELS)).batch(4)
    assert trainer.evaluate(data) == trainer.evaluate(named)


@eagerly
def test_predictions_of_texts_alone():
    trainer = kf.training.Trainer(make_task(), keras.optimizers.SGD(0.0))
    texts = tf.data.Dataset.from_tensor_slices(TEXTS)
    outputs = list(trainer.predict(texts.batch(4)))
    assert [part["logits"].shape for part in outputs] == [(4, 2), (4, 2)]
    named = trainer.predict(texts.map(lambda text: ({"text": text}, 0)).batch(4))
    np.testing.assert_allclose(outputs[1]["logits"], list(named)[1]["logits"])


@eagerly
@pytest.mark.parametrize(
    ("parts", "told"),
    [
        (({"text": TEXTS}, LABELS, WEIGHTS, WEIGHTS), r"or `\(texts, labels, sample_weights\)`. Received: 4 parts"),
        (({"sentence": TEXTS}, LABELS), r"must be in 'text' and 'text_pair'. Received: \['sentence'\]"),
        ((LABELS, LABELS), r"texts of a batch must be strings \[N\]. Received: int32"),
        ((TEXTS, np.array(["good"] * 8)), r"labels of a batch must be numbers.*Received: string"),
        (
            (TEXTS, np.ones([8, 3], "float32")),
            r"shape \[N\] or \[N, 1\] or one-hot \[N, 2\]. Received: float32 \(None, 3\)",
        ),
        ((TEXTS, np.full([8, 2], 0.5, "float32")), "One-hot labels must have a single 1"),
        ((TEXTS, np.full(8, 0.5, "float32")), "must be whole numbers"),
        ((TEXTS, LABELS, np.ones([8, 2])), "sample weights of a batch must have the shape"),
        ((TEXTS, LABELS, TEXTS), "sample weights of a batch must be numbers"),
    ],
)
def test_other_forms_are_refused_by_name(parts, told):
    with pytest.raises(InputError, match=told) as caught:
        trained(*parts)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("dtype", ["float32", "int64", "bool"])
def test_several_labels_are_zeros_and_ones(dtype):
    labels = np.array([[1, 0, 1], [0, 0, 0]]).astype(dtype)
    data = tf.data.Dataset.from_tensor_slices((TEXTS[:2], labels, [0.5, 2.0])).batch(2)
    form = labelled_form(data.element_spec, 3, multi_label=True)
    texts, targets = form(*next(iter(data)))
    assert texts["text"].numpy().tolist() == [text.encode() for text in TEXTS[:2]]
    assert targets["labels"].dtype == targets["weights"].dtype == tf.float32
    assert targets["labels"].numpy().tolist() == [[1, 0, 1], [0, 0, 0]]
    assert targets["weights"].numpy().tolist() == [0.5, 2.0]


@pytest.mark.parametrize(
    ("labels", "received"),
    [
        (LABELS, r"int32 \(None,\)"),
        (LABELS[:, None], r"int32 \(None, 1\)"),
        (np.ones([8, 2], "float32"), r"float32 \(None, 2\)"),
        (np.ones([8, 3, 1], "float32"), r"float32 \(None, 3, 1\)"),
        (np.array([["a", "b", "c"]] * 8), r"string \(None, 3\)"),
        ({"labels": LABELS}, "a dictionary of labels"),
    ],
)
def test_other_forms_of_several_labels_are_refused(labels, received):
    spec = tf.data.Dataset.from_tensor_slices((TEXTS, labels)).batch(4).element_spec
    with pytest.raises(InputError, match=rf"zeros and ones, \[N, 3\]\. Received: {received}") as error:
        labelled_form(spec, 3, multi_label=True)
    assert "\n" not in str(error.value)


def test_data_without_labels_or_batches_are_refused():
    trainer = kf.training.Trainer(make_task(), keras.optimizers.SGD(0.1))
    with pytest.raises(InputError, match="alone"):
        trainer.fit(tf.data.Dataset.from_tensor_slices({"text": TEXTS}).batch(4))
    with pytest.raises(InputError, match=r"data\.batch"):
        trainer.fit(tf.data.Dataset.from_tensor_slices((TEXTS, LABELS)))


def test_who_takes_no_weights_says_so():
    task = make_task()
    own = kf.training.Trainer(
        task, keras.optimizers.SGD(0.1), loss=lambda targets, outputs: task.loss(targets, outputs)
    )
    data = tf.data.Dataset.from_tensor_slices((TEXTS, LABELS, WEIGHTS)).batch(4)
    with pytest.raises(InputError, match="takes no sample weights"):
        own.fit(data)
    tagger = kf.tasks.Tagger(task.encoder, task.tokenizer, ["x"])
    with pytest.raises(InputError, match="Tagger must be `\\(features, targets\\)`; it takes no sample weights"):
        kf.training.Trainer(tagger, keras.optimizers.SGD(0.1)).fit(data)
