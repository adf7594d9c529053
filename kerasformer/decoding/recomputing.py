"""Steps of any encoder-decoder, without a cache."""

import tensorflow as tf


class RecomputingSteps:
    """Steps of a functional model that knows nothing of them: each computes the whole sequence again.

    For models of one's own, and to compare caches with. The time grows with the square of the length.

    Args:
        model: functional, from `source_token_ids`, `source_padding_mask`, `target_token_ids` and
            `target_padding_mask` to `logits`, as `transformer(config)`.
    """

    def __init__(self, model):
        self.model = model

    def start(self, inputs):
        context = {key: inputs[key] for key in ("source_token_ids", "source_padding_mask")}
        batch = tf.shape(context["source_token_ids"])[0]
        return context, {"tokens": tf.zeros([batch, 1, 0], tf.int32)}

    def step(self, token_ids, context, state):
        tokens = tf.concat([state["tokens"], token_ids[..., None]], -1)
        batch, beams, length = tf.unstack(tf.shape(tokens))
        inputs = {key: tf.repeat(value, beams, 0) for key, value in context.items()}
        targets = tf.reshape(tokens, [batch * beams, length])
        inputs |= {"target_token_ids": targets, "target_padding_mask": tf.ones_like(targets)}
        logits = self.model(inputs, training=False)["logits"][:, -1]
        return {"logits": tf.reshape(logits, [batch, beams, logits.shape[-1]])}, {"tokens": tokens}

    def reorder(self, state, parents):
        return {"tokens": tf.gather(state["tokens"], parents, batch_dims=1)}
