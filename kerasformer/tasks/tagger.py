"""Tagging of words, and the entities that tags mean."""

import dataclasses
import functools

import keras
import numpy as np
import tensorflow as tf

from kerasformer import data
from kerasformer.errors import InputError
from kerasformer.layers import Dropout, Transitions
from kerasformer.metrics.entities import count_entities, entities_of, precision_recall_f1
from kerasformer.tasks.encoder_outputs import token_vectors
from kerasformer.tasks.names import checked_names
from kerasformer.tasks.tag_sequences import FOLLOWS, TagScheme, best_sequence, crf_loss, follows, word_probabilities
from kerasformer.tasks.task import Head, Task, built_in, register_task
from kerasformer.text.windows import check_window, include_marks, window_texts

_LONGEST = 2**31  # beyond any place in a text
AGGREGATIONS = (None, "first", "average", "max")


@dataclasses.dataclass(frozen=True)
class TaggerSettings:
    """The arguments of `Tagger`, see there."""

    entity_types: tuple[str, ...] = built_in(None)
    _: dataclasses.KW_ONLY
    labels: tuple[str, ...] | None = built_in(None)
    crf: bool = built_in(False)
    window: int | None = None
    overlap: int = 64
    dropout: float = built_in(0.1)
    aggregation: str | None = None

    def __post_init__(self):
        types = self.entity_types
        if self.labels is not None:
            object.__setattr__(self, "labels", checked_names(self.labels, "labels", at_least=1))
            types = TagScheme(self.labels).entity_types if types is None else types
        if types is None:
            raise InputError("A tagger needs `entity_types` or `labels`. Received neither.")
        object.__setattr__(self, "entity_types", checked_names(types, "entity_types", at_least=1))
        if self.labels is not None and self.entity_types != TagScheme(self.labels).entity_types:
            raise InputError(
                f"`entity_types` must be those of `labels`, {list(TagScheme(self.labels).entity_types)}, or be left "
                f"out. Received: {list(self.entity_types)}."
            )
        if self.aggregation not in AGGREGATIONS:
            raise InputError(f"`aggregation` must be one of {AGGREGATIONS}. Received: {self.aggregation!r}.")
        if self.aggregation and self.crf:
            raise InputError(
                "`aggregation` takes the label of each word by itself, `crf` the best sequence. Received: both."
            )


