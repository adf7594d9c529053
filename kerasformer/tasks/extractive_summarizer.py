"""Extractive summaries: the sentences of a document that say the most."""

import dataclasses

import numpy as np
import tensorflow as tf

from kerasformer import data
from kerasformer.errors import InputError
from kerasformer.layers import InterSentenceEncoder
from kerasformer.layers.configs import check_heads
from kerasformer.metrics.rouge import rouge
from kerasformer.tasks.encoder_outputs import encoder_output
from kerasformer.tasks.selection import select_sentences
from kerasformer.tasks.task import Head, Task, built_in, register_task, string_spec
from kerasformer.text import split_sentences
from kerasformer.text.documents import document_inputs


@dataclasses.dataclass(frozen=True)
class ExtractiveSummarizerSettings:
    """The arguments of `ExtractiveSummarizer`, see there."""

    _: dataclasses.KW_ONLY
    num_sentences: int = 3
    block_trigrams: bool = True
    num_layers: int = built_in(2)
    num_heads: int = built_in(8)
    intermediate_dim: int = built_in(2048)
    dropout: float = built_in(0.1)
    pooling: str = built_in("first")

    def __post_init__(self):
        if not isinstance(self.num_sentences, int) or self.num_sentences < 1:
            raise InputError(
                f"`num_sentences` must be an integer of 1 or more. Received: num_sentences={self.num_sentences!r}."
            )


