"""The weights of the heads that BERT is pretrained with, by name."""

import numpy as np

from kerasformer.errors import InputError
from kerasformer.layers import MaskedLanguageModelHead
from kerasformer.tasks.task import find_layer

_NEXT_SENTENCE = {"next_sentence.kernel", "next_sentence.bias"}


def head_variables(model, next_sentence):
    """Variables of a model of `BertPretraining`: the five for masked tokens, and with `next_sentence` two more."""
    head = find_layer(model, MaskedLanguageModelHead)
    variables = {
        "transform.kernel": head.transform.kernel,
        "transform.bias": head.transform.bias,
        "norm.gamma": head.norm.gamma,
        "norm.beta": head.norm.beta,
        "bias": head.bias,
    }
    if next_sentence:
        dense = model.get_layer("next_sentence")
        variables |= {"next_sentence.kernel": dense.kernel, "next_sentence.bias": dense.bias}
    return variables


def assign_heads(variables, heads):
    """Assigns arrays to the variables of their names, all of them or, where one does not fit, none.

    Returns:
        Names of the variables that `heads` lacks.

    Raises:
        InputError: an array of an unknown name or another shape.
    """
    unknown = sorted(set(heads) - set(variables) - _NEXT_SENTENCE)
    if unknown:
        raise InputError(f"The heads have weights {sorted(variables)}. Received: {unknown[0]!r}.")
    heads = {name: heads[name] for name in variables if name in heads}
    for name, value in heads.items():
        if tuple(variables[name].shape) != tuple(np.shape(value)):
            raise InputError(
                f"The head's weight {name!r} should be of shape {tuple(variables[name].shape)}. "
                f"Received: {tuple(np.shape(value))}."
            )
    for name, value in heads.items():
        variables[name].assign(value)
    return sorted(set(variables) - set(heads))
