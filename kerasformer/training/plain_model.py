"""A Keras model and a loss in the form of a task, for models without text."""

import tensorflow as tf


class PlainModel:
    """A model whose data are its inputs and targets already.

    Args:
        model: a Keras model.
        loss: a function from targets and outputs to `(sum, count)`, scalars.
    """

    loss_totals = None

    def __init__(self, model, loss):
        self.model, self.loss = model, loss

    def batch_inputs(self, inputs):
        return inputs

    def training_batch(self, inputs, targets):
        return inputs, targets

    def evaluation_batch(self, inputs, targets, core):
        return core(inputs)

    def evaluate_batches(self, batches):
        """The loss: the sum over all batches over their count."""
        total = count = 0.0
        for _, targets, outputs in batches:
            batch_sum, batch_count = self.loss(*tf.nest.map_structure(tf.constant, (targets, outputs)))
            total, count = total + float(batch_sum), count + float(batch_count)
        return {"loss": total / count if count else 0.0}
