"""Trains a small masked language model in several ways and writes the weights; run by test_equality.py.

    python equality_program.py one|mirrored|workers OUT.npz VARIANT...

20 batches of 8, 3, 1, 8 and 5 examples; lengths differ, padding masks are bool, the loss counts masked tokens, whose
number differs from part to part; the gradients are clipped.
"""

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

import kerasformer as kf
from kerasformer.training.plain_model import PlainModel

VOCABULARY, LENGTH, SIZES = 11, 12, [8, 3, 1, 8, 5] * 4
# XLA compiles for each number of examples on each device, for seconds: here for four parts, one of them empty.
FEW_SIZES = [3, 1] * 4
VARIANTS = {
    "plain": {},
    "microbatches": {"microbatches": 4},
    "adamw": {},
    "steps": {"steps_per_call": 5},
    "xla": {"jit": True},
    "dropout": {"keyed_dropout": True},
    "dropout_microbatches": {"keyed_dropout": True, "microbatches": 3},
    "two_means": {},
    "two_means_microbatches": {"microbatches": 3},
    "two_means_few": {},
    "two_means_few_xla": {"jit": True},
    "translator": {},
    "weights": {},
    "weights_microbatches": {"microbatches": 3},
}


def make_model(dropout):
    keras.utils.set_random_seed(1)
    ids, mask = keras.Input((None,), dtype="int32", name="ids"), keras.Input((None,), dtype="bool", name="padding_mask")
    layout = kf.layers.PaddingLayout()(mask)
    x = kf.layers.PackTokens()(kf.layers.TokenEmbedding(VOCABULARY, 8, "normal")(ids), layout=layout)
    block = kf.layers.TransformerBlock(
        kf.layers.AttentionConfig(2, dropout=dropout),
        kf.layers.FeedForwardConfig(16),
        kf.layers.NormConfig(epsilon=1e-3),
        dropout=dropout,
    )
    x = block(x, padding_mask=mask, layout=layout)
    x = keras.layers.Dense(VOCABULARY)(x)
    return keras.Model({"ids": ids, "padding_mask": mask}, kf.layers.UnpackTokens()(x, mask, layout=layout))


def make_translator():
    random = np.random.default_rng(4)
    texts = [" ".join(random.choice(["ab", "bc", "cd", "de"], random.integers(1, 9))) for _ in range(sum(SIZES))]
    tokenizer = kf.text.SentencePieceTokenizer(kf.text.learn_sentencepiece(texts, 280, at_most=True), max_length=LENGTH)
    keras.utils.set_random_seed(1)
    config = kf.models.TransformerConfig(tokenizer.vocabulary_size, None, 8, 1, 1, 2, 16, dropout=0.0)
    task = kf.tasks.Translator(kf.models.transformer(config), tokenizer)
    parts = np.split(np.array(texts, object), np.cumsum(SIZES)[:-1])
    pairs = [({"text": part.astype(str), "text_pair": part[::-1].astype(str)}, part.astype(str)) for part in parts]
    signature = (
        {name: tf.TensorSpec([None], tf.string) for name in ("text", "text_pair")},
        tf.TensorSpec([None], tf.string),
    )
    data = tf.data.Dataset.from_generator(lambda: iter(pairs), output_signature=signature)
    return task, data.apply(tf.data.experimental.assert_cardinality(len(pairs)))


def make_classifier():
    """With weighted labels, of which a whole part of a batch may weigh nothing."""
    random = np.random.default_rng(5)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad", "day"]
    texts = [" ".join(random.choice(words[5:], random.integers(1, 9))) for _ in range(sum(SIZES))]
    labels = random.integers(0, 2, [len(texts), 1]).astype("float32")
    weights = random.choice([0.0, 0.0, 0.5, 3.0], len(texts)).astype("float32")
    keras.utils.set_random_seed(1)
    config = kf.models.BertConfig(len(words), 8, 1, 2, 16, LENGTH, dropout=0.0, attention_dropout=0.0)
    encoder, tokenizer = kf.models.bert(config, pooled=True), kf.text.WordPieceTokenizer(words, max_length=LENGTH)
    task = kf.tasks.TextClassifier(encoder, tokenizer, ["no", "yes"], dropout=0.0)
    rows = tf.data.Dataset.from_tensor_slices(tf.RaggedTensor.from_row_lengths(tf.range(len(texts)), SIZES))
    return task, rows.map(lambda row: tuple(tf.gather(column, row) for column in (texts, labels, weights)))


