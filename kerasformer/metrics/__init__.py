"""Metrics over a data set: thin over well-kept libraries where these return the same numbers.

| metrics | by |
| --- | --- |
| precision, recall, F1, Matthews correlation | scikit-learn |
| Pearson, Spearman | SciPy |
| confusion matrix, F1 of several labels, RMSE, MAE, R², best threshold | here: a line of NumPy each |
| BLEU, chrF | sacrebleu, its tokenizer chosen by the script of the references |
| ROUGE | rouge-score, with words of all scripts |
| exact match and F1 of answers | here: SQuAD publishes scripts, no library |
| entities | here: seqeval returns the same numbers, but reads tags, not positions in a text, and takes longer |

A library is imported when its metric is computed. Metrics whose library is not installed are left out, which one line
says.
"""

from kerasformer.metrics.answers import best_threshold, normalize_answer, score_answer
from kerasformer.metrics.classification import (
    best_f1_threshold,
    classification_metrics,
    confusion_matrix,
    correlations,
    multi_label_metrics,
    pearson,
    per_class,
    regression_metrics,
    spearman,
)
from kerasformer.metrics.entities import count_entities, entities_of, precision_recall_f1, split_tag
from kerasformer.metrics.rouge import rouge
from kerasformer.metrics.translation import bleu_tokenizer, corpus_scores

__all__ = [
    "best_f1_threshold",
    "best_threshold",
    "bleu_tokenizer",
    "classification_metrics",
    "confusion_matrix",
    "corpus_scores",
    "correlations",
    "count_entities",
    "entities_of",
    "multi_label_metrics",
    "normalize_answer",
    "pearson",
    "per_class",
    "precision_recall_f1",
    "regression_metrics",
    "rouge",
    "score_answer",
    "spearman",
    "split_tag",
]
