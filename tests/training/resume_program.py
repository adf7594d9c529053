"""Trains a small classifier with everything that a resume must restore; run by test_resume.py, and killed by it.

    python resume_program.py FOLDER

Dropout, averaged weights, a changing learning rate, an order of its own in each epoch, early stopping that brings the
best weights back. Writes a line for each step to FOLDER/steps.txt as soon as it is made, and at the end weights.npz.
"""

import os
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

import kerasformer as kf

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "good", "bad", "so", "very", "it", "is"]
EPOCHS, BATCHES = 4, 8


def make_task():
    keras.utils.set_random_seed(3)
    config = kf.models.BertConfig(10, 8, 1, 2, 16, 12, dropout=0.2, attention_dropout=0.2, initializer_range=0.3)
    tokenizer = kf.text.WordPieceTokenizer(WORDS, max_length=12)
    return kf.tasks.TextClassifier(kf.models.bert(config, pooled=True), tokenizer, ["no", "yes"])


def examples(count):
    random = np.random.default_rng(0)
    texts = [" ".join(random.choice(WORDS[4:], random.integers(1, 8))) for _ in range(count)]
    return kf.data.Examples(
        np.array(texts, object), None, random.integers(0, 2, count).astype("int32"), ("no", "yes"), ""
    )


class Steps(keras.callbacks.Callback):
    def __init__(self, path):
        super().__init__()
        self._file = open(path, "a")  # noqa: SIM115

    def on_train_batch_end(self, batch, logs=None):
        self._file.write(f"{int(self.model.optimizer.iterations)} {logs['loss'].hex()}\n")
        self._file.flush()
        # A fast machine would make all the steps before a signal comes.
        time.sleep(0.01)


def main(folder):
    task = make_task()
    train, validation = examples(8 * BATCHES - 3), examples(20)
    optimizer = kf.training.adamw(kf.training.linear_warmup(1e-2, EPOCHS * BATCHES), average=0.9)
    trainer = kf.training.Trainer(task, optimizer)
    trainer.fit(
        lambda epoch: kf.data.batches(train, 8, shuffle_seed=5, epoch=epoch),
        kf.data.batches(validation, 16),
        epochs=EPOCHS,
        callbacks=[
            Steps(os.path.join(folder, "steps.txt")),
            keras.callbacks.EarlyStopping("val_loss", patience=EPOCHS, restore_best_weights=True),
            kf.training.MetricsLog(folder, every=3),
        ],
        checkpoint_folder=os.path.join(folder, "checkpoints"),
        checkpoint_every=3,
        settings={"seed": 5},
    )
    weights = [keras.ops.convert_to_numpy(weight) for weight in task.model.weights]
    np.savez(os.path.join(folder, "weights.npz"), *weights)


if __name__ == "__main__":
    main(sys.argv[1])
