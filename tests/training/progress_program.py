"""Trains a toy model with a progress bar, epochs of unequal and of unknown length, for `test_progress`."""

import sys
import time

import keras
import numpy as np
import tensorflow as tf

from kerasformer.training import ProgressBar, Trainer, print_table

inputs = keras.Input([2])
model = keras.Model(inputs, keras.layers.Dense(1)(inputs))


def loss(targets, outputs):
    return tf.reduce_sum(tf.square(targets - outputs)), tf.cast(tf.size(targets), tf.float32)


def epoch_data(epoch):
    rows = 4 * (epoch + 2)
    data = tf.data.Dataset.from_tensor_slices((np.ones([rows, 2], "float32"), np.ones([rows, 1], "float32"))).batch(4)
    return data.filter(lambda *_: True) if "unknown" in sys.argv else data


pause = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: time.sleep(0.15))
trainer = Trainer((model, loss), keras.optimizers.SGD(0.1))
trainer.fit(epoch_data, epoch_data(0), epochs=3, callbacks=[ProgressBar(), pause])
print_table("[/b] results", ["[/i]", "x"], [["[/b]", 0.5], ["[red]", 1]])
