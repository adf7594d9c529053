"""Labels of the sentences of documents that have summaries only."""

import dataclasses

import numpy as np

from kerasformer.data.columns import object_column
from kerasformer.metrics.rouge import rouge_scorer


def greedy_oracle(sentences, references, most):
    """Labels for the sentences of a document that together are nearest to its summary (Nallapati et al. 2017,
    arXiv:1611.04230, section 3; Liu 2019, section 4.1): one sentence after another is added, each the one that raises
    ROUGE-1 plus ROUGE-2 most, until none does.

    Args:
        sentences: list of S str.
        references: list of str; of several the best counts.
        most: the number of sentences at most.

    Returns:
        float32 `[S]`, 1 for the sentences chosen.
    """
    scorer = rouge_scorer(["rouge1", "rouge2"], references)
    labels, best = np.zeros(len(sentences), np.float32), 0.0
    for _ in range(min(most, len(sentences))):
        gains = [
            _value(scorer, [s for s, label in zip(sentences, labels, strict=True) if label] + [sentence], references)
            if not label
            else 0.0
            for sentence, label in zip(sentences, labels, strict=True)
        ]
        if max(gains) <= best:
            break
        best = max(gains)
        labels[int(np.argmax(gains))] = 1
    return labels


def _value(scorer, sentences, references):
    scores = scorer.score_multi(list(references), " ".join(sentences))
    return sum(score.fmeasure for score in scores.values())


def with_oracle_labels(documents, most):
    """`Documents` with the labels of `greedy_oracle`, `most` sentences at most in each."""
    pairs = zip(documents.sentences, documents.summaries, strict=True)
    labels = [greedy_oracle(sentences, summaries, most) for sentences, summaries in pairs]
    return dataclasses.replace(documents, labels=object_column(labels))
