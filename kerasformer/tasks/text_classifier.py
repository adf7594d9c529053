"""Classification and regression of texts and of pairs of texts."""

import dataclasses
import math
import types

import keras
import numpy as np
import tensorflow as tf

from kerasformer import data, metrics
from kerasformer.errors import InputError
from kerasformer.families.sentence_transformers import SCORE_ACTIVATIONS
from kerasformer.layers import Dropout, MeanPooling
from kerasformer.tasks.arrays import concatenate
from kerasformer.tasks.encoder_outputs import encoder_output
from kerasformer.tasks.labelled_batches import labelled_form
from kerasformer.tasks.names import checked_names
from kerasformer.tasks.task import Head, Task, built_in, register_task, string_spec
from kerasformer.text.tweets import normalize_tweets
from kerasformer.text.windows import check_window, window_texts

POOLINGS = ("first", "mean")
WINDOWS = ("mean", "max")
# By their names in sentence-transformers' CrossEncoder.
ACTIVATIONS = tuple(SCORE_ACTIVATIONS)


@dataclasses.dataclass(frozen=True)
class TextClassifierSettings:
    """The arguments of `TextClassifier`, see there."""

    label_names: tuple[str, ...] | None = built_in(None)
    _: dataclasses.KW_ONLY
    multi_label: bool = False
    threshold: float = 0.5
    temperature: float = 1.0
    pairs: bool = False
    pooling: str = built_in("first")
    dropout: float = built_in(0.1)
    normalize_tweets: bool = False
    target_mean: float = 0.0
    target_scale: float = 1.0
    activation: str = "linear"
    windows: str | None = None
    overlap: int = 64

    def __post_init__(self):
        if self.label_names is not None:
            names = checked_names(self.label_names, "label_names", at_least=1 if self.multi_label else 2)
            object.__setattr__(self, "label_names", names)
        elif self.multi_label:
            raise InputError("`multi_label` needs `label_names`. Received: none.")
        if self.pooling not in POOLINGS:
            raise InputError(f"`pooling` must be one of {list(POOLINGS)}. Received: pooling={self.pooling!r}.")
        if self.activation not in ACTIVATIONS:
            raise InputError(f"`activation` must be one of {list(ACTIVATIONS)}. Received: {self.activation!r}.")
        if self.windows not in (None, *WINDOWS):
            raise InputError(f"`windows` must be None or one of {list(WINDOWS)}. Received: windows={self.windows!r}.")
        if self.windows is not None and self.pairs:
            raise InputError("`windows` is for single texts. Received: `pairs` as well.")
        if self.activation == "sigmoid" and (
            self.label_names is not None or (self.target_mean, self.target_scale) != (0.0, 1.0)
        ):
            raise InputError(
                "`activation='sigmoid'` is for a regression of numbers between 0 and 1. Received: `label_names`, "
                "`target_mean` or `target_scale` as well."
            )
        if not 0 < self.threshold < 1:
            raise InputError(f"`threshold` must be in (0, 1). Received: threshold={self.threshold}.")
        if not 0 < self.temperature < math.inf:
            raise InputError(f"`temperature` must be finite and above 0. Received: temperature={self.temperature}.")
        if self.label_names is None and self.temperature != 1:
            raise InputError("`temperature` is of probabilities. Received: a regression, without `label_names`.")
        if not (0 < self.target_scale < math.inf and math.isfinite(self.target_mean)):
            raise InputError(
                "`target_mean` must be finite and `target_scale` above 0. "
                f"Received: target_mean={self.target_mean}, target_scale={self.target_scale}."
            )
        if self.label_names is not None and (self.target_mean, self.target_scale) != (0.0, 1.0):
            raise InputError("`target_mean` and `target_scale` are for a regression. Received: `label_names` as well.")


