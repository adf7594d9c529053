"""What people's programs run into: what is right there, or one clear error, and never a wrong result without one."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasformer as kf
from kerasformer.errors import InputError
from kerasformer.layers import AttentionConfig, FeedForwardConfig, MultiHeadAttention, TransformerBlock

ATTENTION, FEED_FORWARD = AttentionConfig(2), FeedForwardConfig(8)
TEXTS, LABELS = ["good day", "bad day"] * 4, np.array([1, 0] * 4, "int32")


def tiny(dtype=None, **options):
    return kf.families.random_encoder(TEXTS, "tiny", vocabulary_size=60, max_length=32, dtype=dtype, **options)


def tiny_config(**changes):
    sizes = {"vocabulary_size": 20, "hidden_dim": 8, "num_layers": 1, "num_heads": 2, "intermediate_dim": 16}
    return kf.models.BertConfig(**sizes | {"max_sequence_length": 16} | changes)


def classifier(dtype=None):
    return kf.tasks.TextClassifier(*tiny(dtype), ["bad", "good"])


def batches(*labels):
    return tf.data.Dataset.from_tensor_slices(({"text": TEXTS}, *(labels or (LABELS,)))).batch(4)


# ---- compiled by XLA, as Keras does by itself on a GPU ----


def bert_and_data():
    backbone = kf.models.bert(tiny_config(), pooled=True)
    model = keras.Model(backbone.input, keras.layers.Dense(2)(backbone.output["pooled_output"]))
    ids = np.array([[3 + i % 2] + [5] * (i % 4) + [0] * (4 - i % 4) for i in range(8)], "int32")
    return model, {"token_ids": ids, "segment_ids": 0 * ids, "padding_mask": np.sign(ids)}, np.arange(8) % 2


def transformer_and_data():
    config = kf.models.TransformerConfig(
        12, hidden_dim=8, num_encoder_layers=1, num_decoder_layers=1, num_heads=2, intermediate_dim=16, dropout=0.1
    )
    backbone = kf.models.transformer(config)
    ids = np.array([[3, 4, 5, 6], [7, 8, 0, 0]] * 4, "int32")
    inputs = {"source_token_ids": ids, "source_padding_mask": np.sign(ids)}
    inputs |= {"target_token_ids": np.roll(ids, 1, 1), "target_padding_mask": np.sign(ids)}
    return keras.Model(backbone.input, backbone.output["logits"]), inputs, ids


@pytest.mark.parametrize("make", [bert_and_data, pytest.param(transformer_and_data, marks=pytest.mark.exhaustive)])
def test_keras_fit_compiled_by_xla_with_dropout(make):
    keras.utils.set_random_seed(0)
    model, inputs, targets = make()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.01), loss, jit_compile=True)
    losses = model.fit(inputs, targets, batch_size=8, epochs=15, verbose=0).history["loss"]
    assert np.isfinite(losses).all()
    assert losses[-1] < 0.9 * losses[0]


def test_compiled_dropout_drops_and_is_new_in_each_call():
    layer = kf.layers.Dropout(0.25, seed=1)
    dropped = tf.function(lambda x: layer(x, training=True), jit_compile=True)
    x = np.ones((200, 50), "float32")
    first, second = dropped(x).numpy(), dropped(x).numpy()
    assert (first == 0).mean() == pytest.approx(0.25, abs=0.02)
    assert first.mean() == pytest.approx(1, abs=0.03)
    assert (first != second).mean() == pytest.approx(2 * 0.25 * 0.75, abs=0.03)


@pytest.mark.parametrize("packed_sequences", [pytest.param(False, marks=pytest.mark.exhaustive), True])
def test_the_trainer_compiled_by_xla_with_dropout_on_packed_tokens(packed_sequences):
    keras.utils.set_random_seed(0)
    _, inputs, targets = bert_and_data()
    if packed_sequences:
        inputs["padding_mask"][:, 1:] *= 2  # a second sequence in each row
    backbone = kf.models.bert(tiny_config(), packed_sequences=packed_sequences)
    tokens = keras.layers.Dense(2)(backbone.output["sequence_output"])
    model = keras.Model(backbone.input, kf.layers.FirstToken()(tokens))

    def loss(targets, logits):
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits)
        return tf.reduce_sum(losses), tf.cast(tf.size(losses), tf.float32)

    trainer = kf.training.Trainer((model, loss), keras.optimizers.Adam(0.02), jit=True)
    data = tf.data.Dataset.from_tensor_slices((inputs, targets.astype("int32"))).batch(8)
    losses = trainer.fit(data, epochs=15).history["loss"]
    assert losses[-1] < 0.9 * losses[0]


# ---- masks and memories that do not fit ----


def test_a_padding_mask_given_as_attention_mask_is_refused():
    hidden = np.random.default_rng(0).normal(size=(5, 5, 16)).astype("float32")
    mask = np.tril(np.ones((5, 5), "int32"))  # five texts of one to five tokens
    attention = MultiHeadAttention(2)
    attention(hidden, padding_mask=mask)
    with pytest.raises(InputError, match=r"`attention_mask` must be .*\(5, 5\).*`padding_mask`"):
        attention(hidden, attention_mask=mask)
    with pytest.raises(InputError, match=r"`padding_mask` must be .*\(5, 1, 1, 5\)"):
        attention(hidden, padding_mask=mask[:, None, None])


@pytest.mark.parametrize("remove_padding", [True, False])
@pytest.mark.parametrize("length", [3, 4, 6])
def test_a_padding_mask_of_another_length_than_the_texts_is_an_error(length, remove_padding):
    model = kf.models.bert(tiny_config(), remove_padding=remove_padding)
    ids = np.ones((2, 5), "int32")
    inputs = {"token_ids": ids, "segment_ids": 0 * ids, "padding_mask": np.ones((2, length), "int32")}
    with pytest.raises((InputError, tf.errors.InvalidArgumentError)):
        model(inputs)
    specs = {name: tf.TensorSpec([None, None], tf.int32) for name in inputs}
    in_graph = tf.function(lambda inputs: model(inputs), input_signature=[specs])
    with pytest.raises(tf.errors.InvalidArgumentError):
        in_graph(inputs)


def test_an_export_refuses_a_padding_mask_of_another_length(tmp_path):
    task = classifier()
    kf.serving.export(task, tmp_path / "1")
    tokens = tf.saved_model.load(tmp_path / "1").signatures["tokens"]
    ids = tf.ones((2, 5), tf.int32)
    assert tokens(token_ids=ids, segment_ids=0 * ids, padding_mask=ids)["logits"].shape == (2, 2)
    for length in (3, 6):
        with pytest.raises((tf.errors.InvalidArgumentError, tf.errors.UnknownError)):
            tokens(token_ids=ids, segment_ids=0 * ids, padding_mask=tf.ones((2, length), tf.int32))


def test_a_decoder_alone_and_a_decoder_of_an_encoder():
    x = np.random.default_rng(0).normal(size=(2, 5, 16)).astype("float32")
    alone = TransformerBlock(ATTENTION, FEED_FORWARD, causal=True)
    changed = x.copy()
    changed[:, 3:] += 1
    np.testing.assert_allclose(alone(x)[:, :3], alone(changed)[:, :3], atol=1e-6)
    assert np.abs(alone(x)[:, 3:] - alone(changed)[:, 3:]).max() > 0.01
    with pytest.raises(InputError, match="takes no `memory`"):
        alone(x, x)
    for inputs in (x, keras.Input((5, 16))):
        with pytest.raises(InputError, match="needs `memory`"):
            TransformerBlock(ATTENTION, FEED_FORWARD, cross_attention=ATTENTION, causal=True)(inputs)
    reading = TransformerBlock(ATTENTION, FEED_FORWARD, cross_attention=ATTENTION, causal=True)
    reading(x, x)
    with pytest.raises(InputError, match="needs `memory`"):
        reading(x)


def test_attention_stays_what_it_was_built_for():
    x = np.ones((2, 5, 16), "float32")
    own, cross = MultiHeadAttention(2), MultiHeadAttention(2)
    own(x)
    with pytest.raises(InputError, match="self-attention"):
        own(x, x)
    cross(x, x)
    with pytest.raises(InputError, match="cross-attention"):
        cross(x)


@pytest.mark.parametrize("causal", [False, True])
def test_the_first_token_alone_without_a_mask(causal):
    x = np.random.default_rng(0).normal(size=(2, 5, 16)).astype("float32")
    block = TransformerBlock(ATTENTION, FEED_FORWARD, causal=causal)
    np.testing.assert_allclose(block(x, first_token_only=True), block(x)[:, 0], atol=1e-5)


# ---- what is inside of a model ----


def models_to_expose():
    shared = kf.models.ModelConfig(
        kf.models.EmbeddingConfig(20, 8, max_sequence_length=16),
        (kf.models.BlockConfig(ATTENTION, FEED_FORWARD),) * 3,
        share_blocks=True,
    )
    causal = kf.models.ModelConfig(
        kf.models.EmbeddingConfig(20, 8, max_sequence_length=16),
        (kf.models.BlockConfig(ATTENTION, FEED_FORWARD, kf.models.NormConfig(placement="pre"), causal=True),) * 2,
        norm=kf.models.NormConfig(),
    )
    return {
        "encoder": lambda: kf.models.bert(tiny_config(num_layers=2), pooled=True),
        "shared blocks": lambda: kf.models.encoder(shared),
        "decoder": lambda: kf.models.decoder(causal),
    }


@pytest.mark.parametrize(
    ("name", "scores"),
    [
        *((name, name != "encoder") for name in models_to_expose()),
        *(pytest.param(name, name == "encoder", marks=pytest.mark.exhaustive) for name in models_to_expose()),
    ],
)
def test_hidden_states_and_attention_of_each_block(name, scores, tmp_path):
    keras.utils.set_random_seed(0)
    model = models_to_expose()[name]()
    for weight in model.weights:
        weight.assign_add(0.3 * keras.random.normal(weight.shape))
    ids = np.array([[3, 4, 5, 0, 0], [6, 7, 8, 9, 10]], "int32")
    mask = np.sign(ids)
    inputs = {"token_ids": ids, "segment_ids": ids % 2 * mask, "padding_mask": mask}
    inputs = {name: inputs[name] for name in model.input}
    exposed = model.expose(attention_scores=scores)
    found = exposed.predict(inputs, verbose=0)
    assert set(found) == {*model.output, "hidden_states", *(["attention_scores"] if scores else [])}
    for key, value in model(inputs).items():
        np.testing.assert_allclose(found[key], value, atol=1e-5)

    # The blocks called by hand on the padded form.
    states = found["hidden_states"]
    assert len(states) == len(model.blocks) + 1
    for i, block in enumerate(model.blocks):
        hidden, probabilities = block(states[i], padding_mask=mask, return_attention_scores=True)
        if model.norm is not None and i == len(model.blocks) - 1:
            hidden = model.norm(hidden)
        np.testing.assert_allclose(states[i + 1], hidden * mask[..., None], atol=1e-5)
        if scores:
            rows = mask[:, None, :, None]
            np.testing.assert_allclose(found["attention_scores"][i] * rows, probabilities * rows, atol=1e-5)
            assert not (found["attention_scores"][i] * rows)[0, ..., 3:].any(), "nothing attends to padding"

    exposed.save(tmp_path / "exposed.keras")
    again = keras.models.load_model(tmp_path / "exposed.keras")
    for value, same in zip(*map(keras.tree.flatten, (found, again.predict(inputs, verbose=0))), strict=True):
        np.testing.assert_array_equal(same, value)
    assert len(exposed.weights) == len(model.weights)


# ---- a model inside of a model ----


def nested(dtype):
    encoder, tokenizer = tiny(dtype)
    inputs = {name: keras.Input((None,), dtype="int32", name=name) for name in encoder.input}
    return kf.tasks.TextClassifier(keras.Model(inputs, encoder(inputs)), tokenizer, ["bad", "good"])


def test_an_encoder_that_is_one_layer_of_another_model(tmp_path):
    trainer = kf.training.Trainer(nested("mixed_float16"), keras.optimizers.Adam())
    assert isinstance(trainer.optimizer, keras.optimizers.LossScaleOptimizer)
    task, sizes = nested("float32"), {}
    for precision in ("float32", "bfloat16"):
        kf.serving.export(task, tmp_path / precision, precision=precision)
        sizes[precision] = sum(path.stat().st_size for path in (tmp_path / precision).rglob("variables.data*"))
        served = tf.saved_model.load(tmp_path / precision).signatures["serving_default"](text=tf.constant(TEXTS))
        np.testing.assert_allclose(served["scores"], task.predict(TEXTS)["scores"], atol=0.02)
    assert sizes["bfloat16"] < 0.6 * sizes["float32"]


# ---- data and files as they come ----


def test_the_working_directory_takes_no_buckets(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    task = classifier()
    for write in (task.save, lambda url: kf.serving.publish(task, url), lambda url: kf.serving.export(task, url)):
        with pytest.raises(InputError, match="no file system for s3://"):
            write("s3://a-bucket/models/mine")
    assert not list(tmp_path.iterdir())


def test_keras_callbacks_know_which_way_accuracy_goes(tmp_path):
    stop = keras.callbacks.EarlyStopping("val_accuracy", patience=3, restore_best_weights=True)
    best = keras.callbacks.ModelCheckpoint(
        tmp_path / "best.weights.h5", "val_accuracy", save_best_only=True, save_weights_only=True
    )
    trainer = kf.training.Trainer(classifier(), keras.optimizers.Adam(1e-3))
    history = trainer.fit(batches(), batches(), epochs=2, callbacks=[stop, best]).history
    assert len(history["val_accuracy"]) == 2
    assert (stop.mode, best.mode) == ("max", "max")
    assert (tmp_path / "best.weights.h5").exists()


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize(
    "form",
    [
        (LABELS, np.ones(8, "float32")),
        (np.eye(2, dtype="float32")[LABELS],),
        (LABELS[:, None].astype("float32"),),
    ],
    ids=["weights", "categorical", "binary"],
)
def test_data_in_the_forms_of_keras(form):
    trainer = kf.training.Trainer(classifier(), keras.optimizers.Adam())
    losses = [trainer.evaluate(data)["loss"] for data in (batches(*form), batches())]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    history = trainer.fit(batches(*form)).history
    assert np.isfinite(history["loss"]).all()


def test_a_document_of_200000_characters_in_a_csv_file(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text('text,label\n"' + "word " * 40000 + '",long\nshort one,short\n')
    examples = kf.data.load_classification(path)
    assert [len(text) for text in examples.texts] == [200000, 9]
    assert list(examples.texts)[1] == "short one"


def test_label_names_that_are_numbers_are_served_as_strings():
    """TensorFlow Serving's Classify takes `classes` of strings alone."""
    task = kf.tasks.TextClassifier(*tiny(), [0, 1])
    assert task.label_names == ("0", "1")
    classes = task.serving_functions(lambda inputs: task.core_outputs(task.model, inputs))["classify"]
    assert classes.get_concrete_function().structured_outputs["classes"].dtype == tf.string
