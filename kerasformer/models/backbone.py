"""The functional models, with their parts."""

import types

import keras

from kerasformer.errors import InputError
from kerasformer.layers import BlockWithScores, MaskedLanguageModelHead, Pooler
from kerasformer.layers.configs import MaskedHeadConfig, deserialized, serialized
from kerasformer.models.configs import EncoderDecoderConfig, ModelConfig
from kerasformer.models.stack import Stack, unpacked


@keras.saving.register_keras_serializable(package="kerasformer")
class NamedInputs(keras.Model):
    """A functional `keras.Model` of a dictionary of inputs, which takes them by their names whatever else it is given,
    such as a tokenizer's `segment_ids` where there are no segments. Keras would take them by their order, with a
    warning."""

    def __call__(self, inputs, *args, **kwargs):
        if isinstance(inputs, dict):
            inputs = {name: value for name, value in inputs.items() if name in self.input}
        return super().__call__(inputs, *args, **kwargs)


@keras.saving.register_keras_serializable(package="kerasformer")
class Backbone(NamedInputs):
    """A functional `keras.Model` that keeps its config and its parts.

    `encoder`, `decoder` and `encoder_decoder` make it. It is saved as its config and its weights.

    Attributes:
        config: a ModelConfig or an EncoderDecoderConfig.
        embeddings, blocks, norm, position_bias, relative_embedding, convolution: the parts of the stack, see `Stack`;
            of an encoder-decoder those of the decoder.
        encoder, decoder: the `Stack`s of an encoder-decoder; else one of them is None.
        pooler: the `Pooler` of `pooled_output`, or None.
        output_head: the `LanguageModelHead` of a decoder whose output is not tied, or None.
        final_rows: the symbolic `Rows` of the stack's output, packed: for a loss that scores the vocabulary itself.
    """

    def __init__(
        self,
        inputs,
        outputs,
        *,
        assembler,
        config,
        options,
        encoder=None,
        decoder=None,
        pooler=None,
        output_head=None,
        final_rows=None,
        name=None,
    ):
        super().__init__(inputs=inputs, outputs=outputs, name=name)
        self._assembler, self._options = assembler, options
        self.config = config
        # In a plain object, which Keras does not track: the layers are already the model's.
        self._parts = types.SimpleNamespace(
            encoder=encoder, decoder=decoder, pooler=pooler, output_head=output_head, final_rows=final_rows
        )

    encoder = property(lambda self: self._parts.encoder)
    decoder = property(lambda self: self._parts.decoder)
    pooler = property(lambda self: self._parts.pooler)
    output_head = property(lambda self: self._parts.output_head)
    final_rows = property(lambda self: self._parts.final_rows)
    embeddings = property(lambda self: self._stack.embeddings)
    blocks = property(lambda self: self._stack.blocks)
    norm = property(lambda self: self._stack.norm)
    relative_embedding = property(lambda self: self._stack.relative_embedding)
    convolution = property(lambda self: self._stack.convolution)
    position_bias = property(lambda self: self._stack.position_bias)

    @property
    def _stack(self):
        return self.encoder if self.decoder is None else self.decoder

    def expose(self, *, hidden_states: bool = True, attention_scores: bool = False) -> keras.Model:
        """A model of the same layers that also returns what is inside.

        Args:
            hidden_states: add `"hidden_states"`, `[batch, length, hidden_dim]` before the first block and after each
                block, zero at padding; the last one is the output of the final normalization, where there is one.
            attention_scores: add `"attention_scores"`, float `[batch, heads, length, length]` of each block.

        Returns:
            A functional `keras.Model` from the same inputs.

        Raises:
            InputError: the model is an encoder-decoder.
        """
        if self.encoder is not None and self.decoder is not None:
            raise InputError("`expose` takes an encoder or a decoder. Received: an encoder-decoder.")
        stack = self._stack
        states = [stack.embed(self.input["token_ids"], self.input["padding_mask"], self.input.get("segment_ids"))]
        scores, wrapped = [], {}
        for block in stack.blocks:
            rows = states[-1]
            if attention_scores:
                # One for each block, also where the stack repeats it: else a saved model would hold its weights twice.
                if block.name not in wrapped:
                    wrapped[block.name] = BlockWithScores(block, name=f"{block.name}_with_scores")
                hidden, found = wrapped[block.name](rows.hidden, **rows.call_arguments())
                scores.append(found)
            else:
                hidden = block(rows.hidden, **rows.call_arguments())
            states.append(stack.after_block(states, hidden))
        # From these states, not from the model's own: every block is computed once.
        outputs = {"sequence_output": unpacked(states[-1], "sequence_output")}
        if self.pooler is not None:
            outputs["pooled_output"] = self.pooler(outputs["sequence_output"], padding_mask=self.input["padding_mask"])
        if self.decoder is not None:
            outputs["logits"] = unpacked(_logits(stack, states[-1], self.output_head), "logits")
        if hidden_states:
            padded = [unpacked(rows, f"hidden_state_{i}") for i, rows in enumerate(states[:-1])]
            outputs["hidden_states"] = [*padded, outputs["sequence_output"]]
        if attention_scores:
            outputs["attention_scores"] = scores
        return NamedInputs(self.input, outputs, name=f"{self.name}_exposed")

    def masked_head(self, **options) -> MaskedLanguageModelHead:
        """A new head for masked tokens, as `config.masked_head` describes it and as wide as the table of token
        embeddings.

        Args:
            options: further arguments of the layer.
        """
        block = self.config.blocks[-1]
        config = self.config.masked_head or MaskedHeadConfig(block.feed_forward.activation, block.norm)
        return MaskedLanguageModelHead(
            self.config.vocabulary_size,
            **config.get_config(),
            table_dim=self.config.embedding.table_dim,
            kernel_initializer=self.blocks[0].kernel_initializer.clone(),
            dtype=self._stack.policy,
            **options,
        )

    def token_vectors(self, name: str = "token_transform") -> tuple[keras.KerasTensor, Pooler | None]:
        """What a new head reads that scores single tokens.

        Args:
            name: of the layer.

        Returns:
            `(vectors, layer)`: symbolic `[batch, length, hidden_dim]`, zero at padding, and the layer of the head that
            makes them of the hidden states; None where they are the hidden states (`config.transform_tokens`).
        """
        if not self.config.transform_tokens:
            return self.output["sequence_output"], None
        layer = _pooler(self._stack, name)
        return unpacked(self.final_rows._replace(hidden=layer(self.final_rows.hidden)), f"{name}_output"), layer

    def in_precision(self, policy):
        """A randomly initialized model of the same config under another Keras dtype policy."""
        return self.from_config(self.get_config() | {"dtype": policy})

    def get_config(self):
        return {
            "assembler": self._assembler,
            "config": serialized(self.config),
            "options": dict(self._options),
            "dtype": self._stack.policy.name,
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        assemble = _ASSEMBLERS[config["assembler"]]
        made = deserialized(config["config"])
        return assemble(made, **config["options"], dtype=config["dtype"], name=config["name"])


def encoder(
    config: ModelConfig,
    *,
    pooled: bool = False,
    remove_padding: bool = True,
    packed_sequences: bool = False,
    dtype: str | keras.DTypePolicy | None = None,
    name: str = "encoder",
) -> Backbone:
    """Assembles an encoder.

    Inputs, int32 `[batch, length]`: `token_ids`, `padding_mask` (1 for real tokens), and with several segments
    `segment_ids`. Between the embeddings and the last block only real tokens are computed.

    Args:
        config: a ModelConfig.
        pooled: also return one vector for each text, as `config.pooler` describes it.
        remove_padding: False keeps every shape static, for XLA with fixed lengths and for TPUs; same results.
        packed_sequences: several sequences may be in a row, numbered from 1 on by `padding_mask`; none attends to
            another (see `kf.data.PretrainingData`). With a mask of ones it computes what it does without.
        dtype: Keras dtype or policy, such as "mixed_bfloat16"; by default Keras's global policy.
        name: of the model.

    Returns:
        A `Backbone` from the inputs to `{"sequence_output": [batch, length, hidden_dim]}`, zero at padding, and with
        `pooled` also `"pooled_output": [batch, hidden_dim]`.

    Raises:
        InputError: `config` is of another type, or has a convolution, which would mix packed sequences.
    """
    _check_config(config, ModelConfig)
    if packed_sequences and config.convolution is not None:
        raise InputError("A `convolution` would read over the ends of sequences: give `packed_sequences=False`.")
    options = {"pooled": pooled, "remove_padding": remove_padding, "packed_sequences": packed_sequences}
    stack = Stack(config, _policy(dtype), remove_padding=remove_padding, packed_sequences=packed_sequences)
    inputs = _inputs(config)
    *_, before, last = stack.states(stack.embed(inputs["token_ids"], inputs["padding_mask"], inputs.get("segment_ids")))
    outputs, pooler = {"sequence_output": unpacked(last, "sequence_output")}, None
    if pooled:
        pooler = _pooler(stack, "pooler")
        follows = stack.convolution is not None and len(stack.blocks) == 1
        if config.pooler.pooling != "first" or packed_sequences or follows:
            outputs["pooled_output"] = pooler(outputs["sequence_output"], padding_mask=inputs["padding_mask"])
        else:
            # The last block a second time, for the first tokens alone: a model that reads `pooled_output` and nothing
            # else then never computes the block for the other tokens.
            first = stack.blocks[-1](before.hidden, first_token_only=True, **before.call_arguments())
            first = first if stack.norm is None else stack.norm(first)
            outputs["pooled_output"] = pooler(first)
    return Backbone(
        inputs,
        outputs,
        assembler="encoder",
        config=config,
        options=options,
        encoder=stack,
        pooler=pooler,
        final_rows=last,
        name=name,
    )


def decoder(
    config: ModelConfig,
    *,
    remove_padding: bool = True,
    dtype: str | keras.DTypePolicy | None = None,
    name: str = "decoder",
) -> Backbone:
    """Assembles a decoder without an encoder: a causal language model.

    Inputs, int32 `[batch, length]`: `token_ids` and `padding_mask`, 1 for real tokens. Only real tokens are computed.

    Args:
        config: a ModelConfig whose blocks are causal.
        remove_padding, dtype, name: as in `encoder`.

    Returns:
        A `Backbone` from the inputs to `{"sequence_output": [batch, length, hidden_dim], "logits": [batch, length,
        vocabulary_size]}`, zero at padding. `DecoderSteps` decodes with it step by step.

    Raises:
        InputError: `config` is of another type, or a block of it is not causal or has cross-attention.
    """
    _check_config(config, ModelConfig)
    if any(not block.causal or block.cross_attention is not None for block in config.blocks):
        raise InputError("The blocks of a decoder must be causal, without `cross_attention`. Received: other blocks.")
    stack = Stack(config, _policy(dtype), remove_padding=remove_padding)
    inputs = _inputs(config)
    last = stack.states(stack.embed(inputs["token_ids"], inputs["padding_mask"], inputs.get("segment_ids")))[-1]
    head = stack.output_head("output")
    logits = unpacked(_logits(stack, last, head), "logits")
    return Backbone(
        inputs,
        {"sequence_output": unpacked(last, "sequence_output"), "logits": logits},
        assembler="decoder",
        config=config,
        options={"remove_padding": remove_padding},
        decoder=stack,
        output_head=head,
        final_rows=last,
        name=name,
    )


def encoder_decoder(
    config: EncoderDecoderConfig,
    *,
    remove_padding: bool = True,
    dtype: str | keras.DTypePolicy | None = None,
    name: str = "encoder_decoder",
) -> Backbone:
    """Assembles an encoder-decoder.

    Inputs, int32 `[batch, source length]` and `[batch, target length]`: `source_token_ids`, `source_padding_mask`,
    `target_token_ids` (of each position the token before it, a start token first), `target_padding_mask`. Only real
    tokens are computed, on both sides.

    Args:
        config: an EncoderDecoderConfig.
        remove_padding, dtype, name: as in `encoder`.

    Returns:
        A `Backbone` from the four inputs to `{"logits": [batch, target length, vocabulary_size]}`, zero at padding.
        `DecoderSteps` decodes with it step by step.

    Raises:
        InputError: `config` is of another type.
    """
    _check_config(config, EncoderDecoderConfig)
    policy = _policy(dtype)
    inputs = {
        f"{side}_{key}": keras.Input((None,), dtype="int32", name=f"{side}_{key}")
        for side in ("source", "target")
        for key in ("token_ids", "padding_mask")
    }
    shared = config.share_embeddings
    source = Stack(
        config.encoder, policy, prefix="encoder_", remove_padding=remove_padding, name="embedding" if shared else None
    )
    target = Stack(
        config.decoder,
        policy,
        prefix="decoder_",
        remove_padding=remove_padding,
        embeddings=source.embeddings if shared else None,
    )
    memory = source.states(source.embed(inputs["source_token_ids"], inputs["source_padding_mask"]))[-1]
    last = target.states(target.embed(inputs["target_token_ids"], inputs["target_padding_mask"]), memory)[-1]
    head = target.output_head("output")
    return Backbone(
        inputs,
        {"logits": unpacked(_logits(target, last, head), "logits")},
        assembler="encoder_decoder",
        config=config,
        options={"remove_padding": remove_padding},
        encoder=source,
        decoder=target,
        output_head=head,
        final_rows=last,
        name=name,
    )


_ASSEMBLERS = {"encoder": encoder, "decoder": decoder, "encoder_decoder": encoder_decoder}


def _logits(stack, rows, head):
    """Packed scores of the vocabulary, by `head`, or by the embedding where that is None."""
    hidden = stack.embeddings(rows.hidden, reverse=True) if head is None else head(rows.hidden)
    return rows._replace(hidden=hidden)


def _pooler(stack, name):
    return Pooler(
        **stack.config.pooler.get_config(), kernel_initializer=stack.initializer(), dtype=stack.policy, name=name
    )


def _inputs(config):
    names = ["token_ids", *["segment_ids"] * (config.embedding.num_segments > 1), "padding_mask"]
    return {name: keras.Input((None,), dtype="int32", name=name) for name in names}


def _policy(dtype):
    return keras.config.dtype_policy() if dtype is None else keras.dtype_policies.get(dtype)


def _check_config(config, kind):
    if not isinstance(config, kind):
        raise InputError(f"`config` must be of type {kind.__name__}. Received: {type(config).__name__}.")
