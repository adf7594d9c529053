"""BLEU and chrF of a corpus, as `sacrebleu` computes them."""


def corpus_scores(hypotheses, references, lowercase=False):
    """BLEU (Papineni et al. 2002; Post 2018, arXiv:1804.08771) and chrF (Popović 2015) in points of 100.

    Args:
        hypotheses, references: lists of str of one length, one reference each.
        lowercase: compare lower-cased.

    Returns:
        `({"bleu": …, "chrf": …}, signature)`, the signature that says how BLEU was computed.
    """
    from sacrebleu.metrics import BLEU, CHRF

    bleu, chrf = BLEU(lowercase=lowercase), CHRF(lowercase=lowercase)
    scores = {
        "bleu": float(bleu.corpus_score(hypotheses, [references]).score),
        "chrf": float(chrf.corpus_score(hypotheses, [references]).score),
    }
    return scores, str(bleu.get_signature())
