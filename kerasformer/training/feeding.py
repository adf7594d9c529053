"""From a data set of batches to the part of each replica."""

import tensorflow as tf

from kerasformer.errors import InputError

# Nothing here has Python control flow on tensors; AutoGraph would take long to find that out.
_plain = tf.autograph.experimental.do_not_convert


def replica_batches(data, prepare, strategy, *, every_worker_all=False, service=None):
    """Splits each batch over the replicas, as evenly as possible; where it is too small, some receive nothing.

    Every worker reads all batches, which is cheap while they are texts, and prepares its own part only: nothing is
    lost and nothing repeated, however many workers and replicas there are.

    Args:
        data: `tf.data.Dataset` of `(features, targets)`, nested structures whose tensors all have the batch as their
            first dimension.
        prepare: a function from features and targets of some examples and their positions in the batch, int32 `[n]`, to
            what the step takes; in the graph.
        strategy: a `tf.distribute.Strategy`.
        every_worker_all: split over the replicas of each worker only, so that every worker processes all examples.
        service: address of a `tf.data` service that is to prepare the batches, `grpc://host:port`.

    Returns:
        What `strategy.run` takes, in order.
    """
    # What never ends needs no agreement between the workers on whether there is a next batch: in training the trainer
    # counts.
    is_counted = not every_worker_all and int(data.cardinality()) != tf.data.UNKNOWN_CARDINALITY

    def for_worker(context):
        pipelines = 1 if every_worker_all else context.num_input_pipelines
        local = context.num_replicas_in_sync // context.num_input_pipelines
        first = 0 if every_worker_all else context.input_pipeline_id * local
        parts = local * pipelines

        @_plain
        def split(features, targets):
            @_plain
            def prepared(part):
                return prepare(*_part(features, targets, part, parts))

            return tf.data.Dataset.range(first, first + local).map(prepared)

        @_plain
        def whole(features, targets):
            return prepare(*_part(features, targets, 0, 1))

        # A batch of one replica needs no splitting.
        mapped = data.map(whole) if parts == 1 else data.flat_map(split)
        if service is not None:
            policy = tf.data.experimental.service.ShardingPolicy.OFF
            mapped = mapped.apply(tf.data.experimental.service.distribute(policy, service))
        if is_counted and context.num_replicas_in_sync > 1:
            mapped = mapped.apply(tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY))
        return mapped.prefetch(4 * local)

    return strategy.distribute_datasets_from_function(for_worker)


def checked_form(task, spec):
    """A function from the parts of a batch to `(features, targets)`, or None where the batches are that already.

    Args:
        task: with `batch_form(spec)`, which returns such a function, where it takes other batches.
        spec: the data set's `element_spec`.

    Raises:
        InputError: the task does not take batches of this form.
    """
    if hasattr(task, "batch_form"):
        return task.batch_form(spec)
    if isinstance(spec, tuple) and len(spec) == 2:
        return None
    received = f"{len(spec)} parts" if isinstance(spec, (tuple, list)) else f"{type(spec).__name__} alone"
    weights = "; it takes no sample weights" if isinstance(spec, tuple) and len(spec) == 3 else ""
    raise InputError(f"A batch for {type(task).__name__} must be `(features, targets)`{weights}. Received: {received}.")


def _part(features, targets, part, parts):
    """Part number `part` of `parts` of a batch, and the positions of its examples in it."""
    column = tf.nest.flatten((features, targets))[0]
    size = column.nrows(tf.int64) if isinstance(column, tf.RaggedTensor) else tf.shape(column, tf.int64)[0]
    part = tf.cast(part, tf.int64)
    first, last = size * part // parts, size * (part + 1) // parts
    places = tf.cast(tf.range(first, last), tf.int32)
    if parts == 1:
        return features, targets, places
    return *tf.nest.map_structure(lambda tensor: tensor[first:last], (features, targets)), places
