"""BLEU and chrF of a corpus, by sacrebleu."""

import re

from kerasformer.errors import InputError
from kerasformer.extras import metric_library

# Scripts that sacrebleu's default tokenizer, 13a, does not split into words, and the tokenizer for each.
_SCRIPTS = {
    "zh": r"\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff",
    "ja": r"\u3040-\u30ff\u31f0-\u31ff\uff66-\uff9f",
    "ko": r"\u1100-\u11ff\u3130-\u318f\uac00-\ud7af",
    # Thai, Lao, Tibetan, Burmese, Khmer: written without spaces between words.
    "char": r"\u0e00-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff",
}


def corpus_scores(hypotheses, references, lowercase=False, tokenize=None):
    """BLEU (Papineni et al. 2002; Post 2018, arXiv:1804.08771) and chrF (Popović 2015) in points of 100.

    Args:
        hypotheses, references: lists of str of one length, one reference each.
        lowercase: compare lower-cased.
        tokenize: BLEU's tokenizer, as `bleu_tokenizer` takes it.

    Returns:
        `({"bleu": …, "chrf": …}, {"bleu": …, "chrf": …})`, the scores, and the signatures that say how they were
        computed; both empty where sacrebleu is not installed.

    Raises:
        InputError: as `bleu_tokenizer`.
    """
    sacrebleu = metric_library("sacrebleu.metrics", "bleu, chrf")
    if sacrebleu is None:
        return {}, {}
    bleu = sacrebleu.BLEU(lowercase=lowercase, tokenize=bleu_tokenizer(references, tokenize))
    chrf = sacrebleu.CHRF(lowercase=lowercase)
    scores = {
        "bleu": float(bleu.corpus_score(hypotheses, [references]).score),
        "chrf": float(chrf.corpus_score(hypotheses, [references]).score),
    }
    return scores, {"bleu": str(bleu.get_signature()), "chrf": str(chrf.get_signature())}


def bleu_tokenizer(references, tokenize=None):
    """The name of sacrebleu's tokenizer for some references.

    By the script that most letters are of: `zh` for Chinese, `ja-mecab` for Japanese and `ko-mecab` for Korean, `char`
    for scripts without spaces, else `13a`. Where MeCab is not installed, `char` replaces `ja-mecab` and `ko-mecab`.

    Args:
        references: list of str.
        tokenize: a name that is returned, once it was found to be usable; or None.

    Raises:
        InputError: sacrebleu has no such tokenizer, or it needs a package or a file that is not there.
    """
    if tokenize is not None:
        return _checked(tokenize)
    text = "".join(references)
    letters = len(re.findall(r"[^\W\d_]", text))
    counts = {name: len(re.findall(f"[{ranges}]", text)) for name, ranges in _SCRIPTS.items()}
    if 2 * sum(counts.values()) <= letters:
        return "13a"
    # Japanese is written in kana and in Chinese characters; Chinese has no kana but in a name here and there.
    if 20 * counts["ja"] > counts["zh"] + counts["ja"]:
        counts["ja"] += counts.pop("zh")
    best = max(counts, key=counts.get)
    if best in ("ja", "ko"):
        try:
            return _checked(f"{best}-mecab")
        except InputError:
            return "char"
    return best


def _checked(name):
    """`name`, after sacrebleu has made the tokenizer."""
    from sacrebleu.metrics import BLEU

    names = sorted(BLEU.TOKENIZERS)
    if name not in names:
        raise InputError(f"BLEU's tokenizer must be one of {', '.join(names)}. Received: {name!r}.")
    try:
        BLEU(tokenize=name)
    except Exception as error:  # of the packages and of the download, of many classes
        raise InputError(f"BLEU's tokenizer {name!r} cannot be used: {' '.join(str(error).split())}") from None
    return name
