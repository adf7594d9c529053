"""ROUGE (Lin 2004) as the package `rouge-score` counts it, with stemming."""

import re
import unicodedata

import numpy as np

from kerasformer.extras import metric_library, require

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

    Returns:
        `{"rouge1", "rouge2", "rougeL"}`; empty where `rouge-score` is not installed.
    """
    if metric_library("rouge_score", "rouge1, rouge2, rougeL") is None:
        return {}
    scorer = rouge_scorer(METRICS, [text for texts in references for text in texts])
    best = []
    for text, texts in zip(predictions, references, strict=True):
        scores = [[score.fmeasure for score in scorer.score(reference, text).values()] for reference in texts]
        best.append(max(scores))
    return dict(zip(METRICS, (100 * np.mean(best, 0)).tolist(), strict=True))


def rouge_scorer(metrics, references):
    """A `rouge_score.rouge_scorer.RougeScorer` for the script of the references.

    Raises:
        InputError: `rouge-score` is not installed.
    """
    module = require("rouge_score.rouge_scorer", "recipes", "ROUGE")

    letters = [letter for text in references for letter in text if letter.isalpha()]
    is_latin = 2 * sum(letter.isascii() for letter in letters) >= len(letters)
    return module.RougeScorer(metrics, use_stemmer=True, tokenizer=None if is_latin else _AllScripts())


class _AllScripts:
    """Words of letters, marks and digits in lower case, as the tokenizer that `RougeScorer` takes."""

    def tokenize(self, text):
        kept = [c if unicodedata.category(c)[0] in "LMN" else " " for c in unicodedata.normalize("NFC", text.lower())]
        return re.sub(_CHARACTER, r" \g<0> ", "".join(kept)).split()
