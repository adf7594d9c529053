"""A model as a graph function whose weights are variables, folded as far as they can be.

A server optimizes a graph of its own for each set of outputs that is fetched, and each of these graphs holds copies of
its constants. Variables are restored once and shared by all of them. What is computed from weights alone, such as a
part of a kernel, is computed once, here, and stored in its place.
"""

import hashlib
import math

import keras
import tensorflow as tf

from kerasformer._compat import inlined

# Bytes. Smaller tensors are constants: TensorFlow simplifies more of a graph that has them. A bias takes as long to be
# read as to be added where a text is short.
_SMALLEST_MATRIX, _SMALLEST_VECTOR = 4096, 16384

_CONTROL_FLOW = {"Enter", "Exit", "LoopCond", "Merge", "NextIteration", "Switch"}


def with_shared_weights(forward, specs, variables, computed=None):
    """A function with its weights folded, and held by variables.

    Weights are arguments of the graph while it is rewritten. It never holds their values, so their size has no limit
    but memory, and there is one copy of what is not changed.

    Args:
        forward: function of `{name: tensor}` to a list of tensors.
        specs: `{name: tf.TensorSpec}`, its argument.
        variables: list of Keras variables that it may read; they become the export's.
        computed: of several functions of the same variables, one dictionary for all, empty at first: what they compute
            from weights alone is stored once.

    Returns:
        `(function, weights, shapes)`: a function from the tensors of `specs`, in order, to the list of outputs, the
        list of `tf.Variable`s that it reads, which must be tracked by what is saved, and the `tf.TensorShape` of each
        output.
    """
    large = [variable for variable in variables if _is_large(variable)]
    small = [(variable, variable.numpy()) for variable in variables if not _is_large(variable)]
    inputs = [tf.TensorSpec(spec.shape, spec.dtype, f"input_{i}") for i, spec in enumerate(specs.values())]
    arguments = [tf.TensorSpec(variable.shape, variable.dtype, f"weight_{i}") for i, variable in enumerate(large)]

    @tf.function(input_signature=inputs + arguments, autograph=False)
    def stateless(*values):
        weights = [*zip(large, values[len(inputs) :], strict=True)]
        weights += [(variable, tf.constant(value)) for variable, value in small]
        with keras.StatelessScope(state_mapping=weights):
            return forward(dict(zip(specs, values, strict=False)))

    concrete = stateless.get_concrete_function()
    graph = inlined(concrete)
    outputs = [tensor.name for tensor in concrete.outputs]
    by_name = {spec.name: variable.value for spec, variable in zip(arguments, large, strict=True)}
    folded = _folded(graph, by_name)
    values = _evaluate(folded, by_name)
    keys = _keys(folded, by_name)
    kept = [spec.name for spec in inputs] + [tensor.op.name for tensor in concrete.outputs]
    graph_def, weights = _rewritten(graph, kept, folded, values, keys, {} if computed is None else computed)

    def function(*values):
        placed = {f"{spec.name}:0": value for spec, value in zip(inputs, values, strict=True)}
        placed |= {f"{name}:0": tf.convert_to_tensor(weight) for name, weight in weights.items()}
        return tf.graph_util.import_graph_def(graph_def, input_map=placed, return_elements=outputs, name="")

    # Not a `tf.function`, which would order operations that have effects: across the bounds of a loop, too.
    shapes = [output.shape for output in concrete.outputs]
    distinct = list({id(weight): weight for weight in weights.values()}.values())
    return tf.compat.v1.wrap_function(function, inputs), distinct, shapes


def _is_large(tensor):
    size = math.prod(tensor.shape) * tf.as_dtype(tensor.dtype).size
    return size >= (_SMALLEST_VECTOR if len(tensor.shape) < 2 else _SMALLEST_MATRIX)


