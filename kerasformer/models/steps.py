"""Decoding with a decoder, or an encoder-decoder, step by step: what is computed once, and what for each token.

The contract of steps is in `kerasformer.decoding`; here are the steps of the models of this package.
"""

import tensorflow as tf

from kerasformer.errors import InputError
from kerasformer.layers import KeyValueCache
from kerasformer.layers.masks import is_open


class DecoderSteps:
    """The steps of a model that `encoder_decoder(config)` or `transformer(config)` made.

    The encoder runs once, and the memory's keys and values are projected once. Keys and values of earlier steps are
    kept in caches of a fixed capacity. They are never copied when beams change places: all beams of a row write into
    one cache, and each beam keeps which columns are its own past (`visible`). Attention of all beams of a row is then
    one product, and changing places moves a few booleans.

    Args:
        model: a `Backbone` with a decoder.
        with_attention: also return each step's attention over the source, the mean over the heads of the last block.

    Raises:
        InputError: `model` has no decoder.
    """

    def __init__(self, model, with_attention=False):
        if getattr(model, "decoder", None) is None:
            raise InputError(
                "`model` must be a Backbone with a decoder, as `transformer(config)` or `decoder(config)` makes it. "
                f"Received: {getattr(model, 'name', model)!r}."
            )
        self.encoder, self.decoder, self.output_head = model.encoder, model.decoder, model.output_head
        self.with_attention = with_attention

    def start(self, inputs):
        """Context and state before the first step.

        Args:
            inputs: of an encoder-decoder, `source_token_ids` and `source_padding_mask`, int32 `[batch, source length]`;
                of a decoder, `token_ids` and `padding_mask`, int32 `[batch, prompt length]`, the prompts without their
                last token, which the first step reads.

        Returns:
            `(context, state)`, see `kerasformer.decoding`.
        """
        if self.encoder is None:
            return self._prefill(inputs)
        rows = self.encoder.embed(inputs["source_token_ids"], inputs["source_padding_mask"])
        memory = self.encoder.states(rows)[-1]
        projected = [block.project_memory(memory.hidden, memory.mask, memory.layout) for block in self.decoder.blocks]
        keys, values = zip(*projected, strict=True)
        batch = tf.shape(memory.mask)[0]
        nothing = tf.zeros([batch, 1, 0], tf.bool)
        state = self._state(batch, tf.zeros([batch], tf.int32), tf.zeros([batch, 0], tf.int32), nothing)
        return {"mask": memory.mask, "keys": list(keys), "values": list(values)}, state

    def _prefill(self, inputs):
        """The prompts' keys and values, computed in one call of each block."""
        mask = tf.cast(is_open(inputs["padding_mask"]), tf.int32)
        rows = self.decoder.embed(inputs["token_ids"], mask)
        batch, length = tf.unstack(tf.shape(mask))
        columns = tf.broadcast_to(tf.range(length), [batch, length])
        state = self._state(batch, tf.reduce_sum(mask, 1), columns, is_open(mask)[:, None])
        before = tf.range(length)[:, None] >= tf.range(length)[None, :]
        visible = before[None] & is_open(mask)[:, None, :]
        hidden, caches = rows.hidden, []
        for block, cache in zip(self.decoder.blocks, state["caches"], strict=True):
            hidden, cache = block(
                hidden,
                padding_mask=rows.mask,
                layout=rows.layout,
                attention_mask=visible,
                bias=rows.bias,
                cache={"self": cache},
                cache_index=0,
            )
            caches.append(cache)
        return {}, state | {"caches": caches}

    def _state(self, batch, position, columns, visible):
        """The state of one beam a row.

        position: int32 `[batch]`, of the next token.
        columns: int32 `[batch, columns]`, the position of each column of the caches.
        visible: bool `[batch, beams, columns]`, the columns that are a beam's own past.
        caches: a KeyValueCache for each block.
        """
        dtype, layers = self.decoder.embeddings.compute_dtype, [block.attention for block in self.decoder.blocks]
        room = tf.maximum(2 * tf.shape(columns)[1], 16)
        caches = [
            KeyValueCache.empty(batch, layer.num_key_value_heads, room, layer.head_dim, dtype) for layer in layers
        ]
        return {"position": position, "columns": columns, "visible": visible, "caches": caches}

    def step(self, token_ids, context, state):
        batch, beams = tf.unstack(tf.shape(token_ids))
        # Each beam adds a column, which so far it alone attends to.
        own = tf.broadcast_to(tf.eye(beams, dtype=tf.bool), [batch, beams, beams])
        visible = tf.concat([state["visible"], own], 2)
        positions = tf.broadcast_to(state["position"][:, None], [batch, beams])
        columns = tf.concat([state["columns"], positions], 1)
        used = tf.shape(state["columns"])[1]
        bias = None
        if self.decoder.position_bias is not None:
            bias = self.decoder.position_bias(token_ids, state["position"][:, None], columns)
        embeddings = self.decoder.embeddings
        x = embeddings(tf.reshape(token_ids, [-1]), positions=tf.reshape(positions, [-1]))
        state = {"position": state["position"] + 1, "columns": columns, "visible": visible, "caches": state["caches"]}
        caches, attention = [], None
        for index, block in enumerate(self.decoder.blocks):
            is_last = index == len(self.decoder.blocks) - 1
            cache, memory_mask = {"self": state["caches"][index]}, None
            if context:
                cache["memory"] = (context["keys"][index], context["values"][index])
                memory_mask = is_open(context["mask"])
            x, *scores, grown = block(
                x,
                padding_mask=tf.ones_like(token_ids),
                memory_padding_mask=memory_mask,
                attention_mask=visible,
                bias=bias,
                positions=positions,
                key_positions=columns,
                cache=cache,
                cache_index=used,
                return_attention_scores=self.with_attention and is_last,
            )
            caches.append(grown)
            if scores:
                attention = tf.reduce_mean(scores[0], 1)
        if self.decoder.norm is not None:
            x = self.decoder.norm(x)
        logits = embeddings(x, reverse=True) if self.output_head is None else self.output_head(x)
        outputs = {"logits": tf.reshape(logits, [batch, beams, logits.shape[-1]])}
        return outputs | ({} if attention is None else {"attention": attention}), state | {"caches": caches}

    def reorder(self, state, parents):
        return {**state, "visible": tf.gather(state["visible"], parents, batch_dims=1)}
