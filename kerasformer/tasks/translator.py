"""Translation of sentences."""

import dataclasses
import functools
import numbers

import numpy as np
import tensorflow as tf

from kerasformer import data
from kerasformer.errors import InputError
from kerasformer.metrics.translation import corpus_scores
from kerasformer.tasks.alignment import attention_over_source
from kerasformer.tasks.arrays import as_strings
from kerasformer.tasks.names import checked_names
from kerasformer.tasks.smoothed_cross_entropy import smoothed_cross_entropy
from kerasformer.tasks.task import Head, Task, built_in, register_task
from kerasformer.tasks.translation_pieces import TranslationPieces, language_tag
from kerasformer.tasks.translator_serving import best_sequences, translator_signatures
from kerasformer.tasks.vocabulary_map import Candidates, VocabularyMap

_MAP = "vocabulary_map.txt"


@dataclasses.dataclass(frozen=True)
class TranslatorSettings:
    """The arguments of `Translator`, see there."""

    _: dataclasses.KW_ONLY
    target_languages: tuple[str, ...] = built_in(())
    beam_size: int = 4
    length_penalty: float = 0.6
    coverage_penalty: float = 0.0
    label_smoothing: float = 0.1
    min_length: int = 0
    evaluation_beam: int = 0
    bleu_tokenize: str | None = None

    def __post_init__(self):
        object.__setattr__(self, "target_languages", checked_names(self.target_languages, "target_languages"))
        in_range = np.isfinite(self.length_penalty) and 0 <= self.coverage_penalty < np.inf
        if self.beam_size < 1 or not in_range or not 0 <= self.label_smoothing < 1:
            raise InputError(
                "`beam_size` must be 1 or more, `length_penalty` finite, `coverage_penalty` finite and from 0, "
                f"`label_smoothing` in [0, 1). Received: beam_size={self.beam_size}, length_penalty="
                f"{self.length_penalty}, coverage_penalty={self.coverage_penalty}, label_smoothing="
                f"{self.label_smoothing}."
            )


