"""Pretraining of BERT, and what such a model can be asked at once: the words that are missing from a text."""

import dataclasses
import functools

import keras
import numpy as np
import tensorflow as tf

from kerasformer.data.masking import TokenMasking
from kerasformer.errors import InputError
from kerasformer.layers import MaskedLanguageModelHead, TransformerEmbedding
from kerasformer.models import Backbone
from kerasformer.tasks.encoder_outputs import encoder_output, find_layer
from kerasformer.tasks.smoothed_cross_entropy import smoothed_cross_entropy
from kerasformer.tasks.task import Head, Task, built_in, register_task, string_spec


@dataclasses.dataclass(frozen=True)
class BertPretrainingSettings:
    """The arguments of `BertPretraining`, see there."""

    _: dataclasses.KW_ONLY
    next_sentence: bool = built_in(True)
    mask_rate: float = 0.15
    whole_words: bool = False
    max_masked: int | None = None
    num_candidates: int = 5
    remove_padding: bool = built_in(True)

    def __post_init__(self):
        if not 0 < self.mask_rate < 1:
            raise InputError(f"`mask_rate` must be in (0, 1). Received: mask_rate={self.mask_rate}.")


@register_task
class BertPretraining(Task):
    """Masked language model and next sentence prediction (Devlin et al. 2019, section 3.1).

    Both losses are means of their own, over the masked tokens and over the pairs of a batch, and are added. Only masked
    tokens reach the vocabulary, whose projection is the table of token embeddings.

    Args:
        encoder: as `bert(config, pooled=True)` or `kf.load_encoder` returns it.
        tokenizer: a WordPieceTokenizer with a mask token.
        next_sentence: whether to learn next sentence prediction; False for running text.
        mask_rate, whole_words, max_masked: see `TokenMasking`.
        num_candidates: tokens that are served for each `[MASK]`.
        remove_padding: as in `bert`.

    Raises:
        InputError: an encoder without pooler, a vocabulary without mask token, an option out of range.
    """

    Settings = BertPretrainingSettings
    float32_layers = ("next_sentence",)

    @property
    def checkpoint_kind(self):
        return "pretraining" if self.next_sentence else "masked_lm"

    def check(self):
        super().check()
        size = self.tokenizer.vocabulary_size
        if not 1 <= self.num_candidates <= size:
            raise InputError(
                f"`num_candidates` must be from 1 to the {size} tokens. Received: num_candidates={self.num_candidates}."
            )
        self.masking  # noqa: B018, checks its arguments

    @functools.cached_property
    def masking(self):
        """The `TokenMasking` of the settings."""
        return TokenMasking(self.tokenizer, self.mask_rate, whole_words=self.whole_words, max_masked=self.max_masked)

    def build(self):
        encoder = self.encoder
        if not isinstance(encoder, Backbone) or (self.next_sentence and encoder.pooler is None):
            raise InputError(
                "Pretraining needs a Backbone, for next sentences with a pooler, as `bert(config, pooled=True)` gives "
                f"it. Received: {encoder.name!r}."
            )
        sequence = encoder_output(encoder, "sequence_output", "Pretraining")
        positions = keras.Input((None,), dtype="int32", name="masked_positions")
        layer = encoder.masked_head(remove_padding=self.remove_padding, name="masked_language_model")
        outputs = {"masked_output": layer(sequence, positions)}
        parts = {"transform": layer.transform, "norm": layer.norm, "bias": layer.bias}
        if self.next_sentence:
            # Of the sequence, which is computed anyway: the encoder's own output computes the last block once more.
            pooled = encoder.pooler(sequence, padding_mask=encoder.input["padding_mask"])
            initializer = encoder.blocks[0].kernel_initializer.clone()
            dense = keras.layers.Dense(2, kernel_initializer=initializer, dtype="float32", name="next_sentence")
            outputs["next_sentence_logits"] = dense(pooled)
            parts["next_sentence"] = dense
        self.head = Head(**parts)
        return outputs, {"masked_positions": positions}

    # ---- training ----

    def batch_inputs(self, features):
        """Inputs of the model from a batch of `PretrainingData`, with tokens hidden, of each text the share of
        `"mask_rate"`, float32 `[N]`, if that is there; or from texts, `{"text": [N]}` or also `"text_pair"`, that hold
        `[MASK]`."""
        if "token_ids" in features:
            return self._masked(features)[0]
        inputs = self.tokenizer(features["text"], features.get("text_pair"))
        return self.model_inputs(inputs | {"masked_positions": self._mask_places(inputs["token_ids"])})

    def training_batch(self, features, targets):
        inputs, labels = self._masked(features)
        return inputs, {"labels": labels, **targets}

    def _masked(self, features):
        token_ids, positions, labels = self.masking(
            features["token_ids"], features["padding_mask"], features["seed"], features.get("mask_rate")
        )
        inputs = {name: features[name] for name in ("segment_ids", "padding_mask")}
        return self.model_inputs({"token_ids": token_ids, **inputs, "masked_positions": positions}), labels

    def _mask_places(self, token_ids):
        """Positions of `[MASK]`, int32 `[N, M]`, -1 after the last."""
        slots = tf.where(tf.equal(token_ids, self.tokenizer.mask_id))
        rows = tf.RaggedTensor.from_value_rowids(
            tf.cast(slots[:, 1], tf.int32), slots[:, 0], tf.shape(token_ids, tf.int64)[0], validate=False
        )
        return rows.to_tensor(-1)

    def loss_totals(self, targets):
        """What the two losses are divided by, float32 `[2]`: masked tokens and sequences."""
        labels = targets["labels"]
        counts = [tf.math.count_nonzero(labels >= 0, dtype=tf.float32), tf.cast(tf.shape(labels)[0], tf.float32)]
        return tf.stack(counts)

    def loss(self, targets, outputs, totals=None):
        """The share of a part of a batch in the batch's loss.

        Args:
            targets: `{"labels": int32 [N, slots]`, -1 where nothing is masked`, "is_random": int32 [N]}`.
            outputs: of the model.
            totals: `loss_totals` of the batch, by default of `targets`.

        Returns:
            `(sum, count)`: over all parts of a batch they add up to its loss and to 1.
        """
        totals = self.loss_totals(targets) if totals is None else totals
        sums = self._sums(targets, outputs, self.model)
        loss = tf.math.divide_no_nan(sums["masked_loss"], totals[0])
        if self.next_sentence:
            loss += tf.math.divide_no_nan(sums["next_loss"], totals[1])
        return loss, tf.math.divide_no_nan(tf.cast(tf.shape(targets["labels"])[0], tf.float32), totals[1])

    def _sums(self, targets, outputs, model):
        labels = tf.reshape(targets["labels"], [-1])
        hidden = outputs["masked_output"]
        head = find_layer(model, MaskedLanguageModelHead)
        if self.remove_padding:
            labels = tf.boolean_mask(labels, labels >= 0)
        weights = tf.cast(labels >= 0, tf.float32)
        table = tf.cast(tf.convert_to_tensor(_token_table(model)), hidden.dtype)
        losses, _ = smoothed_cross_entropy(hidden, table, tf.maximum(labels, 0), 0.0, tf.convert_to_tensor(head.bias))
        sums = {"masked_loss": tf.reduce_sum(losses * weights)}
        if self.next_sentence:
            logits = tf.cast(outputs["next_sentence_logits"], tf.float32)
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(targets["is_random"], logits)
            sums["next_loss"] = tf.reduce_sum(losses)
        return sums

    def evaluate_batches(self, batches):
        """`loss`, `mlm_accuracy` and `perplexity` of masked tokens, and `nsp_accuracy` where that is learned.

        The loss is the sum of the two means over the data set.
        """
        totals = {}
        for _, _, found in batches:
            for name, value in found.items():
                totals[name] = totals.get(name, 0.0) + float(value)
        masked = totals["masked_loss"] / max(totals["masked"], 1)
        metrics = {
            "loss": masked,
            "mlm_accuracy": totals["masked_right"] / max(totals["masked"], 1),
            "perplexity": float(np.exp(min(masked, 700))),
        }
        if self.next_sentence:
            metrics["loss"] += totals["next_loss"] / totals["rows"]
            metrics["nsp_accuracy"] = totals["next_right"] / totals["rows"]
        return metrics

    def evaluation_batch(self, features, targets, core):
        """Sums over a batch: losses, and right guesses."""
        inputs, targets = self.training_batch(features, targets)
        outputs = core(inputs)
        masked, rows = tf.unstack(self.loss_totals(targets))
        found = self._sums(targets, outputs, self.model) | {"masked": masked, "rows": rows}
        labels = tf.reshape(targets["labels"], [-1])
        best = self._best_tokens(self.model, outputs["masked_output"], 1)[0][:, 0]
        if self.remove_padding:
            labels = tf.boolean_mask(labels, labels >= 0)
        found["masked_right"] = tf.math.count_nonzero(tf.equal(best, labels), dtype=tf.float32)
        if self.next_sentence:
            guess = tf.argmax(outputs["next_sentence_logits"], -1, tf.int32)
            found["next_right"] = tf.math.count_nonzero(guess == targets["is_random"], dtype=tf.float32)
        return found

    # ---- answering ----

    def _best_tokens(self, model, hidden, number):
        """The likeliest tokens of masked places, int32 `[masked, number]`, and their probabilities."""
        head = find_layer(model, MaskedLanguageModelHead)
        scores = head.scores(hidden, tf.convert_to_tensor(_token_table(model)))
        # A table may have more rows than the vocabulary, to be a multiple of something.
        scores = scores[:, : self.tokenizer.vocabulary_size]
        found = tf.math.top_k(tf.nn.softmax(tf.cast(scores, tf.float32)), number)
        return found.indices, found.values

    def core_outputs(self, model, inputs):
        """The candidates of each masked place, int32 and float32 `[N, M, K]`, 0 where there is none; and, where it
        is learned, `next_sentence_logits`, float32 `[N, 2]`: 0 that the second segment follows, 1 that it does not."""
        outputs = model(inputs, training=False)
        ids, scores = self._best_tokens(model, outputs["masked_output"], self.num_candidates)
        positions = inputs["masked_positions"]
        if self.remove_padding:
            shape = tf.concat([tf.shape(positions), [self.num_candidates]], 0)
            slots = tf.cast(tf.where(positions >= 0), tf.int32)
            ids, scores = (tf.scatter_nd(slots, values, shape) for values in (ids, scores))
        else:
            is_masked = (positions >= 0)[..., None]
            shape = [-1, tf.shape(positions)[1], self.num_candidates]
            ids, scores = (tf.where(is_masked, tf.reshape(value, shape), 0) for value in (ids, scores))
        found = {"masked_ids": ids, "masked_scores": scores}
        if self.next_sentence:
            found["next_sentence_logits"] = outputs["next_sentence_logits"]
        return found

    def answer_features(self, features, core):
        """`tokens` and `scores` of each `[MASK]`, `[N, M, K]`, "" and 0 where there is none; for pairs with next
        sentence prediction also `probability`, `[N]`, that the second text follows the first."""
        return self._answer(core(self.batch_inputs(features)), features)

    def _answer(self, outputs, features):
        scores = outputs["masked_scores"]
        tokens = tf.gather(tf.constant(self.tokenizer.vocabulary), outputs["masked_ids"])
        answer = {"tokens": tf.where(scores > 0, tokens, ""), "scores": scores}
        if self.next_sentence and "text_pair" in features:
            answer["probability"] = tf.nn.softmax(tf.cast(outputs["next_sentence_logits"], tf.float32))[:, 0]
        return answer

    def fill_mask(self, texts, batch_size=32):
        """The most likely tokens for each `[MASK]` of texts, as they are served.

        Returns:
            `{"tokens": str [N, M, K], "scores": float32 [N, M, K]}`; "" and 0 where a text has fewer than M.

        Raises:
            InputError: `texts` is one text, not a list of them.
        """
        return self.predict(texts, batch_size=batch_size)

    def serving_functions(self, core):
        """`serving_default` and the same as `fill_mask` (`text`); `tokens` (ids in, raw outputs); with next sentence
        prediction `next_sentence`: `text` and `next_text` to `probability` that the one follows the other."""

        specs = {name: spec for name, spec in self.core_inputs().items() if name != "masked_positions"}

        @tf.function(input_signature=[string_spec("text"), string_spec("next_text")], autograph=False)
        def next_sentence(text, next_text):
            answer = self.answer_features({"text": text, "text_pair": next_text}, core)
            return {"probability": answer["probability"]}

        @tf.function(input_signature=list(specs.values()), autograph=False)
        def tokens(*inputs):
            inputs = dict(zip(specs, inputs, strict=True))
            return core(inputs | {"masked_positions": self._mask_places(inputs["token_ids"])})

        functions = super().serving_functions(core)
        functions |= {"fill_mask": functions["serving_default"], "tokens": tokens}
        return functions | ({"next_sentence": next_sentence} if self.next_sentence else {})

    def warmup_inputs(self, batch_size):
        mask = self.tokenizer.vocabulary[self.tokenizer.mask_id]
        texts = [f"the {mask} " + "good " * (4 + 6 * i) for i in range(batch_size)]
        return {"text": np.array(texts, dtype=object)}


def _token_table(model):
    return find_layer(model, TransformerEmbedding).token.embeddings


@dataclasses.dataclass(frozen=True)
class MaskedLanguageModelSettings(BertPretrainingSettings):
    """The arguments of `MaskedLanguageModel`, see `BertPretraining`."""

    next_sentence: bool = built_in(False)


@register_task
class MaskedLanguageModel(BertPretraining):
    """`BertPretraining` without next sentences: the head for masked tokens alone, of any encoder.

    Args:
        encoder, tokenizer, mask_rate, whole_words, max_masked, num_candidates, remove_padding: as there.
    """

    Settings = MaskedLanguageModelSettings
