"""Which words of a source its translation rests on."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from kerasformer.errors import InputError
from kerasformer.explain.explanation import Explanation, made
from kerasformer.explain.words import read_words
from kerasformer.tasks import Translator


def explain_translations(task: Translator, texts: Sequence[str], *, batch_size: int = 32) -> list[Explanation]:
    """By how much the logarithm of a translation's probability falls without each word of its source.

    `Translator.align` has the attention of the decoder, which is cheaper.

    Args:
        task: a `Translator`.
        texts: list of str.
        batch_size: texts computed at a time, those without a word included.

    Returns:
        An `Explanation` of each text, whose label is the translation and whose score is its probability.

    Raises:
        InputError: another task, or something that is not a text.
    """
    if not isinstance(task, Translator):
        raise InputError(f"Translations are explained of a Translator. Received: a {type(task).__name__}.")
    texts = task.checked_columns([texts])["text"]
    if not texts:
        return []
    translations = task.translate(texts)["translation"].tolist()
    words = tf.nest.map_structure(lambda value: value.numpy(), read_words(task.tokenizer, tf.constant(texts)))
    variants, owners = [], []
    for row, text in enumerate(texts):
        data = text if isinstance(text, bytes) else text.encode()
        variants.append(data)
        places = np.flatnonzero(words.starts[row] >= 0)
        variants += [data[: words.starts[row][place]] + data[words.ends[row][place] :] for place in places]
        owners += [row] * (len(places) + 1)
    scores = _scores(task, variants, [translations[row] for row in owners], batch_size)
    explanations, first = [], 0
    for row, text in enumerate(texts):
        count = (words.starts[row] >= 0).sum()
        own, first = scores[first : first + count + 1], first + count + 1
        explanations.append(
            made(
                (text,),
                words.of_row(row),
                (own[0] - own[1:]).astype(np.float32),
                None,
                number=row + 1,
                label=translations[row],
                score=float(np.exp(own[0])),
                predicted=translations[row],
                method="occlusion",
            )
        )
    return explanations


def _scores(task, sources, translations, batch_size):
    """The logarithms of the translations' probabilities, float64 `[N]`."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)] * 2, autograph=False)
    def score(source, target):
        inputs, labels = task.training_batch({"text": source, "text_pair": target}, None)
        logits = tf.cast(task.transformer(inputs, training=False)["logits"], tf.float32)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(tf.maximum(labels, 0), logits)
        return -tf.reduce_sum(tf.where(labels >= 0, losses, 0.0), 1)

    found = [
        score(tf.constant(sources[at : at + batch_size]), tf.constant(translations[at : at + batch_size]))
        for at in range(0, len(sources), batch_size)
    ]
    return np.concatenate([np.asarray(part, np.float64) for part in found])
