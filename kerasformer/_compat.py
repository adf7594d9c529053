"""Private API of Keras, TensorFlow and tensorflow-text that cannot be avoided, each with the version it was read in."""

import keras
import tensorflow as tf
from tensorflow.python.grappler import tf_optimizer
from tensorflow.python.ops import control_flow_util


def flatten_layers(layer):
    """A layer and all layers inside of it, at any depth (Keras 3.15: `Layer._flatten_layers`)."""
    return list(layer._flatten_layers())


def is_compiled_by_xla():
    """Whether the present graph is traced for `jit_compile=True` (TensorFlow 2.21: `control_flow_util`)."""
    return not tf.executing_eagerly() and bool(
        control_flow_util.GraphOrParentsInXlaContext(tf.compat.v1.get_default_graph())
    )


def lora_kernel(dense):
    """The kernel of a `keras.layers.Dense`, without its low-rank update (Keras 3.15: `Dense._kernel`)."""
    return dense._kernel


def inlined(concrete):
    """The graph of a concrete function that reads no variables, as a `tf.Graph` with the same names of inputs and
    outputs: functions are inlined, loops are lowered, and what is computed twice is computed once (TensorFlow 2.21:
    `tf_optimizer.OptimizeGraph`, as `convert_variables_to_constants_v2` calls it)."""
    meta_graph = tf.compat.v1.MetaGraphDef(graph_def=concrete.graph.as_graph_def())
    kept = [tensor.name for tensor in [*concrete.inputs, *concrete.outputs]]
    meta_graph.collection_def["train_op"].node_list.value.extend(kept)
    config = tf.compat.v1.ConfigProto()
    options = config.graph_options.rewrite_options
    options.optimizers.extend(["function", "common_subgraph_elimination"])
    options.min_graph_nodes = -1  # small graphs, too
    graph_def, graph = tf_optimizer.OptimizeGraph(config, meta_graph, verbose=False), tf.Graph()
    for node in graph_def.node:
        node.attr.pop("_class", None)  # to be placed beside a node, which may be gone
    with graph.as_default():
        tf.graph_util.import_graph_def(graph_def, name="")
    return graph


def sentencepiece_ops():
    """The operations of SentencePiece, which take the model as an argument instead of a tracked resource
    (tensorflow-text 2.20: `gen_sentencepiece_tokenizer`)."""
    from tensorflow_text.python.ops.sentencepiece_tokenizer import gen_sentencepiece_tokenizer

    return gen_sentencepiece_tokenizer


class BareAdamW(keras.optimizers.AdamW):
    """Keras's AdamW for a subclass that decays weights in `update_step` (Keras 3.15: `Optimizer._apply_weight_decay`,
    `_var_key`, `_get_variable_index`, `_momentums`, `_velocities`, `_use_weight_decay`)."""

    def _apply_weight_decay(self, variables):
        """Nothing: `update_step` does it, where the weight is read anyway."""

    def key_of(self, variable):
        """What identifies a variable, replicas of it included."""
        return self._var_key(variable)

    def is_decayed(self, variable):
        """Whether weight decay applies to a variable."""
        return self._use_weight_decay(variable)

    def moments_of(self, variable):
        """The first and second moment of a variable, TensorFlow's variables."""
        index = self._get_variable_index(variable)
        return self._momentums[index].value, self._velocities[index].value
