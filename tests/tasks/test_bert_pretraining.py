"""Pretraining: the two losses, what is served, saving, and what is wrong in one line."""

import dataclasses
import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasformer as kf
from kerasformer.errors import InputError
from kerasformer.models import BertConfig, bert
from kerasformer.serving.preview.loaded_model import LoadedModel
from kerasformer.tasks import BertPretraining, MaskedLanguageModel
from kerasformer.text import BytePairTokenizer, WordPieceTokenizer
from kerasformer.text.byte_level import byte_letters

WORDS = [f"w{n}" for n in range(20)]
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, "##s"]
CONFIG = BertConfig(len(VOCABULARY), 16, 2, 2, 32, 24, initializer_range=0.5)


@functools.cache
def tokenizer():
    return WordPieceTokenizer(VOCABULARY, max_length=24)


def make(**arguments):
    keras.utils.set_random_seed(3)
    return BertPretraining(bert(CONFIG, pooled=True), tokenizer(), **arguments)


def features(count=6, seed=0):
    random = np.random.default_rng(seed)
    texts = [" ".join(random.choice(WORDS, random.integers(1, 12))) for _ in range(count)]
    pairs = [" ".join(random.choice(WORDS, random.integers(1, 9))) for _ in range(count)]
    seeds = tf.stack([tf.fill([count], 5), tf.range(count)], 1)
    is_random = tf.constant(random.integers(0, 2, count), tf.int32)
    return {**tokenizer()(texts, pairs), "seed": seeds}, {"is_random": is_random}


def slowly(task, inputs, targets):
    """The loss from the scores of the whole vocabulary at every place."""
    encoded = task.encoder({name: inputs[name] for name in task.encoder.input})
    sequence = encoded["sequence_output"]
    head = task.model.get_layer("masked_language_model")
    table = task.encoder.embeddings.token.embeddings
    labels = targets["labels"].numpy()
    everywhere = tf.tile(tf.range(tf.shape(sequence)[1])[None], [len(labels), 1])
    scores = tf.reshape(head(sequence, everywhere, table), [*everywhere.shape, -1])
    logs = tf.nn.log_softmax(scores).numpy()
    positions = inputs["masked_positions"].numpy()
    rows, slots = np.nonzero(positions >= 0)
    masked = -np.mean(logs[rows, positions[rows, slots], labels[rows, slots]])
    if not task.next_sentence:
        return masked, 0.0
    logits = task.model.get_layer("next_sentence")(encoded["pooled_output"])
    pairs = -tf.nn.log_softmax(logits).numpy()[np.arange(len(labels)), targets["is_random"]].mean()
    return masked, pairs


@pytest.mark.parametrize("options", [{}, {"remove_padding": False}, {"max_masked": 3, "whole_words": True}])
def test_losses(options):
    task = make(**options)
    inputs, targets = task.training_batch(*features())
    masked, pairs = slowly(task, inputs, targets)
    total, count = task.loss(targets, task.model(inputs))
    np.testing.assert_allclose(count, 1, rtol=1e-6)
    np.testing.assert_allclose(total, masked + pairs, rtol=1e-4)
    # Parts of a batch share its loss: each its own sums over the counts of all.
    parts = [
        tf.nest.map_structure(lambda tensor, part=part: tensor[part], (inputs, targets))
        for part in (slice(1), slice(1, None))
    ]
    shares = [task.loss(part[1], task.model(part[0]), task.loss_totals(targets)) for part in parts]
    np.testing.assert_allclose(np.sum(shares, 0), [total, 1], rtol=1e-5)


def test_without_next_sentence_the_loss_is_that_of_the_masks():
    task = make(next_sentence=False)
    inputs, targets = task.training_batch(*features())
    np.testing.assert_allclose(task.loss(targets, task.model(inputs))[0], slowly(task, inputs, targets)[0], rtol=1e-4)


def test_gradients_of_the_tied_table():
    task = make()
    inputs, targets = task.training_batch(*features())
    table = task.encoder.embeddings.token.embeddings
    head = task.model.get_layer("masked_language_model")
    with tf.GradientTape() as tape:
        loss = task.loss(targets, task.model(inputs))[0]
    found = tf.convert_to_tensor(tape.gradient(loss, table.value))
    with tf.GradientTape() as tape:
        outputs = task.model(inputs)
        logs = tf.nn.log_softmax(head.scores(outputs["masked_output"], table))
        labels = targets["labels"][targets["labels"] >= 0]
        own = -tf.reduce_mean(tf.gather(logs, labels, batch_dims=1))
        own += tf.reduce_mean(
            tf.nn.sparse_softmax_cross_entropy_with_logits(targets["is_random"], outputs["next_sentence_logits"])
        )
    np.testing.assert_allclose(found, tf.convert_to_tensor(tape.gradient(own, table.value)), atol=1e-5)


