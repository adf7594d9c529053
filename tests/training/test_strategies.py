"""Two replicas train as one device does."""

import json
import os
import subprocess
import sys

import pytest

import kerasformer as kf
from kerasformer.errors import InputError

# A process of its own, since the number of devices is settled when TensorFlow starts.
SCRIPT = """
import json
import keras
import numpy as np
import tensorflow as tf

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
import kerasformer as kf

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad", "fine", "day"]


def trained(strategy, optimizer):
    with strategy.scope():
        sizes = dict(vocabulary_size=len(WORDS), num_layers=1, max_length=16, dropout=0.0, attention_dropout=0.0)
        encoder = kf.models.bert(kf.models.BertConfig.named("tiny", **sizes), pooled=True)
        tokenizer = kf.text.WordPieceTokenizer(WORDS, max_length=16)
        task = kf.tasks.TextClassifier(encoder, tokenizer, ["a", "b"], dropout=0.0)
        random = np.random.default_rng(1)
        for weight in task.model.trainable_variables:
            weight.assign(random.normal(size=weight.shape) * 0.1)
        optimizer = keras.optimizers.SGD(0.1) if optimizer == "sgd" else kf.training.adamw(1e-3)
    random = np.random.default_rng(0)
    texts = [" ".join(random.choice(WORDS[5:], size=random.integers(1, 9))) for _ in range(21)]
    targets = random.integers(0, 2, 21).astype(np.int32)
    # 21 examples in batches of 8: the last one is uneven.
    examples = kf.data.Examples(np.array(texts, object), None, targets, ("a", "b"), "")
    trainer = kf.training.Trainer(task, optimizer, strategy=strategy, clip_norm=0.5)
    trainer.fit(lambda epoch: kf.data.batches(examples, 8, shuffle_seed=0, epoch=epoch), epochs=3)
    return [weight.numpy() for weight in task.model.trainable_variables]


differences = {}
for optimizer in ("sgd", "adamw"):
    one = trained(tf.distribute.get_strategy(), optimizer)
    two = trained(tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]), optimizer)
    differences[optimizer] = max(float(np.abs(a - b).max()) for a, b in zip(one, two, strict=True))
print(json.dumps(differences))
"""


def test_two_replicas_train_as_one_device():
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    process = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, env=environment)
    assert process.returncode == 0, process.stderr[-3000:]
    differences = json.loads(process.stdout.strip().splitlines()[-1])
    assert set(differences) == {"sgd", "adamw"}
    assert max(differences.values()) < 1e-5, differences


def test_an_unknown_strategy_is_named():
    with pytest.raises(InputError, match="strategy='two'"):
        kf.training.make_strategy("two")