@register_task
class TextClassifier(Task):
    """A label, several labels, or with no labels a number, for a text or a pair of texts (Devlin et al. 2019, section
    4.1).

    A dense layer on one vector of the text. The loss is softmax cross-entropy; for several labels a text, a sigmoid
    cross-entropy of each label; for a regression the squared error.

    Args:
        encoder: functional model with `pooled_output` or `sequence_output`, as `bert(config, pooled=True)` or
            `kf.load_encoder` returns it.
        tokenizer: makes the encoder's inputs.
        label_names: the classes in order of their numbers, strings (whole numbers and bytes are converted); None for a
            regression.
        multi_label: whether a text has any number of labels.
        threshold: lowest probability at which one of several labels is returned.
        temperature: divides the logits before they become the probabilities that are answered, so that these say how
            often the answer is right (Guo et al. 2017, arXiv:1706.04599, section 4.2); `kf.explain.calibrate` finds it.
            `loss` and `tokens` are of the logits themselves.
        pairs: whether it reads pairs, `text` and `text_pair`.
        pooling: the vector of a text: "first", the encoder's `pooled_output` (BERT's pooler of `[CLS]`), or "mean" of
            its tokens, for encoders that were trained so, as sentence-transformers are.
        dropout: rate on that vector, when training.
        target_mean, target_scale: of a regression's numbers, such as mean and standard deviation of the training data.
            The model computes `(number - target_mean) / target_scale`. Loss and `tokens` are of these; answers,
            metrics and the head in a saved `model.safetensors` are of the numbers.
        activation: of a regression, "linear", or "sigmoid" for numbers between 0 and 1, such as the relevance that a
            reranker (a cross-encoder of pairs) predicts. With "sigmoid" the loss is the binary cross-entropy.
        windows: how a text longer than the tokenizer's `max_length` is classified: None truncates it; otherwise it is
            read in windows, whose scores are joined by their "mean" or "max", and of several classes normalized.
        overlap: pieces that two windows have in common.
        normalize_tweets: whether user names and links are masked first, as in TweetEval (`kerasformer.text.tweets`).

    Raises:
        InputError: fewer than two labels, duplicates, or names that are not strings, an encoder without the output that
            `pooling` reads, a tokenizer that does not fit the encoder.
    """

    Settings: type = TextClassifierSettings
    float32_layers = ("text_vector", "classifier_dropout", "classifier")

    def build(self):
        # In float32, also in mixed precision: the logits are few, and the loss reads them.
        vector = self._text_vector()
        hidden = Dropout(self.dropout, name="classifier_dropout", dtype="float32")(vector)
        dense = keras.layers.Dense(
            1 if self.is_regression else len(self.label_names),
            kernel_initializer=keras.initializers.TruncatedNormal(stddev=0.02),
            dtype="float32",
            name="classifier",
        )
        self.head = Head(output=dense)
        return {"logits": dense(hidden)}, {}

    def _text_vector(self):
        """`[batch, hidden_dim]`, one vector a text."""
        if self.pooling == "first":
            return encoder_output(self.encoder, "pooled_output", "pooling='first'")
        sequence = encoder_output(self.encoder, "sequence_output", "pooling='mean'")
        return MeanPooling(name="text_vector")(sequence, padding_mask=self.encoder.input["padding_mask"])

    def check(self):
        super().check()
        if self.windows is not None:
            check_window(self.tokenizer, self.tokenizer.max_length, self.overlap)

    @property
    def is_regression(self):
        """Whether it returns a number instead of a label."""
        return self.label_names is None

    @property
    def feature_names(self):
        return ("text", "text_pair") if self.pairs else ("text",)

    @property
    def checkpoint_kind(self):
        return "sequence_classification" if self.pooling == "first" else None

    def checkpoint_settings(self):
        if self.is_regression:
            settings = {"labels": ["LABEL_0"], "problem_type": "regression", "head_dropout": self.dropout}
            if self.pairs:  # what sentence-transformers' CrossEncoder reads
                settings["sentence_transformers"] = {"activation_fn": SCORE_ACTIVATIONS[self.activation]}
            return settings
        kind = "multi_label_classification" if self.multi_label else "single_label_classification"
        return {"labels": list(self.label_names), "problem_type": kind, "head_dropout": self.dropout}

    @property
    def _is_standardized(self):
        return self.is_regression and (self.target_mean, self.target_scale) != (0.0, 1.0)

    def checkpoint_head(self):
        """In a checkpoint a regression's head gives the numbers themselves, as others read it."""
        if not self._is_standardized:
            return self.head
        dense, scale = self.head.output, self.target_scale
        kernel, bias = (keras.ops.convert_to_numpy(value).astype("float64") for value in (dense.kernel, dense.bias))
        return Head(output=types.SimpleNamespace(kernel=kernel * scale, bias=bias * scale + self.target_mean))

    def checkpoint_was_read(self):
        if self._is_standardized:
            dense, scale = self.head.output, self.target_scale
            dense.kernel.assign(keras.ops.convert_to_numpy(dense.kernel).astype("float64") / scale)
            bias = keras.ops.convert_to_numpy(dense.bias).astype("float64")
            dense.bias.assign((bias - self.target_mean) / scale)

    def vector_settings(self):
        return {"pooling": "mean"} if self.pooling == "mean" else {}

    def batch_inputs(self, features):
        return super().batch_inputs(self._normalized(features))

    def _normalized(self, features):
        if not self.normalize_tweets:
            return features
        return {name: normalize_tweets(texts) for name, texts in features.items()}

    def labelled_examples(self, source) -> data.Examples:
        """Labelled examples of what `kf.data` reads, with the labels' numbers of this task.

        Raises:
            InputError: the source cannot be read, or holds others than the task answers.
        """
        examples = data.load_classification(
            source,
            label_names=self.label_names,
            regression=self.label_names is None,
            multi_label=self.multi_label or None,
        )
        if examples.targets is None or (examples.pairs is not None) != self.pairs:
            what = "pairs of texts" if self.pairs else "single texts"
            raise InputError(f"The task needs {what}, each with a label or score. Not in: {source}")
        return examples

    def labelled_batches(self, source):
        return data.batches(self.labelled_examples(source), 32)

    def evaluation_batch(self, features, targets, core):
        return self._outputs(features, core)

    def answer_features(self, features, core):
        return self.answer(self._outputs(features, core))

    def _outputs(self, features, core):
        """The model's outputs for a batch of features; of texts in windows, the logits of the joined scores."""
        if self.windows is None:
            return core(self.batch_inputs(features))
        texts = self._normalized(features)["text"]
        windows = window_texts(self.tokenizer, texts, self.tokenizer.max_length, self.overlap)
        logits = tf.cast(core(self.model_inputs(windows.inputs))["logits"], tf.float32)
        scores = logits if self.is_regression else self._scores(logits)
        join = tf.math.segment_mean if self.windows == "mean" else tf.math.segment_max
        joined = tf.ensure_shape(join(scores, windows.owners), [None, *logits.shape[1:]])
        if self.is_regression:
            return {"logits": joined}
        joined = tf.clip_by_value(joined, 1e-12, 1.0 - 1e-7)
        return {"logits": tf.math.log(joined) - tf.math.log1p(-joined) if self.multi_label else tf.math.log(joined)}

    def _scores(self, logits):
        return tf.sigmoid(logits) if self.multi_label else tf.nn.softmax(logits)

    def batch_form(self, spec):
        """What `Trainer` reads batches with: sample weights, one-hot labels and more, see `labelled_form`."""
        num_classes = None if self.is_regression else len(self.label_names)
        return labelled_form(spec, num_classes, multi_label=self.multi_label)

    def loss(self, targets, outputs, weights=None):
        """Sum of the losses of a batch, and what to divide it by.

        Args:
            targets: int32 `[N]` labels; for several labels float32 `[N, classes]` of zeros and ones; for a regression
                float32 `[N]` numbers. Or `{"labels": these, "weights": float32 [N]}`.
            outputs: of the model, `{"logits": [N, classes]}`.
            weights: float32 `[N]`, or None for ones.

        Returns:
            `(sum, count)`: float32 scalars, the weighted sum of the losses and the sum of the weights. The loss of a
            text with several labels is the mean over the classes.
        """
        if isinstance(targets, dict):
            targets, weights = targets["labels"], targets["weights"]
        logits = tf.cast(outputs["logits"], tf.float32)
        if self.is_regression and self.activation == "sigmoid":
            losses = tf.nn.sigmoid_cross_entropy_with_logits(tf.cast(targets, tf.float32), logits[:, 0])
        elif self.is_regression:
            wanted = (tf.cast(targets, tf.float32) - self.target_mean) / self.target_scale
            losses = tf.math.squared_difference(logits[:, 0], wanted)
        elif self.multi_label:
            targets = tf.cast(targets, tf.float32)
            losses = tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(targets, logits), -1)
        else:
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits)
        weights = tf.ones_like(losses) if weights is None else tf.cast(weights, tf.float32)
        return tf.reduce_sum(losses * weights), tf.reduce_sum(weights)

    def evaluate_batches(self, batches):
        targets, outputs = [], []
        for _, batch_targets, batch_outputs in batches:
            targets.append(batch_targets)
            outputs.append(batch_outputs)
        joined = tf.nest.map_structure(lambda *parts: np.concatenate(parts), *targets)
        return self.evaluate_outputs(joined, concatenate(outputs))

    def evaluate_outputs(self, targets, outputs):
        """Metrics of a data set: `targets` as for `loss`, and `{"logits": [N, classes]}`, NumPy arrays of all of it.

        Sample weights, as `loss` takes them, weight the loss alone, as in Keras.
        """
        loss_sum, count = self.loss(
            tf.nest.map_structure(tf.constant, targets), {"logits": tf.constant(outputs["logits"])}
        )
        targets = targets["labels"] if isinstance(targets, dict) else targets
        result = {"loss": float(tf.math.divide_no_nan(loss_sum, count))}
        if self.is_regression:
            numbers = self._number(tf.constant(outputs["logits"])).numpy()
            return result | metrics.regression_metrics(targets, numbers)
        if self.multi_label:
            found = outputs["logits"] >= self.temperature * np.log(self.threshold / (1 - self.threshold))
            return result | metrics.multi_label_metrics(np.asarray(targets) > 0, found)
        predictions = outputs["logits"].argmax(-1)
        return result | metrics.classification_metrics(targets, predictions, len(self.label_names))

    def _number(self, logits):
        """What a regression answers, `[N]`."""
        number = logits[:, 0] * self.target_scale + self.target_mean
        return tf.sigmoid(number) if self.activation == "sigmoid" else number

    def class_report(self, targets, predictions):
        """The metrics of each class: rows of `(label name, precision, recall, F1, number of examples)`, from label
        numbers `[N]`, of several labels bool `[N, classes]`; none where scikit-learn is not installed."""
        columns = metrics.per_class(targets, predictions, len(self.label_names))
        if columns is None:
            return []
        return list(zip(self.label_names, *[column.tolist() for column in columns], strict=True))

    def answer(self, outputs):
        """What is served: `label`, `score` and `scores`; of several labels `labels` `[N, K]`, padded with "", and
        `scores`; of a regression `score`."""
        logits = tf.cast(outputs["logits"], tf.float32)
        if self.is_regression:
            return {"score": self._number(logits)}
        names, scores = tf.constant(self.label_names), self._scores(logits / self.temperature)
        if self.multi_label:
            given = scores >= self.threshold
            rows = tf.RaggedTensor.from_row_lengths(
                tf.gather(names, tf.where(given)[:, 1]), tf.reduce_sum(tf.cast(given, tf.int32), 1), validate=False
            )
            return {"labels": rows.to_tensor(""), "scores": scores}
        best = tf.argmax(scores, -1, output_type=tf.int32)
        return {"label": tf.gather(names, best), "score": tf.gather(scores, best, batch_dims=1), "scores": scores}

    def serving_functions(self, core):
        """`serving_default`, `tokens`, and `classify` or `regress` (serialized `tf.Example`); see `Task`."""
        names = self.feature_names

        @tf.function(input_signature=[string_spec("inputs")], autograph=False)
        def examples(inputs):
            features = tf.io.parse_example(inputs, {name: tf.io.FixedLenFeature([], tf.string) for name in names})
            answer = self.answer_features(features, core)
            if self.is_regression:
                return {"outputs": answer["score"]}
            classes = tf.broadcast_to(tf.constant(self.label_names), tf.shape(answer["scores"]))
            return {"classes": classes, "scores": answer["scores"]}

        return super().serving_functions(core) | {"regress" if self.is_regression else "classify": examples}