def _folded(graph, weights):
    """The operations that compute from weights and constants alone: `{operation: None, or the Enter by which it is in a
    loop}`.

    What a loop computes from what it passes on unchanged is the same in each of its steps.

    Args:
        graph: tf.Graph.
        weights: names of its placeholders that are weights.
    """
    entrances = {operation: _entrance(operation) for operation in graph.get_operations()}
    waiting = {}
    for operation, entrance in entrances.items():
        if operation.name in weights or entrance or _is_constant(operation) or _is_pure(operation):
            waiting[operation] = _sources(operation)
    folded, before = {}, None
    # Once more while there is progress: a graph with loops does not list its operations behind their inputs.
    while len(folded) != before:
        before = len(folded)
        for operation in [operation for operation, sources in waiting.items() if folded.keys() >= set(sources)]:
            within = {folded[source] for source in waiting.pop(operation)} - {None}
            entrance = entrances[operation]
            # Into a loop inside of a loop nothing is folded.
            if not within if entrance else len(within) <= 1:
                folded[operation] = entrance or next(iter(within), None)
    return folded


def _sources(operation):
    """The operations whose values an operation is computed from; in a loop, those from outside of it."""
    return [tensor.op for tensor in (_entrance(operation) or operation).inputs]


def _entrance(operation):
    """The `Enter` of what is the same in each step of a loop, if this operation gives its value in there, else None.

    That is an `Enter` of a constant itself, and the `Identity` behind the `Switch` of what each step passes on as it
    came: `Enter` and `NextIteration` → `Merge` → `Switch` → `Identity` → `NextIteration`.
    """
    if operation.type == "Enter":
        return operation if operation.get_attr("is_constant") else None
    if operation.type != "Identity" or operation.inputs[0].op.type != "Switch":
        return None
    switched = operation.inputs[0]
    merge = switched.op.inputs[0].op
    if merge.type != "Merge" or [tensor.op.type for tensor in merge.inputs] != ["Enter", "NextIteration"]:
        return None
    passed_on = merge.inputs[1].op.inputs[0]
    while passed_on.op.type == "Identity":
        passed_on = passed_on.op.inputs[0]
    return merge.inputs[0].op if passed_on is switched else None


def _is_constant(operation):
    # A large one that belongs into a loop cannot be taken out of it.
    is_outside = not operation.control_inputs
    return operation.type == "Const" and (is_outside or operation.node_def.ByteSize() < _SMALLEST_MATRIX)


def _is_pure(operation):
    """Whether an operation computes one value from its inputs, and does nothing else."""
    if not operation.inputs or len(operation.outputs) != 1 or operation.type in _CONTROL_FLOW:
        return False
    definition = operation.op_def
    dtype = operation.outputs[0].dtype
    # A bitcast to a quantized type costs nothing, and variables of these types cannot be saved.
    is_value = dtype not in (tf.resource, tf.variant) and not dtype.is_quantized
    return is_value and definition is not None and not definition.is_stateful and "Call" not in operation.type


def _evaluate(folded, weights):
    """What others read of the folded operations: `{operation: tf.Variable or tf.Tensor}`.

    What comes from constants alone is left out if it is small or in a loop, which no `Enter` leads it into. It stays
    where it is.

    Args:
        folded: see `_folded`.
        weights: `{name of a placeholder: tf.Variable}`.
    """
    definition, depend, looped = tf.compat.v1.GraphDef(), set(), set()
    for operation in folded:
        entrance, sources = _entrance(operation), set(_sources(operation))
        if operation.name in weights or sources & depend:
            depend.add(operation)
        # A constant that belongs into a loop has a control input from there.
        if (operation.type == "Const" and operation.control_inputs) or sources & looped:
            looped.add(operation)
        node = definition.node.add()
        node.CopyFrom(operation.node_def)
        _drop_control_inputs(node, kept=())
        if entrance:
            node.Clear()
            node.name, node.op, node.input[:] = operation.name, "Identity", entrance.node_def.input[:1]
            node.attr["T"].CopyFrom(entrance.node_def.attr["T"])
    read = [op for op in folded if any(reader not in folded for reader in op.outputs[0].consumers())]
    same = {operation: weights[name] for operation in read if (name := _unchanged(operation).name) in weights}
    computed = [operation for operation in read if operation not in same]

    def compute(*tensors):
        placed = dict(zip((f"{name}:0" for name in weights), tensors, strict=True))
        names = [f"{operation.name}:0" for operation in computed]
        return tf.graph_util.import_graph_def(definition, input_map=placed, return_elements=names, name="")

    specs = [tf.TensorSpec(weight.shape, weight.dtype) for weight in weights.values()]
    found = zip(computed, tf.compat.v1.wrap_function(compute, specs)(*weights.values()), strict=True)
    return same | {op: value for op, value in found if op in depend or (op not in looped and _is_large(value))}


