"""Pretrains a tiny BERT for 20 steps and writes its weights; run by test_pretraining.py.

    python pretraining_program.py FOLDER TEXT [STEP]

With STEP the first worker ends itself with SIGKILL after that step.
"""

import os
import signal
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

import kerasformer as kf

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
STEPS = 20


class Kill(keras.callbacks.Callback):
    def __init__(self, step):
        super().__init__()
        self._step = step

    def on_train_batch_end(self, batch, logs=None):
        step = int(keras.ops.convert_to_numpy(self.model.optimizer.iterations))
        if step == self._step and kf.training.is_chief():
            os.kill(os.getpid(), signal.SIGKILL)


def main(folder, text, kill_at=None):
    strategy = kf.training.make_strategy("multi_worker" if "TF_CONFIG" in os.environ else "default")
    keras.utils.set_random_seed(3)
    tokenizer = kf.text.WordPieceTokenizer([*SPECIAL, *[f"w{n}" for n in range(50)], "."], max_length=32)
    with strategy.scope():
        config = kf.models.BertConfig(56, 16, 1, 2, 32, 32, dropout=0.1, attention_dropout=0.1)
        task = kf.tasks.BertPretraining(kf.models.bert(config, pooled=True), tokenizer)
        optimizer = kf.training.adamw(kf.training.linear_warmup(1e-2, STEPS))
    # Batches that two workers cannot share evenly.
    data = kf.data.PretrainingData(kf.data.Corpus(text), tokenizer)
    trainer = kf.training.Trainer(task, optimizer, strategy=strategy, keyed_dropout=True)
    trainer.fit(
        lambda epoch: data.batches(7, 32, epoch=epoch, steps=8),
        steps=STEPS,
        callbacks=[Kill(int(kill_at))] if kill_at else [],
        checkpoint_folder=os.path.join(folder, "checkpoints"),
        checkpoint_every=3,
    )
    if kf.training.is_chief():
        weights = [keras.ops.convert_to_numpy(weight) for weight in task.model.trainable_weights]
        np.savez(os.path.join(folder, "weights.npz"), *weights)


if __name__ == "__main__":
    main(*sys.argv[1:])
