"""Models small enough to search exhaustively."""

import itertools

import numpy as np
import tensorflow as tf


class TableSteps:
    """Logits that depend on the row and the last token alone: `tables` `[N, V, V]`. Counts the beams it computes."""

    def __init__(self, tables):
        self.tables = tf.cast(tables, tf.float32)
        self.computed = tf.Variable(0) if tf.executing_eagerly() else None

    def start(self, inputs):
        return {"row": inputs["row"]}, {"length": tf.zeros_like(inputs["row"])}

    def step(self, token_ids, context, state):
        if self.computed is not None:
            self.computed.assign_add(tf.size(token_ids))
        tables = tf.gather(self.tables, context["row"])
        return {"logits": tf.gather(tables, token_ids, batch_dims=1)}, {"length": state["length"] + 1}

    def reorder(self, state, parents):
        return state


def inputs(rows):
    return {"row": tf.range(rows)}


def log_softmax(logits):
    logits = logits - logits.max(-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def length_factor(length, penalty):
    return ((5 + length) / 6) ** penalty


def all_sequences(table, start, end, max_length, penalty):
    """Every sequence of a table: `(score, log probability, tokens, ended)`, the best first, cut ones last."""
    log_probabilities = log_softmax(np.asarray(table, np.float64))
    vocabulary = [token for token in range(len(table)) if token != end]
    found = []
    for length in range(max_length + 1):
        for tokens in itertools.product(vocabulary, repeat=length):
            path = [start, *tokens]
            total = sum(log_probabilities[a, b] for a, b in itertools.pairwise(path))
            ended = length < max_length
            if ended:
                total += log_probabilities[path[-1], end]
            said = length + ended
            found.append((total / length_factor(said, penalty), total, list(tokens), ended))
    return sorted(found, key=lambda item: (not item[3], -item[0]))
