"""Sentence embeddings: one vector a text, near to that of a text that means the same."""

import contextlib

import keras
import numpy as np
import tensorflow as tf

from kerasformer.errors import InputError
from kerasformer.layers import FirstToken, MaxPooling, MeanPooling, keyed_dropout
from kerasformer.layers.keyed_dropout import keys_in_force
from kerasformer.metrics import correlations
from kerasformer.tasks.task import Task, concatenate, string_spec, tokens_function

_POOLINGS = {"mean": MeanPooling, "max": MaxPooling, "cls": FirstToken}
_OBJECTIVES = ("cosine", "ranking")


class TextEmbedder(Task):
    """A vector for a text (Sentence-BERT, Reimers and Gurevych 2019, arXiv:1908.10084). It has no weights of its own.

    It is trained on pairs of texts, `text` and `text_pair`, with one of two objectives:

    - "cosine": the cosine of the two vectors is the pair's score, by squared error (section 3, regression objective)
    - "ranking": of all second texts of the batch, the own one is the nearest, by softmax cross-entropy of the cosines
      times `scale` (multiple negatives ranking, Henderson et al. 2017, arXiv:1705.00652, section 4.4). The others of
      the batch are those of the replica's share: with several replicas, or microbatches, there are fewer of them, and
      the training is not that of one device.

    Args:
        encoder: functional model with `sequence_output`.
        tokenizer: gives the encoder's inputs.
        pooling: the vector of a text: "mean" or "max" of its tokens, or its first token's hidden state, "cls".
        normalize: whether vectors have length 1.
        objective: "cosine" or "ranking".
        scale: of the cosines in the ranking objective; 1 / temperature.
        symmetric: whether the ranking objective also asks each second text for its first one (half of each).

    Raises:
        InputError: an unknown pooling or objective, an encoder without `sequence_output`, or a tokenizer that does not
            fit the encoder.
    """

    float32_layers = ("pooled", "text_vector")

    def __init__(
        self, encoder, tokenizer, *, pooling="mean", normalize=True, objective="cosine", scale=20.0, symmetric=False
    ):
        for name, value, known in (("pooling", pooling, _POOLINGS), ("objective", objective, _OBJECTIVES)):
            if value not in known:
                raise InputError(f"`{name}` must be one of {list(known)}. Received: {name}={value!r}.")
        super().__init__(encoder, {"embedding": _embedding(encoder, pooling, normalize)}, tokenizer)
        self.pooling, self.normalize = pooling, bool(normalize)
        self.objective, self.scale, self.symmetric = objective, float(scale), bool(symmetric)

    @classmethod
    def from_parts(cls, encoder, outputs, tokenizer, **settings):
        """A task on an encoder, as `load` finds it; `outputs` are made again, as they hold no weights."""
        return cls(encoder, tokenizer, **settings)

    def settings(self):
        names = ("pooling", "normalize", "objective", "scale", "symmetric")
        return {name: getattr(self, name) for name in names}

    def batch_inputs(self, features):
        """Inputs of a batch of texts `[N]`; of pairs, `[2 N]`: all first texts, then all second texts."""
        texts = [features[name] for name in ("text", "text_pair") if name in features]
        return self.tokenizer(tf.concat(texts, 0))

    def training_batch(self, features, targets):
        """The first texts as the model's inputs, int32 `[N, length]` each; as targets `{"pair"`: the second texts'
        inputs`, "score": targets`, float32 `[N]}`."""
        return self.tokenizer(features["text"]), {"pair": self.tokenizer(features["text_pair"]), "score": targets}

    def loss(self, targets, outputs):
        """Sum of the losses of a batch, and what to divide it by.

        The second texts go through the model here, so that every array of a batch has one row a pair, however it is
        split over replicas.

        Args:
            targets: of `training_batch`: `{"pair": the model's inputs, "score": float32 [N]}`; scores are cosines, and
                not read by the ranking objective.
            outputs: of the model for the first texts, `{"embedding": [N, width]}`.

        Returns:
            `(sum, count)`: float32 scalars.
        """
        keys, inputs = keys_in_force(), targets["pair"]
        with keyed_dropout(keys.step, keys.examples, inputs["padding_mask"]) if keys else contextlib.nullcontext():
            second = self.model(inputs, training=True)["embedding"]
        losses = self.pair_losses(outputs["embedding"], second, targets["score"])
        return tf.reduce_sum(losses), tf.cast(tf.size(losses), tf.float32)

    def pair_losses(self, first, second, scores):
        """The loss of each pair, float32 `[N]`, from two `[N, width]` and the scores `[N]`."""
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
        """What is served for the model's outputs: `embedding` `[N, width]`."""
        return {"embedding": tf.cast(outputs["embedding"], tf.float32)}

    def embed(self, texts, batch_size=32):
        """Embeddings as they are served, from Python: list of str to float32 `[N, width]`.

        Raises:
            InputError: `texts` is one text, not a list of them.
        """
        if isinstance(texts, str):
            raise InputError(f"`texts` must be a list of texts. Received one text: {texts[:40]!r}. Put it in a list.")
        return self.answers({"text": list(texts)}, batch_size)["embedding"]

    def serving_functions(self, core):
        """The signatures of this task: `serving_default` (strings) and `tokens` (ids in, raw outputs)."""

        @tf.function(input_signature=[string_spec("text")])
        def serving_default(text):
            return self.answer_features({"text": text}, core)

        return {"serving_default": serving_default, "tokens": tokens_function(core)}

    def warmup_inputs(self, batch_size):
        """Inputs of `serving_default` that look like real ones, of growing lengths, NumPy arrays of strings."""
        return {"text": np.array([("good " * (4 + 6 * i)).strip() for i in range(batch_size)], dtype=object)}


def _embedding(encoder, pooling, normalize):
    """`[batch, width]` in float32, one vector a text."""
    if not isinstance(encoder.output, dict) or "sequence_output" not in encoder.output:
        raise InputError("An embedder needs an encoder with the output 'sequence_output', as `bert(config)` gives it.")
    inputs = [encoder.output["sequence_output"]]
    mask = {} if pooling == "cls" else {"padding_mask": encoder.input["padding_mask"]}
    vector = _POOLINGS[pooling](name="pooled")(*inputs, **mask)
    # The linear activation is a cast to float32.
    last = keras.layers.UnitNormalization if normalize else lambda **kwargs: keras.layers.Activation("linear", **kwargs)
    return last(dtype="float32", name="text_vector")(vector)


def _unit(vectors):
    vectors = vectors.astype(np.float64)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)


def _own_is_nearest(first, second, cosines, rows=1024):
    """Share of the rows of `first` whose own row of `second` is the nearest; blocks of rows, to save memory."""
    nearest = [(first[at : at + rows] @ second.T).max(-1) for at in range(0, len(first), rows)]
    return float(np.mean(cosines >= np.concatenate(nearest) - 1e-9))