def loss(targets, logits):
    counted = tf.cast(targets >= 0, tf.float32)
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(tf.maximum(targets, 0), logits)
    return tf.reduce_sum(losses * counted), tf.reduce_sum(counted)


class TwoMeans(PlainModel):
    """The loss above plus another one, whose own count differs: of the sequences, whether they are long."""

    def __init__(self, model):
        super().__init__(model, self.two_means)

    def loss_totals(self, targets):
        return tf.stack(
            [tf.math.count_nonzero(targets >= 0, dtype=tf.float32), tf.cast(tf.shape(targets)[0], tf.float32)]
        )

    def two_means(self, targets, logits, totals=None):
        totals = self.loss_totals(targets) if totals is None else totals
        first = loss(targets, logits)[0]
        second = tf.reduce_sum(tf.math.squared_difference(tf.reduce_mean(logits, [1, 2]), 1.0))
        count = tf.cast(tf.shape(targets)[0], tf.float32)
        return tf.math.divide_no_nan(first, totals[0]) + tf.math.divide_no_nan(second, totals[1]), count / totals[1]

    def evaluate_batches(self, batches):
        batches = [tf.nest.map_structure(tf.constant, (targets, outputs)) for _, targets, outputs in batches]
        totals = tf.add_n([self.loss_totals(targets) for targets, _ in batches])
        return {"loss": float(sum(self.two_means(*batch, totals)[0] for batch in batches))}


def batches(sizes):
    random = np.random.default_rng(2)
    count = sum(sizes)
    mask = np.arange(LENGTH) < random.integers(2, LENGTH + 1, count)[:, None]
    ids = (random.integers(1, VOCABULARY, mask.shape) * mask).astype("int32")
    targets = np.where((random.random(mask.shape) < 0.3) & mask, ids, -1).astype("int32")
    examples = tf.RaggedTensor.from_row_lengths(tf.range(count), sizes)
    return tf.data.Dataset.from_tensor_slices(examples).map(
        lambda of_batch: (
            {"ids": tf.gather(ids, of_batch), "padding_mask": tf.gather(mask, of_batch)},
            tf.gather(targets, of_batch),
        )
    )


def train(strategy, variant, path):
    options = VARIANTS[variant]
    with strategy.scope():
        data = batches(FEW_SIZES if "few" in variant else SIZES)
        if variant == "translator":
            task, data = make_translator()
            model = task.model
        elif variant.startswith("weights"):
            task, data = make_classifier()
            model = task.model
        else:
            model = make_model(0.2 if "dropout" in variant else 0.0)
            task = TwoMeans(model) if variant.startswith("two_means") else (model, loss)
        # SGD shows a wrong scale of the gradients, which AdamW hides.
        is_sgd = variant in ("plain", "microbatches", "translator") or variant.startswith(("two_means", "weights"))
        optimizer = keras.optimizers.SGD(0.3, momentum=0.9) if is_sgd else kf.training.adamw(1e-2)
    trainer = kf.training.Trainer(task, optimizer, strategy=strategy, clip_norm=0.5, **options)
    folder = f"{path}.{variant}"
    callbacks = [kf.training.MetricsLog(folder, every=5)] if variant == "plain" else []
    history = trainer.fit(data, data.take(3), callbacks=callbacks, checkpoint_folder=folder).history
    # A training that is over already comes back with its weights.
    model.trainable_weights[0].assign(model.trainable_weights[0] * 0)
    trainer.fit(data, callbacks=callbacks, checkpoint_folder=folder)
    return {
        f"{variant}/{index}": keras.ops.convert_to_numpy(weight) for index, weight in enumerate(model.trainable_weights)
    } | {f"{variant}/{name}": np.array(history[name]) for name in ("loss", "val_loss")}


def main(kind, path, *variants):
    shared = path
    if kind == "workers":
        strategy = kf.training.make_strategy("multi_worker")
        path = path.replace(".npz", f"_{kf.training.cluster.read_cluster()[1]}.npz")
    else:
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
        one = kind == "one"
        strategy = kf.training.make_strategy() if one else tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    np.savez(path, **{name: value for variant in variants for name, value in train(strategy, variant, shared).items()})


if __name__ == "__main__":
    main(*sys.argv[1:])