@pytest.mark.usefixtures("eagerly")
def test_metrics():
    task = make()
    batches = [features(4, 1), features(3, 2)]
    trainer = kf.training.Trainer(task, kf.training.adamw(1e-3))

    def data():
        parts = [tf.data.Dataset.from_tensors(batch) for batch in batches]
        # Batches of other lengths.
        signature = tf.nest.map_structure(lambda t: tf.TensorSpec([None] * len(t.shape), t.dtype), batches[0])
        return tf.data.Dataset.from_generator(lambda: (next(iter(part)) for part in parts), output_signature=signature)

    found = trainer.evaluate(data())
    masked = pairs = right = right_pairs = count = 0
    for batch in batches:
        inputs, targets = task.training_batch(*batch)
        number = int((targets["labels"].numpy() >= 0).sum())
        losses = slowly(task, inputs, targets)
        masked, count = masked + losses[0] * number, count + number
        pairs += losses[1] * len(targets["labels"])
        outputs = task.model(inputs)
        table = task.encoder.embeddings.token.embeddings
        best = task.model.get_layer("masked_language_model").scores(outputs["masked_output"], table).numpy().argmax(-1)
        labels = targets["labels"].numpy()
        right += (best == labels[labels >= 0]).sum()
        right_pairs += (outputs["next_sentence_logits"].numpy().argmax(-1) == targets["is_random"].numpy()).sum()
    assert found.keys() == {"loss", "mlm_accuracy", "perplexity", "nsp_accuracy"}
    np.testing.assert_allclose(found["loss"], masked / count + pairs / 7, rtol=1e-4)
    np.testing.assert_allclose(found["perplexity"], np.exp(masked / count), rtol=1e-4)
    np.testing.assert_allclose([found["mlm_accuracy"], found["nsp_accuracy"]], [right / count, right_pairs / 7])


def test_learns():
    """Texts of one word again and again, and pairs of the same word or of another one."""
    task = make()
    random = np.random.default_rng(0)
    words, is_random = random.choice(WORDS, [64, 2]), random.integers(0, 2, 64).astype(np.int32)
    others = np.where(is_random, words[:, 1], words[:, 0])
    inputs = tokenizer()([f"{word} " * 8 for word in words[:, 0]], [f"{word} " * 8 for word in others])
    places = tf.range(64)

    def data(epoch):
        seeds = tf.stack([tf.fill([64], epoch), places], 1)
        rows = tf.data.Dataset.from_tensor_slices(({**inputs, "seed": seeds}, {"is_random": is_random}))
        return rows.batch(32)

    trainer = kf.training.Trainer(task, kf.training.adamw(5e-3))
    before = trainer.evaluate(data(99))
    trainer.fit(data, epochs=15)
    after = trainer.evaluate(data(99))
    assert after["loss"] < before["loss"] - 1
    assert after["perplexity"] < before["perplexity"] / 2
    assert after["mlm_accuracy"] > before["mlm_accuracy"] + 0.1


@pytest.mark.usefixtures("eagerly")
def test_fill_mask():
    task = make(num_candidates=3)
    answers = task.fill_mask(["w1 [MASK] w2", "no mask", "[MASK] w3 [MASK] w9", ""])
    assert answers["tokens"].shape == answers["scores"].shape == (4, 2, 3)
    assert (answers["tokens"][1] == "").all()
    assert (answers["tokens"][0, 1] == "").all()
    assert (answers["scores"][[0, 1, 3], [1, 0, 0]] == 0).all()
    inputs = task.batch_inputs({"text": tf.constant(["[MASK] w3 [MASK] w9"])})
    table = task.encoder.embeddings.token.embeddings
    scores = task.model.get_layer("masked_language_model").scores(task.model(inputs)["masked_output"], table)
    probabilities = tf.nn.softmax(scores).numpy()
    np.testing.assert_allclose(answers["scores"][2], -np.sort(-probabilities)[:, :3], rtol=1e-4)
    best = [[VOCABULARY[i] for i in row[:3]] for row in np.argsort(-probabilities)]
    assert answers["tokens"][2].tolist() == best
    static = BertPretraining(task.encoder, tokenizer(), num_candidates=3, remove_padding=False)
    for new, old in zip(static.model.weights, task.model.weights, strict=True):
        new.assign(old)
    again = static.fill_mask(["w1 [MASK] w2", "no mask", "[MASK] w3 [MASK] w9", ""])
    np.testing.assert_allclose(again["scores"], answers["scores"], rtol=1e-4)
    assert (again["tokens"] == answers["tokens"]).all()


def byte_pairs():
    tokens = dict.fromkeys(["<s>", "<pad>", "</s>", "<unk>", "<mask>", *byte_letters(), "\u0120a", "ab"])
    names = ("start_token", "padding_token", "end_token", "unknown_token", "mask_token")
    special = dict(zip(names, list(tokens)[:5], strict=True))
    return BytePairTokenizer(list(tokens), [("\u0120", "a"), ("a", "b")], max_length=10, **special)