@register_task
class Translator(Task):
    """Translates with an encoder-decoder (Vaswani et al. 2017): a string in, its translation out.

    Args:
        encoder: the model, as `transformer(config)` makes it.
        tokenizer: a `SentencePieceTokenizer`; its `max_length` is the longest source.
        target_tokenizer: of the translations, for a model with two vocabularies; None: the same.
        target_languages: for one model of several target languages: texts begin with `language_tag(language)`, which
            must be a piece of the tokenizer's. Texts without tag get the first language's.
        beam_size, length_penalty, coverage_penalty: of `Beam`; the paper's 4 and 0.6, and none.
        label_smoothing: of the loss.
        min_length: tokens before which no translation ends.
        evaluation_beam: beams of the translations that `evaluate_batches` scores with BLEU and chrF; 0: none are made.
        bleu_tokenize: BLEU's tokenizer, see `kf.metrics.bleu_tokenizer`; None: by the script of the references.

    Attributes:
        transformer: the model, as given.
        vocabulary_map: see `with_vocabulary_map`; None at first.
        bleu_signature, chrf_signature: of `sacrebleu`, after an evaluation with translations.

    Raises:
        InputError: a model of another kind, a vocabulary that does not fit it, an option out of range.
    """

    Settings = TranslatorSettings

    def __init__(self, encoder, tokenizer, *, target_tokenizer=None, **settings):
        self.target_tokenizer = tokenizer if target_tokenizer is None else target_tokenizer
        self._has_own_target = target_tokenizer is not None
        self.bleu_signature = self.chrf_signature = self.vocabulary_map = None
        super().__init__(encoder, tokenizer, **settings)

    @property
    def transformer(self):
        return self.encoder

    def check(self):
        model = self.encoder
        if getattr(model, "encoder", None) is None or model.decoder is None:
            raise InputError(
                "A translator needs an encoder-decoder, as `transformer(config)` makes it. "
                f"Received: {getattr(model, 'name', model)!r}."
            )
        if not self._has_own_target and not model.config.share_embeddings:
            raise InputError("A model with two vocabularies needs a `target_tokenizer`. Received: none.")
        for side, config in ((self.tokenizer, model.encoder.config), (self.target_tokenizer, model.decoder.config)):
            if side.vocabulary_size > config.vocabulary_size:
                raise InputError(
                    f"The vocabulary of {side.vocabulary_size} tokens does not fit the model's embedding of "
                    f"{config.vocabulary_size}."
                )
            longest = config.max_sequence_length or side.max_length
            if side.max_length > longest:
                raise InputError(
                    f"The tokenizer's max_length={side.max_length} is beyond the model's {longest} positions: make the "
                    "tokenizer with a smaller `max_length`."
                )
        self.pieces  # noqa: B018, checks the languages

    @functools.cached_property
    def pieces(self):
        """The texts of both sides as inputs of the model."""
        return TranslationPieces(self.tokenizer, self.target_tokenizer, self.target_languages)

    def build(self):
        # The loss scores the vocabulary itself, so training stops at the hidden states.
        model, rows = self.encoder, self.encoder.final_rows
        outputs = {"decoder_output": rows.hidden}
        if model.output_head is not None:
            outputs["decoder_output"] = model.output_head(rows.hidden, score=False)
        if rows.layout is not None:
            outputs["decoder_slots"] = rows.layout["pack"]
        self.head = Head()
        return outputs, {}

    def with_vocabulary_map(self, vocabulary_map):
        """The task with a `VocabularyMap`, or None to be without. Its translations are made of pieces that the map has
        for the pieces of their source, and scores are computed of these alone. A translation's score is its probability
        among them.

        Raises:
            InputError: the map has pieces that are none of the tokenizers'.
        """
        changed = self.replace()
        changed.vocabulary_map = vocabulary_map
        changed.candidates  # noqa: B018, checks the pieces
        return changed

    @functools.cached_property
    def candidates(self):
        """From a batch of sources to the target tokens that the vocabulary map leaves them; None without a map."""
        first = dict.fromkeys([*self.pieces.unsayable, self.target_tokenizer.end_id])
        sides = self.tokenizer.vocabulary, self.target_tokenizer.vocabulary
        return None if self.vocabulary_map is None else Candidates(self.vocabulary_map, *sides, first)

    def write_files(self, folder):
        if self.vocabulary_map is not None:
            self.vocabulary_map.save(folder / _MAP)

    def with_files(self, folder):
        return self.with_vocabulary_map(VocabularyMap.load(folder / _MAP)) if (folder / _MAP).is_file() else self

    def further_tokenizers(self):
        return {} if self.target_tokenizer is self.tokenizer else {"target_tokenizer": self.target_tokenizer}

    # ---- training ----

    def batch_inputs(self, features):
        """`{"text": [N], "text_pair": [N]}`, sources and their translations, as inputs of the model."""
        return self.pieces.inputs_and_labels(features)[0]

    def training_batch(self, features, targets):
        """Inputs of the model, and the target token ids, int32 `[N, length]`, -1 at padding. `targets` are not
        read: translations come with the features, as for `batch_inputs`."""
        return self.pieces.inputs_and_labels(features)

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
        head = self.transformer.output_head
        table = self.transformer.embeddings.token.embeddings if head is None else head.table
        table = tf.cast(tf.convert_to_tensor(table), hidden.dtype)
        smoothed, plain = smoothed_cross_entropy(hidden, table, tf.maximum(labels, 0), self.label_smoothing)
        return smoothed, plain, tf.cast(labels >= 0, tf.float32)

    def labelled_batches(self, source):
        """Texts and their translations, in the fields `text` and `text_pair` of each record."""
        return data.batches(data.load_translation(source, "text", "text_pair"), 32)

    def in_precision(self, precision):
        changed = super().in_precision(precision)
        changed.encoder = self.serving_model(precision)  # which translates
        return changed

    def forward(self, inputs):
        self.transformer(inputs, training=False)  # with the scores of the vocabulary
        return super().forward(inputs)

    def evaluate_batches(self, batches):
        """`loss` (label-smoothed) and `perplexity` (not so) a token; with `evaluation_beam` also `bleu` and `chrf` of
        translations, and for several languages those of each, `bleu_de` and so on."""
        totals, sources, references = np.zeros(3), [], []
        for features, _, sums in batches:
            totals += sums
            sources += as_strings(features["text"]).tolist()
            references += as_strings(features["text_pair"]).tolist()
        smoothed, plain, count = totals
        metrics = {"loss": smoothed / max(count, 1), "perplexity": float(np.exp(min(plain / max(count, 1), 700)))}
        return metrics | (self._score(sources, references) if self.evaluation_beam else {})

    def evaluation_batch(self, features, targets, core):
        """Of a batch's tokens the sums of the smoothed and the plain losses, and their number, float32 `[3]`."""
        inputs, labels = self.pieces.inputs_and_labels(features)
        smoothed, plain, weights = self._losses(labels, core(inputs))
        return tf.stack([tf.reduce_sum(value * weights) for value in (smoothed, plain, tf.ones_like(plain))])

    def _score(self, sources, references):
        found = self.translate(sources, beam_size=self.evaluation_beam)["translation"].tolist()
        lowercase, asked = self.target_tokenizer.lowercase, np.maximum(self.pieces.asks_for(sources), 0)
        scores, signatures = corpus_scores(found, references, lowercase, self.bleu_tokenize)
        self.bleu_signature, self.chrf_signature = signatures.get("bleu"), signatures.get("chrf")
        for place, language in enumerate(self.target_languages):
            rows = np.flatnonzero(asked == place)
            if rows.size:
                own, _ = corpus_scores(
                    [found[row] for row in rows], [references[row] for row in rows], lowercase, self.bleu_tokenize
                )
                scores |= {f"{name}_{language}": value for name, value in own.items()}
        return scores

    # ---- translating ----

    def core_inputs(self):
        return {
            "source_token_ids": tf.TensorSpec([None, None], tf.int32, name="source_token_ids"),
            "source_padding_mask": tf.TensorSpec([None, None], tf.int32, name="source_padding_mask"),
            "beam_size": tf.TensorSpec([], tf.int32, name="beam_size"),
            "num_results": tf.TensorSpec([], tf.int32, name="num_results"),
            "length_penalty": tf.TensorSpec([None], tf.float32, name="length_penalty"),
            "max_length": tf.TensorSpec([None], tf.int32, name="max_length"),
        }

    @property
    def core_model(self):
        """The encoder-decoder itself: training's outputs end before the vocabulary."""
        return self.encoder

    def core_outputs(self, model, inputs):
        """The best sequences of each row, see `search`."""
        return best_sequences(self, model, inputs)

    def most_tokens(self, lengths):
        """Of translations, for sources of `lengths`, int32 `[N]` (Vaswani et al. 2017, section 6.1)."""
        return tf.minimum(lengths + 50, self.target_tokenizer.max_length)

    def answer_features(self, features, core):
        """What is served: `translation`, `score` and `truncated`, each `[N]`; the last is true where
        the text was truncated, or where the translation did not end within `max_length`.

        Args:
            features: `text`, and where wanted `length_penalty` float32, `max_length` int32, `beam_size` and
                `num_results` int32, `[N]` each. A penalty that is not finite means the task's own; below 1,
                `max_length` returns "". With `num_results` there are also the best so many, `translations` and `scores`
                `[N, num_results]`, best first; "" and 0 where there are fewer.
        """
        source, is_cut, is_empty = self.pieces.sources(features["text"])
        lengths = tf.reduce_sum(source["source_padding_mask"], 1)
        most_tokens = self.most_tokens(lengths)
        if "max_length" in features:
            most_tokens = tf.clip_by_value(features["max_length"], 0, self.target_tokenizer.max_length)
        penalty = tf.fill(tf.shape(lengths), float(self.length_penalty))
        if "length_penalty" in features:
            penalty = tf.where(tf.math.is_finite(features["length_penalty"]), features["length_penalty"], penalty)

        def largest(name, default):
            values = features.get(name, tf.fill(tf.shape(lengths), default))
            return tf.maximum(tf.reduce_max(tf.concat([values, [1]], 0)), 1)

        num_results = largest("num_results", 1)
        found = core(
            {
                **source,
                "beam_size": tf.maximum(largest("beam_size", self.beam_size), num_results),
                "num_results": num_results,
                "length_penalty": penalty,
                "max_length": tf.where(is_empty, 0, most_tokens),
            }
        )
        rows, each, longest = tf.unstack(tf.shape(found["token_ids"]))
        token_ids = tf.reshape(found["token_ids"], [rows * each, longest])
        said = tf.RaggedTensor.from_tensor(token_ids, tf.reshape(found["lengths"], [-1]))
        texts = tf.reshape(self.target_tokenizer.detokenize(said), [rows, each])
        answer = {
            "translation": texts[:, 0],
            "score": found["score"][:, 0],
            "truncated": is_cut | ~(found["ended"][:, 0] | is_empty),
        }
        return answer | ({"translations": texts, "scores": found["score"]} if "num_results" in features else {})

    def translate(
        self, texts, target_language=None, *, beam_size=None, length_penalty=None, max_length=None, num_results=None
    ):
        """Translations as they are served, from Python; similar lengths are computed together.

        Args:
            texts: list of str.
            target_language: one of `target_languages`, for texts without a tag; None: texts may begin with a tag.
            beam_size, length_penalty, max_length: in place of the task's own.
            num_results: also return so many best translations of each text; there are at least as many beams.

        Returns:
            `{"translation": str [N], "score": float32 [N], "truncated": bool [N]}`, and with `num_results`
            `"translations"` and `"scores"`, `[N, num_results]`, best first.

        Raises:
            InputError: an unknown language, an option out of range, or `texts` that are not texts.
        """
        texts = _checked_texts(texts, "texts")
        if target_language is not None:
            if target_language not in self.target_languages:
                raise InputError(
                    f"`target_language` must be one of {list(self.target_languages)}. Received: {target_language!r}."
                )
            texts = [f"{language_tag(target_language)} {text}" for text in texts]
        options = {"beam_size": beam_size, "length_penalty": length_penalty, "max_length": max_length}
        options["num_results"] = num_results
        options = {name: value for name, value in options.items() if value is not None}
        for name, value in options.items():
            if (
                not isinstance(value, numbers.Real)
                or not np.isfinite(value)
                or (name != "length_penalty" and value < 1)
            ):
                raise InputError(f"`{name}` must be a number in its range. Received: {name}={value!r}.")
        order = np.argsort([len(text) for text in texts], kind="stable")
        columns = {"text": [texts[place] for place in order]}
        columns |= {
            name: np.full(len(texts), value, np.float32 if name == "length_penalty" else np.int32)
            for name, value in options.items()
        }
        answers = self.answers(columns, 64)
        back = np.argsort(order, kind="stable")
        return {name: value[back] for name, value in answers.items()}

    def align(self, texts, translations):
        """What each piece of a translation attended to (Bahdanau et al. 2015; section 3.2.3 of the paper).

        Args:
            texts, translations: lists of str, equally many.

        Returns:
            For each pair `(target pieces, source pieces, float32 [target pieces, source pieces])`, the attention of the
            last decoder block; the last piece of each side is the end token, and each row adds up to 1.

        Raises:
            InputError: there are not as many translations as texts, or they are not texts.
        """
        texts, translations = _checked_texts(texts, "texts"), _checked_texts(translations, "translations")
        if len(texts) != len(translations):
            raise InputError(
                f"`texts` and `translations` must have the same length. Received: {len(texts)} and {len(translations)}."
            )
        if not texts:
            return []
        features = {"text": tf.constant(texts), "text_pair": tf.constant(translations)}
        inputs, labels = self.pieces.inputs_and_labels(features)
        attention = attention_over_source(self.transformer, inputs).numpy()
        result = []
        for row, ids in enumerate(inputs["source_token_ids"].numpy()):
            source = [self.tokenizer.vocabulary[token] for token in ids[inputs["source_padding_mask"][row] > 0]]
            target = [self.target_tokenizer.vocabulary[token] for token in labels[row].numpy() if token >= 0]
            result.append((target, source, attention[row, : len(target), : len(source)]))
        return result

    # ---- serving ----

    def serving_functions(self, core):
        """`serving_default` and `greedy` (strings), `n_best` (also `translations` and `scores` `[N, beam_size]`),
        `with_options` (and `length_penalty` and `max_length` `[N]`), and `tokens` (ids in, the best sequence out)."""
        return translator_signatures(self, core)

    def warmup_inputs(self, batch_size):
        """Inputs of `serving_default` of growing lengths, NumPy arrays of strings."""
        pieces = [piece.replace("▁", " ") for piece in self.tokenizer.vocabulary if piece.startswith("▁")][:40] or ["a"]
        texts = [" ".join(pieces[: 4 + 4 * row]).split() for row in range(batch_size)]
        return {"text": np.array([" ".join(words) or "a" for words in texts], dtype=object)}


def _checked_texts(texts, name):
    if isinstance(texts, (str, bytes)):
        raise InputError(f"`{name}` must be a list of texts. Received one text. Put it in a list.")
    texts = list(texts)
    if wrong := [text for text in texts if not isinstance(text, (str, bytes))]:
        raise InputError(f"`{name}` must be a list of texts. Received in it: {wrong[0]!r:.40}.")
    return texts
