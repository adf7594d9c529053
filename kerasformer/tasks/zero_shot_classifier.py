"""Classification into labels that are given with each text."""

import dataclasses

import numpy as np
import tensorflow as tf

from kerasformer.errors import InputError
from kerasformer.tasks.names import checked_names
from kerasformer.tasks.task import built_in, register_task, string_spec
from kerasformer.tasks.text_classifier import TextClassifier


@dataclasses.dataclass(frozen=True)
class ZeroShotClassifierSettings:
    """The arguments of `ZeroShotClassifier`, see there."""

    label_names: tuple[str, ...] = built_in(("contradiction", "neutral", "entailment"))
    _: dataclasses.KW_ONLY
    hypothesis_template: str = "This example is {}."
    independent: bool = False
    dropout: float = built_in(0.1)

    def __post_init__(self):
        names = checked_names(self.label_names, "label_names", at_least=2)
        object.__setattr__(self, "label_names", names)
        if sum(map(_is_entailment, names)) != 1:
            raise InputError(
                "`label_names` must be those of natural language inference, one of them an entailment. "
                f"Received: {list(names)}."
            )
        if self.hypothesis_template.count("{}") != 1:
            raise InputError(
                "`hypothesis_template` must hold {} once, where the label goes. "
                f"Received: hypothesis_template={self.hypothesis_template!r}."
            )


def _is_entailment(name):
    return name.lower().startswith("entail")


@register_task
class ZeroShotClassifier(TextClassifier):
    """Any labels for a text, by natural language inference: does the text entail the hypothesis "This example is
    {label}."? (Yin et al. 2019, arXiv:1909.00161, section 5).

    It trains on pairs of a premise and a hypothesis, as a `TextClassifier`, and answers with texts and their own
    labels. Each text is computed once with each of its labels.

    Args:
        encoder: functional model with `pooled_output`.
        tokenizer: makes the encoder's inputs.
        label_names: of the inference, in order of their numbers; the entailment is the one that begins with "entail".
        hypothesis_template: the hypothesis, with {} for the label.
        independent: whether a label's score is the probability of the entailment against the contradiction, whatever
            the other labels are (`multi_label` in transformers). Otherwise the scores of a text's labels add up to 1:
            softmax of the logits of the entailments. A label that is alone is always scored so.
        dropout: rate on the pooled output, when training.

    Raises:
        InputError: not one of the names begins with "entail", a template without {}; as `TextClassifier`.
    """

    Settings = ZeroShotClassifierSettings
    # Of a classifier of pairs.
    pairs, pooling, multi_label, normalize_tweets, windows = True, "first", False, False, None

    @property
    def feature_names(self):
        return ("text", "labels")

    def checkpoint_settings(self):
        return {"labels": list(self.label_names), "problem_type": "single_label_classification"}

    def checked_columns(self, columns):
        """`{"text": list, "labels": object array [N, K]}`: the labels of all texts, or of each, padded with ""."""
        if len(columns) == 2 and not isinstance(columns[1], (str, bytes)):
            texts, labels = columns[0], list(columns[1])
            if all(isinstance(label, (str, bytes)) for label in labels):
                labels = [labels] * len(texts)
            rows = [row if isinstance(row, (list, tuple, np.ndarray)) else [row] for row in labels]
            wrong = [label for row in rows for label in row if not isinstance(label, (str, bytes))]
            # Otherwise the number of lists counts, which is compared with that of the texts.
            columns = (texts, wrong or [""] * len(rows))
        checked = super().checked_columns(columns)["text"]
        padded = np.full([len(rows), max(map(len, rows), default=0)], "", object)
        for place, row in enumerate(rows):
            padded[place, : len(row)] = row
        return {"text": checked, "labels": padded}

    def answer_features(self, features, core):
        """`label` `[N]`, the one with the highest score, and `scores` `[N, K]`; "" and 0 where there is no label."""
        labels = features["labels"]
        is_given = labels != ""
        slots = tf.where(is_given)
        before, _, after = self.hypothesis_template.partition("{}")
        pairs = {
            "text": tf.gather(features["text"], slots[:, 0]),
            "text_pair": tf.strings.join([before, tf.boolean_mask(labels, is_given), after]),
        }
        inputs = self.tokenizer(pairs["text"], pairs["text_pair"], truncation="only_first")
        logits = tf.cast(core(self.model_inputs(inputs))["logits"], tf.float32)
        entailed, contradicted = self._places()
        alone = tf.sigmoid(logits[:, entailed] - logits[:, contradicted])
        alone = tf.scatter_nd(slots, alone, tf.shape(labels, tf.int64))
        if self.independent:
            scores = alone
        else:
            # The lowest number instead of infinity: a text without labels has no NaN.
            together = tf.fill(tf.shape(labels), tf.float32.min)
            together = tf.nn.softmax(tf.tensor_scatter_nd_update(together, slots, logits[:, entailed]))
            count = tf.reduce_sum(tf.cast(is_given, tf.int32), 1, keepdims=True)
            scores = tf.where(is_given, tf.where(count == 1, alone, together), 0.0)
        best = tf.argmax(tf.pad(tf.where(is_given, scores, -1.0), [[0, 0], [0, 1]], constant_values=-0.5), -1)
        label = tf.gather(tf.pad(labels, [[0, 0], [0, 1]], constant_values=""), best, batch_dims=1)
        return {"label": label, "scores": scores}

    def _places(self):
        """The numbers of the entailment and of the contradiction among the model's labels, as transformers finds
        them."""
        names = [name.lower() for name in self.label_names]
        entailed = next(place for place, name in enumerate(names) if _is_entailment(name))
        return entailed, -1 if entailed == 0 else 0

    def serving_functions(self, core):
        """`serving_default` (`text` `[N]`, `labels` `[N, K]`, padded with "") and `tokens` (ids in, logits out)."""

        @tf.function(
            input_signature=[string_spec("text"), tf.TensorSpec([None, None], tf.string, name="labels")],
            autograph=False,
        )
        def serving_default(text, labels):
            return self.answer_features({"text": text, "labels": labels}, core)

        functions = super().serving_functions(core)
        return {"serving_default": serving_default, "tokens": functions["tokens"]}

    def warmup_inputs(self, batch_size):
        texts = super().warmup_inputs(batch_size)["text"]
        return {"text": texts, "labels": np.array([["good", "bad", "so"]] * batch_size, object)}
