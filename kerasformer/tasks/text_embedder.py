"""Sentence embeddings: one vector a text, near to that of a text that means the same."""

import contextlib
import dataclasses
import functools
from collections.abc import Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf

from kerasformer import data
from kerasformer.errors import InputError
from kerasformer.layers import (
    FirstToken,
    LastToken,
    MaxPooling,
    MeanPooling,
    MeanSqrtLengthPooling,
    VectorLayerConfig,
    WeightedMeanPooling,
    keyed_dropout,
)
from kerasformer.layers.keyed_dropout import keys_in_force
from kerasformer.layers.vector_layers import vector_layer
from kerasformer.metrics import correlations
from kerasformer.tasks.arrays import concatenate
from kerasformer.tasks.encoder_outputs import encoder_output
from kerasformer.tasks.task import Head, Task, built_in, register_task

_POOLINGS = {
    "mean": MeanPooling,
    "max": MaxPooling,
    "first": FirstToken,
    "last": LastToken,
    "weighted_mean": WeightedMeanPooling,
    "mean_sqrt_length": MeanSqrtLengthPooling,
}
_OBJECTIVES = ("cosine", "ranking")


@dataclasses.dataclass(frozen=True)
class TextEmbedderSettings:
    """The arguments of `TextEmbedder`, see there."""

    _: dataclasses.KW_ONLY
    pooling: str | Sequence[str] = built_in("mean")
    layers: Sequence[VectorLayerConfig | Mapping] = built_in(())
    normalize: bool = built_in(True)
    pool_prompt: bool = built_in(True)
    objective: str = "cosine"
    scale: float = 20.0
    symmetric: bool = False
    prompt: str = ""
    prompts: Mapping[str, str] = dataclasses.field(default_factory=dict)
    prompt_name: str | None = None

    def __post_init__(self):
        if not isinstance(self.prompts, Mapping):
            raise InputError(f"`prompts` must be texts by their names. Received: prompts={self.prompts!r}.")
        if not isinstance(self.layers, Sequence):
            raise InputError(f"`layers` must be a list. Received: layers={self.layers!r}.")
        poolings = (self.pooling,) if isinstance(self.pooling, str) else tuple(self.pooling)
        for pooling in poolings or [self.pooling]:
            _check_choice("pooling", pooling, list(_POOLINGS))
        _check_choice("objective", self.objective, list(_OBJECTIVES))
        if self.prompt_name is not None:
            _check_choice("prompt_name", self.prompt_name, list(self.prompts))
            if self.prompt:
                raise InputError(
                    "One of `prompt` and `prompt_name` can be given; the other is '' or None. Received: "
                    f"prompt={self.prompt!r}, prompt_name={self.prompt_name!r}."
                )
        layers = tuple(_layer_config(layer) for layer in self.layers)
        if layers and layers[-1].kind == "unit" and not self.normalize:
            # The same thing, said in one way.
            layers = layers[:-1]
            object.__setattr__(self, "normalize", True)
        object.__setattr__(self, "pooling", poolings[0] if len(poolings) == 1 else poolings)
        object.__setattr__(self, "layers", layers)
        object.__setattr__(self, "prompts", dict(self.prompts))
        object.__setattr__(self, "scale", float(self.scale))


def _check_choice(name, value, known):
    if value not in known:
        raise InputError(f"`{name}` must be one of {known}. Received: {name}={value!r}.")


def _layer_config(layer):
    try:
        return layer if isinstance(layer, VectorLayerConfig) else VectorLayerConfig(**layer)
    except TypeError:
        raise InputError(
            f"`layers` must be VectorLayerConfigs, or dictionaries of their fields. Received: layers=[{layer!r}]."
        ) from None


