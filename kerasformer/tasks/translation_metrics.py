"""BLEU and chrF of a corpus, as `sacrebleu` computes them."""


def corpus_scores(hypotheses, references, lowercase=False):
    """BLEU (Papineni et al. 2002; Post 2018, arXiv:1804.08771) and chrF (Popović 2015) in points of 100.

    Args:
        hypotheses, references: lists of str of one length, one reference each.
        lowercase: compare lower-cased.

    Returns:
        `({"bleu": …, "chrf": …}, {"bleu": …, "chrf": …})`, the scores, and the signatures that say how they were
        computed.
    """
    from sacrebleu.metrics import BLEU, CHRF

    bleu, chrf = BLEU(lowercase=lowercase), CHRF(lowercase=lowercase)
    scores = {
        "bleu": float(bleu.corpus_score(hypotheses, [references]).score),
        "chrf": float(chrf.corpus_score(hypotheses, [references]).score),
    }
    return scores, {"bleu": str(bleu.get_signature()), "chrf": str(chrf.get_signature())}