@pytest.mark.parametrize("whole_words", [False, True])
def test_any_tokenizer_with_a_mask(whole_words, tmp_path):
    """Fine-tuned and served with byte-level tokens, of which those with a space begin a word."""
    tokens = byte_pairs()
    found = tokens.begins_word(tokens.tokenize(["ab a"]).values).numpy()
    assert found.tolist() == [False, True]
    config = dataclasses.replace(CONFIG, vocabulary_size=tokens.vocabulary_size)
    task = MaskedLanguageModel(bert(config), tokens, whole_words=whole_words, num_candidates=2)
    kf.serving.export(task, tmp_path / "model")
    served = LoadedModel(tmp_path / "model").run("fill_mask", {"text": np.array([b"ab <mask>", b"a"], object)})
    expected = task.predict(["ab <mask>", "a"])
    assert np.char.decode(served["tokens"].astype(bytes)).tolist() == expected["tokens"].tolist()
    seeds = tf.stack([tf.fill([4], 5), tf.range(4)], 1)
    inputs, _ = task.training_batch({**tokens(["ab a ab a"] * 4), "seed": seeds}, {})
    assert inputs["masked_positions"].shape[0] == 4


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize("texts", [[], ["w1"], ["", " "]])
def test_fill_mask_of_nothing(texts):
    answers = make().fill_mask(texts)
    assert answers["tokens"].shape == (len(texts), 0, 5)


@pytest.mark.usefixtures("eagerly")
def test_a_table_of_more_rows_than_tokens():
    config = dataclasses.replace(CONFIG, vocabulary_size=64)
    task = BertPretraining(bert(config, pooled=True), tokenizer())
    task.model.get_layer("masked_language_model").bias.assign(100 * np.arange(64.0))
    assert task.fill_mask(["[MASK]"])["tokens"][0, 0, 0] == VOCABULARY[-1]


def test_without_next_sentence_its_weights_stay_as_they_are(tmp_path):
    task = make(next_sentence=False)
    pooler = task.encoder.pooler.kernel.numpy()
    trainer = kf.training.Trainer(task, kf.training.adamw(0.1))
    trainer.fit(tf.data.Dataset.from_tensors((features()[0], {})).repeat(3))
    np.testing.assert_array_equal(task.encoder.pooler.kernel, pooler)
    task.save(tmp_path / "task")
    again = kf.load(tmp_path / "task")
    assert vars(again.head).keys() == vars(task.head).keys() == {"transform", "norm", "bias"}
    texts = ["w1 [MASK]"]
    np.testing.assert_array_equal(again.fill_mask(texts)["scores"], task.fill_mask(texts)["scores"])


@pytest.mark.usefixtures("eagerly")
def test_save_and_load(tmp_path):
    task = make(whole_words=True, max_masked=4, num_candidates=2)
    task.save(tmp_path / "task")
    again = kf.load(tmp_path / "task")
    assert again.settings == task.settings
    texts = ["w1 [MASK] w2 w3", "[MASK]"]
    for name, values in task.fill_mask(texts).items():
        np.testing.assert_array_equal(again.fill_mask(texts)[name], values)
    encoder, _ = kf.load_encoder(tmp_path / "task")
    classifier = kf.tasks.TextClassifier(encoder, again.tokenizer, ["a", "b"])
    assert classifier.predict(["w1"])["label"].shape == (1,)
    inputs, targets = task.training_batch(*features())
    for one, other in zip((inputs, targets), again.training_batch(*features()), strict=True):
        tf.nest.map_structure(np.testing.assert_array_equal, one, other)


@pytest.mark.parametrize("precision", ["float32", pytest.param("bfloat16", marks=pytest.mark.exhaustive)])
def test_served_as_in_python(tmp_path, precision):
    task = make()
    folder = kf.serving.publish(task, tmp_path / "fill", precision=precision)
    served = tf.saved_model.load(folder).signatures
    assert set(served) == {"serving_default", "fill_mask", "next_sentence", "tokens"}
    texts = tf.constant(["w1 [MASK] w2", "w7", "[MASK] [MASK]"])
    expected = task.answers({"text": texts.numpy().tolist()})
    found = served["fill_mask"](text=texts)
    np.testing.assert_allclose(found["scores"], expected["scores"], atol=2e-5 if precision == "float32" else 0.05)
    pairs = tf.constant(["w2 w3", "", "w1"])
    expected = task.answers({"text": texts.numpy().tolist(), "text_pair": pairs.numpy().tolist()})["probability"]
    found = served["next_sentence"](text=texts, next_text=pairs)["probability"]
    np.testing.assert_allclose(found, expected, atol=2e-5 if precision == "float32" else 0.05)
    raw = served["tokens"](**task.tokenizer(texts))
    assert raw["masked_ids"].shape == (3, 2, 5)
    assert not {"next_sentence"} & set(make(next_sentence=False).serving_functions(lambda inputs: inputs))


def test_bad_arguments():
    with pytest.raises(InputError, match="pooler"):
        BertPretraining(bert(CONFIG), tokenizer())
    small = WordPieceTokenizer(VOCABULARY[:4] + WORDS, max_length=24)
    with pytest.raises(InputError, match="mask token"):
        BertPretraining(bert(CONFIG, pooled=True), small)
    with pytest.raises(InputError, match="num_candidates"):
        make(num_candidates=0)
    with pytest.raises(InputError, match="rate"):
        make(mask_rate=0.0)
