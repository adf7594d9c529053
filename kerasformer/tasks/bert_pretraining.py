"""Pretraining of BERT, and what such a model can be asked at once: the words that are missing from a text."""

import keras
import numpy as np
import tensorflow as tf

from kerasformer.data.masking import TokenMasking
from kerasformer.errors import InputError
from kerasformer.layers import FirstToken, MaskedLanguageModelHead, TransformerBlock, TransformerEmbedding
from kerasformer.tasks.pretraining_heads import assign_heads, head_variables
from kerasformer.tasks.smoothed_cross_entropy import smoothed_cross_entropy
from kerasformer.tasks.task import Task, find_layer, string_spec

_ENCODER_INPUTS = ("token_ids", "segment_ids", "padding_mask")


class BertPretraining(Task):
    """Masked language model and next sentence prediction (Devlin et al. 2019, section 3.1).

    Both losses are means of their own, over the masked tokens and over the pairs of a batch, and are added. Only masked
    tokens reach the vocabulary, whose projection is the table of token embeddings.

    Args:
        encoder: as `bert(config, pooled=True)` or `load_huggingface` gives it.
        tokenizer: a WordPieceTokenizer with a mask token.
        next_sentence: whether to learn next sentence prediction; False for running text.
        mask_rate, whole_words, max_masked: see `TokenMasking`.
        num_candidates: tokens that are served for each `[MASK]`.
        remove_padding: as in `bert`.

    Raises:
        InputError: an encoder without pooler, a vocabulary without mask token, an option out of its range.
    """

    float32_layers = ("next_sentence",)

    def __init__(
        self,
        encoder,
        tokenizer,
        *,
        next_sentence=True,
        mask_rate=0.15,
        whole_words=False,
        max_masked=None,
        num_candidates=5,
        remove_padding=True,
    ):
        embedding = find_layer(encoder, TransformerEmbedding)
        if embedding is None or "pooler" not in [layer.name for layer in encoder.layers]:
            raise InputError("Pretraining needs an encoder with a pooler, as `bert(config, pooled=True)` gives it.")
        block = find_layer(encoder, TransformerBlock)
        sequence = encoder.output["sequence_output"]
        positions = keras.Input((None,), dtype="int32", name="masked_positions")
        head = MaskedLanguageModelHead(
            embedding.config.vocabulary_size,
            block.config.feed_forward.activation,
            block.config.norm.epsilon,
            kernel_initializer=block.kernel_initializer.clone(),
            remove_padding=remove_padding,
            dtype=embedding.dtype_policy,
            name="masked_language_model",
        )
        outputs = {"masked_output": head(sequence, positions)}
        if next_sentence:
            # Of the sequence, which is computed anyway: the encoder's own output computes the last block once more.
            pooled = encoder.get_layer("pooler")(FirstToken(name="sequence_first_token")(sequence))
            dense = keras.layers.Dense(
                2, kernel_initializer=block.kernel_initializer.clone(), dtype="float32", name="next_sentence"
            )
            outputs["next_sentence_logits"] = dense(pooled)
        settings = {"next_sentence": next_sentence, "mask_rate": mask_rate, "whole_words": whole_words}
        self._set_up(
            encoder, positions, outputs, tokenizer, **settings, max_masked=max_masked, num_candidates=num_candidates
        )

    @classmethod
    def from_model(cls, model, tokenizer, **settings):
        task = cls.__new__(cls)
        inputs, outputs = dict(model.input), dict(model.output)
        own = {name: outputs.pop(name) for name in ("masked_output", "next_sentence_logits") if name in outputs}
        encoder = keras.Model({name: inputs[name] for name in _ENCODER_INPUTS}, outputs, name="encoder")
        task._set_up(encoder, inputs["masked_positions"], own, tokenizer, **settings)
        return task

    def _set_up(
        self, encoder, positions, outputs, tokenizer, next_sentence, mask_rate, whole_words, max_masked, num_candidates
    ):
        if num_candidates < 1 or num_candidates > tokenizer.vocabulary_size:
            raise InputError(
                f"`num_candidates` must be from 1 to the {tokenizer.vocabulary_size} tokens. "
                f"Received: {num_candidates}."
            )
        self.masking = TokenMasking(tokenizer, mask_rate, whole_words=whole_words, max_masked=max_masked)
        self.next_sentence, self.num_candidates = next_sentence, num_candidates
        super().__init__(encoder, outputs, tokenizer, {"masked_positions": positions})

    def settings(self):
        return {
            "next_sentence": self.next_sentence,
            "mask_rate": self.masking.rate,
            "whole_words": self.masking.whole_words,
            "max_masked": self.masking.max_masked,
            "num_candidates": self.num_candidates,
        }

    def heads(self):
        """Weights of the heads by name, as `kf.interop.load_pretraining_heads` gives and `save_huggingface` takes
        them."""
        variables = head_variables(self.model, self.next_sentence)
        return {name: keras.ops.convert_to_numpy(variable) for name, variable in variables.items()}

    def assign_heads(self, heads):
        """Takes the weights of `heads`, see `heads()`; those for the next sentence only where that is learned.

        Returns:
            The names of those that `heads` lacks, whose weights stay what they were.

        Raises:
            InputError: a weight of an unknown name or another shape.
        """
        return assign_heads(head_variables(self.model, self.next_sentence), heads)

    # ---- training ----

    def batch_inputs(self, features):
        """Inputs of the model from a batch of `PretrainingData`, with tokens hidden, of each text the share of
        `"mask_rate"`, float32 `[N]`, if that is there; or from texts, `{"text": [N]}` or also `"text_pair"`, that hold
        `[MASK]`."""
        if "token_ids" in features:
            return self._masked(features)[0]
        inputs = super().batch_inputs(features)
        return inputs | {"masked_positions": self._mask_places(inputs["token_ids"])}

    def training_batch(self, features, targets):
        inputs, labels = self._masked(features)
        return inputs, {"labels": labels, **targets}

    def _masked(self, features):
        token_ids, positions, labels = self.masking(
            features["token_ids"], features["padding_mask"], features["seed"], features.get("mask_rate")
        )
        inputs = {name: features[name] for name in ("segment_ids", "padding_mask")}
        return {"token_ids": token_ids, **inputs, "masked_positions": positions}, labels

    def _mask_places(self, token_ids):
        """Where `[MASK]` stands, int32 `[N, M]`, -1 after the last."""
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
            totals: `loss_totals` of the whole batch, by default of `targets`.

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
        if head.remove_padding:
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

        The loss is the sum of the two means over the whole data set.
        """
        totals = {}
        for features, targets, outputs in batches:
            for name, value in self._evaluate_batch(features, targets, outputs).items():
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

    def _evaluate_batch(self, features, targets, outputs):
        if not hasattr(self, "_evaluate_compiled"):

            def sums(features, targets, outputs):
                targets = self.training_batch(features, targets)[1]
                masked, rows = tf.unstack(self.loss_totals(targets))
                found = self._sums(targets, outputs, self.model) | {"masked": masked, "rows": rows}
                labels = tf.reshape(targets["labels"], [-1])
                best = self._best_tokens(self.model, outputs["masked_output"], 1)[0][:, 0]
                if find_layer(self.model, MaskedLanguageModelHead).remove_padding:
                    labels = tf.boolean_mask(labels, labels >= 0)
                found["masked_right"] = tf.math.count_nonzero(tf.equal(best, labels), dtype=tf.float32)
                if self.next_sentence:
                    guess = tf.argmax(outputs["next_sentence_logits"], -1, tf.int32)
                    found["next_right"] = tf.math.count_nonzero(guess == targets["is_random"], dtype=tf.float32)
                return found

            self._evaluate_compiled = tf.function(sums, reduce_retracing=True)
        return self._evaluate_compiled(*tf.nest.map_structure(tf.convert_to_tensor, (features, targets, outputs)))

    # ---- answering ----

    def _best_tokens(self, model, hidden, number):
        """The likeliest tokens of masked places, int32 `[masked, number]`, and their probabilities."""
        head = find_layer(model, MaskedLanguageModelHead)
        scores = head.scores(hidden, tf.convert_to_tensor(_token_table(model)))
        # A table may have more rows than the vocabulary, to be a multiple of something.
        scores = scores[:, : self.tokenizer.vocabulary_size]
        found = tf.math.top_k(tf.nn.softmax(tf.cast(scores, tf.float32)), number)
        return found.indices, found.values

    def core_inputs(self):
        return super().core_inputs() | {
            "masked_positions": tf.TensorSpec([None, None], tf.int32, name="masked_positions")
        }

    def core_outputs(self, model, inputs):
        """The candidates of each masked place, int32 and float32 `[N, M, K]`, 0 where there is none; and, where it
        is learned, `next_sentence_logits`, float32 `[N, 2]`: 0 that the second segment follows, 1 that it does not."""
        outputs = model(inputs, training=False)
        ids, scores = self._best_tokens(model, outputs["masked_output"], self.num_candidates)
        positions = inputs["masked_positions"]
        if find_layer(model, MaskedLanguageModelHead).remove_padding:
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
        """The likeliest tokens for each `[MASK]` of texts, as they are served.

        Returns:
            `{"tokens": str [N, M, K], "scores": float32 [N, M, K]}`; "" and 0 where a text has fewer than M.

        Raises:
            InputError: `texts` is one text, not a list of them.
        """
        if isinstance(texts, str):
            raise InputError(f"`texts` must be a list of texts. Received one text: {texts[:40]!r}. Put it in a list.")
        return self.answers({"text": list(texts)}, batch_size)

    def serving_functions(self, core):
        """`serving_default` and the same as `fill_mask` (`text`); `tokens` (ids in, raw outputs); with next sentence
        prediction `next_sentence`: `text` and `next_text` to `probability` that the one follows the other."""

        @tf.function(input_signature=[string_spec("text")])
        def fill_mask(text):
            return self.answer_features({"text": text}, core)

        @tf.function(input_signature=[string_spec("text"), string_spec("next_text")])
        def next_sentence(text, next_text):
            answer = self.answer_features({"text": text, "text_pair": next_text}, core)
            return {"probability": answer["probability"]}

        @tf.function(input_signature=[tf.TensorSpec([None, None], tf.int32, name=name) for name in _ENCODER_INPUTS])
        def tokens(token_ids, segment_ids, padding_mask):
            inputs = {"token_ids": token_ids, "segment_ids": segment_ids, "padding_mask": padding_mask}
            return core(inputs | {"masked_positions": self._mask_places(token_ids)})

        functions = {"serving_default": fill_mask, "fill_mask": fill_mask, "tokens": tokens}
        return functions | ({"next_sentence": next_sentence} if self.next_sentence else {})

    def warmup_inputs(self, batch_size):
        texts = [f"the {self.tokenizer.mask_token} " + "good " * (4 + 6 * i) for i in range(batch_size)]
        return {"text": np.array(texts, dtype=object)}


def _token_table(model):
    return find_layer(model, TransformerEmbedding).token.embeddings
