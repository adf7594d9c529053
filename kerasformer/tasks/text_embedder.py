"""Sentence embeddings: one vector a text, near to that of a text that means the same."""

import contextlib
import dataclasses

import keras
import numpy as np
import tensorflow as tf

from kerasformer.errors import InputError
from kerasformer.layers import FirstToken, MaxPooling, MeanPooling, keyed_dropout
from kerasformer.layers.keyed_dropout import keys_in_force
from kerasformer.metrics import correlations
from kerasformer.tasks.arrays import concatenate
from kerasformer.tasks.task import Head, Task, built_in, encoder_output, register_task

_POOLINGS = {"mean": MeanPooling, "max": MaxPooling, "first": FirstToken}
_OBJECTIVES = ("cosine", "ranking")


@dataclasses.dataclass(frozen=True)
class TextEmbedderSettings:
    """The arguments of `TextEmbedder`, see there."""

    _: dataclasses.KW_ONLY
    pooling: str = built_in("mean")
    normalize: bool = built_in(True)
    objective: str = "cosine"
    scale: float = 20.0
    symmetric: bool = False
    prompt: str = ""

    def __post_init__(self):
        for name, known in (("pooling", _POOLINGS), ("objective", _OBJECTIVES)):
            if getattr(self, name) not in known:
                raise InputError(f"`{name}` must be one of {list(known)}. Received: {name}={getattr(self, name)!r}.")
        object.__setattr__(self, "scale", float(self.scale))


