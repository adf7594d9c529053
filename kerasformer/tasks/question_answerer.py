"""Answers to questions, cut out of a text."""

import dataclasses
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from kerasformer import data
from kerasformer.data.questions import NO_ANSWER
from kerasformer.errors import InputError
from kerasformer.layers.masks import mask_to_bias
from kerasformer.metrics.answers import best_threshold, score_answer
from kerasformer.tasks.arrays import as_strings
from kerasformer.tasks.encoder_outputs import token_vectors
from kerasformer.tasks.task import Head, Task, register_task
from kerasformer.text.windows import check_window, include_marks, window_texts

_NEVER = -1e9
_LONGEST = 2**31  # beyond any place in a text


class _Spans(NamedTuple):
    """The best span of each text, `[N]` each.

    starts, ends: int32, in bytes; -1 where a text has no piece.
    best, nothing: float32, the logits of the span and of no answer.
    total: float32, logarithm of the sum over all spans and no answer.
    """

    starts: tf.Tensor
    ends: tf.Tensor
    best: tf.Tensor
    nothing: tf.Tensor
    total: tf.Tensor


@dataclasses.dataclass(frozen=True)
class QuestionAnswererSettings:
    """The arguments of `QuestionAnswerer`, see there."""

    _: dataclasses.KW_ONLY
    window: int | None = None
    overlap: int | None = None
    max_question: int | None = None
    max_answer: int = 30
    no_answer_threshold: float | None = None


