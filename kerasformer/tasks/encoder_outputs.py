"""What tasks read of an encoder, and whether a tokenizer fits it."""

from kerasformer._compat import flatten_layers
from kerasformer.errors import InputError
from kerasformer.layers import TransformerEmbedding
from kerasformer.models import Backbone


def find_layer(model, kind):
    """The first layer of a class in a functional model, nested models included, or None."""
    return next((layer for layer in flatten_layers(model) if isinstance(layer, kind)), None)


def encoder_output(encoder, name, task):
    """The symbolic output `name` of an encoder.

    Raises:
        InputError: the encoder lacks it.
    """
    if not isinstance(encoder.output, dict) or name not in encoder.output:
        how = "bert(config, pooled=True)" if name == "pooled_output" else "bert(config)"
        raise InputError(f"{task} needs an encoder with the output {name!r}, as `{how}` returns it.")
    return encoder.output[name]


def token_vectors(encoder, task):
    """What a head reads that scores single tokens, and the parts of the head that make it.

    Returns:
        `(vectors, parts)`: symbolic `[batch, length, hidden_dim]`, and arguments of `Head`.

    Raises:
        InputError: the encoder has no `sequence_output`.
    """
    sequence = encoder_output(encoder, "sequence_output", task)
    if not isinstance(encoder, Backbone):
        return sequence, {}
    vectors, layer = encoder.token_vectors()
    return vectors, {} if layer is None else {"transform": layer}


def check_fit(model, tokenizer):
    """Raises InputError where a tokenizer's ids or lengths do not fit a model's embedding."""
    config = model.config.embedding if isinstance(model, Backbone) else None
    if config is None:
        embedding = find_layer(model, TransformerEmbedding)
        if embedding is None:
            return
        config = embedding.config
    if tokenizer.vocabulary_size > config.vocabulary_size:
        raise InputError(
            f"The vocabulary of {tokenizer.vocabulary_size} tokens does not fit the model's embedding of "
            f"{config.vocabulary_size}: use the vocabulary that the model was trained with."
        )
    most = config.max_sequence_length if config.positions == "learned" else tokenizer.max_length
    if tokenizer.max_length > most:
        raise InputError(
            f"The tokenizer's max_length={tokenizer.max_length} is beyond the model's {most} positions: make the "
            "tokenizer with a smaller `max_length`."
        )
