"""Layer-wise rates, averages, frozen layers and low-rank updates."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasformer as kf
from kerasformer.errors import InputError
from kerasformer.models.transforms import merged_variables
from kerasformer.training.checkpoints import list_checkpoints, model_variables, save_checkpoint

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "good", "bad", "so", "it"]


def make_task(layers=2):
    keras.utils.set_random_seed(1)
    config = kf.models.BertConfig(8, 8, layers, 2, 16, 8, dropout=0.0, attention_dropout=0.0, initializer_range=0.3)
    tokenizer = kf.text.WordPieceTokenizer(WORDS, max_length=8)
    encoder = kf.models.bert(config, pooled=True)
    return kf.tasks.TextClassifier(encoder, tokenizer, ["no", "yes"], dropout=0.0)


def examples(count=24):
    targets = np.arange(count) % 2
    texts = np.array([f"{'so ' * (i % 3)}{['bad', 'good'][target]}" for i, target in enumerate(targets)], object)
    return kf.data.Examples(texts, None, targets.astype("int32"), ("no", "yes"), "")


def trained(task, optimizer, epochs=3, **options):
    kf.training.Trainer(task, optimizer).fit(kf.data.batches(examples(), 8), epochs=epochs, **options)
    return task


def weights(model):
    return {variable.path: keras.ops.convert_to_numpy(variable).copy() for variable in model.variables}


def test_layer_decay_multiplies_the_rate_of_each_layer():
    task = make_task()
    rates = kf.training.layer_rates(task.encoder, 0.5)
    optimizer = kf.training.adamw(0.1, weight_decay=0.0, layer_rates=rates, epsilon=1e-12)
    before = weights(task.model)
    variables = task.model.trainable_variables
    # The first step of Adam is the rate itself, whatever the gradient.
    optimizer.apply([keras.ops.ones_like(variable) for variable in variables], variables)
    expected = {"embedding": 0.1 / 8, "block_0": 0.1 / 4, "block_1": 0.1 / 2, "pooler": 0.1, "classifier": 0.1}
    for variable in variables:
        step = before[variable.path] - keras.ops.convert_to_numpy(variable)
        np.testing.assert_allclose(step, expected[variable.path.split("/")[0]], rtol=1e-3, err_msg=variable.path)


def test_layer_rates_survive_the_config():
    optimizer = kf.training.adamw(0.1, layer_rates={"block_0/kernel": 0.5})
    assert type(optimizer).from_config(optimizer.get_config()).layer_rates == {"block_0/kernel": 0.5}


def test_layer_rates_of_two_stacks_and_of_shared_blocks():
    sizes = {"hidden_dim": 8, "num_heads": 2, "intermediate_dim": 8, "num_encoder_layers": 2, "num_decoder_layers": 1}
    model = kf.models.transformer(kf.models.TransformerConfig(vocabulary_size=9, **sizes))
    rates = kf.training.layer_rates(model, 0.5)
    found = {path.split("/")[0]: rate for path, rate in rates.items()}
    assert found == {"embedding": 1 / 16, "encoder_block_0": 1 / 8, "encoder_block_1": 1 / 4, "decoder_block_0": 1 / 2}
    config = kf.models.BertConfig.named("tiny", vocabulary_size=9).model_config().replace(share_blocks=True)
    rates = kf.training.layer_rates(kf.models.encoder(config), 0.5)
    assert {path.split("/")[0]: rate for path, rate in rates.items()} == {"embedding": 1 / 8, "block_0": 1 / 2}


@pytest.mark.parametrize("average", [1.0, 0.0])
def test_wrong_averages(average):
    with pytest.raises(InputError, match="Received: average="):
        kf.training.adamw(0.1, average=average)


@pytest.mark.parametrize("decay", [0.0, 1.5])
def test_wrong_layer_decay(decay):
    with pytest.raises(InputError, match="Received: decay="):
        kf.training.layer_rates(make_task().encoder, decay)
    with pytest.raises(InputError, match="must be a Backbone"):
        kf.training.layer_rates(keras.Sequential(), 0.9)


def test_no_decay_looks_at_the_end_of_a_path():
    dense = keras.layers.Dense(2, name="bias_network")
    dense.build((None, 2))
    optimizer = kf.training.adamw(0.1, weight_decay=0.5)
    before = [keras.ops.convert_to_numpy(v).copy() + 1 for v in dense.variables]
    for variable in dense.variables:
        variable.assign_add(keras.ops.ones_like(variable))
    optimizer.apply([keras.ops.zeros_like(v) for v in dense.variables], dense.variables)
    kernel, bias = dense.variables
    np.testing.assert_allclose(kernel, before[0] * 0.95, rtol=1e-6)
    np.testing.assert_allclose(bias, before[1], rtol=1e-6)


@pytest.mark.usefixtures("eagerly")
def test_the_averaged_weights_are_evaluated_and_kept():
    """Against the recursion in NumPy over the raw weights of each step."""
    raw, evaluated = [], []
    plain = make_task()

    class Note(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            raw.append([keras.ops.convert_to_numpy(v).copy() for v in plain.model.trainable_variables])

    trained(plain, kf.training.adamw(1e-2), callbacks=[Note()])
    task = make_task()

    class Seen(keras.callbacks.Callback):
        def on_test_end(self, logs=None):
            evaluated.append([keras.ops.convert_to_numpy(v).copy() for v in task.model.trainable_variables])

    validation = kf.data.batches(examples(8), 8)
    trainer = kf.training.Trainer(task, kf.training.adamw(1e-2, average=0.8))
    trainer.fit(kf.data.batches(examples(), 8), validation, epochs=3, callbacks=[Seen()])
    average, after_epochs = raw[0], []
    for step, values in enumerate(raw):
        if step:
            average = [0.8 * a + 0.2 * v for a, v in zip(average, values, strict=True)]
        if step % 3 == 2:
            after_epochs.append(average)
    for expected, seen in zip(after_epochs[-1], task.model.trainable_variables, strict=True):
        np.testing.assert_allclose(keras.ops.convert_to_numpy(seen), expected, atol=1e-5)
    assert len(evaluated) == 3


@pytest.mark.usefixtures("eagerly")
def test_frozen_layers_stay():
    task = make_task()
    assert kf.models.freeze(task.model, "embedding", "block_[0]") == ["embedding", "block_0"]
    before = weights(task.model)
    trained(task, kf.training.adamw(1e-2))
    moved = {
        path.split("/")[0] for path, value in weights(task.model).items() if not np.array_equal(value, before[path])
    }
    assert moved == {"block_1", "pooler", "classifier"}
    with pytest.raises(InputError, match="'block_7'"):
        kf.models.freeze(task.model, "block_7")


def test_lora_trains_little_and_merges(tmp_path):
    task = make_task()
    before = weights(task.model)
    texts = list(examples(6).texts)
    start = task.predict(texts)["scores"]
    count = kf.models.enable_lora(task.model, 2, alpha=4, train=("classifier",))
    # Two blocks of four projections, rank 2, and the classifier.
    assert count == 2 * 2 * ((8 + 24) + (8 + 8) + (8 + 16) + (16 + 8)) + 8 * 2 + 2
    np.testing.assert_allclose(make_again(task).predict(texts)["scores"], start, atol=1e-6)
    trained(task, kf.training.adamw(3e-2), epochs=8)
    after = weights(task.model)
    assert all(np.array_equal(after[path], value) for path, value in before.items() if "classifier" not in path)
    scores = make_again(task).predict(texts)["scores"]
    assert np.abs(scores - start).max() > 0.1

    merged = merged_variables(task.model)
    assert [v.shape for v in merged] == [value.shape for value in before.values()]
    task.save(tmp_path / "task")
    loaded = kf.load(tmp_path / "task")
    assert {path: value.shape for path, value in weights(loaded.model).items()} == {
        path: value.shape for path, value in before.items()
    }
    np.testing.assert_allclose(loaded.predict(texts)["scores"], scores, atol=1e-5)
    kf.serving.export(task, tmp_path / "export")
    import tensorflow as tf

    served = tf.saved_model.load(str(tmp_path / "export")).signatures["serving_default"]
    np.testing.assert_allclose(served(text=tf.constant(texts))["scores"], scores, atol=1e-5)


def make_again(task):
    """The same task, whose `predict` is not traced yet."""
    return task.replace()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [((0,), "rank=0"), ((1.5,), "rank=1.5"), ((2, "classifer"), "'classifer'")],
)
def test_wrong_lora(arguments, told):
    rank, *train = arguments
    with pytest.raises(InputError, match=told):
        kf.models.enable_lora(make_task().model, rank, train=train)


def test_lora_needs_projections():
    inputs = keras.Input((3,))
    with pytest.raises(InputError, match="no attention"):
        kf.models.enable_lora(keras.Model(inputs, keras.layers.Dense(2)(inputs)), 2)


@pytest.mark.usefixtures("eagerly")
def test_checkpoints_are_averaged(tmp_path):
    task = make_task()
    seen = []

    class Note(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            seen.append([keras.ops.convert_to_numpy(v).copy() for v in task.model.trainable_variables])

    folder = tmp_path / "checkpoints"
    trained(task, kf.training.adamw(1e-2), epochs=4, callbacks=[Note()], checkpoint_folder=folder, keep_checkpoints=3)
    kf.training.average_checkpoints(task.model, folder, last=3)
    for index, variable in enumerate(task.model.trainable_variables):
        expected = np.mean([np.float64(values[index]) for values in seen[1:]], axis=0)
        np.testing.assert_allclose(keras.ops.convert_to_numpy(variable), expected, atol=1e-6)
    with pytest.raises(InputError, match="Expected 4 whole checkpoints"):
        kf.training.average_checkpoints(task.model, folder, last=4)
    with pytest.raises(InputError, match="another model"):
        kf.training.average_checkpoints(make_task(layers=1).model, folder, last=3)


def test_where_a_training_was_stopped_is_no_checkpoint_to_average(tmp_path):
    model = make_task().model
    variables = model_variables(model)
    numbers = {}
    for step, passing in ((1, False), (2, True), (3, False), (5, True), (6, True), (8, False), (9, True)):
        numbers[step] = float(step)
        for variable in model.trainable_variables:
            variable.assign(tf.fill(variable.shape, numbers[step]))
        save_checkpoint(tmp_path, step, variables, {}, keep=3, passing=passing)
    kept = [path.name for path in list_checkpoints(tmp_path)]
    assert kept == ["step-00000003", "step-00000008", "step-00000009"]
    kf.training.average_checkpoints(model, tmp_path, last=2)
    assert all(np.allclose(variable, (3 + 8) / 2) for variable in model.trainable_variables)
    with pytest.raises(InputError, match="Expected 3 whole checkpoints"):
        kf.training.average_checkpoints(model, tmp_path, last=3)
    for variable in model.trainable_variables:
        variable.assign(tf.fill(variable.shape, 10.0))
    save_checkpoint(tmp_path, 10, variables, {}, keep=3)
    kf.training.average_checkpoints(model, tmp_path, last=3)
    assert all(np.allclose(variable, (3 + 8 + 10) / 3) for variable in model.trainable_variables)
