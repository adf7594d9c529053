"""The state of one training: its position, its data, what callbacks receive, and what is saved."""

import hashlib
import json
import math
import pathlib
import time

import keras
import numpy as np
import tensorflow as tf

from kerasformer.errors import InputError
from kerasformer.files import local_path
from kerasformer.training.callback_state import callback_states, resolve_modes, restore_callbacks
from kerasformer.training.checkpoints import restore_latest, save_checkpoint, training_variables
from kerasformer.training.cluster import is_chief

# float16 leaves out steps that overflow and halves the loss scale; from the first scale, 2^15, to the smallest number
# of float32 it is not halved as often as this.
_MOST_SKIPPED = 200


class TrainingRun:
    """The state of `Trainer.fit`, arguments as there.

    Attributes:
        epoch, batch: the next batch to be trained on.
        step: updates made, those that float16 left out among them.
        is_counted: whether the number of the epoch's batches is known.
        logs: of the present epoch.
    """

    def __init__(self, trainer, train, epochs, steps, callbacks, folder, every, keep, settings, resume_with):
        for name, value in (("epochs", epochs), ("steps", steps), ("checkpoint_every", every)):
            if value is not None and value < 1:
                raise InputError(f"`{name}` must be 1 or more. Received: {name}={value}.")
        self.trainer, self.model, self.optimizer = trainer, trainer.model, trainer.optimizer
        self._train = train
        self._steps = math.inf if steps is None else steps
        self._epochs = epochs or (1 if steps is None else math.inf)
        self._folder = folder and local_path(folder, "checkpoint_folder")
        self._every, self._keep = every, keep
        # As they come back from a checkpoint: JSON knows no tuples.
        self._settings, self._resume_with = json.loads(json.dumps(settings)), set(resume_with)
        self._vocabulary = _vocabulary_digest(trainer.task)
        self.history = keras.callbacks.History()
        self._own_callbacks = [*_averaging(self.optimizer, callbacks), *callbacks, self.history]
        self.epoch = self.batch = self.step = self._skipped = 0
        self._totals, self._seconds = np.zeros(3), 0.0
        self.logs = {}

    def begin(self):
        """Restores the last checkpoint, if there is one, and notifies the callbacks."""
        # Keras's callbacks read these from the model.
        self.model.optimizer, self.model.stop_training = self.optimizer, False
        restored = self._restore() if self._folder else None
        state = restored[1] if restored else {}
        if self._resume_with and not restored:
            raise InputError(f"`resume_with` needs an interrupted training. No checkpoints in {self._folder}.")
        if restored and _compared(state["settings"], self._resume_with) != _compared(self._settings, self._resume_with):
            raise InputError(_other_settings(self._folder, state["settings"], self._settings, self._resume_with))
        if restored and state.get("vocabulary", self._vocabulary) != self._vocabulary:
            raise InputError(
                f"{self._folder} holds checkpoints of a training with another vocabulary, perhaps since the text that "
                "it was learned from has changed. Delete it to start again, or name another folder."
            )
        if restored:
            self.step, self.epoch, self.batch = restored[0], state["epoch"], state["batch"]
            self._totals, self._seconds = np.array(state["totals"]), state["seconds"]
            self._skipped = state["skipped"]
        resolve_modes(self._own_callbacks)
        data = self._data()
        steps = _length(data)
        self.callbacks = keras.callbacks.CallbackList(
            self._own_callbacks,
            model=self.model,
            epochs=self._epochs if math.isfinite(self._epochs) else max(math.ceil(self._steps / steps), 1),
            steps=steps if math.isfinite(steps) else None,
            verbose=0,
        )
        self.callbacks.on_train_begin()
        if restored:
            restore_callbacks(self._own_callbacks, state["callbacks"], restored[2])
            self.model.stop_training = state["stopped"]

    def _restore(self):
        """What `restore_latest` returns; on several workers the same on all of them."""
        # The chief may still be writing the last checkpoint of a training before this one.
        self.wait_for_chief()
        several = self.trainer.strategy.num_replicas_in_sync > 1
        restored = restore_latest(self._folder, self._variables())
        step = restored[0] if restored else 0
        if several and self.trainer.sum_over_replicas(step) != step * self.trainer.strategy.num_replicas_in_sync:
            raise InputError(
                f"All workers must find the same checkpoints in {self._folder}: put it on a shared disk. "
                f"Received: step {step} here, another elsewhere."
            )
        return restored

    @property
    def is_over(self):
        return self.epoch >= self._epochs or self.step >= self._steps or self.model.stop_training

    def begin_epoch(self):
        """The epoch's data set, and the number of its first batches to be trained on, if there are as many."""
        data = self._data()
        number = min(_length(data), self.batch + self._steps - self.step)
        self.is_counted = int(data.cardinality()) != tf.data.UNKNOWN_CARDINALITY
        if not self.is_counted and self.trainer.steps_per_call > 1:
            raise InputError(
                "Several steps per call need data with a known number of batches: use "
                "`tf.data.experimental.assert_cardinality`, or `steps_per_call=1`."
            )
        self.logs = {}
        # An epoch may have another number of batches than the one before.
        steps = _length(data)
        self.callbacks.set_params({**self.callbacks.params, "steps": steps if math.isfinite(steps) else None})
        self.callbacks.on_epoch_begin(self.epoch)
        return data, number

    def _data(self):
        # A training that is over is told by its last epoch's data.
        data = self._train(min(self.epoch, self._epochs - 1)) if callable(self._train) else self._train
        if _length(data) == 0:
            raise InputError("There is nothing to train on: the data set ends before the first step.")
        if int(data.cardinality()) == tf.data.INFINITE_CARDINALITY and math.isinf(self._steps):
            raise InputError("The training data is infinite: pass the number of `steps`.")
        return data

    def begin_call(self):
        self._start = time.perf_counter()
        self.callbacks.on_train_batch_begin(self.batch)

    def end_call(self, sums):
        """Notes what a call did, float32 `[steps, 3]` (see `UpdateStep`), and saves when it is time to."""
        self._check_finite(sums)
        before = self.step
        self.step += len(sums)
        self.batch += len(sums)
        finite = sums[np.isfinite(sums[:, 0])].sum(0, dtype=np.float64)
        self._totals += finite
        rate = float(keras.ops.convert_to_numpy(self.optimizer.learning_rate))
        logs = {"loss": _quotient(finite), "learning_rate": rate, "tokens": float(sums[:, 2].sum())}
        self.callbacks.on_train_batch_end(self.batch - 1, logs)
        self._seconds += time.perf_counter() - self._start
        if self.step // self._every > before // self._every:
            self.save()

    def _check_finite(self, sums):
        """Raises FloatingPointError at a loss that is not finite; under float16 at the last of very many."""
        for index, (loss_sum, count, _) in enumerate(sums):
            if np.isfinite(loss_sum) and np.isfinite(count):
                self._skipped = 0
                continue
            self._skipped += 1
            if isinstance(self.optimizer, keras.optimizers.LossScaleOptimizer) and self._skipped < _MOST_SKIPPED:
                continue
            step = self.step + index + 1
            where = self._write_batch(self.batch + index, step)
            raise FloatingPointError(
                f"The loss is {loss_sum / count} in step {step} (epoch {self.epoch + 1}, batch "
                f"{self.batch + index + 1}{where}): try a lower learning rate."
            )

    def _write_batch(self, batch, step):
        """Writes the batch's features and targets as JSON; returns where, for the message."""
        if not self._folder or not is_chief():
            return ""
        elements = tf.nest.map_structure(_as_lists, next(iter(self._data().skip(batch).take(1))))
        path = pathlib.Path(self._folder) / f"not_finite_step_{step}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(elements, ensure_ascii=False) + "\n", encoding="utf-8")
        return f", written to {path}"

    def check_not_empty(self):
        """Raises InputError where an epoch of unknown length had no batch at all."""
        if self.batch == 0:
            raise InputError("There is nothing to train on: the data set ends before the first step.")
        self.logs = {
            "loss": _quotient(self._totals),
            "seconds": self._seconds,
            "tokens_per_second": self._totals[2] / max(self._seconds, 1e-9),
        }

    def end_epoch(self):
        self.callbacks.on_epoch_end(self.epoch, self.logs)
        self.epoch, self.batch = self.epoch + 1, 0
        self._totals, self._seconds = np.zeros(3), 0.0
        self.save()

    def end(self):
        self.callbacks.on_train_end()

    def wait_for_chief(self):
        """Returns on all workers when the chief has written its last checkpoint, which they may read."""
        if self._folder and self.trainer.strategy.num_replicas_in_sync > 1:
            self.trainer.sum_over_replicas(0)

    def save(self, passing=False):
        """Writes a checkpoint, on the chief and where there is a folder for it; `passing` as in `save_checkpoint`."""
        if not self._folder or not is_chief():
            return
        values, arrays = callback_states(self._own_callbacks)
        state = {
            "epoch": self.epoch,
            "batch": self.batch,
            "totals": self._totals.tolist(),
            "seconds": self._seconds,
            "skipped": self._skipped,
            "stopped": self.model.stop_training,
            "settings": self._settings,
            "vocabulary": self._vocabulary,
            "callbacks": values,
        }
        save_checkpoint(self._folder, self.step, self._variables(), state, arrays, self._keep, passing)

    def _variables(self):
        return training_variables(self.model, self.optimizer)


