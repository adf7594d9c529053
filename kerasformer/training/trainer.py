"""The training loop: the same update however a batch is split over replicas."""

import functools
import itertools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import keras
import tensorflow as tf

from kerasformer._compat import flatten_layers
from kerasformer.errors import InputError, input_errors
from kerasformer.training.feeding import checked_form, replica_batches
from kerasformer.training.plain_model import PlainModel
from kerasformer.training.run import TrainingRun
from kerasformer.training.step import UpdateStep
from kerasformer.training.strategies import make_strategy
from kerasformer.training.termination import TerminationSignal

if TYPE_CHECKING:
    from kerasformer.tasks import Task


class Trainer:
    """Trains a model with `tf.distribute`, as one device would.

    The loss of a batch is the sum over all replicas and microbatches divided by the count over all of them; gradients
    are clipped by their global norm after they were summed. Model and optimizer stay plain Keras objects.

    Args:
        task: has `model`, `training_batch`, `loss` and `evaluate_batches`, see `kerasformer.tasks.Task`; or a pair of
            a Keras model and a function from targets and outputs to `(sum, count)`, for data of `(inputs, targets)`.
        optimizer: a Keras optimizer.
        strategy: a name for `make_strategy`, or a `tf.distribute.Strategy`. The task is made in its scope.
        clip_norm: largest global norm of the gradients, or None.
        loss: a function like `task.loss`, used instead of it, for example with class weights.
        microbatches: parts of each replica's batch, computed one after another to save memory.
        steps_per_call: updates in one call of the graph, and between two calls of the callbacks.
        jit: compile the gradients with XLA; each new length compiles again, so use few lengths.
        keyed_dropout: key dropout's masks by example and step, so that they too are the same on many devices. For the
            layers of this package; slower.
        data_service: address of a `tf.data` service that prepares the batches, `grpc://host:port`, see
            `kerasformer.training.data_service`. Batches that it prepared ahead are lost when a training is killed.
    """

    def __init__(
        self,
        task: "Task | tuple[keras.Model, Callable]",
        optimizer: keras.optimizers.Optimizer,
        *,
        strategy: str | tf.distribute.Strategy = "default",
        clip_norm: float | None = 1.0,
        loss: Callable | None = None,
        microbatches: int = 1,
        steps_per_call: int = 1,
        jit: bool = False,
        keyed_dropout: bool = False,
        data_service: str | None = None,
    ):
        for name, value in (("microbatches", microbatches), ("steps_per_call", steps_per_call)):
            if not isinstance(value, int) or value < 1:
                raise InputError(f"`{name}` must be a positive integer. Received: {name}={value!r}.")
        self.task = PlainModel(*task) if isinstance(task, tuple) else task
        self.model = self.task.model
        if any(layer.compute_dtype == "float16" for layer in flatten_layers(self.model)):
            # Small gradients would vanish in float16; steps whose gradients overflow are left out.
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
        self.optimizer = optimizer
        self.strategy = make_strategy(strategy)
        self.steps_per_call = steps_per_call
        self._has_own_loss = loss is not None
        self.data_service = data_service
        with self.strategy.scope():
            optimizer.build(self.model.trainable_variables)
            self._step = UpdateStep(
                self.model,
                loss or self.task.loss,
                None if loss else self.task.loss_totals,
                optimizer,
                self.strategy.num_replicas_in_sync,
                clip_norm=clip_norm,
                microbatches=microbatches,
                jit=jit,
                keyed=keyed_dropout,
            )
        self._prepare_call = tf.function(self._prepared, autograph=False)
        self._train_call = tf.function(self._train_steps, reduce_retracing=True)
        self._update_call = tf.function(self._update, reduce_retracing=True, autograph=False)
        self._evaluate_call = tf.function(self._evaluate_batch, reduce_retracing=True, autograph=False)
        self._outputs_call = tf.function(self._predict_batch, reduce_retracing=True, autograph=False)

    def fit(
        self,
        train: tf.data.Dataset | Callable[[int], tf.data.Dataset],
        validation: tf.data.Dataset | None = None,
        *,
        epochs: int | None = None,
        steps: int | None = None,
        callbacks: Sequence[keras.callbacks.Callback] = (),
        checkpoint_folder: str | os.PathLike | None = None,
        checkpoint_every: int = 1000,
        keep_checkpoints: int = 3,
        settings: Mapping[str, Any] | None = None,
        resume_with: Sequence[str] = (),
    ) -> keras.callbacks.History:
        """Trains for a number of epochs or of steps.

        With a `checkpoint_folder`, a killed training resumes from its last checkpoint when `fit` is called again in the
        same way. The final weights are those of an undisturbed run, bit for bit on a CPU. SIGTERM then
        saves a checkpoint and ends the program with exit code 143.

        Args:
            train: a function from the epoch's number to its `tf.data.Dataset` of `(features, targets)` batches, or one
                such data set for all epochs. Batches must be the same, in the same order, each time it is called. Some
                tasks take other forms: `TextClassifier` also sample weights, one-hot labels and more.
            validation: a data set of the same form, evaluated after each epoch; its metrics are logged as `val_…`.
            epochs: how often; by default once, or as often as `steps` take.
            steps: updates after which it ends, in the middle of an epoch if need be.
            callbacks: Keras callbacks; those that stop training (`EarlyStopping`) do.
            checkpoint_folder: where checkpoints go, after each epoch, every `checkpoint_every` steps and at the end.
                With several machines it must be on a disk that all of them see.
            keep_checkpoints: how many of the last ones to keep.
            settings: what must not change between a training and the one that resumes it; JSON values.
            resume_with: names in `settings` that may differ this once, such as `["epochs"]`: the interrupted training
                resumes with the values given now.

        Returns:
            A `keras.callbacks.History`.

        Raises:
            InputError: the data set ends before the first step, or its length is unknown and there are several steps a
                call; a checkpoint of another model or of other settings; `resume_with` without a checkpoint.
            FloatingPointError: the loss is not finite; the step is named, and with a `checkpoint_folder` its batch
                written there.
        """
        run = TrainingRun(
            self,
            train,
            epochs,
            steps,
            callbacks,
            checkpoint_folder,
            checkpoint_every,
            keep_checkpoints,
            settings,
            resume_with,
        )
        with TerminationSignal() as signal, input_errors():
            run.begin()
            try:
                while not run.is_over:
                    self._fit_epoch(run, signal)
                    if signal.agreed:
                        run.save(passing=True)
                        signal.leave(run.step, checkpoint_folder)
                    if validation is not None:
                        run.callbacks.on_test_begin()
                        run.logs |= {f"val_{name}": value for name, value in self.evaluate(validation).items()}
                        run.callbacks.on_test_end()
                    run.end_epoch()
                run.wait_for_chief()
                if signal.received:
                    signal.leave(run.step, checkpoint_folder)
            finally:
                run.end()
        return run.history

    def _fit_epoch(self, run, signal):
        """An epoch, or the rest of it from `run.batch` on."""
        data, number = run.begin_epoch()
        # Traced for the first epoch, and again only for a task with other settings.
        prepare = functools.partial(self._prepare_call, settings=self._settings())
        prepared = replica_batches(
            self._formed(data).skip(run.batch), prepare, self.strategy, service=self.data_service
        )
        iterator = iter(prepared)
        if not run.is_counted:
            _trace_once(self._update_call, prepared.element_spec, tf.TensorSpec([]))
        while run.batch < number and not signal.agreed:
            now = int(min(self.steps_per_call, number - run.batch))
            run.begin_call()
            terminated = tf.constant(float(signal.received))
            if run.is_counted:
                sums = self._train_call(iterator, tf.constant(now), terminated).numpy()
            else:
                # Asked for outside the graph, which would make half an update before it finds that nothing is left.
                batch = next(iterator, None)
                if batch is None:
                    break
                sums = self._update_call(batch, terminated).numpy()[None]
            run.end_call(sums[:, :3])
            # On every worker at the same step, or those that go on would wait for the others.
            signal.agreed = bool(sums[-1, 3] > 0)
        run.check_not_empty()

    def _formed(self, data):
        """The data set as one of `(features, targets)`."""
        form = checked_form(self.task, data.element_spec)
        if form is None:
            return data
        if len(data.element_spec) == 3 and self._has_own_loss:
            raise InputError("A custom `loss` takes no sample weights: apply them inside it, or omit the weights.")
        return data.map(tf.autograph.experimental.do_not_convert(form), num_parallel_calls=1)

    def _prepared(self, features, targets, places, settings):
        del settings
        inputs, targets = self.task.training_batch(features, targets)
        return {"inputs": inputs, "targets": targets, "examples": places}

    def _train_steps(self, iterator, steps, terminated):
        """`steps` updates; float32 `[steps, 4]`, see `UpdateStep`."""
        sums = tf.TensorArray(tf.float32, steps)
        for step in tf.range(steps):
            sums = sums.write(step, self._update(next(iterator), terminated))
        return sums.stack()

    @tf.autograph.experimental.do_not_convert
    def _update(self, batch, terminated):
        return self._local(self.strategy.run(self._step, (batch, terminated)))[0]

    def sum_over_replicas(self, number):
        """The sum of a number over the workers of all replicas; all workers wait for each other here."""
        return float(self._sum_over_replicas(tf.constant(number, tf.float64)))

    @functools.cached_property
    def _sum_over_replicas(self):
        @tf.function(autograph=False)
        def total(number):
            per_replica = self.strategy.run(lambda number: number + 0.0, (number,))
            return self.strategy.reduce("SUM", per_replica, axis=None)

        return total

    def _local(self, value):
        return self.strategy.experimental_local_results(value)

    def evaluate(self, data: tf.data.Dataset) -> dict[str, float]:
        """Metrics over a data set of `(features, targets)` batches, as `task.evaluate_batches` computes them.

        The replicas of a worker share the batches; several workers compute the same, each all of it.

        Raises:
            InputError: the data set is empty.
        """
        with input_errors():
            batches = self._evaluation_batches(data, self._evaluate_call)
            first = next(batches, None)
            if first is None:
                raise InputError("There is nothing to evaluate: the data set is empty.")
            return self.task.evaluate_batches(itertools.chain([first], batches))

    def predict(self, data: tf.data.Dataset) -> Iterator:
        """The model's outputs for a data set of `(features, targets)` batches, or of features alone.

        Returns:
            An iterator of nested structures of NumPy arrays, one a batch (and replica), in the data's order.
        """
        if not isinstance(data.element_spec, tuple):
            data = data.map(lambda features: (features, tf.zeros(tf.shape(tf.nest.flatten(features)[0])[:1], tf.int32)))
        return (outputs for _, _, outputs in self._evaluation_batches(data, self._outputs_call))

    def _evaluation_batches(self, data, call):
        """`(features, targets, what call gives)` of each batch, on each replica, as NumPy arrays."""
        prepared = replica_batches(
            self._formed(data), lambda features, targets, _: (features, targets), self.strategy, every_worker_all=True
        )
        settings = self._settings()
        _trace_once(call, *prepared.element_spec, settings)
        for batch in prepared:
            found = call(*batch, settings)
            for part in zip(*(self._local(tensor) for tensor in tf.nest.flatten((*batch, found))), strict=True):
                # A replica that got nothing has nothing to report.
                if part[0].shape[0]:
                    arrays = [tensor.numpy() for tensor in part]
                    yield tf.nest.pack_sequence_as((*batch, found), arrays)

    def _settings(self):
        """An argument of what is traced, so that a task with other settings is traced anew."""
        return repr(getattr(self.task, "settings", None))

    def _evaluate_batch(self, features, targets, settings):
        del settings
        return self.strategy.run(
            lambda features, targets: self.task.evaluation_batch(features, targets, self._forward), (features, targets)
        )

    def _predict_batch(self, features, targets, settings):
        del targets, settings
        return self.strategy.run(lambda features: self._forward(self.task.batch_inputs(features)), (features,))

    def _forward(self, inputs):
        return self.model(inputs, training=False)


def _trace_once(call, *specs):
    """Traces a `tf.function` for batches of every size, rather than for the first one and then for all."""
    if not tf.config.functions_run_eagerly():
        call.get_concrete_function(*specs)
