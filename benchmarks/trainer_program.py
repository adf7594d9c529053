"""One measurement of `benchmarks.trainer`, in a process of its own; prints JSON on its last line.

python -m benchmarks.trainer_program overhead TEXTS REPETITIONS
python -m benchmarks.trainer_program memory TEXTS BATCH MICROBATCHES
python -m benchmarks.trainer_program devices TEXTS one|mirrored
"""

import json
import resource
import sys
import time

import tensorflow as tf

import kerasformer as kf
from benchmarks.head import default_checkpoint, random_head
from benchmarks.ours import load_task
from benchmarks.training import read_batches

STEPS, LEARNING_RATE = 24, 1e-5


def prepared(task, batches):
    """Batches as the model takes them: what is measured is training, not tokenizing."""
    elements = [task.training_batch({"text": tf.constant(texts)}, tf.constant(labels)) for texts, labels in batches]
    return _as_data(elements)


def _as_data(elements):
    signature = tf.nest.map_structure(
        lambda tensor: tf.TensorSpec([None] * len(tensor.shape), tensor.dtype), elements[0]
    )
    data = tf.data.Dataset.from_generator(lambda: iter(elements), output_signature=signature)
    return data.apply(tf.data.experimental.assert_cardinality(len(elements))).cache()


def overhead(texts, repetitions):
    checkpoint = default_checkpoint()
    task = load_task(checkpoint, random_head(checkpoint), "mixed_bfloat16")
    data = prepared(task, read_batches(texts, 32, STEPS))
    trainer = kf.training.Trainer((task.model, task.loss), kf.training.adamw(LEARNING_RATE))
    examples = tf.range(32)

    @tf.function(reduce_retracing=True)
    def bare_step(inputs, targets):
        return trainer._step({"inputs": inputs, "targets": targets, "examples": examples}, 0.0)

    def bare():
        for inputs, targets in data:
            bare_step(inputs, targets).numpy()

    found = {"bare": [], "fit": []}
    for repetition in range(int(repetitions) + 1):
        for name, run in (("bare", bare), ("fit", lambda: trainer.fit(data))):
            start = time.perf_counter()
            run()
            if repetition:
                found[name].append(time.perf_counter() - start)
    return found


def memory(texts, batch, microbatches):
    checkpoint = default_checkpoint()
    task = load_task(checkpoint, random_head(checkpoint), "mixed_bfloat16")
    # The same texts however they are cut: the longest of them need the most.
    data = prepared(task, read_batches(texts, int(batch), 512 // int(batch)))
    trainer = kf.training.Trainer(
        (task.model, task.loss), kf.training.adamw(LEARNING_RATE), microbatches=int(microbatches)
    )
    start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    trainer.fit(data)
    return {"start": start, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def devices(texts, kind):
    strategy = "default"
    if kind == "mirrored":
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
        strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    strategy = kf.training.make_strategy(strategy)
    checkpoint = default_checkpoint()
    with strategy.scope():
        task = load_task(checkpoint, random_head(checkpoint), "mixed_bfloat16")
        optimizer = kf.training.adamw(LEARNING_RATE)
    trainer = kf.training.Trainer(task, optimizer, strategy=strategy)
    texts, labels = zip(*read_batches(texts, 32, STEPS), strict=True)
    data = tf.data.Dataset.from_tensor_slices(({"text": list(texts)}, list(labels)))
    trainer.fit(data)
    start = time.perf_counter()
    trainer.fit(data)
    return {"seconds": time.perf_counter() - start}


if __name__ == "__main__":
    name, *arguments = sys.argv[1:]
    print(json.dumps({"overhead": overhead, "memory": memory, "devices": devices}[name](*arguments)))
