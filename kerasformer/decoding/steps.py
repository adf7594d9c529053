"""The contract between a search and a model, and steps of models that do not know it."""

from typing import Any, Protocol

import tensorflow as tf


class Steps(Protocol):
    """What `search` decodes: any object with these three methods.

    `context` and `state` are nests of tensors whose first dimension is the batch. The context stays constant, the state
    changes with each step. The search removes finished rows from both: it gathers their first dimension.
    """

    def start(self, inputs: dict[str, tf.Tensor]) -> tuple:
        """Computes what is computed once: the encoder's output, or the prefilled cache of a prompt.

        Args:
            inputs: dictionary of `[batch, ...]`. For a model without encoder: the prompts, `token_ids` and
                `padding_mask`, int32 `[batch, prompt length]`.

        Returns:
            `(context, state)`, for one beam a row. The search then begins with a step for the start token. Steps that
            consumed a prompt return `(context, state, outputs)`: `outputs` is as in `step`, for one beam, at the last
            token of each prompt, and no start token is fed.
        """
        ...

    def step(self, token_ids: tf.Tensor, context: Any, state: Any) -> tuple[dict[str, tf.Tensor], Any]:
        """Computes the scores of the next token.

        Args:
            token_ids: int32 `[batch, beams]`, the tokens that were chosen last.

        Returns:
            `(outputs, state)`. `outputs["logits"]` is `[batch, beams, vocabulary]`. `outputs["attention"]`,
            `[batch, beams, source length]`, is needed for a coverage penalty alone.
        """
        ...

    def reorder(self, state: Any, parents: tf.Tensor) -> Any:
        """The state for other beams.

        Args:
            parents: int32 `[batch, new beams]`; each new beam continues the beam of its row that is named here.
        """
        ...


class RecomputingSteps:
    """Steps of any functional encoder-decoder, without a cache: each step recomputes the sequence.

    For custom models, and as a reference for caches. The time grows with the square of the length.

    Args:
        model: from `source_token_ids`, `source_padding_mask`, `target_token_ids` and `target_padding_mask` to
            `logits`, as `transformer(config)` returns it.
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


class RecomputingDecoderSteps:
    """Steps of any functional decoder-only model, without a cache; see `RecomputingSteps`.

    Args:
        model: from `token_ids` and `padding_mask` to `logits` `[batch, length, vocabulary]`. Prompts may be padded on
            either side; the model receives them padded on the right.
    """

    def __init__(self, model):
        self.model = model

    def start(self, inputs):
        token_ids, mask = inputs["token_ids"], inputs["padding_mask"]
        # The real tokens of each row first, in their order.
        order = tf.argsort(tf.cast(mask <= 0, tf.int32), axis=-1, stable=True)
        lengths = tf.reduce_sum(tf.cast(mask > 0, tf.int32), -1)
        context = {"prompt": tf.gather(token_ids, order, batch_dims=1), "length": lengths}
        state = {"tokens": tf.zeros([tf.shape(lengths)[0], 1, 0], tf.int32)}
        return context, state, self._outputs(state["tokens"], context)

    def step(self, token_ids, context, state):
        tokens = tf.concat([state["tokens"], token_ids[..., None]], -1)
        return self._outputs(tokens, context), {"tokens": tokens}

    def reorder(self, state, parents):
        return {"tokens": tf.gather(state["tokens"], parents, batch_dims=1)}

    def _outputs(self, tokens, context):
        batch, beams, length = tf.unstack(tf.shape(tokens))
        prompts = tf.repeat(context["prompt"], beams, 0)
        before = tf.repeat(context["length"], beams, 0)
        said = tf.reshape(tokens, [batch * beams, length])
        # Each token directly behind its prompt, over the padding.
        token_ids = tf.pad(prompts, [[0, 0], [0, length]])
        rows, places = tf.meshgrid(tf.range(batch * beams), tf.range(length), indexing="ij")
        token_ids = tf.tensor_scatter_nd_update(token_ids, tf.stack([rows, places + before[:, None]], -1), said)
        mask = tf.sequence_mask(before + length, tf.shape(token_ids)[1], tf.int32)
        logits = self.model({"token_ids": token_ids, "padding_mask": mask}, training=False)["logits"]
        logits = tf.gather(logits, tf.maximum(before + length - 1, 0), batch_dims=1)
        return {"logits": tf.reshape(logits, [batch, beams, logits.shape[-1]])}
