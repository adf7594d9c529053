"""Translation of sentences."""

import re

import keras
import numpy as np
import tensorflow as tf

from kerasformer.decoding import Rules, beam_search
from kerasformer.errors import InputError
from kerasformer.models import TransformerSteps
from kerasformer.tasks.alignment import attention_over_source
from kerasformer.tasks.smoothed_cross_entropy import smoothed_cross_entropy
from kerasformer.tasks.task import Task, as_strings, string_spec
from kerasformer.tasks.translation_metrics import corpus_scores

# Tokens that a translation may have beyond those of its source (Vaswani et al. 2017, section 6.1).
_MORE_TOKENS = 50


def language_tag(language):
    """The token that asks for a language, such as "<2de>" (Johnson et al. 2017, arXiv:1611.04558)."""
    return f"<2{language}>"


class Translator(Task):
    """Translates with an encoder-decoder (Vaswani et al. 2017): a string in, its translation out.

    Args:
        model: as `transformer(config)` gives it, with one vocabulary for both sides.
        tokenizer: a `SentencePieceTokenizer`; its `max_length` is the longest source.
        target_languages: for one model of several target languages: texts begin with `language_tag(language)`, which
            must be a piece of the tokenizer's. Texts without tag get the first language's.
        beam_size, length_penalty: of `beam_search`; the paper's 4 and 0.6.
        label_smoothing: of the loss.

    Attributes:
        evaluation_beam: beams of the translations that `evaluate_batches` scores with BLEU and chrF; 0: none are made.
        min_length: tokens before which no translation ends, 0 unless set.
        bleu_signature: of `sacrebleu`, after an evaluation with translations.

    Raises:
        InputError: a model of another kind, a vocabulary that does not fit it, an option out of its range.
    """

    def __init__(self, model, tokenizer, *, target_languages=(), beam_size=4, length_penalty=0.6, label_smoothing=0.1):
        steps = TransformerSteps(model)
        size = steps.target_embedding.vocabulary_size
        if tokenizer.vocabulary_size > size:
            raise InputError(
                f"The vocabulary of {tokenizer.vocabulary_size} tokens does not fit the model's embedding of {size}."
            )
        tags = [language_tag(language) for language in target_languages]
        missing = [tag for tag in tags if tag not in tokenizer.vocabulary]
        if missing:
            raise InputError(f"The tags of `target_languages` must be pieces of the tokenizer. Missing: {missing}.")
        if beam_size < 1 or not np.isfinite(length_penalty) or not 0 <= label_smoothing < 1:
            raise InputError(
                "`beam_size` must be 1 or more, `length_penalty` finite, `label_smoothing` in [0, 1). Received: "
                f"beam_size={beam_size}, length_penalty={length_penalty}, label_smoothing={label_smoothing}."
            )
        self.transformer, self.tokenizer = model, tokenizer
        self.target_languages = tuple(target_languages)
        self.beam_size, self.length_penalty, self.label_smoothing = beam_size, length_penalty, label_smoothing
        self.evaluation_beam, self.bleu_signature, self.min_length = 0, None, 0
        self._tag_ids = [tokenizer.vocabulary.index(tag) for tag in tags]
        self._unsayable = [tokenizer.padding_id, tokenizer.start_id, tokenizer.unknown_id, *self._tag_ids]
        # The loss scores the vocabulary itself, so training stops at the hidden states.
        last = steps.decoder_norm or steps.decoder_blocks[-1]
        hidden = last.output if steps.output is None else steps.output(last.output, score=False)
        outputs = {"decoder_output": hidden}
        if steps.target_layout is not None:
            outputs["decoder_slots"] = steps.target_layout(model.input["target_padding_mask"])["pack"]
        self.model = keras.Model(model.input, outputs, name="task")
        self._steps = steps

    def whole_model(self):
        return self.transformer

    @classmethod
    def from_model(cls, model, tokenizer, **settings):
        return cls(model, tokenizer, **settings)

    def settings(self):
        return {
            "target_languages": list(self.target_languages),
            "beam_size": self.beam_size,
            "length_penalty": self.length_penalty,
            "label_smoothing": self.label_smoothing,
        }

    # ---- training ----

    def batch_inputs(self, features):
        """`{"text": [N], "text_pair": [N]}`, sources and their translations, as inputs of the model."""
        return self._inputs_and_labels(features)[0]

    def training_batch(self, features, targets):
        return self._inputs_and_labels(features)

    def _inputs_and_labels(self, features):
        source = self.tokenizer(self._tagged(features["text"]))
        target = self.tokenizer.with_start(self.tokenizer.tokenize(features["text_pair"]))
        mask = target["padding_mask"][:, 1:]
        inputs = {f"source_{name}": value for name, value in source.items()}
        inputs |= {"target_token_ids": target["token_ids"][:, :-1], "target_padding_mask": mask}
        return inputs, tf.where(mask > 0, target["token_ids"][:, 1:], -1)

    def _tagged(self, texts):
        if not self.target_languages:
            return texts
        tags = "|".join(re.escape(language_tag(language)) for language in self.target_languages)
        has_tag = tf.strings.regex_full_match(texts, rf"(?s)\s*({tags}).*")
        return tf.where(has_tag, texts, tf.strings.join([language_tag(self.target_languages[0]), " ", texts]))

    def loss(self, targets, outputs):
        """Sum of the label-smoothed losses of a batch's tokens, and their number.

        Args:
            targets: int32 `[N, length]`, token ids, -1 at padding.
            outputs: of `self.model`.
        """
        smoothed, _, weights = self._losses(targets, outputs)
        return tf.reduce_sum(smoothed * weights), tf.reduce_sum(weights)

    def _losses(self, targets, outputs):
        hidden = outputs["decoder_output"]
        labels = tf.reshape(targets, [-1])
        if "decoder_slots" in outputs:
            labels = tf.gather(labels, outputs["decoder_slots"])
        if self._steps.output is None:
            table = self._steps.target_embedding.token.embeddings
        else:
            table = self._steps.output.table
        table = tf.cast(tf.convert_to_tensor(table), hidden.dtype)
        smoothed, plain = smoothed_cross_entropy(hidden, table, tf.maximum(labels, 0), self.label_smoothing)
        return smoothed, plain, tf.cast(labels >= 0, tf.float32)

    def evaluate_batches(self, batches):
        """`loss` (label-smoothed) and `perplexity` (not so) a token; with `evaluation_beam` also `bleu` and `chrf` of
        translations, and for several languages those of each, `bleu_de` and so on."""
        totals, sources, references = np.zeros(3), [], []
        for features, _, outputs in batches:
            totals += self._evaluate_batch(features, outputs).numpy()
            sources += as_strings(features["text"]).tolist()
            references += as_strings(features["text_pair"]).tolist()
        smoothed, plain, count = totals
        metrics = {"loss": smoothed / max(count, 1), "perplexity": float(np.exp(min(plain / max(count, 1), 700)))}
        return metrics | (self._score(sources, references) if self.evaluation_beam else {})

    def _evaluate_batch(self, features, outputs):
        if not hasattr(self, "_evaluate_compiled"):

            def sums(features, outputs):
                smoothed, plain, weights = self._losses(self._inputs_and_labels(features)[1], outputs)
                return tf.stack([tf.reduce_sum(value * weights) for value in (smoothed, plain, tf.ones_like(plain))])

            self._evaluate_compiled = tf.function(sums, reduce_retracing=True)
        tensors = tf.nest.map_structure(tf.convert_to_tensor, (features, outputs))
        return self._evaluate_compiled(*tensors)

    def _score(self, sources, references):
        found = self.translate(sources, beam_size=self.evaluation_beam)["translation"].tolist()
        lowercase = self.tokenizer.lowercase
        scores, self.bleu_signature = corpus_scores(found, references, lowercase)
        for language in self.target_languages:
            rows = [row for row, text in enumerate(sources) if text.lstrip().startswith(language_tag(language))]
            if rows:
                own, _ = corpus_scores([found[row] for row in rows], [references[row] for row in rows], lowercase)
                scores |= {f"{name}_{language}": value for name, value in own.items()}
        return scores

    # ---- translating ----

    def core_inputs(self):
        return {
            "source_token_ids": tf.TensorSpec([None, None], tf.int32, name="source_token_ids"),
            "source_padding_mask": tf.TensorSpec([None, None], tf.int32, name="source_padding_mask"),
            "beam_size": tf.TensorSpec([], tf.int32, name="beam_size"),
            "length_penalty": tf.TensorSpec([None], tf.float32, name="length_penalty"),
            "max_length": tf.TensorSpec([None], tf.int32, name="max_length"),
        }

    def core_outputs(self, model, inputs):
        """The best sequence of each row, see `beam_search`."""
        found = beam_search(
            TransformerSteps(model),
            {name: inputs[name] for name in ("source_token_ids", "source_padding_mask")},
            start_id=self.tokenizer.start_id,
            end_id=self.tokenizer.end_id,
            padding_id=self.tokenizer.padding_id,
            max_length=inputs["max_length"],
            beam_size=inputs["beam_size"],
            length_penalty=inputs["length_penalty"],
            rules=Rules(forbidden=tuple(self._unsayable), min_length=self.min_length),
        )
        return {
            "token_ids": found["token_ids"][:, 0],
            "lengths": found["lengths"][:, 0],
            "score": found["scores"][:, 0],
            "ended": found["ended"][:, 0],
        }

    def answer_features(self, features, core):
        """What is served: `translation`, `score` and `truncated`, each `[N]`.

        Args:
            features: `text`, and where wanted `length_penalty` float32, `max_length` int32 and `beam_size` int32,
                `[N]` each. A penalty that is no number means the task's own; below 1, `max_length` gives "".
        """
        pieces = self.tokenizer.tokenize(self._tagged(features["text"]))
        source = {f"source_{name}": value[:, 1:] for name, value in self.tokenizer.with_start(pieces).items()}
        lengths = tf.reduce_sum(source["source_padding_mask"], 1)
        longest = tf.minimum(lengths + _MORE_TOKENS, self.tokenizer.max_length)
        if "max_length" in features:
            longest = tf.clip_by_value(features["max_length"], 0, self.tokenizer.max_length)
        is_empty = self._says_nothing(pieces)
        penalty = tf.fill(tf.shape(lengths), float(self.length_penalty))
        if "length_penalty" in features:
            penalty = tf.where(tf.math.is_finite(features["length_penalty"]), features["length_penalty"], penalty)
        beams = features.get("beam_size", tf.fill(tf.shape(lengths), self.beam_size))
        found = core(
            {
                **source,
                "beam_size": tf.maximum(tf.reduce_max(tf.concat([beams, [1]], 0)), 1),
                "length_penalty": penalty,
                "max_length": tf.where(is_empty, 0, longest),
            }
        )
        is_cut = tf.cast(pieces.row_lengths(), tf.int32) > self.tokenizer.max_length - 1
        said = tf.RaggedTensor.from_tensor(found["token_ids"], found["lengths"])
        return {
            "translation": self.tokenizer.detokenize(said),
            "score": found["score"],
            "truncated": is_cut | ~(found["ended"] | is_empty),
        }

    def _says_nothing(self, pieces):
        """Whether a row has no piece but a language tag and space, bool `[N]`."""
        silent = [*self._tag_ids, *[place for place, piece in enumerate(self.tokenizer.vocabulary) if piece == "▁"]]
        speaks = tf.reduce_all(pieces.values[:, None] != tf.constant(silent, tf.int32, [len(silent)]), 1)
        return ~tf.reduce_any(pieces.with_values(speaks), 1)

    def translate(self, texts, target_language=None, *, beam_size=None, length_penalty=None, max_length=None):
        """Translations as they are served, from Python; similar lengths are computed together.

        Args:
            texts: list of str.
            target_language: one of `target_languages`, for texts that do not begin with a tag.
            beam_size, length_penalty, max_length: in place of the task's own.

        Returns:
            `{"translation": str [N], "score": float32 [N], "truncated": bool [N]}`.

        Raises:
            InputError: an unknown language, or an option out of its range.
        """
        if isinstance(texts, str):
            raise InputError("`texts` must be a list of texts. Received one text. Put it in a list.")
        texts = list(texts)
        if target_language is not None:
            if target_language not in self.target_languages:
                raise InputError(
                    f"`target_language` must be one of {list(self.target_languages)}. Received: {target_language!r}."
                )
            texts = [f"{language_tag(target_language)} {text}" for text in texts]
        options = {"beam_size": beam_size, "length_penalty": length_penalty, "max_length": max_length}
        options = {name: value for name, value in options.items() if value is not None}
        for name, value in options.items():
            if not np.isfinite(value) or (name != "length_penalty" and value < 1):
                raise InputError(f"`{name}` must be a number in its range. Received: {name}={value!r}.")
        order = np.argsort([len(text) for text in texts], kind="stable")
        columns = {"text": [texts[place] for place in order]}
        types = {"beam_size": np.int32, "length_penalty": np.float32, "max_length": np.int32}
        columns |= {name: np.full(len(texts), value, types[name]) for name, value in options.items()}
        answers = self.answers(columns, 64)
        back = np.argsort(order, kind="stable")
        return {name: value[back] for name, value in answers.items()}

    def align(self, texts, translations):
        """What each piece of a translation looked at (Bahdanau et al. 2015; section 3.2.3 of the paper).

        Args:
            texts, translations: lists of str, equally many.

        Returns:
            For each pair `(target pieces, source pieces, float32 [target pieces, source pieces])`, the attention of the
            last decoder block; the last piece of each side is the end token, and each row adds up to 1.
        """
        inputs, labels = self._inputs_and_labels({"text": tf.constant(texts), "text_pair": tf.constant(translations)})
        attention = attention_over_source(self.transformer, inputs).numpy()
        result = []
        for row, ids in enumerate(inputs["source_token_ids"].numpy()):
            source = [self.tokenizer.vocabulary[token] for token in ids[inputs["source_padding_mask"][row] > 0]]
            target = [self.tokenizer.vocabulary[token] for token in labels[row].numpy() if token >= 0]
            result.append((target, source, attention[row, : len(target), : len(source)]))
        return result

    # ---- serving ----

    def serving_functions(self, core):
        """`serving_default` and `greedy` (strings), `with_options` (and `length_penalty` and `max_length` `[N]`), and
        `tokens` (ids in, the best sequence out)."""

        @tf.function(input_signature=[string_spec("text")])
        def serving_default(text):
            return self.answer_features({"text": text}, core)

        @tf.function(input_signature=[string_spec("text")])
        def greedy(text):
            return self.answer_features({"text": text, "beam_size": tf.ones(tf.shape(text), tf.int32)}, core)

        @tf.function(
            input_signature=[
                string_spec("text"),
                tf.TensorSpec([None], tf.float32, name="length_penalty"),
                tf.TensorSpec([None], tf.int32, name="max_length"),
            ]
        )
        def with_options(text, length_penalty, max_length):
            return self.answer_features(
                {"text": text, "length_penalty": length_penalty, "max_length": max_length}, core
            )

        specs = self.core_inputs()

        @tf.function(input_signature=[specs["source_token_ids"], specs["source_padding_mask"]])
        def tokens(source_token_ids, source_padding_mask):
            lengths = tf.reduce_sum(tf.cast(source_padding_mask > 0, tf.int32), 1)
            return core(
                {
                    "source_token_ids": source_token_ids,
                    "source_padding_mask": source_padding_mask,
                    "beam_size": tf.constant(self.beam_size),
                    "length_penalty": tf.fill(tf.shape(lengths), float(self.length_penalty)),
                    "max_length": tf.minimum(lengths + _MORE_TOKENS, self.tokenizer.max_length),
                }
            )

        return {
            "serving_default": serving_default,
            "greedy": greedy,
            "with_options": with_options,
            "tokens": tokens,
        }

    def warmup_inputs(self, batch_size):
        """Inputs of `serving_default` of growing lengths, NumPy arrays of strings."""
        pieces = [piece.replace("▁", " ") for piece in self.tokenizer.vocabulary if piece.startswith("▁")][:40] or ["a"]
        texts = [" ".join(pieces[: 4 + 4 * row]).split() for row in range(batch_size)]
        return {"text": np.array([" ".join(words) or "a" for words in texts], dtype=object)}