@register_task
class Tagger(Task):
    """Named entities in texts of any length (Devlin et al. 2019, section 5.3), or a label for each word.

    A dense layer on the first piece of each word. Words are the tokenizer's: what is between white space, with
    every punctuation mark a word of its own, in training as in serving, so that raw text is read as training text was.
    All words of the tokenizer in a word of a training file have its tag. Tags are IOB2 unless `labels` are given, and
    the best sequence of tags that fit together is taken: in IOB2, no entity begins with I-.

    Args:
        encoder: functional model with `sequence_output`.
        tokenizer: makes the encoder's inputs.
        entity_types: names of the types.
        labels: the labels in order of their numbers, in place of O and B- and I- of each type: those of IOB1, BIOES or
            BILOU; plain names and O, where neighbouring words of one label are one entity; plain names without O, such
            as parts of speech, where each word is an entity of its own.
        crf: learn the transitions between tags too, with a loss on whole sentences (Lample et al. 2016).
        window: maximum tokens that the model reads at once; a longer text is read in several windows. None: the
            tokenizer's `max_length`.
        overlap: pieces shared by two neighbouring windows; at most a quarter of a window.
        dropout: rate before the dense layer, when training.
        aggregation: None, or how the pieces of a word make its label, as in the pipeline of Hugging Face Transformers:
            that of the "first" piece, that of the highest "average" of the pieces' probabilities, or that of the piece
            with the highest probability ("max"). Each word then has its most probable label, whether or not it fits
            the label before it, and the score of an entity is the mean of its words'.

    Raises:
        InputError: no entity types or equal ones, an unknown aggregation, a window without room or longer than the
            tokenizer's `max_length`, an encoder without `sequence_output`, or a tokenizer that does not fit it or does
            not separate words.
    """

    Settings = TaggerSettings
    checkpoint_kind = "token_classification"
    float32_layers = ("tagger_dropout", "tagger", "transitions")
    row_groups = 4

    def resolved(self, settings, encoder, tokenizer):
        window = tokenizer.max_length if settings.window is None else settings.window
        return dataclasses.replace(settings, window=window, overlap=min(settings.overlap, max((window - 2) // 4, 0)))

    def check(self):
        super().check()
        if not hasattr(self.tokenizer, "word_ids"):
            raise InputError(
                "A tagger needs a tokenizer that separates words, such as those of `kf.text`. "
                f"Received: {type(self.tokenizer).__name__}."
            )
        check_window(self.tokenizer, self.window, self.overlap)
        longest = self.tokenizer.max_length
        if self.window > longest:
            raise InputError(f"`window` must be at most max_length={longest}. Received: window={self.window}.")

    def build(self):
        vectors, parts = token_vectors(self.encoder, "A tagger")
        hidden = Dropout(self.dropout, name="tagger_dropout", dtype="float32")(vectors)
        dense = keras.layers.Dense(
            len(self.tag_names),
            kernel_initializer=keras.initializers.TruncatedNormal(stddev=0.02),
            dtype="float32",
            name="tagger",
        )
        self.head = Head(output=dense, **parts)
        outputs = {"logits": dense(hidden)}
        if self.crf:
            outputs["transitions"] = Transitions(name="transitions", dtype="float32")(outputs["logits"])
        return outputs, {}

    @functools.cached_property
    def _scheme(self):
        return TagScheme.bio(self.entity_types) if self.labels is None else TagScheme(self.labels)

    def checkpoint_settings(self):
        return {"labels": list(self.tag_names), "head_dropout": self.dropout}

    @property
    def tag_names(self):
        """The names of the tags in order of their numbers: `labels`, else O, then B- and I- of each type."""
        return self._scheme.labels

    def batch_inputs(self, features):
        return self.model_inputs(self._windows(features["text"]).inputs)

    def _windows(self, texts):
        return window_texts(self.tokenizer, texts, self.window, self.overlap)

    def training_batch(self, features, targets):
        """A batch of texts as `(inputs, tags)`.

        Args:
            features: `{"text": [N]}`.
            targets: int32 `[N, words]`, padded with -1: `{"tags": …, "word_starts": …}`, the former in IOB2, the latter
                in bytes.

        Returns:
            Inputs of W windows, and int32 `[W, L]`: the tag where a word has its first piece, once in all windows;
            -1 elsewhere, -2 in windows that continue the text of the one before.
        """
        windows = self._windows(features["text"])
        return self.model_inputs(windows.inputs), self._labels(windows, targets)

    def _labels(self, windows, targets):
        given = targets["word_starts"] >= 0
        tags = tf.boolean_mask(targets["tags"], given)
        begins, word = self._words_of_pieces(windows, targets["word_starts"], given)
        # The second of the tokenizer's words in one word of the file is inside of the entity that began with it.
        firsts = tf.boolean_mask(word, begins)
        is_next = tf.concat([[False], firsts[1:] == firsts[:-1]], 0)
        first_tags = tf.gather(tags, firsts)
        is_begin = (first_tags > 0) & (first_tags % 2 == 1)
        first_tags += tf.cast(is_next[: tf.size(firsts)] & is_begin, tf.int32)
        # Where the word of a B- has no pieces, being of zero-width characters, the entity begins with the next.
        texts = tf.boolean_mask(windows.texts, begins)
        before = tf.where(texts[1:] == texts[:-1], first_tags[:-1], 0)
        before = tf.concat([tf.zeros_like(first_tags[:1]), before], 0)
        goes_on = (before == first_tags) | (before == first_tags - 1)
        first_tags -= tf.cast(_is_inside(first_tags) & ~goes_on, tf.int32)
        first_tags = self._scheme.from_iob2(first_tags, follows(texts))
        piece_tags = tf.tensor_scatter_nd_update(tf.fill(tf.shape(word), -1), tf.where(begins), first_tags)
        nothing = tf.where(follows(windows.owners), FOLLOWS, -1)[:, None]
        labels = windows.spread(piece_tags, -1)
        return tf.where(windows.kept & (labels >= 0), labels, nothing)

    def _words_of_pieces(self, windows, word_starts, given):
        """Which pieces begin a word of the tokenizer, bool `[P]`, and the given word each is in, int32 `[P]`."""
        rows = tf.where(given)[:, 0]
        keys = rows * _LONGEST + tf.cast(tf.boolean_mask(word_starts, given), tf.int64)
        piece_keys = tf.cast(windows.texts, tf.int64) * _LONGEST + tf.cast(windows.starts, tf.int64)
        word = tf.searchsorted(keys, piece_keys, side="right") - 1
        return windows.begins_word, tf.maximum(word, 0)

    def loss(self, targets, outputs):
        """Sum of the losses of a batch of windows, and the number of words, what to divide it by.

        Args:
            targets: int32 `[W, L]`, as returned by `training_batch`.
            outputs: of the model, `{"logits": [W, L, tags]}`, with a CRF also `"transitions"`.

        Returns:
            `(sum, count)`: float32 scalars.
        """
        logits = tf.cast(outputs["logits"], tf.float32)
        is_word = targets >= 0
        count = tf.reduce_sum(tf.cast(is_word, tf.float32))
        if "transitions" in outputs:
            return crf_loss(logits, targets, self._transitions(outputs)), count
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(tf.maximum(targets, 0), logits)
        return tf.reduce_sum(tf.where(is_word, losses, 0.0)), count

    def _transitions(self, outputs):
        """float32 `[tags + 1, tags + 1]`: forbidden ones, and what was learned."""
        constraints = tf.constant(self._scheme.constraints)
        if "transitions" not in outputs:
            return constraints
        learned = tf.cast(outputs["transitions"], tf.float32)
        # Every row is the same, and there may be none.
        rows = tf.maximum(tf.cast(tf.shape(learned)[0], tf.float32), 1.0)
        return constraints + tf.reduce_sum(learned, 0) / rows

    def _decode(self, windows, outputs, num_texts):
        """The tags of all words of the texts.

        Returns:
            begins: bool `[P]`, whether a piece begins a word. Then of each of the M words:
            tags: int32 `[M]`, in IOB2.
            probabilities: float32 `[M]`, of the tag.
        """
        begins = windows.begins_word
        logits = windows.merge(tf.cast(outputs["logits"], tf.float32))
        texts = tf.boolean_mask(windows.texts, begins)
        if self.aggregation or not (self._scheme.is_constrained or self.crf):
            probabilities = word_probabilities(tf.nn.softmax(logits), begins, self.aggregation)
            tags = tf.argmax(probabilities, -1, output_type=tf.int32)
        else:
            logits, transitions = tf.boolean_mask(logits, begins), self._transitions(outputs)
            tags, probabilities = best_sequence(logits, texts, num_texts, transitions, crf=self.crf)
        return begins, self._scheme.to_iob2(tags, follows(texts)), tf.gather(probabilities, tags, batch_dims=1)

    def answer_features(self, features, core):
        """From `{"text": [N]}` to entities `[N, E]`: `entities_text`, `entities_label`, `entities_start`,
        `entities_end` (bytes of the caller's string) and `entities_score` (the probabilities of its words' tags,
        multiplied; with an `aggregation`, their mean); empty slots are "", "", -1, -1, 0."""
        texts = features["text"]
        windows = self._windows(texts)
        begins, tags, probabilities = self._decode(windows, core(self.model_inputs(windows.inputs)), tf.size(texts))
        word_of_piece = tf.cumsum(tf.cast(begins, tf.int32)) - 1
        ends = tf.math.unsorted_segment_max(windows.ends, word_of_piece, tf.size(tags))
        starts, owners = tf.boolean_mask(windows.starts, begins), tf.boolean_mask(windows.texts, begins)

        is_first = (tags > 0) & ~_is_inside(tags)
        entity = tf.boolean_mask(tf.cumsum(tf.cast(is_first, tf.int32)) - 1, tags > 0)
        number = tf.reduce_sum(tf.cast(is_first, tf.int32))
        ends = tf.math.unsorted_segment_max(tf.boolean_mask(ends, tags > 0), entity, number)
        joined = tf.math.unsorted_segment_mean if self.aggregation else tf.math.unsorted_segment_prod
        scores = joined(tf.boolean_mask(probabilities, tags > 0), entity, number)
        starts, owners, kinds = (tf.boolean_mask(values, is_first) for values in (starts, owners, (tags - 1) // 2))
        splits = tf.searchsorted(owners, tf.range(tf.size(texts) + 1))
        own_texts = tf.gather(texts, owners)
        ends = include_marks(own_texts, ends)
        columns = {
            "text": (tf.strings.substr(own_texts, starts, ends - starts), ""),
            "label": (tf.gather(tf.constant(self.entity_types), kinds), ""),
            "start": (starts, -1),
            "end": (ends, -1),
            "score": (scores, 0.0),
        }
        return {
            f"entities_{name}": tf.RaggedTensor.from_row_splits(values, splits, validate=False).to_tensor(default)
            for name, (values, default) in columns.items()
        }

    def predict(self, *columns, batch_size=32):
        """Entities as they are served, from Python: for each of the texts, one list of str, a list of
        `{"text", "label", "start", "end", "score"}`.

        Raises:
            InputError: another number of columns, or something that is not a text.
        """
        answers = self.answers(self.checked_columns(columns), batch_size)
        names = ("text", "label", "start", "end", "score")
        rows = zip(*[answers[f"entities_{name}"].tolist() for name in names], strict=True)
        return [
            [dict(zip(names, entity, strict=True)) for entity in zip(*row, strict=True) if entity[2] >= 0]
            for row in rows
        ]

    def labelled_batches(self, source):
        names = {"entity_types": self.entity_types, "labels": self.labels}
        return data.tagging_batches(data.load_tagging(source, **names), 32)

    def evaluate_batches(self, batches):
        """Metrics of a data set.

        Returns:
            `loss` (a word's), `accuracy` of the tags, and `precision`, `recall` and `f1` of the entities as the CoNLL
            script counts them; of several types also `f1_TYPE` each.
        """
        expected, predicted, sentences = [], [], 0
        loss = words = hits = given = 0
        for _, targets, found in batches:
            loss, words = loss + float(found["loss"]), words + int(found["count"])
            for row, wanted in zip(found["tags"], targets["tags"], strict=True):
                row, wanted = row[wanted >= 0], wanted[wanted >= 0]
                hits, given = hits + int((row == wanted).sum()), given + len(wanted)
                for entities, numbers in ((predicted, row), (expected, wanted)):
                    entities += [(sentences, *entity) for entity in entities_of([self._letter(tag) for tag in numbers])]
                sentences += 1
        counts = count_entities(expected, predicted)
        precision, recall, f1 = precision_recall_f1(*np.sum([[0, 0, 0], *counts.values()], 0).tolist())
        result = {"loss": loss / max(words, 1), "accuracy": hits / max(given, 1)}
        result |= {"precision": precision, "recall": recall, "f1": f1}
        if len(self.entity_types) > 1:
            none = (0, 0, 0)
            result |= {f"f1_{kind}": precision_recall_f1(*counts.get(kind, none))[2] for kind in self.entity_types}
        return result

    def _letter(self, tag):
        return ("O", "") if not tag else ("IB"[tag % 2], self.entity_types[(tag - 1) // 2])

    def evaluation_batch(self, features, targets, core):
        """Tags of the given words in IOB2, int32 `[N, words]`: of the first of the tokenizer's words in each, O where
        there is none; and the batch's loss and number of words."""
        windows = self._windows(features["text"])
        outputs = core(self.model_inputs(windows.inputs))
        begins, tags, _ = self._decode(windows, outputs, tf.size(features["text"]))
        given = targets["word_starts"] >= 0
        _, word = self._words_of_pieces(windows, targets["word_starts"], given)
        firsts = tf.boolean_mask(word, begins)
        is_first = tf.concat([[True], firsts[1:] != firsts[:-1]], 0)[: tf.size(firsts)]
        places = tf.gather(tf.where(given), tf.boolean_mask(firsts, is_first))
        tags = tf.scatter_nd(places, tf.boolean_mask(tags, is_first), tf.shape(given, tf.int64))
        loss, count = self.loss(self._labels(windows, targets), outputs)
        return {"tags": tags, "loss": loss, "count": count}

    def warmup_inputs(self, batch_size):
        texts = [("London and Paris " * (1 + 2 * i)).strip() for i in range(batch_size)]
        return {"text": np.array(texts, dtype=object)}


def _is_inside(tags):
    """Whether IOB2 tags are those of a word inside of an entity, not its first."""
    return (tags > 0) & (tags % 2 == 0)
