"""ROUGE (Lin 2004) as the package `rouge-score` counts it, with stemming."""

import dataclasses
import re
import unicodedata

import numpy as np

from kerasformer.data.columns import object_column

METRICS = ("rouge1", "rouge2", "rougeL")
# Han and kana, which are written without spaces: each character counts as a word.
_CHARACTER = r"[\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"


def rouge(predictions, references):
    """ROUGE-1, ROUGE-2 and ROUGE-L, F1 in points of 100, the mean over texts.

    Of several references the one with the highest ROUGE-1 counts, for all three, as SciTLDR does (Cachola et al. 2020,
    arXiv:2004.15011, section 4.2).

    `rouge-score` reads words written in a to z and 0 to 9. Where most letters of the references are others, words of
    all scripts are read, and single characters of Chinese and Japanese.

    Args:
        predictions: list of N str.
        references: list of N lists of str.
    """
    scorer = _scorer(METRICS, [text for texts in references for text in texts])
    best = []
    for text, texts in zip(predictions, references, strict=True):
        scores = [[score.fmeasure for score in scorer.score(reference, text).values()] for reference in texts]
        best.append(max(scores))
    return dict(zip(METRICS, (100 * np.mean(best, 0)).tolist(), strict=True))


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
    scorer = _scorer(METRICS[:2], references)
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


def _scorer(metrics, references):
    from rouge_score import rouge_scorer  # not above: it brings nltk

    letters = [letter for text in references for letter in text if letter.isalpha()]
    is_latin = 2 * sum(letter.isascii() for letter in letters) >= len(letters)
    return rouge_scorer.RougeScorer(metrics, use_stemmer=True, tokenizer=None if is_latin else _AllScripts())


class _AllScripts:
    """Words of letters, marks and digits in lower case, as the tokenizer that `RougeScorer` takes."""

    def tokenize(self, text):
        kept = [c if unicodedata.category(c)[0] in "LMN" else " " for c in unicodedata.normalize("NFC", text.lower())]
        return re.sub(_CHARACTER, r" \g<0> ", "".join(kept)).split()


def _value(scorer, sentences, references):
    scores = scorer.score_multi(list(references), " ".join(sentences))
    return sum(score.fmeasure for score in scores.values())


def with_oracle_labels(documents, most):
    """`Documents` with the labels that `greedy_oracle` gives them, `most` sentences at most in each."""
    pairs = zip(documents.sentences, documents.summaries, strict=True)
    labels = [greedy_oracle(sentences, summaries, most) for sentences, summaries in pairs]
    return dataclasses.replace(documents, labels=object_column(labels))