def _unchanged(operation):
    """The operation whose value this one passes on as it is; itself if it does not."""
    while operation.type == "Identity" or _entrance(operation):
        (operation,) = _sources(operation)
    return operation


def _keys(folded, weights):
    """What tells values of folded operations apart: `{operation: digest}` of all that they are computed from."""
    keys = {}
    for operation in folded:
        node = tf.compat.v1.NodeDef()
        node.CopyFrom(operation.node_def)
        node.name = str(id(weights[operation.name])) if operation.name in weights else ""
        del node.input[:]
        for name in [name for name in node.attr if name.startswith("_")]:
            del node.attr[name]
        digest = hashlib.sha256(node.SerializeToString(deterministic=True))
        for source in _sources(operation):
            digest.update(keys[source])
        keys[operation] = digest.digest()
    return keys


def _rewritten(graph, kept, folded, values, keys, computed):
    """The graph with what was evaluated taken out.

    Args:
        kept: names of operations, the inputs and outputs of the function.
        keys: see `_keys`.
        computed: `{key: tf.Variable}` of what other functions compute from the same weights; new ones are added.

    Returns:
        `(graph_def, {name of a tensor that is to be given when the graph is imported: tf.Variable})`.
    """
    whole = graph.as_graph_def()
    definition = tf.compat.v1.GraphDef(versions=whole.versions, library=whole.library)
    running, read = _needed(map(graph.get_operation_by_name, kept), folded, values)
    weights = {}
    for operation in read:
        value, name, entrance = values[operation], operation.name, folded[operation]
        if entrance is not None:
            # In a loop: taken in by an `Enter` of its own, with the name that its readers know.
            name = f"{name}/weight"
            new = definition.node.add(name=operation.name, op="Enter", input=[name])
            for key, attribute in entrance.node_def.attr.items():
                if not key.startswith("_"):
                    new.attr[key].CopyFrom(attribute)
            new.attr["is_constant"].b = True
            new.attr["T"].type = value.dtype.as_datatype_enum
        if isinstance(value, tf.Variable):
            weights[name] = value
        elif _is_large(value):
            if keys[operation] not in computed:
                computed[keys[operation]] = tf.Variable(value, trainable=False, name="weight")
            weights[name] = computed[keys[operation]]
        else:
            new = definition.node.add(name=name, op="Const")
            new.attr["dtype"].type = value.dtype.as_datatype_enum
            new.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value))
    names = {operation.name for operation in running}
    for node in whole.node:
        if node.name in names:
            definition.node.append(node)
            _drop_control_inputs(definition.node[-1], kept=names)
    return definition, weights


def _needed(kept, folded, values):
    """What a function needs: the set of operations that run, and the list of those in `values` that these read."""
    running, read, ahead = set(), set(), list(kept)
    while ahead:
        operation = ahead.pop()
        if operation in values:
            read.add(operation)
        elif operation not in running:
            running.add(operation)
            ahead += [tensor.op for tensor in operation.inputs]
            ahead += [before for before in operation.control_inputs if before not in folded]
    return running, [operation for operation in values if operation in read]


def _drop_control_inputs(node, kept):
    inputs = [name for name in node.input if not name.startswith("^") or name[1:] in kept]
    del node.input[:]
    node.input.extend(inputs)
