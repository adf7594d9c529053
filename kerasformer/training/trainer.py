"""The training loop: the same update however a batch is split over replicas."""

import itertools
import time

import keras
import numpy as np
import tensorflow as tf

from kerasformer.errors import InputError
from kerasformer.training.strategies import make_strategy


class Trainer:
    """Trains a task's model with `tf.distribute`, as one device would.

    The loss of a batch is the sum over all replicas divided by the count over all replicas; gradients are clipped by
    their global norm after they were summed. Model and optimizer stay plain Keras objects.

    Args:
        task: gives `model`, `training_batch`, `loss` and `evaluate_batches`, see `kerasformer.tasks.Task`.
        optimizer: a Keras optimizer.
        strategy: a name for `make_strategy`, or a `tf.distribute.Strategy`. The task is made in its scope.
        clip_norm: largest global norm of the gradients, or None.
        loss: a function like `task.loss`, to be used in its place, for example with class weights.
    """

    def __init__(self, task, optimizer, *, strategy="default", clip_norm=1.0, loss=None):
        self.task = task
        if any(layer.compute_dtype == "float16" for layer in task.model.layers):
            # Small gradients would vanish in float16; steps whose gradients overflow are left out.
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
        self.optimizer = optimizer
        self.strategy = make_strategy(strategy)
        self.clip_norm = clip_norm
        self._loss = loss or task.loss
        with self.strategy.scope():
            optimizer.build(task.model.trainable_variables)
        self._train_call = tf.function(self._train_steps, reduce_retracing=True)
        self._forward_call = tf.function(self._forward, reduce_retracing=True)

    def fit(self, train, validation=None, *, epochs=1, callbacks=(), steps_per_call=1):
        """Trains for a number of epochs.

        Args:
            train: a function from the epoch's number to its `tf.data.Dataset` of `(features, targets)` batches, of
                known cardinality, or one such data set for all epochs.
            validation: a data set of the same form, evaluated after each epoch; its metrics are logged as `val_…`.
            epochs: how often.
            callbacks: Keras callbacks; those that stop training (`EarlyStopping`) do.
            steps_per_call: updates in one call of the graph, and between two calls of the callbacks.

        Returns:
            A `keras.callbacks.History`.

        Raises:
            InputError: the data set ends before the first step, or its length is unknown.
            FloatingPointError: the loss is not finite; the step is named.
        """
        history = keras.callbacks.History()
        model = self.task.model
        # Keras's callbacks read these from the model.
        model.optimizer, model.stop_training = self.optimizer, False
        data = train(0) if callable(train) else train
        callbacks = keras.callbacks.CallbackList(
            [*callbacks, history], model=model, epochs=epochs, steps=_number_of_batches(data), verbose=0
        )
        callbacks.on_train_begin()
        try:
            for epoch in range(epochs):
                callbacks.on_epoch_begin(epoch)
                if epoch and callable(train):
                    data = train(epoch)
                logs = self._fit_epoch(data, _number_of_batches(data), steps_per_call, callbacks)
                if validation is not None:
                    logs |= {f"val_{name}": value for name, value in self.evaluate(validation).items()}
                callbacks.on_epoch_end(epoch, logs)
                if model.stop_training:
                    break
        finally:
            callbacks.on_train_end()
        return history

    def _fit_epoch(self, data, steps, steps_per_call, callbacks):
        iterator = iter(self._distributed(data))
        totals, start, done = np.zeros(3), time.perf_counter(), 0
        while done < steps:
            now = min(steps_per_call, steps - done)
            callbacks.on_train_batch_begin(done)
            sums = np.array([float(value) for value in self._train_call(iterator, tf.constant(now))])
            done += now
            totals += sums
            loss = sums[0] / sums[1] if sums[1] else 0.0
            if not np.isfinite(loss):
                raise FloatingPointError(
                    f"The loss is {loss} in step {int(self.optimizer.iterations)}: try a lower learning rate."
                )
            rate = float(keras.ops.convert_to_numpy(self.optimizer.learning_rate))
            callbacks.on_train_batch_end(done - 1, {"loss": loss, "learning_rate": rate, "tokens": sums[2]})
        seconds = time.perf_counter() - start
        return {
            "loss": totals[0] / totals[1] if totals[1] else 0.0,
            "seconds": seconds,
            "tokens_per_second": totals[2] / seconds,
        }

    def _distributed(self, data):
        data = data.map(self.task.training_batch).prefetch(4)
        return self.strategy.experimental_distribute_dataset(data)

    def _train_steps(self, iterator, steps):
        totals = (tf.constant(0.0), tf.constant(0.0), tf.constant(0.0))
        for _ in tf.range(steps):
            sums = self.strategy.run(self._replica_step, next(iterator))
            totals = tuple(
                total + self.strategy.experimental_local_results(value)[0]
                for total, value in zip(totals, sums, strict=True)
            )
        return totals

    def _replica_step(self, inputs, targets):
        variables = self.task.model.trainable_variables
        with tf.GradientTape() as tape:
            outputs = self.task.model(inputs, training=True)
            loss_sum, count = self._loss(targets, outputs)
            scaled = self._scale(loss_sum)
        gradients = [
            tf.zeros_like(variable) if gradient is None else tf.convert_to_tensor(gradient)
            for gradient, variable in zip(tape.gradient(scaled, variables), variables, strict=True)
        ]
        tokens = tf.cast(tf.math.count_nonzero(inputs["padding_mask"]), tf.float32)
        replica = tf.distribute.get_replica_context()
        *gradients, loss_sum, count, tokens = replica.all_reduce("sum", [*gradients, loss_sum, count, tokens])
        # One factor for the mean over the global count and for the clipping: gradients are read once.
        factor = tf.math.divide_no_nan(1.0, count)
        if self.clip_norm is not None:
            norm = tf.linalg.global_norm(gradients) * factor / self._scale(tf.constant(1.0))
            factor *= self.clip_norm / tf.maximum(norm, self.clip_norm)
        # Keras's optimizer sums over the replicas once more.
        factor /= self.strategy.num_replicas_in_sync
        self.optimizer.apply([gradient * tf.cast(factor, gradient.dtype) for gradient in gradients], variables)
        return loss_sum, count, tokens

    def _scale(self, loss):
        return (
            self.optimizer.scale_loss(loss) if isinstance(self.optimizer, keras.optimizers.LossScaleOptimizer) else loss
        )

    def evaluate(self, data):
        """Metrics over a data set of `(features, targets)` batches, as `task.evaluate_batches` computes them."""
        batches = self._evaluation_batches(data)
        first = next(batches, None)
        if first is None:
            raise InputError("There is nothing to evaluate: the data set is empty.")
        return self.task.evaluate_batches(itertools.chain([first], batches))

    def _evaluation_batches(self, data):
        for features, targets in data:
            outputs = self._forward_call(features)
            yield tf.nest.map_structure(lambda tensor: tensor.numpy(), (features, targets, outputs))

    def _forward(self, features):
        return self.task.model(self.task.batch_inputs(features), training=False)


def _number_of_batches(data):
    number = int(data.cardinality())
    if number < 0:
        raise InputError(
            "The training data need a known number of batches: use `tf.data.experimental.assert_cardinality`."
        )
    if number == 0:
        raise InputError("There is nothing to train on: the data set ends before the first step.")
    return number