@register_task
class ExtractiveSummarizer(Task):
    """A summary of a document's own sentences (BERTSum: Liu 2019, arXiv:1903.10318; Liu and Lapata 2019,
    arXiv:1908.08345).

    Each sentence is between `[CLS]` and `[SEP]`, segments alternate, Transformer layers over the sentences
    assign each sentence a probability, and the best that do not repeat three words of another are selected. A document
    longer than the encoder is read in windows of whole sentences; in training its first window is.

    Args:
        encoder: functional model with `sequence_output`.
        tokenizer: a WordPieceTokenizer.
        num_sentences: of a summary, at most.
        block_trigrams: whether sentences that share three words in a row with a better one are left out.
        num_layers, num_heads, intermediate_dim, dropout: of the layers over sentences.
        pooling: the vector of a sentence there, "first" (its `[CLS]`, as published for BERT) or "mean" (of its
            tokens, for encoders that were trained for means, such as MiniLM's).

    Raises:
        InputError: another `pooling`, an encoder without `sequence_output`, a tokenizer that does not fit it, heads
            that do not divide its width, or `num_sentences` below 1.
    """

    Settings = ExtractiveSummarizerSettings
    row_groups = 4

    def build(self):
        sequence = encoder_output(self.encoder, "sequence_output", "A summarizer")
        check_heads(self.num_heads, sequence.shape[-1])
        layer = InterSentenceEncoder(
            self.tokenizer.start_id,
            self.num_layers,
            self.num_heads,
            self.intermediate_dim,
            self.dropout,
            pooling=self.pooling,
            # The policy of the layer that gives the sequence is none: it moves rows only.
            dtype=next(layer.dtype_policy for layer in self.encoder.layers if layer.weights),
            name="inter_sentence_encoder",
        )
        self.head = Head(sentences=layer)
        inputs = self.encoder.input
        return layer(sequence, inputs["token_ids"], inputs["padding_mask"]), {}

    def vector_settings(self):
        return {"pooling": "mean"} if self.pooling == "mean" else {}

    def batch_inputs(self, features):
        """Windows of a batch of documents as inputs of the model; in the graph.

        Args:
            features: `{"text": [N]}`, split into sentences here, or `{"sentences": [N, S]}`, "" where a document has
                fewer.
        """
        return self.model_inputs(document_inputs(self.tokenizer, _sentences(features)))

    def training_batch(self, features, targets):
        """The first window of each document, one row each.

        Args:
            features: `{"sentences": strings [N, S]}`.
            targets: `{"labels": float32 [N, S]}`.

        Returns:
            The model's inputs, and `{"labels", "weights"}`, float32 `[N, S]`, as `loss` takes them.
        """
        sentences = _sentences(features)
        inputs = self.model_inputs(document_inputs(self.tokenizer, sentences, windows=False))
        begins = tf.equal(inputs["token_ids"], self.tokenizer.start_id)
        fits = tf.sequence_mask(tf.math.count_nonzero(begins, 1), tf.shape(targets["labels"])[1], tf.float32)
        return inputs, {"labels": targets["labels"], "weights": fits}

    def loss(self, targets, outputs):
        """Sum of the binary cross-entropies of a batch's sentences, and their number.

        Args:
            targets: `{"labels": float32 [N, S], "weights": float32 [N, S]}`; weights are 0 where there is no sentence.
            outputs: of the model, `{"logits": [N, S or fewer], …}`.

        Returns:
            `(sum, count)`: float32 scalars.
        """
        logits = tf.cast(outputs["logits"], tf.float32)
        # A replica's share of a batch may have fewer sentences at most than the batch; a row without sentences has one.
        width = tf.minimum(tf.shape(logits)[1], tf.shape(targets["labels"])[1])
        labels, weights = targets["labels"][:, :width], targets["weights"][:, :width]
        losses = tf.nn.sigmoid_cross_entropy_with_logits(labels=labels, logits=logits[:, :width])
        return tf.reduce_sum(losses * weights), tf.reduce_sum(weights)

    def labelled_batches(self, source):
        return data.document_batches(data.load_documents(source), 32)

    def evaluate_batches(self, batches):
        """`loss` where there are labels, and `rouge1`, `rouge2`, `rougeL` of the chosen sentences where there are
        summaries: targets are `{"labels": [N, S], "summaries": strings [N, R], "" where there are fewer}`, or one of
        the two."""
        predictions, references, losses = [], [], []
        for features, targets, outputs in batches:
            sentences = _sentences(features)
            logits = outputs["logits"][outputs["sentence_mask"] > 0]
            if "labels" in targets:
                labels = targets["labels"][features["sentences"] != b""]
                losses.append(tf.nn.sigmoid_cross_entropy_with_logits(labels=labels, logits=logits).numpy())
            if "summaries" in targets:
                most = tf.fill([sentences.nrows()], self.num_sentences)
                answer = self._chosen(sentences, tf.constant(logits), tf.cast(most, tf.int32))
                predictions += [text.decode() for text in answer["summary"].numpy()]
                references += [[text.decode() for text in row if text] for row in targets["summaries"]]
        result = {"loss": float(np.mean(np.concatenate(losses)))} if losses else {}
        return result | (rouge(predictions, references) if predictions else {})

    def answer_features(self, features, core):
        """What is served: `summary` `[N]`, and in the document's order `sentences` `[N, K]` and `sentence_scores`
        `[N, K]`, their probabilities; empty slots are "" and 0.

        Args:
            features: as for `batch_inputs`, and, or not, `num_sentences` `[N]`.
        """
        sentences = _sentences(features)
        outputs = core(self.model_inputs(document_inputs(self.tokenizer, sentences)))
        logits = tf.gather_nd(outputs["logits"], tf.where(outputs["sentence_mask"] > 0))
        if "num_sentences" in features:
            return self._chosen(sentences, logits, tf.cast(features["num_sentences"], tf.int32))
        most = tf.fill([tf.shape(sentences.row_lengths())[0]], self.num_sentences)
        return self._chosen(sentences, logits, most, columns=self.num_sentences)

    def _chosen(self, sentences, logits, most, columns=None):
        scores = tf.math.sigmoid(tf.cast(logits, tf.float32))
        chosen = select_sentences(sentences, scores, most, block_trigrams=self.block_trigrams)
        texts = tf.ragged.boolean_mask(sentences, sentences.with_values(chosen))
        shape = [None, columns]
        return {
            "summary": tf.strings.reduce_join(texts, axis=1, separator=" "),
            "sentences": texts.to_tensor("", shape=shape),
            "sentence_scores": texts.with_values(tf.boolean_mask(scores, chosen)).to_tensor(0.0, shape=shape),
        }

    def summarize(self, texts, num_sentences=None, batch_size=32):
        """Summaries as they are served, from Python.

        Args:
            texts: list of str.
            num_sentences: of each summary at most, an int or a list of N; None: the task's.

        Returns:
            `{"summary": str [N], "sentences": str [N, K], "sentence_scores": float32 [N, K]}`.

        Raises:
            InputError: `texts` is one text, not a list of them.
        """
        columns = self.checked_columns([texts])
        if num_sentences is not None:
            columns["num_sentences"] = np.broadcast_to(np.asarray(num_sentences, np.int32), [len(texts)])
        return self.answers(columns, batch_size)

    def serving_functions(self, core):
        """`serving_default`, `tokens`, and `with_options` (`text` and `num_sentences`); see `Task`."""

        @tf.function(
            input_signature=[string_spec("text"), tf.TensorSpec([None], tf.int32, name="num_sentences")],
            autograph=False,
        )
        def with_options(text, num_sentences):
            return self.answer_features({"text": text, "num_sentences": num_sentences}, core)

        return super().serving_functions(core) | {"with_options": with_options}

    def warmup_inputs(self, batch_size):
        """Inputs of `serving_default` that look like real ones, of growing lengths, NumPy arrays of strings."""
        texts = [" ".join(f"Part {k} of it is good." for k in range(2 + 2 * i)) for i in range(batch_size)]
        return {"text": np.array(texts, dtype=object)}


def _sentences(features):
    """The sentences of each document, `tf.RaggedTensor` `[batch, (sentences)]`."""
    if "text" in features:
        return split_sentences(features["text"])[0]
    rows = tf.convert_to_tensor(features["sentences"], tf.string)
    return tf.ragged.boolean_mask(rows, rows != "")
