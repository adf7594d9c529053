"""Classification and regression of texts and of pairs of texts."""

import keras
import numpy as np
import tensorflow as tf

from kerasformer.errors import InputError
from kerasformer.layers import Dropout, MeanPooling
from kerasformer.tasks import metrics
from kerasformer.tasks.names import checked_names
from kerasformer.tasks.task import Task, concatenate, string_spec, tokens_function
from kerasformer.text.tweets import normalize_tweets


class TextClassifier(Task):
    """A label, or with no labels a number, for a text or a pair of texts (Devlin et al. 2019, section 4.1).

    A dense layer on one vector of the text; softmax cross-entropy, or squared error for a regression.

    Args:
        encoder: functional model with `pooled_output` or `sequence_output`, as `bert(config, pooled=True)` or
            `load_huggingface` gives it.
        tokenizer: gives the encoder's inputs.
        label_names: the classes in order of their numbers, strings (whole numbers and bytes are turned into them); None
            for a regression.
        pairs: whether it reads pairs, `text` and `text_pair`.
        pooling: the vector of a text: "first", the encoder's `pooled_output` (BERT's pooler of `[CLS]`), or "mean" of
            its tokens, for encoders that were trained so, as sentence-transformers are.
        dropout: rate on that vector, when training.
        normalize_tweets: whether user names and links are masked first, as in TweetEval (`kerasformer.text.tweets`).

    Raises:
        InputError: fewer than two labels or equal ones, an encoder without the output that `pooling` reads, a
            tokenizer that does not fit the encoder.
    """

    float32_layers = ("text_vector", "classifier_dropout", "classifier")

    def __init__(
        self, encoder, tokenizer, label_names=None, *, pairs=False, pooling="first", dropout=0.1, normalize_tweets=False
    ):
        label_names = _checked_label_names(label_names)
        # In float32, also in mixed precision: the logits are few, and the loss reads them.
        hidden = Dropout(dropout, name="classifier_dropout", dtype="float32")(_text_vector(encoder, pooling))
        dense = keras.layers.Dense(
            len(label_names) if label_names is not None else 1,
            kernel_initializer=keras.initializers.TruncatedNormal(stddev=0.02),
            dtype="float32",
            name="classifier",
        )
        self._set_up(encoder, {"logits": dense(hidden)}, tokenizer, label_names, pairs, normalize_tweets, pooling)

    @classmethod
    def from_parts(
        cls, encoder, outputs, tokenizer, label_names=None, pairs=False, normalize_tweets=False, pooling="first"
    ):
        """A task whose head stands on the encoder already, as `load` finds it."""
        task = cls.__new__(cls)
        task._set_up(encoder, outputs, tokenizer, label_names, pairs, normalize_tweets, pooling)
        return task

    def _set_up(self, encoder, outputs, tokenizer, label_names, pairs, normalize_tweets, pooling):
        label_names = _checked_label_names(label_names)
        classes = outputs["logits"].shape[-1]
        if classes != (1 if label_names is None else len(label_names)):
            raise InputError(f"The model has {classes} outputs. Received: label_names={label_names}.")
        super().__init__(encoder, outputs, tokenizer)
        self.label_names = label_names
        self.pairs, self.normalize_tweets, self.pooling = pairs, normalize_tweets, pooling

    @property
    def is_regression(self):
        """Whether it gives a number instead of a label."""
        return self.label_names is None

    def settings(self):
        names = ("pairs", "normalize_tweets", "pooling")
        settings = {name: getattr(self, name) for name in names}
        return {"label_names": self.label_names and list(self.label_names), **settings}

    def batch_inputs(self, features):
        if self.normalize_tweets:
            features = {name: normalize_tweets(texts) for name, texts in features.items()}
        return super().batch_inputs(features)

    def loss(self, targets, outputs, weights=None):
        """Sum of the losses of a batch, and what to divide it by.

        Args:
            targets: int32 `[N]` labels, or float32 `[N]` numbers.
            outputs: of the model, `{"logits": [N, classes]}`.
            weights: float32 `[N]`, or None for ones.

        Returns:
            `(sum, count)`: float32 scalars, the weighted sum of the losses and the sum of the weights.
        """
        logits = tf.cast(outputs["logits"], tf.float32)
        if self.is_regression:
            losses = tf.math.squared_difference(logits[:, 0], tf.cast(targets, tf.float32))
        else:
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits)
        weights = tf.ones_like(losses) if weights is None else tf.cast(weights, tf.float32)
        return tf.reduce_sum(losses * weights), tf.reduce_sum(weights)

    def evaluate_batches(self, batches):
        targets, outputs = [], []
        for _, batch_targets, batch_outputs in batches:
            targets.append(batch_targets)
            outputs.append(batch_outputs)
        return self.evaluate_outputs(np.concatenate(targets), concatenate(outputs))

    def evaluate_outputs(self, targets, outputs):
        """Metrics of a data set: `targets` `[N]` and `{"logits": [N, classes]}`, NumPy arrays of all of it."""
        loss_sum, count = self.loss(tf.constant(targets), {"logits": tf.constant(outputs["logits"])})
        result = {"loss": float(tf.math.divide_no_nan(loss_sum, count))}
        if self.is_regression:
            numbers = outputs["logits"][:, 0]
            return result | {
                "pearson": metrics.pearson(targets, numbers),
                "spearman": metrics.spearman(targets, numbers),
            }
        predictions = outputs["logits"].argmax(-1)
        return result | metrics.classification_metrics(targets, predictions, len(self.label_names))

    def class_report(self, targets, predictions):
        """How each class fares: rows of `(label name, precision, recall, F1, number of examples)`, from label numbers
        `[N]`."""
        matrix = metrics.confusion_matrix(targets, predictions, len(self.label_names))
        return list(
            zip(self.label_names, *[x.tolist() for x in (*metrics.per_class(matrix), matrix.sum(1))], strict=True)
        )

    def answer(self, outputs):
        """What is served for the model's outputs: `label`, `score` and `scores`, or for a regression `score`."""
        logits = tf.cast(outputs["logits"], tf.float32)
        if self.is_regression:
            return {"score": logits[:, 0]}
        scores = tf.nn.softmax(logits)
        best = tf.argmax(scores, -1, output_type=tf.int32)
        return {
            "label": tf.gather(tf.constant(self.label_names), best),
            "score": tf.gather(scores, best, batch_dims=1),
            "scores": scores,
        }

    def predict(self, texts, pairs=None, batch_size=32):
        """Answers as they are served, from Python.

        Args:
            texts: list of str; `pairs` the second texts, for a task that reads pairs.
            batch_size: texts computed at a time.

        Returns:
            `{"label": str [N], "score": float32 [N], "scores": float32 [N, classes]}`; a regression: `score` alone.
        """
        if (pairs is not None) != self.pairs:
            raise InputError(f"`pairs` must {'' if self.pairs else 'not '}be given to this task (pairs={self.pairs}).")
        columns = [list(texts)] if pairs is None else [list(texts), list(pairs)]
        if isinstance(texts, str) or len({len(column) for column in columns}) > 1:
            raise InputError("`texts` and `pairs` must be lists of the same length.")
        return self.answers(dict(zip(("text", "text_pair"), columns, strict=False)), batch_size)

    def serving_functions(self, core):
        """The signatures of this task.

        Args:
            core: the model as a function, from the three inputs to `{"logits": [N, classes]}`.

        Returns:
            `{name: tf.function}`, each with an input signature batched on dimension 0: `serving_default` (strings),
            `tokens` (ids in, raw outputs), and `classify` or `regress` (serialized `tf.Example`).
        """
        names = ("text", "text_pair") if self.pairs else ("text",)

        @tf.function(input_signature=[string_spec(name) for name in names])
        def serving_default(text, text_pair=None):
            features = {"text": text} | ({"text_pair": text_pair} if self.pairs else {})
            return self.answer_features(features, core)

        @tf.function(input_signature=[string_spec("inputs")])
        def examples(inputs):
            features = tf.io.parse_example(inputs, {name: tf.io.FixedLenFeature([], tf.string) for name in names})
            answer = self.answer_features(features, core)
            if self.is_regression:
                return {"outputs": answer["score"]}
            classes = tf.broadcast_to(tf.constant(self.label_names), tf.shape(answer["scores"]))
            return {"classes": classes, "scores": answer["scores"]}

        name = "regress" if self.is_regression else "classify"
        return {"serving_default": serving_default, "tokens": tokens_function(core), name: examples}

    def warmup_inputs(self, batch_size):
        """Inputs of `serving_default` that look like real ones, of growing lengths, NumPy arrays of strings."""
        texts = np.array([("good " * (4 + 6 * i)).strip() for i in range(batch_size)], dtype=object)
        return {"text": texts, "text_pair": texts[::-1].copy()} if self.pairs else {"text": texts}


def _checked_label_names(names):
    return None if names is None else checked_names(names, "label_names", at_least=2)


def _text_vector(encoder, pooling):
    """`[batch, width]`, one vector a text."""
    needed = {"first": "pooled_output", "mean": "sequence_output"}
    if pooling not in needed:
        raise InputError(f"`pooling` must be one of {list(needed)}. Received: pooling={pooling!r}.")
    if not isinstance(encoder.output, dict) or needed[pooling] not in encoder.output:
        raise InputError(
            f"pooling={pooling!r} needs an encoder with the output {needed[pooling]!r}, as `bert(config, pooled=True)` "
            "gives it."
        )
    output = encoder.output[needed[pooling]]
    if pooling == "first":
        return output
    return MeanPooling(name="text_vector")(output, padding_mask=encoder.input["padding_mask"])