@register_task
class QuestionAnswerer(Task):
    """Finds the answer to a question in a context of any length (Devlin et al. 2019, sections 4.2 and 4.3).

    A context longer than the model is read in windows, each with the question before it; the best span of all windows
    is the answer. Spans and "no answer" (its lowest score in any window) share one softmax.

    Args:
        encoder: functional model with `sequence_output`.
        tokenizer: makes the encoder's inputs.
        window: maximum tokens that the model reads at once, at most the tokenizer's `max_length`. None: 384, or that.
        overlap: pieces shared by two neighbouring windows. None: a third of a window, 128 at most.
        max_question: maximum pieces of a question; longer ones are truncated. None: a quarter of a window, 64 at most.
        max_answer: maximum pieces of an answer.
        no_answer_threshold: by how much the logit of no answer must exceed that of the best span for there to be no
            answer; None: there always is one, unless the context is empty.

    Raises:
        InputError: a window without room, an encoder without `sequence_output`, or a tokenizer that does not fit it.
    """

    Settings = QuestionAnswererSettings
    feature_names = ("question", "context")
    checkpoint_kind = "question_answering"
    float32_layers = ("spans",)
    row_groups = 4

    def resolved(self, settings, encoder, tokenizer):
        window = min(384, tokenizer.max_length) if settings.window is None else settings.window
        overlap = min(128, window // 3) if settings.overlap is None else settings.overlap
        question = min(64, window // 4) if settings.max_question is None else settings.max_question
        return dataclasses.replace(settings, window=window, overlap=overlap, max_question=question)

    def check(self):
        super().check()
        check_window(self.tokenizer, self.window, self.overlap, self.max_question)
        longest = self.tokenizer.max_length
        if self.window > longest or self.max_answer < 1 or self.max_question < 1:
            raise InputError(
                f"`window` must be at most max_length={longest}, `max_answer` and `max_question` at least 1. Received: "
                f"window={self.window}, max_answer={self.max_answer}, max_question={self.max_question}."
            )

    def build(self):
        vectors, parts = token_vectors(self.encoder, "A question answerer")
        # In float32, also in mixed precision: the logits are few, and the loss reads them.
        dense = keras.layers.Dense(
            2, kernel_initializer=keras.initializers.TruncatedNormal(stddev=0.02), dtype="float32", name="spans"
        )
        self.head = Head(output=dense, **parts)
        return {"logits": dense(vectors)}, {}

    def batch_inputs(self, features):
        return self.model_inputs(self._windows(features).inputs)

    def _windows(self, features):
        return window_texts(
            self.tokenizer,
            features["context"],
            self.window,
            self.overlap,
            heads=features["question"],
            max_head=self.max_question,
        )

    def training_batch(self, features, targets):
        """A batch of questions as `(inputs, targets)`.

        Args:
            features: strings `[N]`, `{"question": …, "context": …}`.
            targets: int32 `[N]`, `{"start": …, "end": …}` in bytes, -1 for no answer, -2 for one that is nowhere.

        Returns:
            Inputs of W windows, and `{"start": int32 [W], "end": int32 [W], "weight": float32 [W], "possible": bool
            [W, L]}`. Start and end are positions in the window: those of the answer where the window holds all of it,
            else 0, that of the first token. The weight is 0 for texts whose answer is nowhere, or in no window as a
            whole. An answer may start and end where it is possible: in the context, and at the first token.
        """
        windows = self._windows(features)
        return self.model_inputs(windows.inputs), self._places(windows, targets)

    def _places(self, windows, targets):
        owners = windows.owners
        texts = tf.cast(windows.texts, tf.int64) * _LONGEST
        base = tf.range(tf.size(targets["start"], tf.int64)) * _LONGEST
        known = targets["start"] >= 0
        first = tf.searchsorted(
            texts + tf.cast(windows.ends, tf.int64), base + tf.cast(targets["start"], tf.int64), side="right"
        )
        last = tf.searchsorted(texts + tf.cast(windows.starts, tf.int64), base + tf.cast(targets["end"], tf.int64)) - 1
        first, last = (tf.where(known, piece, -2) for piece in (first, last))
        is_first, is_last = (tf.equal(windows.pieces, tf.gather(piece, owners)[:, None]) for piece in (first, last))
        holds = tf.reduce_any(is_first, 1) & tf.reduce_any(is_last, 1) & tf.gather(first <= last, owners)
        seen = tf.math.unsorted_segment_max(tf.cast(holds, tf.int32), owners, tf.size(known)) > 0
        counts = seen | tf.equal(targets["start"], NO_ANSWER)
        first_token = tf.equal(tf.range(tf.shape(windows.pieces)[1]), 0)
        return {
            "start": tf.where(holds, tf.argmax(is_first, 1, tf.int32), 0),
            "end": tf.where(holds, tf.argmax(is_last, 1, tf.int32), 0),
            "weight": tf.cast(tf.gather(counts, owners), tf.float32),
            "possible": (windows.pieces >= 0) | first_token,
        }

    def loss(self, targets, outputs):
        """Sum over windows of the mean of both places' cross-entropies, and the number of windows that count.

        Args:
            targets: as returned by `training_batch`.
            outputs: of the model, `{"logits": [W, L, 2]}`.

        Returns:
            `(sum, count)`: float32 scalars.
        """
        logits = tf.cast(outputs["logits"], tf.float32) + mask_to_bias(targets["possible"], tf.float32)[..., None]
        losses = [
            tf.nn.sparse_softmax_cross_entropy_with_logits(targets[name], logits[:, :, place])
            for place, name in enumerate(("start", "end"))
        ]
        return tf.reduce_sum(targets["weight"] * (losses[0] + losses[1]) / 2), tf.reduce_sum(targets["weight"])

    def _decode(self, windows, outputs, context):
        """The best span of each text, over all of its windows.

        Returns:
            A _Spans.
        """
        num_texts = tf.size(context)
        logits = tf.cast(outputs["logits"], tf.float32)
        possible = windows.pieces >= 0
        length, longest = tf.shape(possible)[1], self.max_answer
        starts = tf.where(possible, logits[:, :, 0], _NEVER)
        ends = tf.pad(tf.where(possible, logits[:, :, 1], _NEVER), [[0, 0], [0, longest - 1]], constant_values=_NEVER)
        # [W, L, max_answer]: all spans by their first piece and their length.
        shifted = tf.gather(ends, tf.range(length)[:, None] + tf.range(longest)[None, :], axis=1)
        spans = tf.reshape(starts[:, :, None] + shifted, [tf.shape(possible)[0], length * longest])
        best = tf.reduce_max(spans, 1)
        chosen = tf.argmax(spans, 1, output_type=tf.int32)
        nothing = logits[:, 0, 0] + logits[:, 0, 1]

        owners = windows.owners
        number = tf.size(owners)
        text_best = tf.math.unsorted_segment_max(best, owners, num_texts)
        text_nothing = tf.math.unsorted_segment_min(nothing, owners, num_texts)
        top = tf.maximum(text_best, text_nothing)
        sums = tf.reduce_sum(tf.exp(spans - tf.gather(top, owners)[:, None]), 1)
        total = top + tf.math.log(tf.math.unsorted_segment_sum(sums, owners, num_texts) + tf.exp(text_nothing - top))
        # The first of the windows that hold the best span.
        is_best = tf.equal(best, tf.gather(text_best, owners))
        window = tf.math.unsorted_segment_min(tf.where(is_best, tf.range(number), number), owners, num_texts)
        chosen = tf.gather(chosen, window)
        rows = tf.gather(windows.pieces, window)
        begin = tf.gather(rows, chosen // longest, batch_dims=1)
        end = tf.gather(rows, tf.minimum(chosen // longest + chosen % longest, length - 1), batch_dims=1)
        found = text_best > _NEVER / 2

        def places(values, piece):
            # One more, so that there is always something to gather.
            return tf.where(found, tf.gather(tf.pad(values, [[0, 1]]), tf.where(found, piece, 0)), -1)

        ends = tf.where(found, include_marks(context, tf.maximum(places(windows.ends, end), 0)), -1)
        return _Spans(places(windows.starts, begin), ends, text_best, text_nothing, total)

    def answer_features(self, features, core):
        """From `{"question": [N], "context": [N]}` to `answer`, `start`, `end` (bytes of the context), `score` and
        `no_answer_score` (probabilities) `[N]`; no answer is "", -1, -1, 0, 1."""
        windows = self._windows(features)
        context = features["context"]
        spans = self._decode(windows, core(self.model_inputs(windows.inputs)), context)
        answered = spans.starts >= 0
        if self.no_answer_threshold is not None:
            answered &= spans.nothing - spans.best <= self.no_answer_threshold
        starts, ends = (tf.where(answered, place, 0) for place in (spans.starts, spans.ends))
        return {
            "answer": tf.strings.substr(context, starts, ends - starts),
            "start": tf.where(answered, starts, -1),
            "end": tf.where(answered, ends, -1),
            "score": tf.where(answered, tf.exp(tf.minimum(spans.best - spans.total, 0.0)), 0.0),
            "no_answer_score": tf.where(answered, tf.exp(tf.minimum(spans.nothing - spans.total, 0.0)), 1.0),
        }

    def labelled_batches(self, source):
        return data.question_batches(data.load_questions(source), 32)

    def evaluation_batch(self, features, targets, core):
        """The best span's text of each question, by how much no answer exceeds it, and the loss with its count."""
        windows = self._windows(features)
        outputs = core(self.model_inputs(windows.inputs))
        spans = self._decode(windows, outputs, features["context"])
        starts, ends = tf.maximum(spans.starts, 0), tf.maximum(spans.ends, 0)
        text = tf.strings.substr(features["context"], starts, ends - starts)
        loss, count = self.loss(self._places(windows, targets), outputs)
        return {"text": text, "margin": spans.nothing - spans.best, "loss": loss, "count": count}

    def evaluate_batches(self, batches):
        """Metrics of a data set, as SQuAD's official scripts count them.

        Returns:
            `loss`, `exact_match` and `f1`, with the task's `no_answer_threshold`. Where there are questions without an
            answer, the rules are those of SQuAD 2.0, and there are also `best_f1` and `best_threshold`: what the F1
            would be with the best threshold.
        """
        loss = weight = 0.0
        golds, texts, margins, missing = [], [], [], []
        for _, targets, found in batches:
            loss, weight = loss + float(found["loss"]), weight + float(found["count"])
            rows = zip(as_strings(targets["answers"]), targets["num_answers"], strict=True)
            golds += [tuple(row[:number]) for row, number in rows]
            texts += as_strings(found["text"]).tolist()
            margins += found["margin"].tolist()
            missing += (targets["start"] == NO_ANSWER).tolist()
        unanswerable = any(missing)
        threshold = np.inf if self.no_answer_threshold is None else self.no_answer_threshold
        given = [text if margin <= threshold else "" for text, margin in zip(texts, margins, strict=True)]

        def scores(predictions):
            pairs = zip(predictions, golds, strict=True)
            return np.array([score_answer(text, answers, unanswerable) for text, answers in pairs])

        exact_match, f1 = scores(given).mean(0).tolist()
        result = {"loss": loss / max(weight, 1.0), "exact_match": exact_match, "f1": f1}
        if unanswerable:
            answered = np.array([bool(text) for text in texts])
            f1s = scores(texts)[:, 1]
            result["best_threshold"], result["best_f1"] = best_threshold(margins, f1s, answered, ~np.array(missing))
        return result

    def warmup_inputs(self, batch_size):
        contexts = [("The river runs through the town. " * (2 + 3 * i)).strip() for i in range(batch_size)]
        questions = ["What runs through the town?"] * batch_size
        return {"question": np.array(questions, dtype=object), "context": np.array(contexts, dtype=object)}