@register_task
class TextEmbedder(Task):
    """A vector for a text (Sentence-BERT, Reimers and Gurevych 2019, arXiv:1908.10084). It has no weights of its own.

    It is trained on pairs of texts, `text` and `text_pair`, with one of two objectives:

    - "cosine": the cosine of the two vectors is the pair's score, by squared error (section 3, regression objective)
    - "ranking": of all second texts of the batch, its own is the nearest, by softmax cross-entropy of the cosines
      times `scale` (multiple negatives ranking, Henderson et al. 2017, arXiv:1705.00652, section 4.4). The others of
      the batch are those of the replica's share: with several replicas, or microbatches, there are fewer of them, and
      the training is not that of one device.

    Args:
        encoder: functional model with `sequence_output`.
        tokenizer: makes the encoder's inputs.
        pooling: the vector of a text: "mean" or "max" of its tokens, or its first token's hidden state, "first".
        normalize: whether vectors have length 1.
        prompt: prefix of each text, such as "query: ".
        objective: "cosine" or "ranking".
        scale: of the cosines in the ranking objective; 1 / temperature.
        symmetric: whether the ranking objective also asks each second text for its first one (half of each).

    Raises:
        InputError: an unknown pooling or objective, an encoder without `sequence_output`, or a tokenizer that does not
            fit the encoder.
    """

    Settings = TextEmbedderSettings
    float32_layers = ("pooled", "text_vector")

    def build(self):
        sequence = encoder_output(self.encoder, "sequence_output", "An embedder")
        mask = {} if self.pooling == "first" else {"padding_mask": self.encoder.input["padding_mask"]}
        vector = _POOLINGS[self.pooling](name="pooled")(sequence, **mask)
        # The linear activation is a cast to float32.
        last = keras.layers.UnitNormalization if self.normalize else _linear
        self.head = Head()
        return {"embedding": last(dtype="float32", name="text_vector")(vector)}, {}

    def vector_settings(self):
        return {
            "pooling": self.pooling,
            "normalize": self.normalize,
            "prompt": self.prompt,
            "max_sequence_length": self.tokenizer.max_length,
        }

    def batch_inputs(self, features):
        """Inputs of a batch of texts `[N]`; of pairs, `[2 N]`: all first texts, then all second texts."""
        texts = [features[name] for name in ("text", "text_pair") if name in features]
        return self._tokenized(tf.concat(texts, 0))

    def _tokenized(self, texts):
        if self.prompt:
            texts = tf.strings.join([self.prompt, texts])
        return self.model_inputs(self.tokenizer(texts))

    def training_batch(self, features, targets):
        """The first texts as the model's inputs, int32 `[N, length]` each; as targets `{"pair"`: the second texts'
        inputs`, "score": targets`, float32 `[N]}`."""
        return self._tokenized(features["text"]), {"pair": self._tokenized(features["text_pair"]), "score": targets}

    def loss(self, targets, outputs):
        """Sum of the losses of a batch, and what to divide it by.

        The second texts go through the model here, so that every array of a batch has one row a pair, however it is
        split over replicas.

        Args:
            targets: of `training_batch`: `{"pair": the model's inputs, "score": float32 [N]}`; scores are cosines, and
                not read by the ranking objective.
            outputs: of the model for the first texts, `{"embedding": [N, hidden_dim]}`.

        Returns:
            `(sum, count)`: float32 scalars.
        """
        keys, inputs = keys_in_force(), targets["pair"]
        with keyed_dropout(keys.step, keys.examples, inputs["padding_mask"]) if keys else contextlib.nullcontext():
            second = self.model(inputs, training=True)["embedding"]
        losses = self.pair_losses(outputs["embedding"], second, targets["score"])
        return tf.reduce_sum(losses), tf.cast(tf.size(losses), tf.float32)

    def pair_losses(self, first, second, scores):
        """The loss of each pair, float32 `[N]`, from two `[N, hidden_dim]` and the scores `[N]`."""
        first, second = (tf.math.l2_normalize(tf.cast(vectors, tf.float32), -1) for vectors in (first, second))
        if self.objective == "cosine":
            return tf.math.squared_difference(tf.reduce_sum(first * second, -1), tf.cast(scores, tf.float32))
        own = tf.range(tf.shape(first)[0])
        logits = self.scale * tf.matmul(first, second, transpose_b=True)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(own, logits)
        if self.symmetric:
            losses = (losses + tf.nn.sparse_softmax_cross_entropy_with_logits(own, tf.transpose(logits))) / 2
        return losses

    def evaluate_batches(self, batches):
        """`loss`, `spearman` and `pearson` of the pairs' cosines and scores; where all scores are the same, `loss` and
        `accuracy`: the share of first texts to which no second text of the data set is nearer than their own."""
        losses, scores, pairs = [], [], []
        for _, batch_scores, outputs in batches:
            first, second = np.split(outputs["embedding"], 2)
            losses.append(self.pair_losses(first, second, batch_scores).numpy())
            scores.append(batch_scores)
            pairs.append({"first": first, "second": second})
        result, scores, pairs = (
            {"loss": float(np.mean(np.concatenate(losses)))},
            np.concatenate(scores),
            concatenate(pairs),
        )
        first, second = (_unit(pairs[name]) for name in ("first", "second"))
        cosines = (first * second).sum(-1)
        if np.ptp(scores) == 0:
            return result | {"accuracy": _own_is_nearest(first, second, cosines)}
        return result | correlations(scores, cosines)

    def answer(self, outputs):
        """What is served for the model's outputs: `embedding` `[N, hidden_dim]`."""
        return {"embedding": tf.cast(outputs["embedding"], tf.float32)}

    def embed(self, texts, batch_size=32):
        """Embeddings as they are served, from Python: list of str to float32 `[N, hidden_dim]`.

        Raises:
            InputError: `texts` is one text, not a list of them.
        """
        return self.predict(texts, batch_size=batch_size)["embedding"]


def _linear(**arguments):
    return keras.layers.Activation("linear", **arguments)


def _unit(vectors):
    vectors = vectors.astype(np.float64)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)


def _own_is_nearest(first, second, cosines, rows=1024):
    """Share of the rows of `first` whose own row of `second` is the nearest; blocks of rows, to save memory."""
    nearest = [(first[at : at + rows] @ second.T).max(-1) for at in range(0, len(first), rows)]
    return float(np.mean(cosines >= np.concatenate(nearest) - 1e-9))