@register_task
class TextEmbedder(Task):
    """A vector for a text (Sentence-BERT, Reimers and Gurevych 2019, arXiv:1908.10084), which sentence-transformers
    makes the same way: tokens are pooled, and the result may go through further layers.

    It is trained on pairs of texts, `text` and `text_pair`, with one of two objectives:

    - "cosine": the cosine of the two vectors is the pair's score, by squared error (section 3, regression objective)
    - "ranking": of all second texts of the batch, its own is the nearest, by softmax cross-entropy of the cosines
      times `scale` (multiple negatives ranking, Henderson et al. 2017, arXiv:1705.00652, section 4.4). The others of
      the batch are those of the replica's share: with several replicas, or microbatches, there are fewer of them, and
      the training is not that of one device.

    Args:
        encoder: functional model with `sequence_output`.
        tokenizer: makes the encoder's inputs.
        pooling: the vector of a text: the "mean" of its tokens; its largest values, "max"; its "first" or "last" token;
            "weighted_mean", by positions 1, 2, 3, ...; "mean_sqrt_length", the sum by the square root of the number of
            tokens. Of several, `("mean", "max")`, the vectors are concatenated.
        layers: what the pooled vector goes through, `VectorLayerConfig`s or dictionaries of their fields.
        normalize: whether vectors have length 1, after all.
        pool_prompt: whether the tokens of the prompt, and the special ones before it, are pooled. If not, the model has
            a further input, `pooling_mask`.
        prompt: prefix of each text, such as "query: ".
        prompts: prefixes by their names, such as `{"query": "query: ", "passage": "passage: "}`.
        prompt_name: which of them is the prefix, in place of `prompt`.
        objective: "cosine" or "ranking".
        scale: of the cosines in the ranking objective; 1 / temperature.
        symmetric: whether the ranking objective also asks each second text for its first one (half of each).

    Raises:
        InputError: an unknown pooling, layer, objective or name of a prompt, an encoder without `sequence_output`, or a
            tokenizer that does not fit the encoder.
    """

    Settings = TextEmbedderSettings

    def build(self):
        sequence = encoder_output(self.encoder, "sequence_output", "An embedder")
        mask, inputs = self.encoder.input["padding_mask"], {}
        if not self.pool_prompt:
            mask = inputs["pooling_mask"] = keras.Input([None], dtype="int32", name="pooling_mask")
        vector = self._pooled(sequence, mask)
        names = [f"vector_{place}" for place in range(len(self.layers))]
        configs = zip(self.layers, names, strict=True)
        layers = [vector_layer(config, dtype="float32", name=name) for config, name in configs]
        # The linear activation is a cast to float32.
        last = keras.layers.UnitNormalization if self.normalize else _linear
        for layer in layers:
            vector = layer(vector)
        self.float32_layers = ("pooled", *names, "text_vector")
        self.head = Head(**{f"layer_{place}": layer for place, layer in enumerate(layers)})
        return {"embedding": last(dtype="float32", name="text_vector")(vector)}, inputs

    def _pooled(self, sequence, mask):
        """`[N, dim]` of `[N, length, dim]`."""

        def pooled(pooling, name):
            # The first token is at position 0 unless a prompt is left out.
            is_masked = pooling != "first" or not self.pool_prompt
            return _POOLINGS[pooling](name=name)(sequence, **({"padding_mask": mask} if is_masked else {}))

        if isinstance(self.pooling, str):
            return pooled(self.pooling, "pooled")
        vectors = [pooled(pooling, f"pooled_{place}") for place, pooling in enumerate(self.pooling)]
        return keras.layers.Concatenate(dtype="float32", name="pooled")(vectors)

    @property
    def text_prompt(self):
        """What is put before each text: `prompt`, or the one that `prompt_name` names."""
        return self.prompt if self.prompt_name is None else self.prompts[self.prompt_name]

    @functools.cached_property
    def _prompt_length(self):
        """Number of tokens up to the end of the prompt, as sentence-transformers counts them: those of the prompt
        alone, without the special token at its end. 0 where there is no prompt."""
        if not self.text_prompt:
            return 0
        with tf.init_scope():
            prompt, nothing = (self.tokenizer([text])["token_ids"].numpy()[0] for text in (self.text_prompt, ""))
        return len(prompt) - (len(nothing) > 0 and prompt[-1] == nothing[-1])

    def vector_settings(self):
        prompts, name = self.prompts, self.prompt_name
        if self.prompt:
            prompts, name = prompts | {"default": self.prompt}, "default"
        return {
            "pooling": self.pooling,
            "layers": self.layers,
            "head": self.head,
            "normalize": self.normalize,
            "prompts": prompts,
            "prompt_name": name,
            "pool_prompt": self.pool_prompt,
            "max_sequence_length": self.tokenizer.max_length,
        }

    def batch_inputs(self, features):
        """Inputs of a batch of texts `[N]`; of pairs, `[2 N]`: all first texts, then all second texts."""
        texts = [features[name] for name in ("text", "text_pair") if name in features]
        return self._tokenized(tf.concat(texts, 0))

    def _tokenized(self, texts):
        if self.text_prompt:
            texts = tf.strings.join([self.text_prompt, texts])
        inputs = self.tokenizer(texts)
        if not self.pool_prompt:
            is_text = tf.range(tf.shape(inputs["padding_mask"])[1]) >= self._prompt_length
            inputs["pooling_mask"] = inputs["padding_mask"] * tf.cast(is_text, tf.int32)
        return self.model_inputs(inputs)

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

    def labelled_batches(self, source):
        pairs = data.load_classification(source, regression=True)
        if pairs.pairs is None or pairs.targets is None:
            raise InputError(
                f"Pairs of texts with scores are needed, such as text_a, text_b and score. Not in: {source}"
            )
        highest = max(float(pairs.targets.max()), 1e-9)
        return data.batches(dataclasses.replace(pairs, targets=(pairs.targets / highest).astype(np.float32)), 32)

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