def _averaging(optimizer, callbacks):
    """Puts the moving averages of the weights in place where the optimizer keeps them: before all other callbacks, so
    that those, and the evaluation, see the averages."""
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)
    swap = keras.callbacks.SwapEMAWeights
    if not optimizer.use_ema or any(isinstance(callback, swap) for callback in callbacks):
        return []
    return [swap(swap_on_epoch=True)]


def _length(data):
    """Number of batches; infinite where it is not known."""
    number = int(data.cardinality())
    return math.inf if number < 0 else number


def _quotient(sums):
    return float(sums[0] / sums[1]) if sums[1] else 0.0


def _as_lists(tensor):
    values = tensor.to_list() if isinstance(tensor, tf.RaggedTensor) else tensor.numpy().tolist()
    return _decoded(values)


def _decoded(value):
    if isinstance(value, list):
        return [_decoded(item) for item in value]
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _compared(settings, ignored):
    """Without those that are None, as are those that were not there yet when a checkpoint was written."""
    if not isinstance(settings, dict):
        return settings
    return {name: value for name, value in settings.items() if value is not None and name not in ignored}


def _vocabulary_digest(task):
    """What tells a task's vocabularies from others, or None where it has none."""
    if not hasattr(task, "further_tokenizers"):
        return None
    tokenizers = [task.tokenizer, *task.further_tokenizers().values()]
    text = "\0".join(piece for tokenizer in tokenizers for piece in tokenizer.vocabulary)
    return hashlib.sha256(text.encode()).hexdigest()


def _other_settings(folder, then, now, ignored):
    if isinstance(then, dict) and isinstance(now, dict):
        names = [name for name in [*now, *then] if name not in ignored]
        name = next(name for name in names if then.get(name) != now.get(name))
        difference = f"{name} was {then.get(name)!r}, now {now.get(name)!r}"
    else:
        difference = f"they were {then!r}, now {now!r}"
    return (
        f"{folder} holds checkpoints of a training with other settings ({difference}). Delete it to start again, name "
        "another folder, or say in `resume_with` what may differ."
    )
