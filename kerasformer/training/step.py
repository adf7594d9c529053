"""One update: gradients of a replica's part of the batch, summed over everything, clipped, applied."""

import contextlib

import keras
import tensorflow as tf

from kerasformer.errors import InputError
from kerasformer.layers import keyed_dropout


class UpdateStep:
    """The update that each replica makes, to be called by `strategy.run`. Made in the strategy's scope.

    The loss of a batch is the sum over all replicas and microbatches divided by the count over all of them; gradients
    are clipped by their global norm after they were summed.

    Args:
        model, optimizer: Keras's.
        loss: a function from targets and outputs, and with `loss_totals` what that returns, to `(sum, count)`.
        loss_totals: a function from targets to a tensor, whose sum over the batch `loss` takes; or None.
        num_replicas: of the strategy.
        clip_norm: largest global norm of the gradients, or None.
        microbatches: parts of the replica's batch, computed one after another to save memory.
        jit: compile the gradients with XLA.
        keyed: key the dropout masks by example and step.
    """

    def __init__(self, model, loss, loss_totals, optimizer, num_replicas, *, clip_norm, microbatches, jit, keyed):
        self.model, self.loss, self.loss_totals, self.optimizer = model, loss, loss_totals, optimizer
        self.num_replicas = num_replicas
        self.clip_norm, self.microbatches, self.keyed = clip_norm, microbatches, keyed
        self._compute = tf.function(self._gradients, jit_compile=True, autograph=False) if jit else self._gradients
        if microbatches > 1:
            # Variables, each replica's own, since sums that go round a loop as tensors are held there twice.
            local = {"synchronization": tf.VariableSynchronization.ON_READ, "aggregation": tf.VariableAggregation.SUM}
            self._totals = [
                tf.Variable(tf.zeros(weight.shape, weight.dtype), trainable=False, **local)
                for weight in model.trainable_variables
            ]
            # A function that stays one: its temporary tensors are gone before the next part is computed.
            self._add_part = tf.function(
                self._add_gradients, experimental_attributes={"_noinline": True}, autograph=False
            )

    def __call__(self, batch, terminated):
        """Updates the weights.

        Args:
            batch: `{"inputs", "targets", "examples": int32 [n]}`, this replica's part, of n examples or none.
            terminated: float32 scalar, 1 where this worker is to stop; with the sums all of them come to know.

        Returns:
            float32 `[4]`: sum of the losses, their count, the number of tokens, of the whole batch, and on how many
            replicas `terminated` is 1.
        """
        replica = tf.distribute.get_replica_context()
        totals = []
        if self.loss_totals is not None:
            totals = [replica.all_reduce("sum", self.loss_totals(batch["targets"]))]
        compute = self._compute if self.microbatches == 1 else self._accumulated
        gradients, sums = compute(batch, *totals)
        sums = tf.concat([sums, [terminated]], 0)
        *gradients, sums = replica.all_reduce("sum", [*gradients, sums])
        # One factor for the mean over the global count and for the clipping: gradients are read once.
        factor = tf.math.divide_no_nan(1.0, sums[1])
        if self.clip_norm is not None:
            norm = tf.linalg.global_norm(gradients) * factor / self._scaled(tf.constant(1.0))
            factor *= self.clip_norm / tf.maximum(norm, self.clip_norm)
        # Keras's optimizer sums over the replicas once more.
        factor /= self.num_replicas
        self.optimizer.apply(
            [gradient * tf.cast(factor, gradient.dtype) for gradient in gradients], self.model.trainable_variables
        )
        return sums

    def _gradients(self, batch, *totals):
        variables = self.model.trainable_variables
        with self._dropout_keys(batch), tf.GradientTape() as tape:
            outputs = self.model(batch["inputs"], training=True)
            loss_sum, count = self.loss(batch["targets"], outputs, *totals)
            scaled = self._scaled(loss_sum)
        gradients = [
            tf.zeros(variable.shape, variable.dtype) if gradient is None else tf.convert_to_tensor(gradient)
            for gradient, variable in zip(tape.gradient(scaled, variables), variables, strict=True)
        ]
        sums = [tf.cast(value, tf.float32) for value in (loss_sum, count, _count_tokens(batch["inputs"]))]
        return gradients, tf.stack(sums)

    def _accumulated(self, batch, *totals):
        """The sums over microbatches, computed one after the other."""
        parts, columns = self.microbatches, dict(batch)
        # A task that reads long texts in windows has more rows than examples.
        rows = tf.shape(tf.nest.flatten(batch["inputs"])[0])[0]
        if not self.keyed:
            columns.pop("examples")

        def body(index, sums):
            first, last = rows * index // parts, rows * (index + 1) // parts
            part = tf.nest.map_structure(lambda tensor: tensor[first:last], columns)
            return index + 1, sums + self._add_part(part, *totals)

        for total in self._totals:
            total.assign(tf.zeros(total.shape, total.dtype))
        _, sums = tf.while_loop(lambda index, _: index < parts, body, (0, tf.zeros([3])), parallel_iterations=1)
        return [total.read_value() for total in self._totals], sums

    def _add_gradients(self, batch, *totals):
        gradients, sums = self._compute(batch, *totals)
        for total, gradient in zip(self._totals, gradients, strict=True):
            total.assign_add(gradient)
        return sums

    def _dropout_keys(self, batch):
        if not self.keyed:
            return contextlib.nullcontext()
        inputs = batch["inputs"]
        masks = [value for name, value in inputs.items() if "padding_mask" in name] if isinstance(inputs, dict) else []
        if len(masks) > 1:
            raise InputError("`keyed_dropout` takes models with one padding mask. Received inputs with several.")
        rows = tf.shape(tf.nest.flatten(inputs)[0])[0]
        tf.debugging.assert_equal(
            rows, tf.size(batch["examples"]), "`keyed_dropout` takes tasks with one row an example, without windows."
        )
        return keyed_dropout(self.optimizer.iterations.value, batch["examples"], *masks)

    def _scaled(self, loss):
        """The loss times the loss scale of float16."""
        is_scaling = isinstance(self.optimizer, keras.optimizers.LossScaleOptimizer)
        return self.optimizer.scale_loss(loss) if is_scaling else loss


def _count_tokens(inputs):
    """Real tokens of inputs with padding masks; examples, for other inputs."""
    if isinstance(inputs, dict):
        masks = [value for name, value in inputs.items() if "padding_mask" in name]
        if masks:
            return tf.add_n([tf.math.count_nonzero(mask, dtype=tf.int32) for mask in masks])
    return tf.shape(tf.nest.flatten(inputs)[0])[0]
