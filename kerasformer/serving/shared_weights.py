"""A model as a graph function whose weights are variables, folded as far as they can be.

A server optimizes a graph of its own for each set of outputs that is fetched, and each of these graphs holds copies of
its constants. Variables are restored once and shared by all of them. What is computed from weights alone, such as a
part of a kernel, is computed once, here, and stored in its place.
"""

import tensorflow as tf

from kerasformer._compat import with_constant_weights

# Bytes. Smaller tensors, such as biases, stay constants: TensorFlow simplifies more of a graph that has them.
_SMALLEST_VARIABLE = 4096

_CONTROL_FLOW = {"Enter", "Exit", "LoopCond", "Merge", "NextIteration", "Switch"}


def with_shared_weights(concrete):
    """The same function, with its weights folded and held by new variables.

    Args:
        concrete: `tf.ConcreteFunction` of a flat list of tensor inputs, with weights of less than 2 GiB.

    Returns:
        `(function, variables)`: a function from the same inputs to the list of outputs, and the list of
        `tf.Variable`s that it reads, which must be tracked by what is saved.
    """
    specs = concrete.structured_input_signature[0]
    frozen = with_constant_weights(concrete)
    folded = _folded(frozen.graph)
    weights = {name: value for name, value in _evaluate(folded).items() if value.nbytes >= _SMALLEST_VARIABLE}
    variables = {name: tf.Variable(value, trainable=False, name="weight") for name, value in weights.items()}
    graph_def, placed = _without(frozen, folded, weights)
    outputs = [tensor.name for tensor in frozen.outputs]

    def function(*inputs):
        replaced = {f"{spec.name}:0": value for spec, value in zip(specs, inputs, strict=True)}
        replaced |= {placed[name]: tf.convert_to_tensor(variable) for name, variable in variables.items()}
        return tf.graph_util.import_graph_def(graph_def, input_map=replaced, return_elements=outputs, name="")

    # Not a `tf.function`, which would order operations that have effects: across the bounds of a loop, too.
    return tf.compat.v1.wrap_function(function, specs), list(variables.values())


def _folded(graph):
    """The operations that compute from constants alone: `{operation: None, or the Enter by which it is in a loop}`.

    What a loop computes from what it takes in unchanged is the same in each of its steps.
    """
    folded = {}
    for operation in graph.get_operations():
        sources = [tensor.op for tensor in operation.inputs]
        if operation.type == "Const":
            # A large one that belongs into a loop cannot be taken out of it.
            if not operation.control_inputs or operation.node_def.ByteSize() < _SMALLEST_VARIABLE:
                folded[operation] = None
        elif sources and len(operation.outputs) == 1 and all(source in folded for source in sources):
            entrances = {folded[source] for source in sources} - {None}
            if operation.type == "Enter":
                if operation.get_attr("is_constant") and not entrances:
                    folded[operation] = operation
            elif operation.type not in _CONTROL_FLOW and len(entrances) <= 1 and _is_pure(operation):
                folded[operation] = next(iter(entrances), None)
    return folded


def _is_pure(operation):
    definition = operation.op_def
    return definition is not None and not definition.is_stateful and "Call" not in operation.type


def _evaluate(folded):
    """`{name: array}` of the folded operations that others read."""
    definition = tf.compat.v1.GraphDef()
    for operation in folded:
        node = definition.node.add()
        node.CopyFrom(operation.node_def)
        _drop_control_inputs(node, kept=())
        if node.op == "Enter":
            node.op = "Identity"
            for name in ("frame_name", "is_constant", "parallel_iterations"):
                del node.attr[name]
    wanted = [op for op in folded if any(reader not in folded for reader in op.outputs[0].consumers())]
    with tf.Graph().as_default() as graph, tf.compat.v1.Session(graph=graph) as session:
        tf.graph_util.import_graph_def(definition, name="")
        return session.run({operation.name: f"{operation.name}:0" for operation in wanted})


def _without(frozen, folded, weights):
    """The frozen graph less the operations `weights` and what only they need.

    Returns:
        `(graph_def, {name of a weight: tensor that is to be mapped to it when the graph is imported})`.
    """
    needed, ahead = set(), [*(tensor.op for tensor in frozen.outputs), *(tensor.op for tensor in frozen.inputs)]
    while ahead:
        operation = ahead.pop()
        if operation.name not in needed:
            needed.add(operation.name)
            if operation.name not in weights:
                ahead += [tensor.op for tensor in operation.inputs]
                ahead += [before for before in operation.control_inputs if before not in folded]
    whole = frozen.graph.as_graph_def()
    definition = tf.compat.v1.GraphDef(versions=whole.versions, library=whole.library)
    entrances = {operation.name: entrance for operation, entrance in folded.items()}
    placed = {}
    for node in whole.node:
        if node.name in weights:
            placed[node.name] = f"{node.name}:0"
            entrance = entrances[node.name]
            if entrance is not None:
                # In a loop: taken in by an `Enter` of its own, with the name that its readers know.
                placed[node.name] = f"{node.name}/weight:0"
                new = definition.node.add(name=node.name, op="Enter", input=[f"{node.name}/weight"])
                for name, value in entrance.node_def.attr.items():
                    if not name.startswith("_"):
                        new.attr[name].CopyFrom(value)
                new.attr["T"].type = tf.as_dtype(weights[node.name].dtype).as_datatype_enum
        elif node.name in needed:
            definition.node.append(node)
            _drop_control_inputs(definition.node[-1], kept=needed - weights.keys())
    return definition, placed


def _drop_control_inputs(node, kept):
    inputs = [name for name in node.input if not name.startswith("^") or name[1:] in kept]
    del node.input[:]
    node.input.extend(inputs)
