"""The steps of an encoder-decoder with a cache: see `kerasformer.decoding.Steps`."""

import tensorflow as tf

from kerasformer.errors import InputError
from kerasformer.layers.masks import is_open


class TransformerSteps:
    """The steps of a model that `transformer(config)` gave, or one with the same layers on a saved model.

    The encoder runs once, the memory's keys and values are projected once, and keys and values of earlier steps are
    kept. They are never copied when beams change places: all beams of a row write into one cache, and each beam keeps
    which of its columns are its own past (`visible`). Attention of all beams of a row is then one product, and changing
    places moves a few booleans.

    Args:
        model: as `transformer(config)` gives it.
        with_attention: also give each step's attention over the source, the mean over the heads of the last block.

    Raises:
        InputError: `model` has no decoder blocks of that kind.
    """

    def __init__(self, model, with_attention=False):
        layers = {layer.name: layer for layer in model._flatten_layers()}
        self.encoder_blocks = _numbered(layers, "encoder_block_")
        self.decoder_blocks = _numbered(layers, "decoder_block_")
        if not self.encoder_blocks or not self.decoder_blocks:
            raise InputError(f"`model` must be one that `transformer(config)` gives. Received: {model.name!r}.")
        self.source_embedding = layers.get("embedding") or layers["source_embedding"]
        self.target_embedding = layers.get("embedding") or layers["target_embedding"]
        self.encoder_norm, self.decoder_norm = layers.get("encoder_norm"), layers.get("decoder_norm")
        self.source_bias = layers.get("source_position_bias")
        self.target_bias = layers.get("target_position_bias")
        self.output = layers.get("output")
        self.source_layout, self.target_layout = layers.get("source_layout"), layers.get("target_layout")
        self.source_tokens, self.source_positions = layers["source_tokens"], layers["source_positions"]
        self.with_attention = with_attention

    def encode(self, inputs):
        """The encoder's output, packed `[tokens, width]`, and its layout."""
        mask = inputs["source_padding_mask"]
        layout = self.source_layout(mask) if self.source_layout is not None else None
        token_ids = self.source_tokens(inputs["source_token_ids"], layout=layout)
        x = self.source_embedding(token_ids, self.source_positions(mask, layout=layout))
        bias = self.source_bias(mask) if self.source_bias is not None else None
        for block in self.encoder_blocks:
            x = block(x, padding_mask=mask, layout=layout, bias=bias)
        return (x if self.encoder_norm is None else self.encoder_norm(x)), layout

    def start(self, inputs):
        """`inputs`: `source_token_ids` and `source_padding_mask`, int32 `[batch, source length]`."""
        mask = inputs["source_padding_mask"]
        memory, layout = self.encode(inputs)
        projected = [block.project_memory(memory, mask, layout) for block in self.decoder_blocks]
        batch = tf.shape(mask)[0]
        heads = self.decoder_blocks[0].self_attention.num_heads
        empty = tf.zeros([batch, heads, 0, memory.shape[-1] // heads], memory.dtype)
        state = {
            "position": tf.zeros([batch], tf.int32),
            "columns": tf.zeros([batch, 0], tf.int32),
            "visible": tf.zeros([batch, 1, 0], tf.bool),
            "keys": [empty] * len(projected),
            "values": [empty] * len(projected),
        }
        keys, values = zip(*projected, strict=True)
        return {"mask": mask, "keys": list(keys), "values": list(values)}, state

    def step(self, token_ids, context, state):
        batch, beams = tf.unstack(tf.shape(token_ids))
        # Each beam adds a column, which it alone sees so far.
        own = tf.broadcast_to(tf.eye(beams, dtype=tf.bool), [batch, beams, beams])
        visible = tf.concat([state["visible"], own], 2)
        # All rows are at the same place.
        positions = state["position"][:1, None]
        columns = tf.concat([state["columns"], tf.broadcast_to(positions, [batch, beams])], 1)
        bias = None
        if self.target_bias is not None:
            bias = self.target_bias(token_ids, state["position"][:, None], columns)
        x = self.target_embedding(token_ids, positions)
        x = tf.reshape(x, [-1, x.shape[-1]])
        past = list(zip(state["keys"], state["values"], strict=True))
        state = {"position": state["position"] + 1, "columns": columns, "visible": visible, "keys": [], "values": []}
        real = tf.ones_like(token_ids)
        memory_mask = is_open(context["mask"])
        attention = None
        for index, block in enumerate(self.decoder_blocks):
            is_last = index == len(self.decoder_blocks) - 1
            cache = {"self": past[index], "memory": (context["keys"][index], context["values"][index])}
            x, *scores, (keys, values) = block(
                x,
                padding_mask=real,
                memory_padding_mask=memory_mask,
                attention_mask=visible,
                bias=bias,
                positions=positions,
                cache=cache,
                return_attention_scores=self.with_attention and is_last,
            )
            state["keys"].append(keys)
            state["values"].append(values)
            if scores:
                attention = tf.reduce_mean(scores[0], 1)
        if self.decoder_norm is not None:
            x = self.decoder_norm(x)
        logits = self.target_embedding(x, reverse=True) if self.output is None else self.output(x)
        outputs = {"logits": tf.reshape(logits, [batch, beams, logits.shape[-1]])}
        return outputs | ({} if attention is None else {"attention": attention}), state

    def reorder(self, state, parents):
        return {**state, "visible": tf.gather(state["visible"], parents, batch_dims=1)}


def _numbered(layers, prefix):
    names = [f"{prefix}{index}" for index in range(len(layers))]
    return [layers[name] for name in names if name in layers]
