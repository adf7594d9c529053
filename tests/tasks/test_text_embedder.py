"""The embedder: its vectors, losses and metrics against NumPy, training, saving, serving."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasformer as kf
from kerasformer.errors import InputError
from kerasformer.families import write_checkpoint
from kerasformer.models import BertConfig, bert
from kerasformer.tasks import TextEmbedder
from kerasformer.text import WordPieceTokenizer

VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "good", "bad", "so", "very"]
CONFIG = BertConfig(len(VOCABULARY), 8, 1, 2, 12, 10, initializer_range=0.4)
TEXTS = ["so good", "bad", "", "very very bad good", "unknown words"]
eagerly = pytest.mark.usefixtures("eagerly")


@functools.cache
def tokenizer():
    return WordPieceTokenizer(VOCABULARY, max_length=10)


def make(**arguments):
    keras.utils.set_random_seed(4)
    return TextEmbedder(bert(CONFIG, pooled=True), tokenizer(), **arguments)


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


@eagerly
@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("pooling", ["mean", "max", "first", ("last", "mean")])
def test_vectors(pooling, normalize):
    task = make(pooling=pooling, normalize=normalize)
    inputs = task.tokenizer(TEXTS)
    states, mask = task.encoder(inputs)["sequence_output"].numpy(), inputs["padding_mask"].numpy().astype(bool)
    pools = {"mean": lambda x: x.mean(0), "max": lambda x: x.max(0), "first": lambda x: x[0], "last": lambda x: x[-1]}
    poolings = [pooling] if isinstance(pooling, str) else pooling
    rows = [row[real] for row, real in zip(states, mask, strict=True)]
    expected = np.stack([np.concatenate([pools[one](row) for one in poolings]) for row in rows])
    vectors = task.embed(TEXTS, batch_size=2)
    assert vectors.dtype == "float32"
    np.testing.assert_allclose(vectors, unit(expected) if normalize else expected, atol=1e-5)


@eagerly
def test_any_number_of_texts():
    task = make()
    assert task.embed([]).shape == (0, 8)
    assert task.embed(["good"]).shape == (1, 8)
    with pytest.raises(InputError, match="list of texts"):
        task.embed("good")


@eagerly
def test_an_encoder_alone_is_used_so(tmp_path):
    task = make()
    write_checkpoint(tmp_path, task.encoder)
    task.tokenizer.save(tmp_path)
    with pytest.raises(InputError, match=r"without a head that is a task.*TextEmbedder"):
        kf.load(tmp_path)
    found = kf.load(tmp_path, task="TextEmbedder", pooling="max")
    np.testing.assert_array_equal(found.embed(TEXTS), make(pooling="max").embed(TEXTS))


def test_cosine_loss():
    first, second = np.array([[3.0, 4.0], [1.0, 0.0]]), np.array([[4.0, 3.0], [0.0, 2.0]])
    losses = make().pair_losses(first, second, np.array([0.5, 1.0]))
    np.testing.assert_allclose(losses, [(0.96 - 0.5) ** 2, 1.0], rtol=1e-5)


@pytest.mark.parametrize("symmetric", [False, True])
def test_ranking_loss(symmetric):
    random = np.random.default_rng(0)
    first, second = random.normal(size=(2, 5, 3))
    logits = 7 * unit(first) @ unit(second).T
    expected = np.log(np.exp(logits).sum(1)) - np.diag(logits)
    if symmetric:
        expected = (expected + np.log(np.exp(logits).sum(0)) - np.diag(logits)) / 2
    task = make(objective="ranking", scale=7, symmetric=symmetric)
    np.testing.assert_allclose(task.pair_losses(first, second, np.ones(5)), expected, rtol=1e-5)


@eagerly
def test_a_batch_trains_both_texts_of_a_pair():
    task = TextEmbedder(bert(BertConfig(8, 8, 1, 2, 12, 10, dropout=0.0, attention_dropout=0.0)), tokenizer())
    features = {"text": tf.constant(TEXTS), "text_pair": tf.constant(TEXTS[::-1])}
    scores = tf.constant([0.0, 0.5, 1.0, 0.25, 1.0])
    inputs, targets = task.training_batch(features, scores)
    assert all(len(tensor) == 5 for tensor in tf.nest.flatten((inputs, targets)))
    vectors = task.embed(TEXTS)
    loss_sum, count = task.loss(targets, task.model(inputs, training=True))
    assert float(count) == 5
    expected = (((vectors * vectors[::-1]).sum(-1) - scores) ** 2).numpy().sum()
    assert float(loss_sum) == pytest.approx(expected, rel=1e-5)


def evaluated(task, scores, batch_size=2):
    batches = []
    for start in range(0, len(scores), batch_size):
        features = {"text": TEXTS[start : start + batch_size], "text_pair": TEXTS[::-1][start : start + batch_size]}
        outputs = {"embedding": task.model(task.batch_inputs(features))["embedding"].numpy()}
        batches.append((features, scores[start : start + batch_size], outputs))
    return task.evaluate_batches(batches)


@eagerly
def test_metrics():
    task, scores = make(), np.array([0.1, 0.9, 1.0, 0.2, 0.3], "float32")
    vectors = task.embed(TEXTS)
    cosines = (vectors * vectors[::-1]).sum(-1)
    metrics = evaluated(task, scores)
    assert metrics["pearson"] == pytest.approx(np.corrcoef(scores, cosines)[0, 1], abs=1e-5)
    assert metrics.keys() == {"loss", "spearman", "pearson"}
    assert metrics["loss"] == pytest.approx(((cosines - scores) ** 2).mean(), rel=1e-4)


@eagerly
def test_metrics_of_pairs_without_scores():
    task = make(objective="ranking")
    metrics = evaluated(task, np.ones(5, "float32"))
    # Of TEXTS and its reverse, only the middle one stands beside itself.
    assert metrics["accuracy"] == pytest.approx(0.2)
    assert metrics.keys() == {"loss", "accuracy"}


@eagerly
@pytest.mark.parametrize("objective", ["cosine", "ranking"])
def test_training_lowers_the_loss(objective):
    task = make(objective=objective)
    features = {
        "text": tf.constant(["so good", "very bad", "so", "very"]),
        "text_pair": tf.constant(["good", "bad", "so so", "very very"]),
    }
    data = tf.data.Dataset.from_tensors((features, tf.constant([1.0, 1.0, 0.0, 0.5]))).repeat(30)
    trainer = kf.training.Trainer(task, kf.training.adamw(3e-3))
    before = trainer.evaluate(data.take(1))["loss"]
    trainer.fit(data.apply(tf.data.experimental.assert_cardinality(30)))
    assert trainer.evaluate(data.take(1))["loss"] < before * 0.7


@eagerly
def test_save_and_load(tmp_path):
    task = make(pooling="max", normalize=False, objective="ranking", scale=5, symmetric=True)
    task.save(tmp_path / "task")
    again = kf.load(tmp_path / "task")
    assert isinstance(again, TextEmbedder)
    assert again.settings == task.settings
    np.testing.assert_array_equal(again.embed(TEXTS), task.embed(TEXTS))


@eagerly
def test_a_prompt_is_put_before_each_text(tmp_path):
    plain, task = make(), make(prompt="so ")
    expected = plain.embed([f"so {text}" for text in TEXTS])
    np.testing.assert_allclose(task.embed(TEXTS), expected, atol=1e-6)
    assert np.abs(plain.embed(TEXTS) - expected).max() > 0.05
    np.testing.assert_allclose(plain.replace(prompt="so ").embed(TEXTS), expected, atol=1e-6)
    served = task.serving_functions(task.model)["serving_default"](tf.constant(TEXTS))
    np.testing.assert_allclose(served["embedding"], expected, atol=1e-6)
    features = {"text": tf.constant(TEXTS), "text_pair": tf.constant(TEXTS[::-1])}
    inputs, targets = task.training_batch(features, tf.zeros(5))
    np.testing.assert_allclose(task.model(inputs)["embedding"], expected, atol=1e-6)
    np.testing.assert_allclose(task.model(targets["pair"])["embedding"], expected[::-1], atol=1e-6)
    task.save(tmp_path / "task")
    np.testing.assert_allclose(kf.load(tmp_path / "task").embed(TEXTS), expected, atol=1e-6)


def test_signatures():
    task = make()
    functions = task.serving_functions(lambda inputs: task.model(inputs, training=False))
    assert set(functions) == {"serving_default", "tokens"}
    served = functions["serving_default"](tf.constant(TEXTS))
    np.testing.assert_allclose(served["embedding"], task.embed(TEXTS), atol=1e-6)
    assert functions["serving_default"](tf.zeros([0], tf.string))["embedding"].shape == (0, 8)
    np.testing.assert_allclose(
        functions["tokens"](*task.model_inputs(task.tokenizer(TEXTS)).values())["embedding"], served["embedding"]
    )


LAYERS = ({"kind": "dense", "dim": 5}, {"kind": "dropout", "rate": 0.1}, {"kind": "norm"}, {"kind": "unit"})


@eagerly
def test_layers_after_pooling_are_trained_saved_and_served(tmp_path):
    task = make(layers=LAYERS, normalize=False)
    # The last one says the same.
    assert (len(task.layers), task.normalize) == (3, True)
    dense = task.head.layer_0
    states, inputs = task.encoder(task.tokenizer(TEXTS))["sequence_output"].numpy(), task.tokenizer(TEXTS)
    mask = inputs["padding_mask"].numpy()[..., None]
    hidden = np.tanh((states * mask).sum(1) / mask.sum(1) @ dense.kernel.numpy() + dense.bias.numpy())
    expected = unit(hidden - hidden.mean(-1, keepdims=True))
    np.testing.assert_allclose(task.embed(TEXTS), expected, atol=2e-3)
    assert {id(weight) for weight in dense.weights} <= {id(weight) for weight in task.model.trainable_weights}
    features = {"text": tf.constant(TEXTS), "text_pair": tf.constant(TEXTS[::-1])}
    data = tf.data.Dataset.from_tensors((features, tf.constant([0.0, 0.5, 1.0, 0.25, 1.0])))
    before = dense.kernel.numpy()
    kf.training.Trainer(task, kf.training.adamw(1e-2)).fit(data)
    assert np.abs(dense.kernel.numpy() - before).max() > 1e-3
    task.save(tmp_path / "task")
    again = kf.load(tmp_path / "task")
    np.testing.assert_array_equal(again.embed(TEXTS), task.embed(TEXTS))
    served = again.serving_model("bfloat16")
    assert served.get_layer("vector_0").compute_dtype == served.get_layer("text_vector").compute_dtype == "float32"


@eagerly
def test_layers_on_an_encoder_of_no_family(tmp_path):
    encoder = bert(CONFIG)
    encoder = keras.Model(encoder.input, {"sequence_output": keras.layers.Dense(8)(encoder.output["sequence_output"])})
    task = TextEmbedder(encoder, tokenizer(), layers=LAYERS)
    task.save(tmp_path / "task")
    assert (tmp_path / "task" / "head.safetensors").is_file()
    np.testing.assert_array_equal(kf.load(tmp_path / "task").embed(TEXTS), task.embed(TEXTS))


@pytest.mark.parametrize("pooling", ["mean", "first"])
def test_a_prompt_that_is_not_pooled(pooling):
    task = make(prompt="very so ", pool_prompt=False, pooling=pooling, normalize=False)
    texts = ["good bad", "", "bad " * 9]
    inputs = task.tokenizer(["very so " + text for text in texts])
    states = task.encoder(inputs)["sequence_output"].numpy()
    # [CLS] very so, then two tokens, none, or what is left of ten.
    rows = [states[0, 3:6], states[1, 3:4], states[2, 3:10]]
    expected = [row.mean(0) if pooling == "mean" else row[0] for row in rows]
    np.testing.assert_allclose(task.embed(texts), expected, atol=1e-5)
    functions = task.serving_functions(lambda inputs: task.model(inputs, training=False))
    np.testing.assert_allclose(functions["serving_default"](tf.constant(texts))["embedding"], expected, atol=1e-5)
    plain = make(pooling=pooling, normalize=False).embed(texts)
    np.testing.assert_allclose(task.replace(prompt="").embed(texts), plain, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"pooling": "cls"}, "pooling"),
        ({"pooling": ()}, "pooling"),
        ({"pooling": ("mean", "cls")}, "pooling='cls'"),
        ({"objective": "contrastive"}, "objective"),
        ({"prompt_name": "query"}, "prompt_name"),
        ({"prompts": {"a": "so "}, "prompt_name": "a", "prompt": "so "}, "One of `prompt` and `prompt_name`"),
        ({"prompts": ["so "]}, "prompts"),
        ({"layers": ["dense"]}, "layers"),
        ({"layers": 3}, "layers"),
        ({"layers": [{"kind": "dense"}]}, "`dim`"),
        ({"layers": [{"kind": "dense", "dim": 4, "activation": "mish"}]}, "activation"),
        ({"layers": [{"kind": "wings"}]}, "kind"),
        ({"layers": [{"kind": "dropout", "rate": 1}]}, "rate"),
    ],
)
def test_unknown_arguments(arguments, told):
    with pytest.raises(InputError, match=told):
        make(**arguments)


def test_an_encoder_without_states():
    encoder = bert(CONFIG, pooled=True)
    pooled = keras.Model(encoder.input, {"pooled_output": encoder.output["pooled_output"]})
    with pytest.raises(InputError, match="sequence_output"):
        TextEmbedder(pooled, tokenizer())
