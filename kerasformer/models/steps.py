"""Decoding with a decoder, or an encoder-decoder, step by step: what is computed once, and what for each token.

The contract is `kerasformer.decoding.Steps`; here are the steps of the models of this package.
"""

import tensorflow as tf

from kerasformer.errors import InputError
from kerasformer.layers import KeyValueCache
from kerasformer.layers.masks import is_open

# Of a candidate that there is not: finite, as `kerasformer.decoding` has it.
_LOWEST = -1e9


class DecoderSteps:
    """The steps of a model that `decoder(config)`, `encoder_decoder(config)` or `transformer(config)` made.

    The encoder runs once, the memory is projected once, and a prompt is read in one call. Keys and values of earlier
    steps are kept in a `KeyValueCache` for each block. They are never copied when beams are reordered: all beams of a
    row write into one cache, and each beam keeps which columns are its own past (`visible`). Attention of all beams of
    a row is then one product, and reordering moves a few booleans.

    Args:
        model: a `Backbone` with a decoder.
        with_attention: also return each step's attention over the source, the mean over the heads of the last block.
        candidates: None, or int32 `[batch, candidates]`, the only tokens whose scores are computed, in each row
            different ones, and -1 where there are fewer. The token ids that a step takes, and the columns of its
            logits, are then positions in this list.

    Raises:
        InputError: `model` has no decoder.
    """

    def __init__(self, model, with_attention=False, candidates=None):
        if getattr(model, "decoder", None) is None:
            raise InputError(
                "`model` must be a Backbone with a decoder, as `transformer(config)` or `decoder(config)` makes it. "
                f"Received: {getattr(model, 'name', model)!r}."
            )
        self.encoder, self.decoder, self.output_head = model.encoder, model.decoder, model.output_head
        self.with_attention, self.candidates = with_attention, candidates

    def start(self, inputs):
        """Context and state before the first step.

        Args:
            inputs: of an encoder-decoder, `source_token_ids` and `source_padding_mask`, int32 `[batch, source length]`;
                of a decoder, the prompts, `token_ids` and `padding_mask`, int32 `[batch, prompt length]`, padded on
                either side, with at least one token each.

        Returns:
            `(context, state)`; of a decoder `(context, state, outputs)`, with the scores of the token after the
            prompts. See `kerasformer.decoding.Steps`.
        """
        context = {}
        if self.candidates is not None:
            scorer = self.decoder.embeddings if self.output_head is None else self.output_head
            rows = scorer.scores.rows(tf.maximum(self.candidates, 0))
            context = {"candidates": self.candidates, "candidate_rows": rows}
        if self.encoder is None:
            return self._prefill(inputs, context)
        rows = self.encoder.embed(inputs["source_token_ids"], inputs["source_padding_mask"])
        memory = self.encoder.states(rows)[-1]
        projected = [block.project_memory(memory.hidden, memory.mask, memory.layout) for block in self.decoder.blocks]
        keys, values = zip(*projected, strict=True)
        batch = tf.shape(memory.mask)[0]
        nothing = tf.zeros([batch, 1, 0], tf.bool)
        state = self._state(batch, tf.zeros([batch], tf.int32), tf.zeros([batch, 0], tf.int32), nothing)
        return context | {"mask": memory.mask, "keys": list(keys), "values": list(values)}, state

    def _prefill(self, inputs, context):
        """The prompts' keys and values, computed in one call of each block, and the scores of the token after them."""
        mask = is_open(inputs["padding_mask"])
        # The real tokens of each row first, in their order.
        order = tf.argsort(tf.cast(~mask, tf.int32), axis=-1, stable=True)
        # Up to the longest prompt. The shapes of the graph do not show this number: a loop adds columns.
        longest = tf.reduce_max(tf.concat([tf.reduce_sum(tf.cast(mask, tf.int32), 1), [1]], 0))
        order = order[:, : tf.compat.v1.placeholder_with_default(longest, [])]
        token_ids, mask = (tf.gather(value, order, batch_dims=1) for value in (inputs["token_ids"], mask))
        rows = self.decoder.embed(token_ids, tf.cast(mask, tf.int32))
        batch, length = tf.unstack(tf.shape(mask))
        lengths = tf.reduce_sum(rows.mask, 1)
        columns = tf.broadcast_to(tf.range(length), [batch, length])
        state = self._state(batch, lengths, columns, mask[:, None])
        earlier = tf.range(length)[:, None] >= tf.range(length)[None, :]
        hidden, caches = rows.hidden, []
        for block, cache in zip(self.decoder.blocks, state["caches"], strict=True):
            hidden, cache = block(
                hidden,
                padding_mask=rows.mask,
                layout=rows.layout,
                attention_mask=earlier[None] & mask[:, None, :],
                bias=rows.bias,
                cache={"self": cache},
            )
            caches.append(cache)
        last = tf.maximum(lengths - 1, 0)
        if rows.layout is None:
            slots = tf.range(batch) * length + last
        else:
            slots = tf.gather(rows.layout["unpack"], last, batch_dims=1)
        outputs = {"logits": self._logits(tf.gather(hidden, slots), context, 1)}
        return context, state | {"caches": caches}, outputs

    def _logits(self, hidden, context, beams):
        """`[batch * beams, hidden_dim]` to scores of the vocabulary, or of the candidates, `[batch, beams, scores]`."""
        if self.decoder.norm is not None:
            hidden = self.decoder.norm(hidden)
        batch = tf.shape(hidden)[0] // beams
        if self.candidates is not None:
            hidden = tf.reshape(hidden, [batch, beams, hidden.shape[-1]])
            scores = tf.matmul(hidden, context["candidate_rows"], transpose_b=True)
            return tf.where(context["candidates"][:, None] < 0, tf.cast(_LOWEST, scores.dtype), scores)
        head = self.output_head
        scores = self.decoder.embeddings(hidden, reverse=True) if head is None else head(hidden)
        return tf.reshape(scores, [batch, beams, scores.shape[-1]])

    def _state(self, batch, position, columns, visible):
        """The state of one beam a row.

        position: int32 `[batch]`, of the next token.
        columns: int32 `[batch, columns]`, the position of each column of the caches.
        visible: bool `[batch, beams, columns]`, the columns that are a beam's own past.
        caches: a KeyValueCache for each block.
        """
        dtype, layers = self.decoder.embeddings.compute_dtype, [block.attention for block in self.decoder.blocks]
        caches = [KeyValueCache.empty(batch, layer.num_key_value_heads, layer.head_dim, dtype) for layer in layers]
        return {"position": position, "columns": columns, "visible": visible, "caches": caches}

    def step(self, token_ids, context, state):
        batch, beams = tf.unstack(tf.shape(token_ids))
        if self.candidates is not None:
            token_ids = tf.gather(context["candidates"], token_ids, batch_dims=1)
        # Each beam adds a column, which so far it alone attends to.
        own = tf.broadcast_to(tf.eye(beams, dtype=tf.bool), [batch, beams, beams])
        visible = tf.concat([state["visible"], own], 2)
        positions = tf.broadcast_to(state["position"][:, None], [batch, beams])
        columns = tf.concat([state["columns"], positions], 1)
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
            if self.encoder is not None:
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
                return_attention_scores=self.with_attention and is_last,
            )
            caches.append(grown)
            if scores:
                attention = tf.reduce_mean(scores[0], 1)
        outputs = {"logits": self._logits(x, context, beams)}
        return outputs | ({} if attention is None else {"attention": attention}), state | {"caches": caches}

    def reorder(self, state, parents):
        return {**state, "visible": tf.gather(state["visible"], parents, batch_dims=1)}
