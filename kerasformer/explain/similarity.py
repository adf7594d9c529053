"""Which words make two texts similar."""

import dataclasses

import numpy as np
import tensorflow as tf

from kerasformer.errors import InputError
from kerasformer.explain.words import read_words
from kerasformer.tasks import TextEmbedder
from kerasformer.tasks.arrays import as_strings

# Poolings that every token has a part in.
_POOLINGS = ("mean", "max", "weighted_mean", "mean_sqrt_length")


@dataclasses.dataclass(frozen=True)
class Similarity:
    """What each pair of words adds to the cosine of two texts' embeddings.

    Attributes:
        texts: the two texts.
        words: of each text its words, a tuple of two lists of str.
        starts, ends: where they are, in bytes of the caller's text, two lists of int each.
        matrix: float32 `[words of the first text, words of the second]`.
        cosine: of the embeddings.
        rest: what special tokens and a prompt add; `matrix.sum() + rest` is the cosine.
    """

    texts: tuple[str, str]
    words: tuple[list[str], list[str]]
    starts: tuple[list[int], list[int]]
    ends: tuple[list[int], list[int]]
    matrix: np.ndarray
    cosine: float
    rest: float


def explain_similarity(task: TextEmbedder, first: str, second: str) -> Similarity:
    """Which pairs of words make two texts similar, exactly.

    A pooled vector is a sum of parts, one of each token; the product of two pooled vectors is then the sum over all
    pairs of tokens. Tokens have seen the rest of their text: a word stands for itself in its context.

    Args:
        task: a `TextEmbedder` whose vector is the mean of tokens, or another sum of all of them, without layers behind.
        first, second: texts.

    Raises:
        InputError: another task or pooling, or something that is not a text.
    """
    if not isinstance(task, TextEmbedder):
        raise InputError(f"Similarities are those of a TextEmbedder. Received: a {type(task).__name__}.")
    if task.pooling not in _POOLINGS or task.layers:
        raise InputError(
            f"The vector must be pooled by one of {list(_POOLINGS)}, with no layers behind. Received: "
            f"pooling={task.pooling!r}, {len(task.layers)} layers."
        )
    texts = task.checked_columns([[first, second]])["text"]
    prompt = task.text_prompt
    words = read_words(task.tokenizer, tf.strings.join([prompt, tf.constant(texts)]))
    inputs = task.batch_inputs({"text": tf.constant(texts)})
    sequence = tf.cast(task.encoder(inputs, training=False)["sequence_output"], tf.float32)
    mask = inputs.get("pooling_mask", inputs["padding_mask"])
    with tf.GradientTape() as tape:
        tape.watch(sequence)
        pooled = task.model.get_layer("pooled")(sequence, padding_mask=mask)
    # A pooling keeps the numbers of a vector apart, so that the gradient of their sum has that of each.
    parts = (sequence * tape.gradient(pooled, sequence)).numpy()
    lengths = np.maximum(np.linalg.norm(parts.sum(1), axis=-1), 1e-12)
    pairs = np.einsum("id,jd->ij", *parts) / lengths.prod()
    offset, slots, found = len(prompt.encode()), words.slots.numpy(), []
    for row in (0, 1):
        starts, ends = (values.numpy()[row] - offset for values in (words.starts, words.ends))
        chosen = np.flatnonzero((words.starts.numpy()[row] >= 0) & (starts >= 0))
        names = as_strings(words.words.numpy()[row][chosen]).tolist()
        found.append((names, starts[chosen].tolist(), ends[chosen].tolist(), slots[row] == chosen[:, None]))
    names, starts, ends, members = zip(*found, strict=True)
    matrix = np.einsum("wi,ij,vj->wv", members[0], pairs, members[1]).astype(np.float32)
    cosine = float(pairs.sum())
    one, other = as_strings(np.array([text.encode() if isinstance(text, str) else text for text in texts], object))
    return Similarity((one, other), names, starts, ends, matrix, cosine, cosine - float(matrix.sum()))
