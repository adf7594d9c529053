"""The trainer on a toy task: the update itself, that it learns, repeats itself, stops, and tells what is wrong."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasformer.errors import InputError
from kerasformer.models import BertConfig, bert
from kerasformer.tasks import TextClassifier
from kerasformer.text import WordPieceTokenizer
from kerasformer.training import Trainer, adamw, make_strategy, print_table, write_metrics

WORDS = ["good", "bad", "so", "very", "it", "is"]
TOKENIZER = WordPieceTokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS], max_length=8)
eagerly = pytest.mark.usefixtures("eagerly")


def make_task(seed=0, dropout=0.1):
    keras.utils.set_random_seed(seed)
    config = BertConfig(10, 8, 1, 2, 16, 8, dropout=dropout, attention_dropout=dropout, initializer_range=0.3)
    return TextClassifier(bert(config, pooled=True), TOKENIZER, ["no", "yes"], dropout=dropout)


def examples(size=24, seed=0):
    random = np.random.default_rng(seed)
    targets = random.integers(0, 2, size).astype("int32")
    fill = [" ".join(random.choice(WORDS[2:], random.integers(0, 4))) for _ in range(size)]
    return [f"{text} {WORDS[1 - target]}" for text, target in zip(fill, targets, strict=True)], targets


def batches(size=24, batch_size=8, seed=0):
    texts, targets = examples(size, seed)
    return tf.data.Dataset.from_tensor_slices(({"text": texts}, targets)).batch(batch_size)


def weights_of(task):
    return [np.array(weight) for weight in task.model.trainable_variables]


@pytest.mark.parametrize("clip_norm", [None, 0.05])
def test_the_update_is_the_clipped_gradient_of_sum_over_count(clip_norm):
    texts, targets = examples(5)
    weights = np.linspace(0.5, 3, 5).astype("float32")
    data = tf.data.Dataset.from_tensor_slices(({"text": texts}, targets)).batch(5)
    task = make_task(dropout=0.0)
    before = weights_of(task)
    with tf.GradientTape() as tape:
        logits = task.model(TOKENIZER(texts))["logits"]
        losses = keras.losses.sparse_categorical_crossentropy(targets, logits, from_logits=True)
        mean = tf.reduce_sum(losses * weights) / weights.sum()
    gradients = [tf.convert_to_tensor(g).numpy() for g in tape.gradient(mean, task.model.trainable_variables)]
    norm = np.sqrt(sum((g**2).sum() for g in gradients))
    assert norm > 0.05
    factor = 1 if clip_norm is None else min(1, clip_norm / norm)
    trainer = Trainer(
        task,
        keras.optimizers.SGD(0.5),
        clip_norm=clip_norm,
        loss=lambda targets, outputs: task.loss(targets, outputs, weights),
    )
    history = trainer.fit(data)
    np.testing.assert_allclose(history.history["loss"], [float(mean)], rtol=1e-5)
    for old, gradient, new in zip(before, gradients, weights_of(task), strict=True):
        np.testing.assert_allclose(new, old - 0.5 * factor * gradient, rtol=1e-4, atol=1e-6)


@eagerly
def test_small_weights_are_a_mean_all_the_same():
    """The loss is the sum over the count also where the weights of a batch add up to less than one."""
    task = make_task(dropout=0.0)
    expected = Trainer(make_task(dropout=0.0), keras.optimizers.SGD(0.0)).fit(batches(8)).history["loss"]
    trainer = Trainer(
        task,
        keras.optimizers.SGD(0.0),
        loss=lambda targets, outputs: task.loss(targets, outputs, tf.fill(tf.shape(targets), 0.01)),
    )
    np.testing.assert_allclose(trainer.fit(batches(8)).history["loss"], expected, rtol=1e-5)


def test_training_learns_and_evaluates():
    task = make_task(dropout=0.0)
    trainer = Trainer(task, adamw(1e-2))
    history = trainer.fit(batches(48), batches(16, seed=1), epochs=6).history
    assert history["loss"][-1] < history["loss"][0] / 2
    assert history["val_accuracy"][-1] == 1.0
    assert {"loss", "seconds", "tokens_per_second", "val_loss", "val_accuracy", "val_macro_f1"} <= history.keys()
    final = trainer.evaluate(batches(16, seed=1))
    np.testing.assert_allclose(final["loss"], history["val_loss"][-1], rtol=1e-5)
    texts, targets = examples(16, seed=1)
    assert task.predict(texts)["label"].tolist() == [task.label_names[target] for target in targets]


def test_two_runs_are_equal_bit_for_bit_and_other_seeds_are_not():
    def run(seed):
        task = make_task(seed)
        Trainer(task, adamw(1e-2)).fit(lambda epoch: batches(seed=epoch), epochs=2)
        return weights_of(task)

    first, second, other = run(1), run(1), run(2)
    for one, two in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, two)
    assert not all(np.array_equal(one, two) for one, two in zip(first, other, strict=True))


def test_several_steps_a_call_are_the_same_steps():
    results = []
    for steps_per_call in (1, 2):
        task = make_task(3)
        seen = []
        callback = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs, seen=seen: seen.append(batch))
        Trainer(task, adamw(1e-2), steps_per_call=steps_per_call).fit(batches(40), epochs=2, callbacks=[callback])
        results.append((weights_of(task), seen))
    assert [seen for _, seen in results] == [[0, 1, 2, 3, 4] * 2, [1, 3, 4] * 2]
    for other, _ in results[1:]:
        for one, two in zip(results[0][0], other, strict=True):
            np.testing.assert_array_equal(one, two)


@eagerly
def test_a_training_that_is_over_asks_for_no_further_epoch(tmp_path):
    asked = []

    def data(epoch):
        asked.append(epoch)
        return [batches(8), batches(16)][epoch]

    for _ in range(2):
        trainer = Trainer(make_task(), adamw(1e-2))
        trainer.fit(data, epochs=2, checkpoint_folder=tmp_path / "checkpoints")
    assert set(asked) == {0, 1}


@eagerly
def test_early_stopping_brings_the_best_weights_back():
    task = make_task()
    kept, metrics = [], []

    class Spoil(keras.callbacks.Callback):
        """Epoch 2 is the best: weights are spoilt from epoch 3 on."""

        def on_epoch_end(self, epoch, logs=None):
            kept.append(weights_of(task))
            metrics.append(logs["val_accuracy"])
            logs["val_watched"] = [1.0, 3.0, 2.0, 1.0, 1.0][epoch]

    stop = keras.callbacks.EarlyStopping("val_watched", mode="max", patience=2, restore_best_weights=True)
    history = Trainer(task, adamw(1e-2)).fit(batches(), batches(8), epochs=5, callbacks=[Spoil(), stop])
    assert len(history.epoch) == len(metrics) == 4
    for best, now in zip(kept[1], weights_of(task), strict=True):
        np.testing.assert_array_equal(best, now)


@eagerly
def test_the_logs_of_a_step():
    logs_seen = []
    callback = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: logs_seen.append(dict(logs)))
    Trainer(make_task(), adamw(3e-3)).fit(batches(10, 8), callbacks=[callback])
    texts, _ = examples(10)
    masks = [TOKENIZER(part)["padding_mask"].numpy().sum() for part in (texts[:8], texts[8:])]
    assert [logs["tokens"] for logs in logs_seen] == masks
    assert all(logs["learning_rate"] == pytest.approx(3e-3) for logs in logs_seen)


def test_empty_data():
    trainer = Trainer(make_task(), adamw(1e-3))
    with pytest.raises(InputError, match="nothing to train on"):
        trainer.fit(batches().take(0))
    with pytest.raises(InputError, match="nothing to evaluate"):
        trainer.evaluate(batches().take(0))


def test_data_of_unknown_length_train_to_their_end_and_endless_ones_for_a_number_of_steps():
    def steps_of(data, steps_per_call=1, **how_long):
        task, optimizer = make_task(), adamw(1e-3)
        Trainer(task, optimizer, steps_per_call=steps_per_call).fit(data, **how_long)
        return int(optimizer.iterations)

    unknown = batches().filter(lambda features, targets: True)
    assert steps_of(unknown, epochs=2) == 6
    assert steps_of(unknown, steps=5) == 5
    assert steps_of(batches().repeat(), steps=4, steps_per_call=3) == 4
    with pytest.raises(InputError, match="known number of batches"):
        steps_of(unknown, steps_per_call=2)
    with pytest.raises(InputError, match="number of `steps`"):
        steps_of(batches().repeat())


@eagerly
def test_a_loss_that_is_not_finite_names_its_step():
    task = make_task(dropout=0.0)
    calls = tf.Variable(0)

    def loss(targets, outputs):
        calls.assign_add(1)
        loss_sum, count = task.loss(targets, outputs)
        return tf.where(calls < 3, loss_sum, np.nan), count

    with pytest.raises(FloatingPointError, match=r"The loss is nan in step 3\b"):
        Trainer(task, adamw(1e-3), loss=loss).fit(batches(40))


def test_mixed_float16_learns():
    """Gradients of float16 stay finite: large losses of a whole batch are not summed beyond its range."""
    keras.utils.set_random_seed(0)
    config = BertConfig(10, 8, 1, 2, 16, 8, dropout=0.0, attention_dropout=0.0, initializer_range=0.3)
    encoder = bert(config, pooled=True, dtype="mixed_float16")
    task = TextClassifier(encoder, TOKENIZER, ["no", "yes"], dropout=0.0)
    history = Trainer(task, adamw(1e-2)).fit(batches(256, 128), epochs=8).history
    assert history["loss"][-1] < history["loss"][0]
    assert all(np.isfinite(weight).all() for weight in weights_of(task))


def test_a_mirrored_strategy_of_one_device_is_the_same():
    results = []
    for strategy in ("default", tf.distribute.MirroredStrategy(["/cpu:0"])):
        with make_strategy(strategy).scope():
            task = make_task(dropout=0.0)
            optimizer = adamw(1e-2)
        Trainer(task, optimizer, strategy=strategy).fit(batches(20))
        results.append(weights_of(task))
    for one, two in zip(*results, strict=True):
        np.testing.assert_allclose(one, two, atol=1e-6)


def test_metrics_are_written_whole(tmp_path):
    write_metrics(tmp_path / "new" / "folder", {"validation": {"accuracy": 0.5}})
    path = tmp_path / "new" / "folder" / "metrics.json"
    assert json.loads(path.read_text()) == {"validation": {"accuracy": 0.5}}
    with pytest.raises(TypeError):
        write_metrics(path.parent, {"bad": object()})
    assert json.loads(path.read_text()) == {"validation": {"accuracy": 0.5}}
    assert [item.name for item in path.parent.iterdir()] == ["metrics.json"]


def test_tables(capsys):
    print_table("results", ["metric", "test"], [["accuracy", 0.123456], ["count", 3], ["loss", float("nan")]])
    shown = capsys.readouterr().out
    assert "0.1235" in shown
    assert "nan" in shown
    assert "results" in shown
